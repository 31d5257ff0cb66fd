"""Threshold and masks against torch.nn.utils.prune.global_unstructured: `python -m benchmarks.thresholds`."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from benchmarks.table import machine, write
from secateur.allocation import Pool
from worker.pruning.select import select

LAYERS = 24
REPEATS = 7


def main() -> None:
    """Measure 25 M and 100 M float32 weights in 24 layers, print the table and write it beside this file."""
    # A process of its own for each row: memory that an earlier row has freed would hide what the next one takes.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        rows = processes.starmap(row, [(25, 0.5), (25, 0.9), (100, 0.5), (100, 0.9)], chunksize=1)
    columns = ["weights", "amount", "two reads (ms)", "ours (ms)", "torch (ms)"]
    columns += ["torch / ours (>= 40)", "ours / two reads (<= 10)", "extra memory / weights (<= 1.5)", "torch's memory"]
    notes = [
        f"Two reads: twice the best of {REPEATS} `w.sum()` over one contiguous tensor of all weights, warm.",
        f"Ours: `select` with l1 in one global pool, the masks included; best of {REPEATS}, in turn with the reads.",
        "torch: `prune.global_unstructured(L1Unstructured)` on the same weights, once.",
        "Extra memory: the peak of the resident set above what it was before, as a multiple of the weights' bytes.",
    ]
    write(Path(__file__).with_suffix(".md"), "Threshold and masks", columns, rows, [*notes, machine()])


def row(millions: int, amount: float) -> list[str]:
    """One size and amount; checks that both drop the same number of weights."""
    size = millions * 1_000_000 // (LAYERS * 64) * LAYERS * 64
    flat = torch.randn(size, generator=torch.Generator().manual_seed(0)).mul_(0.02)
    weights = {str(i): part.view(-1, 64) for i, part in enumerate(flat.chunk(LAYERS))}
    pools = [Pool(tuple(weights), amount)]
    extra = peak_bytes(lambda: select(weights, pools))
    reads, ours = [], []
    for _ in range(REPEATS):
        reads.append(seconds(flat.sum))
        ours.append(seconds(lambda: select(weights, pools)))
    dropped = gone(select(weights, pools).values())
    holders = [holder(weight) for weight in weights.values()]
    elapsed: list[float] = []
    theirs_extra = peak_bytes(lambda: elapsed.append(seconds(lambda: globally(holders, amount))))
    if dropped != gone(layer.get_buffer("weight_mask") for layer in holders):
        raise AssertionError("The two drop different numbers of weights.")
    two, best, theirs, size_bytes = 2 * min(reads), min(ours), elapsed[0], size * flat.element_size()
    times = [f"{two * 1e3:.1f}", f"{best * 1e3:.1f}", f"{theirs * 1e3:.0f}"]
    ratios = [
        f"{theirs / best:.0f}x",
        f"{best / two:.1f}x",
        f"{extra / size_bytes:.2f}x",
        f"{theirs_extra / size_bytes:.1f}x",
    ]
    return [f"{millions} M", f"{amount:.0%}", *times, *ratios]


def gone(masks: Iterable[Tensor]) -> int:
    """How many entries the masks drop."""
    return sum(mask.numel() - int(mask.count_nonzero()) for mask in masks)


def holder(weight: Tensor) -> nn.Module:
    """A module with the weight as its parameter, for torch's functions."""
    module = nn.Module()
    module.register_parameter("weight", nn.Parameter(weight))
    return module


def globally(holders: list[nn.Module], amount: float) -> None:
    """What PyTorch offers for the same task."""
    pairs = [(module, "weight") for module in holders]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=amount)


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_bytes(call: Callable[[], object]) -> int:
    """How far the resident set rises during a call (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    result = call()
    peak = status_bytes("VmHWM") - before
    del result
    return peak


def status_bytes(field: str) -> int:
    """A size from this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
