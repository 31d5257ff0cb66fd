"""Training in mixed precision: which floats convolutions and matrix products compute with."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from secateur.spec.training import Precision
from worker.recovery.portion import Note

DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast_dtype(
    precision: Precision, device: torch.device, weights: Iterable[torch.Tensor], note: Note
) -> torch.dtype | None:
    """What torch.autocast is to cast to; None for full precision, asked for or, as `note` hears then, all there is."""
    if precision == "full":
        return None
    halves = {str(weight.dtype).removeprefix("torch.") for weight in weights if weight.dtype in DTYPES.values()}
    if halves:
        note(f"Precision {precision} had no effect: the network itself computes with {' and '.join(sorted(halves))}.")
        return None
    if not _capable(precision, device):
        note(f"It was trained in full precision: the device ({device.type}) has no arithmetic in {precision}.")
        return None
    return DTYPES[precision]


def _capable(precision: Precision, device: torch.device) -> bool:
    """bfloat16 is there on every CPU, if slow on most; torch emulates it on old cards, which would be slower too."""
    if device.type == "cuda":
        return precision == "fp16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"
