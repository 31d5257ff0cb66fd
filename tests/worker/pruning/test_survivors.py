"""Statistics over survivors are those of a smaller operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from worker.pruning.survivors import crossed, statistic

aten = torch.ops.aten
KEPT = torch.tensor([index not in (0, 3, 7) for index in range(12)])


def _defined(called: Any, given: Mapping[str, Any], kept: tuple[Tensor | None, ...]) -> Any:
    known = {argument.name: argument.default_value for argument in called._schema.arguments} | given
    title = called._schema.name.removeprefix("aten::")
    axes = crossed(title, known, kept)
    return statistic(title, called, known, kept, axes) if axes else None


def _image(seed: int = 0) -> Tensor:
    return torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


NORMS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "layer_norm": (aten.layer_norm.default, {"normalized_shape": [12]}, {"normalized_shape": [9]}),
    "native_layer_norm": (
        aten.native_layer_norm.default,
        {"normalized_shape": [12], "eps": 1e-3},
        {"normalized_shape": [9], "eps": 1e-3},
    ),
    "rms_norm": (aten.rms_norm.default, {"normalized_shape": [12]}, {"normalized_shape": [9]}),
    "_fused_rms_norm": (
        aten._fused_rms_norm.default,
        {"normalized_shape": [12], "eps": 1e-3},
        {"normalized_shape": [9], "eps": 1e-3},
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_of_survivors_are_those_of_a_smaller_operator(name: str) -> None:
    called, given, smaller = NORMS[name]
    x, weight = _image().transpose(1, 2), _image(1)[0, :, 0]
    bias = {"bias": _image(2)[0, :, 0]} if "layer" in name else {}
    ours = _defined(called, {"input": x, "weight": weight, **bias, **given}, (None, None, KEPT))
    cut_bias = {title: value[KEPT] for title, value in bias.items()}
    theirs = called(**{"input": x[..., KEPT], "weight": weight[KEPT], **cut_bias, **smaller})
    ours, theirs = ((value,) if isinstance(value, Tensor) else value for value in (ours, theirs))
    torch.testing.assert_close(ours[0][..., KEPT], theirs[0])
    torch.testing.assert_close(tuple(ours[1:]), tuple(theirs[1:]))


def test_a_group_norm_counts_what_is_left_of_each_group() -> None:
    x, ones = _image(), torch.ones(12, dtype=torch.float64)
    ours = _defined(
        aten.group_norm.default, {"input": x, "num_groups": 2, "weight": ones, "bias": ones}, (None, KEPT, None)
    )
    for half in (slice(0, 6), slice(6, 12)):
        left = x[:, half][:, KEPT[half]]
        normal = (left - left.mean((1, 2), keepdim=True)) / (left.var((1, 2), correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(ours[:, half][:, KEPT[half]], normal + 1)


def test_groups_that_go_whole_leave_the_statistics_of_the_others() -> None:
    kept = torch.arange(12) > 3
    given = {"input": _image(), "num_groups": 3}
    assert _defined(aten.group_norm.default, given, (None, kept, None)) is None


def test_statistics_of_the_batch_run_over_what_is_left_of_other_axes() -> None:
    x = _image().transpose(0, 1)[None, :, :, 0].transpose(1, 2)  # (1, 2, 12)
    given = {"input": x, "training": True, "eps": 1e-5, "momentum": 0.0, "cudnn_enabled": False}
    given |= {"weight": None, "bias": None, "running_mean": None, "running_var": None}
    ours = _defined(aten.batch_norm.default, given, (None, None, KEPT))
    theirs = F.batch_norm(x[..., KEPT], None, None, training=True)
    torch.testing.assert_close(ours[..., KEPT], theirs)
    assert _defined(aten.batch_norm.default, given, (None, KEPT[:2], None)) is None


REDUCED: dict[str, tuple[Any, dict[str, Any]]] = {
    "mean": (aten.mean.dim, {"dim": [1], "keepdim": False}),
    "mean of all": (aten.mean.default, {}),
    "var": (aten.var.correction, {"dim": [1, 2], "correction": 1}),
    "var_mean": (aten.var_mean.correction, {"dim": [-2], "correction": 0, "keepdim": True}),
    "std": (aten.std.correction, {"dim": [1]}),
    "amax": (aten.amax.default, {"dim": [1]}),
    "amin": (aten.amin.default, {"dim": []}),
    "prod": (aten.prod.dim_int, {"dim": 1}),
    "logsumexp": (aten.logsumexp.default, {"dim": [1]}),
    "max of all": (aten.max.default, {}),
}


@pytest.mark.parametrize("name", REDUCED)
def test_reductions_run_over_survivors(name: str) -> None:
    called, given = REDUCED[name]
    silent = _image() * KEPT[:, None]
    torch.testing.assert_close(
        _defined(called, {"self": silent, **given}, (None, KEPT, None)), called(self=_image()[:, KEPT], **given)
    )


def test_softmax_puts_survivors_back() -> None:
    ours = _defined(aten.softmax.int, {"self": _image(), "dim": 1}, (None, KEPT, None))
    torch.testing.assert_close(ours[:, KEPT], _image()[:, KEPT].softmax(1))
    assert not ours[:, ~KEPT].any()


@pytest.mark.parametrize(
    ("called", "given"),
    [
        (aten.mean.dim, {"dim": [2]}),
        (aten.sum.dim_IntList, {"dim": [1]}),
        (aten.max.other, {"other": _image(3)}),
        (aten.layer_norm.default, {"normalized_shape": [3]}),
    ],
)
def test_what_does_not_cross_is_left_alone(called: Any, given: dict[str, Any]) -> None:
    key = "input" if called is aten.layer_norm.default else "self"
    assert _defined(called, {key: _image(), **given}, (None, KEPT, None)) is None
