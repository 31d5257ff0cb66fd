"""Small networks of units: a chain of linear layers whose groups lie in one or several parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean
from typing import Any

from secateur.removal.latency import GroupTime, TimedUnits, UnitTimes
from secateur.spec.structured import PruneUnits
from secateur.units import Axis, ModelUnits, Part, Term, UnitGroup

KINDS = ("channel", "neuron", "head")


class Chain:
    """A chain of matrix products: the units of group g are the rows of matrix g and the columns of matrix g + 1.

    `parts[g]` are the sizes of group g's parts; a unit of the second part stands for two rows, of the third for three.
    Units alternate between the parts of their group. The last matrix has `outputs` rows, which nobody removes.
    """

    def __init__(
        self,
        parts: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]] = (),
        occupied: Sequence[Sequence[int]] = (),
        outputs: int = 3,
        us_per_mac: Sequence[float] = (),
    ) -> None:
        self.parts, self.occupied, self.outputs = parts, occupied, outputs
        self.scores = scores or [[float(i) for i in range(sum(sizes))] for sizes in parts]
        self.us_per_mac = us_per_mac or [1.0] * len(parts)
        self.units = TimedUnits.of(self.record(), self._times())

    def _times(self) -> UnitTimes:
        """As if one unit of each group had been left out, and had taken so many microseconds with each product.

        All products together take as long as the network, and 5 ms come on top.
        """
        groups = [
            GroupTime(group=f"layers.{at}.weight", units=1, macs=1000, ms=us) for at, us in enumerate(self.us_per_mac)
        ]
        dense_ms = 5 + sum(rate * products for rate, products in zip(self.rates, self.products({}), strict=True))
        return UnitTimes(dense_ms=dense_ms, batch=1, device="cpu", threads=1, runs=5, groups=tuple(groups))

    @property
    def rates(self) -> list[float]:
        """Milliseconds of each matrix for a product: the mean of what its columns and its rows take."""
        ms = [us / 1000 for us in self.us_per_mac]
        return [ms[0], *(mean(pair) for pair in pairwise(ms)), ms[-1]]

    def products(self, gone: dict[str, frozenset[int]]) -> list[int]:
        """Multiply-accumulates of each matrix once these units are gone."""
        return [at * above * below for at, (below, above) in enumerate(pairwise(self.rows(gone)), 1)]

    def record(self) -> ModelUnits:
        numbers = [Part(group=at, size=size) for at, sizes in enumerate(self.parts) for size in sizes]
        axes = [Axis(fixed=2)]
        for at in range(len(self.parts)):
            mine = [index for index, part in enumerate(numbers) if part.group == at]
            axes.append(Axis(fixed=0, parts=tuple((index, times) for times, index in enumerate(mine, 1))))
        axes.append(Axis(fixed=self.outputs))
        terms = tuple(Term(axes=pair) for pair in zip(axes[1:], axes, strict=False))
        return ModelUnits(
            groups=self._groups(),
            parts=tuple(numbers),
            parameters=terms,
            macs=tuple(Term(factor=3 * (at + 1), axes=term.axes) for at, term in enumerate(terms)),
            batch=3,
            occupied=tuple(map(tuple, self.occupied)),
            prunable_share=1.0,
        )

    def _groups(self) -> tuple[UnitGroup, ...]:
        return tuple(self._group(at) for at in range(len(self.parts)))

    def _group(self, at: int) -> UnitGroup:
        sizes = self.parts[at]
        first = sum(len(each) for each in self.parts[:at])
        left = {first + place: size for place, size in enumerate(sizes)}
        membership: list[int] = []
        while left:
            membership += left
            left = {part: size - 1 for part, size in left.items() if size > 1}
        return UnitGroup(
            name=f"layers.{at}.weight",
            kind=KINDS[at % 3],
            size=sum(sizes),
            births=(f"layers.{at}.weight", f"skips.{at}.weight"),
            tensors=(f"layers.{at}.weight:0",),
            share=0.5,
            parameters_per_unit=1.0,
            macs_per_unit=1.0,
            rows=1.0,
            part=tuple(membership) if len(sizes) > 1 else (first,),
            l1=tuple(self.scores[at]),
            l2=tuple(self.scores[at]),
        )

    def rows(self, gone: dict[str, frozenset[int]]) -> list[int]:
        """The rows of each matrix once these units are gone, counted unit by unit."""
        rows = []
        for at, group in enumerate(self._groups()):
            first = sum(len(each) for each in self.parts[:at])
            parts = group.part if len(group.part) > 1 else group.part * group.size
            stays = [index for index in range(group.size) if index not in gone.get(group.name, ())]
            rows.append(sum(parts[index] - first + 1 for index in stays))
        return [2, *rows, self.outputs]

    def count(self, kind: str, gone: dict[str, frozenset[int]]) -> float:
        """Units, parameters, multiply-accumulates or milliseconds once these units are gone."""
        if kind == "units":
            return sum(group.size - len(gone.get(group.name, ())) for group in self.units.groups)
        if kind == "parameters":
            return sum(above * below for below, above in pairwise(self.rows(gone)))
        products = self.products(gone)
        if kind == "macs":
            return sum(products)
        return 5 + sum(rate * number for rate, number in zip(self.rates, products, strict=True))


def asked(kind: str = "units", amount: float = 0.5, **fields: Any) -> PruneUnits:
    """A structured prune: by default half of all units, with no bound but the one unit that stays."""
    target: dict[str, Any] = {"kind": kind, "amount": amount}
    if kind == "latency":
        target = {"kind": "max_accuracy_drop", "amount": 0.01, "minimise": kind}
    prune = PruneUnits.model_validate({"granularity": "unit", "max_amount": 1.0, "target": target, **fields})
    return prune.taking(amount) if kind == "latency" else prune
