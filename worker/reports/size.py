"""What a network weighs, and what compression makes of its zeros."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping

import torch

from secateur.report import Size

GZIP_LEVEL = 6
GZIP_WINDOW = 31
GZIP_LIMIT_BYTES = 512 << 20
CHUNK_BYTES = 1 << 20


def measure_size(
    dense: Mapping[str, torch.Tensor],
    pruned: Mapping[str, torch.Tensor],
    parameters: Collection[str],
    artifacts: Mapping[str, int],
) -> Size:
    """Sizes of a network from its tensors before and after: parameters and buffers, tied ones once.

    `parameters` names those that are parameters; `artifacts` are the bytes of each file handed over. `gzip_bytes` is
    left empty for networks of more than 512 MB, whose compression would take minutes.
    """
    dense_bytes = sum(tensor.nbytes for tensor in _distinct(dense.values()))
    compressed = {}
    if dense_bytes <= GZIP_LIMIT_BYTES:
        compressed = {"dense": gzip_bytes(_distinct(dense.values())), "pruned": gzip_bytes(_distinct(pruned.values()))}
    return Size(
        dense_parameters=sum(dense[name].numel() for name in parameters),
        parameters=sum(pruned[name].numel() for name in parameters),
        nonzero=sum(int(torch.count_nonzero(pruned[name])) for name in parameters),
        dense_bytes=dense_bytes,
        pruned_bytes=sum(tensor.nbytes for tensor in _distinct(pruned.values())),
        artifacts=dict(artifacts),
        gzip_bytes=compressed,
    )


def gzip_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """How long the raw bytes of all tensors are under `gzip -6`; a megabyte at a time is compressed and let go."""
    gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    length = 0
    for tensor in tensors:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for start in range(0, len(content), CHUNK_BYTES):
            length += len(gzip.compress(content[start : start + CHUNK_BYTES].tobytes()))
    return length + len(gzip.flush())


def _distinct(tensors: Iterable[torch.Tensor]) -> Collection[torch.Tensor]:
    """Each tensor once: a state dict holds a tied one under all its names, as views of the same memory."""
    return {(tensor.data_ptr(), tensor.shape, tensor.stride()): tensor for tensor in tensors}.values()
