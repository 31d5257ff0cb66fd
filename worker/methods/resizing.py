"""Moving numbers between a whole program and the smaller one that a cut leaves of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from worker.program.program import Program
from worker.pruning.cut import Cut
from worker.recovery.best import tensors_of
from worker.recovery.state import SEPARATOR, TrainState, pack


@torch.no_grad()
def put_back(small: Program, cut: Cut, whole: Program) -> None:
    """Set the tensors of `whole` to those of `small`, and to zero where the cut removes."""
    for name, tensor, place in _pairs(small, whole):
        cut.scatter(name, tensor, place)


@torch.no_grad()
def graft(small: Program, cut: Cut, whole: Program) -> None:
    """Set the tensors of `whole` to those of `small`; what the cut removes stays as it is there."""
    for name, tensor, place in _pairs(small, whole):
        grown, kept = torch.zeros_like(place), torch.zeros_like(place, dtype=torch.bool)
        cut.scatter(name, tensor, grown)
        cut.scatter(name, torch.ones_like(tensor, dtype=torch.bool), kept)
        place.copy_(torch.where(kept, grown, place))


@torch.no_grad()
def fill(small: Program, cut: Cut, values: Mapping[str, Tensor]) -> None:
    """Set the tensors of `small` to what the cut leaves of `values`, in the shapes of the whole program.

    Integers stay as they are: they do not learn, and surgery renumbers indices.
    """
    for name, tensor in tensors_of(small).items():
        if name in values and (tensor.is_floating_point() or tensor.is_complex()):
            tensor.copy_(cut.slice(name, values[name]))


@torch.no_grad()
def copy_numbers(source: Program, target: Program) -> None:
    """Set the tensors that both have, which are of the same shapes, to those of `source`."""
    for _, tensor, place in _pairs(source, target):
        place.copy_(tensor)


@torch.no_grad()
def resized(state: TrainState, before: Cut, after: Cut, whole: Program) -> TrainState:
    """What an optimizer remembers of the weights that `before` leaves, for those fewer ones that `after` leaves."""
    shapes = {name: parameter.shape for name, parameter in whole.named_parameters()}
    moments = {}
    for path, value in state.part("optimizer").items():
        name = path.rsplit(SEPARATOR, 1)[0]
        moments[path] = value
        if value.dim() == len(shapes[name]) > 0:
            grown = torch.zeros(shapes[name], dtype=value.dtype, device=value.device)
            before.scatter(name, value, grown)
            moments[path] = after.slice(name, grown)
    return TrainState(pack(optimizer=moments), state.facts)


def _pairs(source: Program, target: Program) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The tensors that both have. Labels and surgery add tables of indices, which mean nothing in another program."""
    places = tensors_of(target)
    for name, tensor in tensors_of(source).items():
        if name in places:
            yield name, tensor.detach().to(places[name].device), places[name]
