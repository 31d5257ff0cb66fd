"""What single weights do to the loss: gradient times weight, batch by batch, on a program that stays as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.recovery.best import tensors_of
from worker.recovery.calibration import Calibration
from worker.recovery.course import Trainable
from worker.recovery.masters import Masters
from worker.recovery.memory import memory_errors
from worker.recovery.order import seed_of
from worker.recovery.slopes import Gradients, Slopes
from worker.recovery.state import restore_tensors


@dataclass(frozen=True)
class Effects:
    """Of one batch: gradient of the mean loss times weight, by the name of the parameter.

    To first order the loss falls by so much when the entry becomes zero.
    """

    of: dict[str, Tensor]
    """float32, shaped as the parameters; zeros where the loss does not depend on one."""
    labels: float
    """What the labels that the loss rests on weigh together: their number, where classes have no weights."""
    unreached: tuple[str, ...]
    """The parameters that the loss does not depend on."""


def effects(
    program: Trainable, calibration: Calibration, names: Collection[str], round_index: int
) -> Iterator[Effects]:
    """Of the parameters of these names, in evaluation mode, on every batch of the round that has a label.

    The program is as before when all have been taken: its parameters are not touched, buffers and flags are put back.
    Raises Diverged, OutOfMemory, DataMismatch, LabelsOutOfRange, JobFailed.
    """
    with memory_errors(), _put_back(program, dict(program.module.named_buffers())):
        weights = _asking(program, names)
        slopes = Slopes(program, calibration, names)
        for batch in calibration.drawn(round_index):
            gradients, labels = slopes.of(batch)
            if labels:
                yield _products(weights, gradients, labels)


def moved(
    program: Trainable,
    calibration: Calibration,
    names: Collection[str],
    round_index: int,
    masks: Mapping[str, Tensor],
    learning_rate: float,
) -> Iterator[Effects]:
    """The same in training mode while all parameters move, one step of plain gradient descent after each batch.

    What `masks` (True keeps) drop stays zero. Half-precision parameters move through float32 copies, as in training.
    Parameters, too, are put back, and so is the state of the generators of random numbers: those draw from (seed,
    round, step).
    """
    device = calibration.device
    cuda = [device] if device.type == "cuda" else []
    with memory_errors(), torch.random.fork_rng(devices=cuda), _put_back(program, tensors_of(program)):
        everything = _asking(
            program, [name for name, tensor in program.named_parameters() if tensor.is_floating_point()]
        )
        masters = Masters(everything)
        slopes = Slopes(program, calibration, everything)
        program.set_training(True)
        for step, batch in enumerate(calibration.drawn(round_index)):
            gradients, labels = slopes.of(batch, seed_of(calibration.seed, round_index, step, 0))
            if labels:
                yield _products({name: masters.weights[name] for name in names}, gradients, labels)
                _step(masters, gradients, masks, learning_rate)


@torch.no_grad()
def _step(masters: Masters, gradients: Gradients, masks: Mapping[str, Tensor], learning_rate: float) -> None:
    for name, weight in masters.weights.items():
        gradient = gradients[name]
        if gradient is not None:
            kept = gradient * masks[name] if name in masks else gradient
            weight.sub_(kept, alpha=learning_rate)
    masters.give_back()


@torch.no_grad()
def _products(weights: Mapping[str, Tensor], gradients: Gradients, labels: float) -> Effects:
    products, unreached = {}, []
    for name, weight in weights.items():
        gradient, wide = gradients[name], weight.detach().float()
        if gradient is None:
            unreached.append(name)
        products[name] = torch.zeros_like(wide) if gradient is None else (gradient * wide).float()
    return Effects(products, labels, tuple(unreached))


def _asking(program: Trainable, names: Collection[str]) -> dict[str, Tensor]:
    """These parameters, which alone ask for a gradient from now on."""
    wanted = set(names)
    for name, parameter in program.named_parameters():
        parameter.requires_grad_(name in wanted)
    return {name: parameter for name, parameter in program.named_parameters() if name in wanted}


@contextmanager
def _put_back(program: Trainable, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Leaves the program in evaluation mode, these tensors as they were, and each asking for gradients as it did."""
    saved = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    flags = [(parameter, parameter.requires_grad) for _, parameter in program.named_parameters()]
    program.set_training(False)
    try:
        yield
    finally:
        restore_tensors(tensors, saved)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        program.set_training(False)
