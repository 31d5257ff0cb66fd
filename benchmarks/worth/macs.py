"""Multiply-accumulates by PyTorch's own counter, the same for both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


def count_macs(network: Callable[[Tensor], Any], image: Tensor) -> int:
    """Of one image (1, 1, H, W): half of the floating-point operations."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(image)
    return int(counter.get_total_flops()) // 2
