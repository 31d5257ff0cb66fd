"""How long a batch takes, dense and pruned, measured side by side."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable

import torch

from secateur.latency import Latency
from worker.program.program import Runnable

WARM_UP = 3
NANOSECONDS_PER_MS = 1e6


def measure_latency(
    dense: Runnable,
    pruned: Runnable,
    inputs: Callable[[int], tuple[torch.Tensor, ...]],
    batch_sizes: Iterable[int],
    runs: int,
    device: torch.device,
) -> tuple[Latency, ...]:
    """Times both programs on `inputs(batch)`, one after the other in an order drawn anew for each of `runs` pairs.

    Whatever slows the machine down meanwhile hits both. The speed-up is the median of the paired ratios; on CUDA each
    run ends with a synchronization. Leaves both in evaluation mode.
    """
    dense.set_training(False)
    pruned.set_training(False)
    return tuple(
        _measure(dense, pruned, tuple(tensor.to(device) for tensor in inputs(batch)), batch, runs, device)
        for batch in batch_sizes
    )


def _measure(
    dense: Runnable, pruned: Runnable, inputs: tuple[torch.Tensor, ...], batch: int, runs: int, device: torch.device
) -> Latency:
    timed_dense, timed_pruned = time_pairs(dense, pruned, inputs, runs, device, random.Random(batch))
    return Latency(
        batch=batch,
        dense_p50_ms=statistics.median(timed_dense),
        dense_p95_ms=percentile(timed_dense, 0.95),
        pruned_p50_ms=statistics.median(timed_pruned),
        pruned_p95_ms=percentile(timed_pruned, 0.95),
        speed_up=statistics.median(a / b for a, b in zip(timed_dense, timed_pruned, strict=True)),
        runs=runs,
        threads=torch.get_num_threads(),
        device=device_name(device),
    )


@torch.no_grad()
def time_pairs(
    dense: Runnable,
    pruned: Runnable,
    inputs: tuple[torch.Tensor, ...],
    runs: int,
    device: torch.device,
    draw: random.Random,
    before_pair: Callable[[], None] = lambda: None,
) -> tuple[list[float], list[float]]:
    """Milliseconds of `runs` runs of each, which take turns in an order drawn for each pair, after WARM_UP pairs."""
    timed_dense: list[float] = []
    timed_pruned: list[float] = []
    for _ in range(WARM_UP + runs):
        before_pair()
        for program, times in draw.sample([(dense, timed_dense), (pruned, timed_pruned)], 2):
            times.append(_time(program, inputs, device))
    return timed_dense[WARM_UP:], timed_pruned[WARM_UP:]


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values lie, interpolated linearly between neighbours."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _time(program: Runnable, inputs: tuple[torch.Tensor, ...], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter_ns()
    program(*inputs)
    _wait(device)
    return (time.perf_counter_ns() - start) / NANOSECONDS_PER_MS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """What the device is called in a report."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
