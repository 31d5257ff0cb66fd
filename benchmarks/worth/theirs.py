"""A task with Torch-Pruning: round by round the same MACs, data, optimizer and number of steps as in our job."""

from __future__ import annotations

import copy

import torch
from torch import nn

from benchmarks.worth import peer, training
from benchmarks.worth.macs import count_macs
from benchmarks.worth.outcome import Outcome
from benchmarks.worth.recipes import AMOUNT, CURVE, ROUNDS
from benchmarks.worth.task import Task
from worker.pruning.schedules import amounts


def prune(task: Task) -> Outcome:
    """Prune and train in rounds; leaves `theirs.pt2` in the task's folder."""
    torch.set_num_threads(1)
    network, test = task.dense.load(), task.part("test")
    dense_macs, dense_parameters = count_macs(network, task.example), parameters(network)
    dense, one_shot = training.accuracy(network, test), _one_shot(network, task)
    pruned = dense

    def take(amount: float) -> None:
        nonlocal pruned
        peer.prune(network, task.example, (1 - amount) * dense_macs)
        pruned = training.accuracy(network, test)

    shares = amounts(ROUNDS, AMOUNT, curve=CURVE)
    training.in_rounds(network, task.part(task.recipe.part), task.recipe.recover, task.seed, shares, take)
    task.dense.export(network, "theirs")
    return Outcome(
        dense=dense,
        one_shot=one_shot,
        pruned=pruned,
        recovered=training.accuracy(network, test),
        dense_macs=dense_macs,
        macs=count_macs(network, task.example),
        dense_parameters=dense_parameters,
        parameters=parameters(network),
    )


def parameters(network: nn.Module) -> int:
    """How many numbers the network's parameters hold."""
    return sum(parameter.numel() for parameter in network.parameters())


def _one_shot(network: nn.Module, task: Task) -> float:
    """Accuracy when all goes at once, without training."""
    small = copy.deepcopy(network)
    peer.prune(small, task.example, (1 - AMOUNT) * count_macs(small, task.example))
    return training.accuracy(small, task.part("test"))
