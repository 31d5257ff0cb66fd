"""Movement along one axis whose literals cannot shrink, written as a gather with a constant index, which can.

A channel shuffle splits an axis in two, swaps them and joins them again: its sizes hold only while as many entries of
every group stay. The same permutation as `index_select` with a constant leaves every entry free. So do slices with a
step, rolls and constant indices, which are rewritten only where units turned out to lie on their axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx

from secateur.errors import ProgramFails
from worker.program.effects import keeps
from worker.program.program import Program, Size, attach, named_tensors
from worker.pruning.labels.planes import lying
from worker.pruning.labels.rules.indexing import INDEXED, ROLLED
from worker.pruning.labels.rules.movement import STRIDED
from worker.pruning.labels.spelling import evaluated, out_of_place, spelled
from worker.pruning.labels.values import PROBE, Values

REFUSED = frozenset((STRIDED, ROLLED, INDEXED))
SHUFFLES = frozenset(("channel_shuffle", "native_channel_shuffle"))
LINKS = frozenset(("transpose", "permute", "contiguous", "clone", "view", "flatten", "unflatten"))
CHAIN_MAX = 7
NUMBERS_MAX = 20_000_000


def gather_shuffles(program: Program, values: Values) -> bool:
    """Rewrites every chain of single-use movement that only permutes one axis; whether there was any."""
    found = [chain for node in program.module.graph.nodes if (chain := _chain(node, values))]
    return _rewrite(program, values, found)


def gather_refused(program: Program, values: Values, refused: Iterable[tuple[fx.Node, str]]) -> bool:
    """Rewrites those nodes at which units were frozen and that move along one axis only; whether there was any."""
    nodes = dict.fromkeys(node for node, why in refused if why in REFUSED)
    return _rewrite(program, values, [[node] for node in nodes if _is_movement(node, values)])


def _chain(node: fx.Node, values: Values) -> list[fx.Node] | None:
    """The nodes from a view with more axes to where the shape is that of the source again."""
    if spelled(node) in SHUFFLES:
        return [node]
    if spelled(node) not in ("view", "unflatten") or not isinstance(values.of.get(node), Tensor):
        return None
    source: Any = node.args[0]
    shape = values.shape(source)
    if len(values.shape(node)) <= len(shape):
        return None
    chain = [node]
    for user in _single_users(node):
        if spelled(user) not in LINKS or user.args[0] is not chain[-1] or len(chain) == CHAIN_MAX:
            return None
        chain.append(user)
        if values.shape(user) == shape:
            return chain
    return None


def _single_users(node: fx.Node) -> Iterator[fx.Node]:
    while len(node.users) == 1:
        node = next(iter(node.users))
        yield node


def _is_movement(node: fx.Node, values: Values) -> bool:
    """Whether a node gives one tensor of as many axes as its first operand, and the others are constants."""
    source, *others = node.all_input_nodes
    constant = all(other in values.real or not isinstance(values.of[other], Tensor) for other in others)
    same = isinstance(values.of[node], Tensor) and len(values.shape(node)) == len(values.shape(source))
    return node.args[0] is source and same and constant and not values.constant[source]


def _rewrite(program: Program, values: Values, chains: list[list[fx.Node]]) -> bool:
    elsewhere = _elsewhere(program) if chains else None
    if elsewhere is None:
        return False
    rewritten = False
    for chain in chains:
        source: Any = chain[0].args[0]
        moved = _moved_axis(chain, values, values.shape(source))
        if moved is None or not _is_same(moved, _moved_axis(chain, elsewhere, elsewhere.shape(source))):
            continue
        axis, index = moved
        with program.module.graph.inserting_before(chain[-1]):
            constant = program.module.graph.get_attr(_attach(program, index))
            gathered = program.module.graph.call_function(torch.ops.aten.index_select.default, (source, axis, constant))
        for known in (values, elsewhere):
            known.take_over(gathered, chain[-1])  # the source of a chain that follows
        chain[-1].replace_all_uses_with(gathered)
        rewritten = True
    if rewritten:
        program.module.graph.eliminate_dead_code(is_impure_node=keeps)
        program.module.recompile()
    return rewritten


def _elsewhere(program: Program) -> Values | None:
    """The values at other sizes of the inputs; None where they cannot be told."""
    sizes = {name: _another(size) for name, size in program.sizes.items()}
    try:
        return Values(program, sizes)
    except ProgramFails:
        return None


def _another(size: Size) -> int:
    """A size beside the one that the probe has, where there is one."""
    above = max(size.example, PROBE) + 1
    return above if size.maximum is None or above <= size.maximum else size.minimum


def _is_same(one: tuple[int, Tensor], other: tuple[int, Tensor] | None) -> bool:
    """Whether movement is the same at other sizes; else no constant can stand for it."""
    return other is not None and one[0] == other[0] and torch.equal(one[1], other[1])


def _attach(program: Program, index: Tensor) -> str:
    taken = {name for name, _ in named_tensors(program.module)}
    name = next(name for number in range(len(taken) + 1) if (name := f"gather_{number}") not in taken)
    attach(program.module, name, index, persistent=False)
    return name


def _moved_axis(chain: list[fx.Node], values: Values, shape: tuple[int, ...]) -> tuple[int, Tensor] | None:
    """The only axis that a chain moves entries along, and which entry comes to each place; None if there is none.

    Found by running the chain on the coordinates of every axis. The batch never moves.
    """
    if math.prod(shape) > NUMBERS_MAX:
        return None
    moved: list[tuple[int, Tensor]] = []
    for axis, size in enumerate(shape):
        coordinates = lying(torch.arange(size), axis, len(shape)).expand(shape)
        try:
            result = _run(chain, coordinates, values)
        except (RuntimeError, IndexError):
            return None
        if result.dim() != len(shape):
            return None
        line = result[tuple(slice(None) if axis == other else 0 for other in range(len(shape)))]
        if not torch.equal(lying(line, axis, len(shape)).expand(result.shape), result):
            return None
        if not torch.equal(line, torch.arange(size)):
            moved.append((axis, line.clone()))
    return moved[0] if len(moved) == 1 and moved[0][0] > 0 else None


def _run(chain: list[fx.Node], tensor: Tensor, values: Values) -> Tensor:
    for node in chain:
        call: Callable[..., Any] = out_of_place(node.target)  # type: ignore[arg-type]
        known = {given: values.real.get(given, values.of[given]) for given in node.all_input_nodes}
        tensor = call(tensor, *evaluated(node.args[1:], known), **evaluated(node.kwargs, known))
    return tensor
