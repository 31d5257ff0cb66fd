"""The one rule for everything that is not movement: operands with named axes, multiplied and summed.

Elementwise operators sum over no axis; linear layers, convolutions, matrix products and attention sum over some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.pruning.labels.book import Book
from worker.pruning.labels.planes import Plane, Planes

NEUTRAL = "meets an axis that has no units"
EXPANDED = "an expanded axis inside an axis of units"
PRODUCT = "two axes of units flattened into one"


@dataclass(frozen=True)
class Operand:
    """A value as a contraction sees it: its planes, its shape, and one letter for each axis."""

    planes: Sequence[Plane]
    shape: tuple[int, ...]
    letters: Sequence[str]
    constant: bool = False
    """Whether it is computed from parameters alone: such a one makes no heads with another, and may wait."""


@dataclass
class _Side:
    """An operand in the common space: one axis for each letter of all operands."""

    planes: list[Plane]
    axes: frozenset[int]
    """The axes that it has."""
    full: frozenset[int]
    """Those that it has at their whole size, not broadcast."""
    constant: bool


def contract(
    book: Book,
    operands: Sequence[Operand],
    letters: Sequence[str],
    shape: tuple[int, ...],
    *,
    stable: bool = True,
    heads: set[int] | None = None,
) -> Planes:
    """The planes of the result, whose axes have `letters` and `shape`; what must go together is united in the book.

    Letters that the result lacks are summed over. `stable` says that the last pass changed nothing, which is when a
    choice between two readings is made. `heads` collects the labels that index independent products of two activations.
    """
    space = list(dict.fromkeys([letter for operand in operands for letter in operand.letters] + list(letters)))
    position = {letter: index for index, letter in enumerate(space)}
    summed = frozenset(position[letter] for letter in space if letter not in letters)
    sides = [_aligned(operand, position) for operand in operands]
    if len(sides) > 1:
        for side in sides:
            side.planes = [_summed(book, plane, summed) for plane in side.planes]
    gone: set[int] = set()
    for index, one in enumerate(sides):
        for other in sides[index + 1 :]:
            _Tie(book, one, other, gone, stable).settle()
            _Tie(book, other, one, gone, stable).face_neutral()
    left = [plane for side in sides for plane in side.planes if id(plane) not in gone and not plane.axes & summed]
    if heads is not None and summed and sum(not side.constant and bool(side.full & summed) for side in sides) > 1:
        _note_heads(sides, left, heads)
    order = [position[letter] for letter in letters]
    return book.settle(_projected(plane, order, shape) for plane in left)


def _aligned(operand: Operand, position: dict[str, int]) -> _Side:
    places = [position[letter] for letter in operand.letters]
    order = sorted(range(len(places)), key=places.__getitem__)
    index = tuple(slice(None) if place in places else None for place in range(len(position)))
    planes = [Plane(plane.tensor.permute(order)[index]) for plane in operand.planes]
    full = frozenset(place for place, size in zip(places, operand.shape, strict=True) if size > 1)
    return _Side(planes, frozenset(places), full, operand.constant)


def _summed(book: Book, plane: Plane, summed: frozenset[int]) -> Plane:
    """One of several varying axes is summed over: its entries are of one unit, and the others travel on (heads)."""
    return book.unite_along(plane, summed) if plane.axes & summed and plane.axes - summed else plane


def _projected(plane: Plane, order: list[int], shape: tuple[int, ...]) -> Plane:
    tensor = plane.tensor
    for axis in range(tensor.dim()):
        if axis not in order:
            tensor = tensor.narrow(axis, 0, 1)
    rest = [axis for axis in range(tensor.dim()) if axis not in order]
    permuted = tensor.permute([*order, *rest])
    for _ in rest:
        permuted = permuted.select(-1, 0)
    return Plane(permuted.expand(shape))


def _note_heads(sides: list[_Side], left: list[Plane], heads: set[int]) -> None:
    """Units along an axis that two activations share without summing over it."""
    shared = frozenset.intersection(*(side.axes for side in sides if not side.constant))
    for plane in left:
        if plane.axes & shared:
            heads.update(plane.labels().tolist())


@dataclass
class _Tie:
    """How the planes of one side meet those of another."""

    book: Book
    one: _Side
    other: _Side
    gone: set[int]
    """Planes, by id, that another plane of the result speaks for."""
    stable: bool

    def settle(self) -> None:
        """Unites what meets entry by entry, and deals with what meets an axis without units."""
        self.face_neutral()
        for plane in self.one.planes:
            met = [theirs for theirs in self.other.planes if theirs.axes & plane.axes]
            if plane.axes & self.other.full and met:
                self._meet(plane, met)

    def face_neutral(self) -> None:
        """Entries that meet whole axes without units go together, or stay where there is no axis else to tell them."""
        for plane in self.one.planes:
            faced = plane.axes & self.other.full
            if not faced or any(theirs.axes & plane.axes for theirs in self.other.planes):
                continue
            if plane.axes - faced:
                self.book.unite_along(plane, faced)
            else:
                self._leave(plane, NEUTRAL)

    def _meet(self, plane: Plane, met: list[Plane]) -> None:
        same = [theirs for theirs in met if theirs.equals(plane)]
        if same:
            self.gone.update(map(id, same))
            return
        met = self._harden(met)
        rivals = [ours for ours in self.one.planes if ours.axes & plane.axes and ours is not plane]
        rivals = [ours for ours in rivals if not self.book.soft(ours)]
        if rivals and self.book.soft(plane):
            self._leave(plane, EXPANDED)
            return
        doubles = [ours for ours in rivals if ours.axes == plane.axes and not ours.equals(plane)]
        if len(met) == 1 and doubles:
            if not self.stable:
                self.book.undecided = True
                return
            if self._outranked(plane, doubles):
                self._leave(plane, PRODUCT)
                return
        for theirs in met:
            self._unite(plane, theirs)

    def _harden(self, met: list[Plane]) -> list[Plane]:
        """Where a real plane and one of an expansion share an axis, the expansion's is given up (grouped queries)."""
        hard = [theirs for theirs in met if not self.book.soft(theirs)]
        if not hard or len(hard) == len(met):
            return met
        for theirs in met:
            if self.book.soft(theirs):
                self._leave(theirs, EXPANDED)
        return hard

    def _leave(self, plane: Plane, why: str) -> None:
        """Frozen, and not handed on: it would freeze what it meets next before that is settled."""
        self.book.freeze(plane, why)
        self.gone.add(id(plane))

    def _outranked(self, plane: Plane, doubles: list[Plane]) -> bool:
        """Whether another kind of units that was flattened into this axis has more units, or as many and is first."""
        own = plane.labels().numel()
        counts = [double.labels().numel() for double in doubles]
        place = self.one.planes.index(plane)
        earlier = [double for double in doubles if self.one.planes.index(double) < place]
        return max(counts) > own or any(double.labels().numel() == own for double in earlier)

    def _unite(self, plane: Plane, theirs: Plane) -> None:
        """Entry by entry; a parameter that knows one of several axes only waits until the others are settled."""
        if theirs.axes != plane.axes:
            if self.other.constant and not self.one.constant and plane.axes - self.other.full:
                self.gone.add(id(theirs))
                return
            if self.one.constant and not self.other.constant and theirs.axes - self.one.full:
                self.gone.add(id(plane))
                return
        self.book.unite(plane, theirs)
        if theirs.axes <= plane.axes:
            self.gone.add(id(theirs))
        elif plane.axes < theirs.axes:
            self.gone.add(id(plane))
