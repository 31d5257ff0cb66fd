"""One name for each operator, however the graph spells it."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from worker.program.operators import name

SYNONYMS = {
    "_unsafe_view": "view",
    "reshape": "view",
    "_reshape_alias": "view",
    "view_as": "reshape_as",
    "arccos": "acos",
    "arcsin": "asin",
    "arctan": "atan",
    "arctan2": "atan2",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "grid_sampler_2d": "grid_sampler",
    "grid_sampler_3d": "grid_sampler",
    "linalg_norm": "norm",
    "linalg_vector_norm": "norm",
    "_log_softmax": "log_softmax",
    "moveaxis": "movedim",
    "multiply": "mul",
    "native_group_norm": "group_norm",
    "native_layer_norm": "layer_norm",
    "_fused_rms_norm": "rms_norm",
    "_safe_softmax": "softmax",
    "_softmax": "softmax",
    "split_with_sizes": "split",
    "subtract": "sub",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "true_divide": "div",
    "unsafe_chunk": "chunk",
    "unsafe_split": "split",
    "unsafe_split_with_sizes": "split",
}


def spelled(node: fx.Node) -> str:
    """The name of what a node does: `add_.Tensor` is `add`, `view_copy` is `view`, an item of a list is `getitem`."""
    if node.target is operator.getitem:
        return "getitem"
    called = name(node.target)
    if called.endswith("_") and not called.endswith("__"):
        called = called[:-1]
    called = called.removesuffix("_copy") if called not in ("_to_copy", "index_copy", "lift_fresh_copy") else called
    return SYNONYMS.get(called, called)


def argument(node: fx.Node, name: str, default: Any = None) -> Any:
    """What a node gives for an argument of its operator, by position or by keyword, or the operator's own default."""
    if name in node.kwargs:
        return node.kwargs[name]
    if isinstance(node.target, OpOverload):
        for index, known in enumerate(node.target._schema.arguments):
            if known.name == name:
                if index < len(node.args) and not known.kwarg_only:
                    return node.args[index]
                return known.default_value if known.has_default_value() else default
    return default


def out_of_place(target: OpOverload) -> OpOverload:
    """The same operator without a write to its operand: `view` becomes `reshape`, `transpose_` becomes `transpose`."""
    called = name(target)
    if called in ("view", "_unsafe_view", "view_copy") and target._overloadname in ("default",):
        return torch.ops.aten.reshape.default
    if called.endswith("_") and not called.endswith("__"):
        found = getattr(getattr(torch.ops.aten, called[:-1]), target._overloadname)
        assert isinstance(found, OpOverload)
        return found
    return target


def evaluated(value: Any, known: Mapping[fx.Node, Any]) -> Any:
    """An argument with the nodes in it replaced by what is known of them."""
    return fx.node.map_arg(value, lambda node: known[node])
