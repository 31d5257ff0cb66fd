"""Programs that were exported with torch.nn.utils.prune still attached: `X_orig * X_mask` becomes the parameter X."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from worker.program.effects import keeps
from worker.program.operators import name

ORIGINAL, MASK = "_orig", "_mask"


def fold_masks(graph: fx.Graph, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Replaces each product by a parameter, in place in the graph.

    Returns the tensors, with X where X_orig stood and without X_mask, and the masks by the parameters' names: bool,
    True where the weight stays.
    """
    products: dict[str, dict[fx.Node, None]] = {}
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.mul.Tensor):
        stem = _stem(node)
        if stem is not None and _maskable(stem, tensors):
            products.setdefault(stem, {})[node] = None
    readers: dict[str, list[fx.Node]] = {}
    for node in graph.find_nodes(op="get_attr"):
        readers.setdefault(str(node.target), []).append(node)
    masks: dict[str, Tensor] = {}
    for stem, found in products.items():
        if _used_only_by(found, [*readers[stem + ORIGINAL], *readers[stem + MASK]]):
            masks[stem] = tensors[stem + MASK].detach().ne(0)
            _replace(graph, stem, found, readers[stem + ORIGINAL][0])
    graph.eliminate_dead_code(is_impure_node=keeps)
    return _folded(tensors, masks), masks


def _stem(product: fx.Node) -> str | None:
    """The name X where a node multiplies X_orig and X_mask, in either order; the mask is often cast first."""
    sources = {_source(operand) for operand in product.args}
    stems = {source.removesuffix(ORIGINAL) for source in sources if source is not None and source.endswith(ORIGINAL)}
    stem = stems.pop() if len(stems) == 1 else None
    return stem if stem is not None and sources == {stem + ORIGINAL, stem + MASK} else None


def _source(operand: object) -> str | None:
    """The name of the tensor that a value is, through casts."""
    while isinstance(operand, fx.Node) and name(operand.target) in ("to", "_to_copy"):
        operand = operand.args[0]
    return str(operand.target) if isinstance(operand, fx.Node) and operand.op == "get_attr" else None


def _maskable(stem: str, tensors: dict[str, Tensor]) -> bool:
    weight, mask = tensors[stem + ORIGINAL], tensors[stem + MASK]
    binary = bool(((mask == 0) | (mask == 1)).all())
    return binary and stem not in tensors and mask.shape == weight.shape and isinstance(weight, nn.Parameter)


def _used_only_by(products: Collection[fx.Node], readers: Sequence[fx.Node]) -> bool:
    """Whether nothing but these products (a layer called twice has two) sees the pair."""
    waiting = list(readers)
    while waiting:
        for user in waiting.pop().users:
            if name(user.target) in ("to", "_to_copy"):
                waiting.append(user)
            elif user not in products:
                return False
    return True


def _replace(graph: fx.Graph, stem: str, products: Iterable[fx.Node], original: fx.Node) -> None:
    original.target = stem
    for product in products:
        product.replace_all_uses_with(original)
        graph.erase_node(product)


def _folded(tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    folded: dict[str, Tensor] = {}
    for known, tensor in tensors.items():
        stem = known.removesuffix(ORIGINAL)
        if known.endswith(ORIGINAL) and stem in masks:
            folded[stem] = _product(tensor, masks[stem])
        elif not (known.endswith(MASK) and known.removesuffix(MASK) in masks):
            folded[known] = tensor
    return folded


def _product(original: Tensor, mask: Tensor) -> nn.Parameter:
    return nn.Parameter((original.detach() * mask).to(original.dtype), requires_grad=original.requires_grad)
