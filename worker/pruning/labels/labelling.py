"""Runs a graph on labels until they are stable: afterwards every entry of every value knows its unit."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain

import torch
from torch import fx

from secateur.units import FrozenNode
from worker.program.program import Program, named_tensors
from worker.pruning.labels.book import FROZEN, Book, Ids
from worker.pruning.labels.gathers import gather_refused, gather_shuffles
from worker.pruning.labels.planes import Planes
from worker.pruning.labels.rules import movement
from worker.pruning.labels.rules.convolution import KERNEL
from worker.pruning.labels.rules.table import RULES
from worker.pruning.labels.spelling import spelled
from worker.pruning.labels.tracer import Tracer
from worker.pruning.labels.values import Values
from worker.pruning.labels.ways import explain

UNREACHED = "entries that the example does not reach"
PASSES_MAX = 64
REWRITES_MAX = 4


@dataclass(frozen=True)
class Labelling:
    """Which unit every entry of every value of a program belongs to. Label 0 is frozen; a unit's label is unique."""

    program: Program
    """With shuffles as gathers; it computes what the one that was labelled computes, on the same tensors."""
    values: Values
    count: int
    """Labels are below this number; not every number is in use."""
    heads: frozenset[int]
    """Labels that index independent products of two activations: attention heads."""
    frozen: tuple[FrozenNode, ...]
    tracer: Tracer

    def planes(self, node: fx.Node) -> Planes:
        """Of a tensor; each varies along exactly one axis."""
        return self.tracer.planes(node)

    def items(self, node: fx.Node) -> tuple[Planes, ...]:
        """Of each of several tensors that a node gives."""
        return self.tracer.items(node)


def label(program: Program, closed: Collection[str] = ()) -> Labelling:
    """The units of a program, which is not changed. `closed` names nodes (of an earlier labelling) to freeze.

    The labelled program shares the tensors of a program on the host; of another it has a copy there. Passes repeat
    until nothing changes; then those choices are made that need stable labels. Where units were frozen at movement that
    a gather can express, the graph is rewritten and labelled again.

    Raises:
        ProgramFails: the shapes of the program cannot be told.
    """
    own = _on_host(program).fork()
    own.set_training(False)
    values = Values(own)
    if gather_shuffles(own, values):
        values = Values(own)
    for rewrites in range(REWRITES_MAX + 1):
        book = Book()
        tracer = _stable(own, values, book, set(closed))
        refused = ((freeze.node, freeze.why) for freeze in book.freezes)
        if rewrites == REWRITES_MAX or not gather_refused(own, values, refused):
            break
        values = Values(own)
    if _freeze_unreached(own, book, tracer):
        tracer = _stable(own, values, book, set(closed))
    frozen = explain(book, _frozen_axes(own, book, tracer))
    return Labelling(own, values, len(book), frozenset(tracer.heads), frozen, tracer)


def _on_host(program: Program) -> Program:
    devices = {tensor.device.type for _, tensor in named_tensors(program.module)}
    return program if devices == {"cpu"} else program.copy().to("cpu")


def _stable(program: Program, values: Values, book: Book, closed: set[str]) -> Tracer:
    stable = False
    for _ in range(PASSES_MAX):
        book.undecided = False
        tracer = Tracer(program, values, book, RULES, stable=stable, closed=closed)
        tracer.run(program.module.graph)
        if book.solve():
            continue
        if not book.undecided and not _flatten_boxes(program, book, tracer):
            return tracer
        stable = True
        book.solve()
    raise AssertionError("labels did not become stable")


def _freeze_unreached(program: Program, book: Book, tracer: Tracer) -> bool:
    """Freezes what is only ever moved, never computed with: rows of a table behind the tokens of the probe, say.

    A longer input may need them. Whether there was any.
    """
    reached = torch.zeros(len(book), dtype=torch.bool)
    for node in program.module.graph.nodes:
        if spelled(node) not in movement.RULES:
            for given in node.all_input_nodes:
                for plane in (*tracer.planes(given), *chain.from_iterable(tracer.items(given))):
                    reached[plane.core.reshape(-1)] = True
    for node in program.module.graph.find_nodes(op="get_attr"):
        book.node = node
        for plane in tracer.planes(node):
            labels = plane.labels()
            book.freeze(labels[~reached[labels]], UNREACHED)
    return book.solve()


def _flatten_boxes(program: Program, book: Book, tracer: Tracer) -> bool:
    """The last resort for planes that vary along several axes: they keep the longest. Whether there was any."""
    touched: set[int] = set()
    found = False
    for node in program.module.graph.nodes:
        for planes in (tracer.planes(node), *tracer.items(node)):
            for plane in planes:
                if len(plane.axes) < 2:
                    continue
                found = True
                labels = set(plane.labels().tolist()) - {FROZEN}
                if not labels & touched:
                    touched |= labels
                    book.node = node
                    longest = max(plane.axes, key=lambda axis: (plane.tensor.size(axis), axis))
                    book.unite_along(plane, plane.axes - {longest})
    return found


def _frozen_axes(program: Program, book: Book, tracer: Tracer) -> dict[str, Ids]:
    """The axes of trainable parameters with frozen entries, kernels aside, and the labels those were born with."""
    kernels = {int(one) for freeze in book.freezes if freeze.why == KERNEL for one in freeze.labels}
    axes = {}
    for name, parameter in program.module.named_parameters():
        for axis, size in enumerate(parameter.shape):
            if size > 1 and book.knows((id(parameter), axis)):
                born = book.born((id(parameter), axis))
                frozen = born[(book.labels((id(parameter), axis), size) == FROZEN).numpy()]
                if frozen.size and int(frozen[0]) not in kernels:
                    axes[f"{name}:{axis}"] = frozen
    return axes
