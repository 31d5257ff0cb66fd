"""Inputs of our own that a program can run on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx

from worker.program.catalogue import CASTS, MOVEMENT
from worker.program.operators import name

PASSES = CASTS | MOVEMENT
SAME_VALUES = frozenset(
    (
        *("alias", "clone", "contiguous", "detach", "expand", "expand_as", "flatten", "flip", "lift_fresh_copy"),
        *("moveaxis", "movedim", "permute", "ravel", "repeat", "reshape", "reshape_as", "roll", "squeeze", "swapaxes"),
        *("t", "tile", "transpose", "unflatten", "unsqueeze", "view", "view_as", "_unsafe_view"),
    )
)
WIDE = (torch.int32, torch.int64)


def example_input(node: fx.Node, dtype: torch.dtype, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A tensor for one placeholder: normal numbers, indices valid for the embedding that they reach, else ones.

    Truth values are mixed, so that of a mask no row hides everything, whichever value hides.
    """
    if dtype.is_floating_point or dtype.is_complex:
        wide = torch.complex64 if dtype.is_complex else torch.float32
        return torch.randn(shape, generator=generator, dtype=wide).to(dtype)
    if dtype == torch.bool:
        return _mixed(torch.randint(0, 2, shape, generator=generator).to(torch.bool))
    rows = min(_rows(node, _passes), default=None)
    if rows is None:
        return torch.ones(shape, dtype=dtype)
    return torch.randint(0, rows, shape, generator=generator).to(dtype)


def _mixed(truths: Tensor) -> Tensor:
    if truths.dim() and truths.shape[-1] > 1:
        truths[..., 0], truths[..., -1] = False, True
    return truths


def rows_indexed(node: fx.Node) -> int | None:
    """The rows of the smallest embedding that every value of a placeholder indexes; None where it indexes none."""
    return min(_rows(node, _keeps_values), default=None)


def _passes(user: fx.Node, _: fx.Node) -> bool:
    return name(user.target) in PASSES


def _keeps_values(user: fx.Node, given: fx.Node) -> bool:
    """Whether a node gives exactly the values of its first argument, which `given` is."""
    if not user.args or user.args[0] is not given:
        return False
    others = [*user.args[1:], *user.kwargs.values()]
    dtypes = [other for other in others if isinstance(other, torch.dtype)]
    if name(user.target) in ("to", "_to_copy"):
        return all(dtype in WIDE for dtype in dtypes) and not any(isinstance(other, fx.Node) for other in others)
    return name(user.target) in SAME_VALUES and not dtypes  # a view as another dtype is another value


def _rows(node: fx.Node, follows: Callable[[fx.Node, fx.Node], bool]) -> list[int]:
    """The numbers of rows of the embeddings that a value reaches through the nodes that are followed."""
    found: list[int] = []
    seen = {node}
    waiting = [node]
    while waiting:
        given = waiting.pop()
        for user in given.users:
            if name(user.target) == "embedding" and isinstance(user.args[0], fx.Node) and user.args[1] in seen:
                found += _first_size(user.args[0])
            if user not in seen and follows(user, given):
                seen.add(user)
                waiting.append(user)
    return found


def _first_size(weight: fx.Node) -> list[int]:
    owner = weight.graph.owning_module
    if weight.op != "get_attr" or owner is None:
        return []
    module, _, leaf = str(weight.target).rpartition(".")
    return [getattr(owner.get_submodule(module), leaf).shape[0]]
