"""Statistics over the survivors of an axis, from the definitions of the operators.

A mean over 768 channels is another number than the mean over the 500 of them that are left; which of the two a smaller
network takes is no question of surgery, but of what is meant. Here, and in the smaller network, it is the second.
Sums, and norms made of sums, need no word: a removed entry adds 0 to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._ops import OpOverload

from worker.pruning.cut import Axes, part, present, put

Given: TypeAlias = Mapping[str, Any]
"""The arguments of a call by the names of its operator's schema."""


def crossed(called: str, given: Given, kept: Axes) -> frozenset[int]:
    """The axes of the operand along which an operator takes a statistic and entries were removed."""
    along = ALONG.get(called)
    cut = frozenset(axis for axis, stays in enumerate(kept) if stays is not None)
    return cut & along(given, kept) if along else frozenset()


def statistic(called: str, target: OpOverload, given: Given, kept: Axes, axes: frozenset[int]) -> Any:
    """What an operator gives when its statistics along `axes` run over the survivors; removed entries are anything."""
    over = tuple(stays if axis in axes else None for axis, stays in enumerate(kept))
    return DEFINITIONS.get(called, _of_part)(target, given, over)


def _named(given: Given, kept: Axes) -> frozenset[int]:
    dims = given.get("dim")
    if "other" in given:
        return frozenset()  # of two tensors, entry by entry
    if dims is None or dims == []:
        return frozenset(range(len(kept)))
    return frozenset(dim % len(kept) for dim in ([dims] if isinstance(dims, int) else dims))


def _last(given: Given, kept: Axes) -> frozenset[int]:
    return frozenset(range(len(kept) - len(given["normalized_shape"]), len(kept)))


def _ragged_groups(given: Given, kept: Axes) -> frozenset[int]:
    """The channels, where a group keeps some of its own; a group that is whole has the statistics it had."""
    if kept[1] is None:
        return frozenset()
    members = kept[1].view(_groups(given), -1)
    return frozenset((1,)) if bool((members.any(1) & ~members.all(1)).any()) else frozenset()


def _all_but_channels(given: Given, kept: Axes) -> frozenset[int]:
    measured = given["training"] or given["running_mean"] is None
    return frozenset(range(len(kept))) - {1} if measured else frozenset()


def _of_part(target: OpOverload, given: Given, over: Axes) -> Any:
    """The same operator on the survivors; enough where the axes are gone from the result."""
    return _call(target, given, part(given["self"], over))


def _spread(target: OpOverload, given: Given, over: Axes) -> Any:
    """The same operator on the survivors, whose results go back to their places."""
    small = _call(target, given, part(given["self"], over))
    full = torch.zeros(given["self"].shape, dtype=small.dtype)
    put(small, full, over)
    return full


def _call(target: OpOverload, given: Given, operand: Tensor) -> Any:
    schema = target._schema.arguments
    args = [operand if known.name == "self" else given[known.name] for known in schema if not known.kwarg_only]
    return target(*args, **{known.name: given[known.name] for known in schema if known.kwarg_only})


def _layer_norm(target: OpOverload, given: Given, over: Axes) -> Any:
    axes = tuple(sorted(_last(given, over)))
    normal, mean, scale = _normalized(given["input"], over, axes, given["eps"])
    result = _affine(normal, given["weight"], given["bias"])
    return result if len(target._schema.returns) == 1 else (result, mean, scale)


def _rms_norm(target: OpOverload, given: Given, over: Axes) -> Any:
    x, axes = given["input"], tuple(sorted(_last(given, over)))
    eps = torch.finfo(x.dtype).eps if given["eps"] is None else given["eps"]
    scale = (_mean(x * x, present(over).expand(x.shape), axes) + eps).rsqrt()
    result = _affine(x * scale, given["weight"], None)
    return result if len(target._schema.returns) == 1 else (result, scale)


def _group_norm(target: OpOverload, given: Given, over: Axes) -> Any:
    x, groups = given["input"], _groups(given)
    grouped = x.reshape(len(x), groups, x.shape[1] // groups, -1)
    assert over[1] is not None
    there = over[1].view(1, groups, -1, 1).expand(grouped.shape)
    mean = _mean(grouped, there, (2, 3))
    centred = grouped - mean
    scale = (_mean(centred * centred, there, (2, 3)) + given["eps"]).rsqrt()
    ones = [1] * (x.dim() - 2)
    weight, bias = (None if value is None else value.view(-1, *ones) for value in (given["weight"], given["bias"]))
    result = _affine((centred * scale).reshape(x.shape), weight, bias)
    return result if len(target._schema.returns) == 1 else (result, mean.view(len(x), -1), scale.view(len(x), -1))


def _batch_norm(target: OpOverload, given: Given, over: Axes) -> Any:
    x = given["input"]
    axes = tuple(axis for axis in range(x.dim()) if axis != 1)
    ones = [1] * (x.dim() - 2)
    weight, bias = (None if value is None else value.view(-1, *ones) for value in (given["weight"], given["bias"]))
    return _affine(_normalized(x, over, axes, given["eps"])[0], weight, bias)


def _normalized(x: Tensor, over: Axes, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(variance + eps), the mean, and 1 / sqrt(variance + eps), over the survivors along `axes`."""
    there = present(over).expand(x.shape)
    mean = _mean(x, there, axes)
    centred = x - mean
    scale = (_mean(centred * centred, there, axes) + eps).rsqrt()
    return centred * scale, mean, scale


def _mean(x: Tensor, there: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The sum over what is there, by how much that is."""
    return x.masked_fill(~there, 0).sum(axes, keepdim=True) / there.sum(axes, keepdim=True)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _groups(given: Given) -> int:
    groups: int = given["num_groups"] if "num_groups" in given else given["group"]
    return groups


ALONG: dict[str, Callable[[Given, Axes], frozenset[int]]] = {
    **dict.fromkeys(("mean", "nanmean", "median", "nanmedian", "std", "std_mean", "var", "var_mean"), _named),
    **dict.fromkeys(("all", "amax", "amin", "aminmax", "logsumexp", "max", "min", "prod"), _named),
    **dict.fromkeys(("softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax"), _named),
    **dict.fromkeys(("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm"), _last),
    **dict.fromkeys(("group_norm", "native_group_norm"), _ragged_groups),
    "batch_norm": _all_but_channels,
}
DEFINITIONS: dict[str, Callable[[OpOverload, Given, Axes], Any]] = {
    **dict.fromkeys(("softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax"), _spread),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm),
    **dict.fromkeys(("rms_norm", "_fused_rms_norm"), _rms_norm),
    **dict.fromkeys(("group_norm", "native_group_norm"), _group_norm),
    "batch_norm": _batch_norm,
}
