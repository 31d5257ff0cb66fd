"""Multiply-accumulates by PyTorch's own counter, the same for both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_macs(network: Callable[[Tensor], Any], image: Tensor) -> int:
    """Of one image (1, 1, H, W): half of the floating-point operations.

    Attention is taken in its plain form: the counter knows nothing of the kernel that a processor would use.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(image)
    return int(counter.get_total_flops()) // 2
