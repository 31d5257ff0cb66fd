"""The buffers that a forward pass may change: above all the running statistics of batch norm."""

from __future__ import annotations

import torch

from secateur.errors import JobFailed


class Statistics:
    """The floating-point buffers of a module, as they were before a step: a pass that fails leaves traces."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._live = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        self._kept = [torch.empty_like(buffer) for buffer in self._live]

    def keep(self) -> None:
        """Remember them as they are now."""
        if self._live:
            torch._foreach_copy_(self._kept, self._live)

    def put_back(self) -> None:
        """Make them what they were when they were kept."""
        if self._live:
            torch._foreach_copy_(self._live, self._kept)

    def require_numbers(self, examples: int) -> None:
        """Raises JobFailed where a pass over a single example in training mode has left no numbers.

        The variance that batch norm keeps is that of a sample: of one value there is none. Waits for the device.
        """
        if examples != 1 or not self._live:
            return
        pairs = zip(self._live, self._kept, strict=True)
        if any(bool((kept.isfinite() & ~live.isfinite()).any()) for live, kept in pairs):
            raise JobFailed(
                "Batch norm cannot be trained on a single example, of which it sees one value in a channel.",
                remedy="Choose recover.batch_size so that no batch, and no part of one where the memory is not enough "
                "or the model takes few examples at once, is a single example; or use a device with more memory.",
            )
