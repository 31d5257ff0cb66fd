"""Kernels for 2:4 that run on the CPU, behind the very operators through which torch calls those of CUDA devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.sparse import SparseSemiStructuredTensor

from secateur.report import Report

Product = Callable[[Tensor, Tensor], Tensor]
"""What is computed of a matrix (out, in) and one (in, rows)."""


@contextmanager
def on_the_cpu(product: Product = torch.matmul) -> Iterator[None]:
    """While this is entered, torch packs and multiplies 2:4 matrices here; its own checks of shapes and dtypes stay."""
    checked = SparseSemiStructuredTensor._validate_device_dim_dtype_shape.__func__

    def check(cls: type, given: Tensor) -> None:
        as_if = {name: getattr(given, name) for name in ("dim", "is_contiguous", "dtype", "shape", "device")}
        checked(cls, SimpleNamespace(is_cuda=True, **as_if))

    library = torch.library.Library("aten", "IMPL")
    library.impl("_cslt_compress", compress, "CPU")
    library.impl("_cslt_sparse_mm", lambda *args, **more: multiply(product, *args, **more), "CPU")
    try:
        with patch.object(SparseSemiStructuredTensor, "_validate_device_dim_dtype_shape", classmethod(check)):
            yield
    finally:
        library._destroy()


def packed_program(path: Path, report: Report, device: str = "cuda") -> Any:
    """model.pt2 on these kernels, by the lines of the documents."""
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    lines = text.split("```python\n")[1].split("```")[0].replace('"cuda"', repr(device))
    names: dict[str, Any] = {"report": report.model_dump(mode="json"), "path": str(path)}
    exec(lines, names)
    return names["program"]


def compress(dense: Tensor) -> Tensor:
    """The two weights that stay of each block of four, and behind them their places."""
    blocks = dense.unflatten(1, (-1, 4))
    assert int(blocks.count_nonzero(-1).max()) <= 2
    places = blocks.ne(0).to(torch.int8).topk(2, dim=-1).indices
    return torch.cat([blocks.gather(-1, places).flatten(1), places.flatten(1).to(dense.dtype)], dim=1)


def multiply(
    product: Product,
    packed: Tensor,
    rows: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    transpose_result: bool = False,
    **_: Any,
) -> Tensor:
    """As `aten._cslt_sparse_mm`, but for what torch does not ask of it here."""
    assert alpha is None
    assert out_dtype is None
    values, places = (half.unflatten(1, (-1, 2)) for half in packed.chunk(2, dim=1))
    blocks = torch.zeros(*values.shape[:2], 4, dtype=packed.dtype)
    dense = blocks.scatter(-1, places.long(), values).flatten(1)
    result = product(dense, rows)
    if bias is not None:
        result = result + bias[:, None]
    return result.t().contiguous() if transpose_result else result
