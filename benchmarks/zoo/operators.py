"""Makes torchvision importable beside a torch that its compiled library was not built for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_declared: list[torch.library.Library] = []


def declare_operators() -> None:
    """Names the operators in C++ whose shapes torchvision registers when it is imported, unless its library loads.

    Classifiers call none of them. timm imports torchvision, so this comes before either.
    """
    found = importlib.util.find_spec("torchvision")
    if _declared or found is None or _loads_library(Path(next(iter(found.submodule_search_locations or [])))):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def _loads_library(folder: Path) -> bool:
    try:
        torch.ops.load_library(folder / "_C.so")
    except OSError:
        return False
    return True
