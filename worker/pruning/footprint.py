"""How much memory a comparison of programs takes, and how much there is."""

from __future__ import annotations

import math
import resource
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from worker.pruning.labels.labelling import Labelling

COPIES_OF_STATE = 2
COPIES_OF_VALUES = 3
KIBI = 1 << 10


def fits(lab: Labelling, dtype: torch.dtype) -> bool:
    """Whether a run in `dtype` at the probe batch is estimated to need at most half of the memory that is free.

    The estimate: twice all parameters and buffers (one copy at work, one being made), and three times what is live
    between nodes where that is most (an operand copied, a scratch of the kernel), every number as wide as `dtype`.
    """
    numbers = COPIES_OF_STATE * _state_numbers(lab) + COPIES_OF_VALUES * _live_numbers(lab)
    return numbers * dtype.itemsize * 2 <= free_bytes()


def free_bytes() -> float:
    """The memory that this process may still take: what the machine has, or what the limit of the process leaves."""
    machine, process = _told("/proc/meminfo", "MemAvailable"), _told("/proc/self/status", "VmSize")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    allowed = math.inf if limit == resource.RLIM_INFINITY or process is None else limit - process
    return min(math.inf if machine is None else machine, allowed)


def _told(path: str, name: str) -> int | None:
    """A number of bytes that Linux tells in a table of `Name: kibibytes kB`; None where it does not."""
    table = Path(path)
    lines = table.read_text().splitlines() if table.exists() else []
    return next((int(line.split()[1]) * KIBI for line in lines if line.startswith(f"{name}:")), None)


def _state_numbers(lab: Labelling) -> int:
    tensors = (*lab.program.module.parameters(), *lab.program.module.buffers())
    return sum(tensor.numel() for tensor in tensors)


def _live_numbers(lab: Labelling) -> int:
    """The most numbers that the values between two nodes hold, at the probe batch; views count as if copied."""
    nodes = list(lab.program.module.graph.nodes)
    last: dict[fx.Node, int] = {}
    for index, node in enumerate(nodes):
        last.update(dict.fromkeys((node, *node.all_input_nodes), index))
    live = most = 0
    leaving: list[int] = [0] * len(nodes)
    for index, node in enumerate(nodes):
        size = 0 if node.op == "get_attr" else _numbers(lab.values.of.get(node))
        leaving[last[node]] += size
        live += size
        most = max(most, live)
        live -= leaving[index]
    return most


def _numbers(value: Any) -> int:
    if isinstance(value, tuple | list):
        return sum(_numbers(item) for item in value)
    return value.numel() if isinstance(value, Tensor) else 0
