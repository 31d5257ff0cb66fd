"""Programs that were exported with torch.nn.utils.prune still attached: `X_orig * X_mask` becomes the parameter X."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

ORIGINAL, MASK = "_orig", "_mask"


def fold_masks(graph: fx.Graph, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Replaces each product by a parameter, in place in the graph.

    Returns the tensors, with X where X_orig stood and without X_mask, and the masks by the parameters' names: bool,
    True where the weight stays.
    """
    masks: dict[str, Tensor] = {}
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.mul.Tensor):
        stem = _stem(node, tensors)
        if stem is not None:
            masks[stem] = tensors[stem + MASK].detach().ne(0)
    for stem, mask in masks.items():
        _replace_products(graph, stem)
        tensors = {_folded(name, stem): tensor for name, tensor in tensors.items() if name != stem + MASK}
        tensors[stem] = _product(tensors[stem], mask)
    return tensors, masks


def _stem(node: fx.Node, tensors: dict[str, Tensor]) -> str | None:
    """The name X where a node is the product of X_orig and X_mask, and the pair is used in such products only."""
    if not all(isinstance(part, fx.Node) and part.op == "get_attr" for part in node.args):
        return None
    original, mask = (str(part.target) for part in node.args if isinstance(part, fx.Node))
    stem = original.removesuffix(ORIGINAL)
    if original != stem + ORIGINAL or mask != stem + MASK or stem in tensors or not _only_products(node):
        return None
    kept, weight = tensors[mask], tensors[original]
    binary = bool(((kept == 0) | (kept == 1)).all())
    return stem if binary and kept.shape == weight.shape and isinstance(weight, nn.Parameter) else None


def _only_products(product: fx.Node) -> bool:
    uses = {user for part in product.all_input_nodes for user in part.users}
    return all(user.target == product.target and user.args == product.args for user in uses)


def _replace_products(graph: fx.Graph, stem: str) -> None:
    """All products of one pair: a layer that is called twice has two."""
    original, mask = (
        next(node for node in graph.find_nodes(op="get_attr") if node.target == stem + suffix)
        for suffix in (ORIGINAL, MASK)
    )
    for product in list(mask.users):
        product.replace_all_uses_with(original)
        graph.erase_node(product)
    graph.erase_node(mask)
    original.target = stem


def _folded(name: str, stem: str) -> str:
    return stem if name == stem + ORIGINAL else name


def _product(original: Tensor, mask: Tensor) -> nn.Parameter:
    return nn.Parameter((original.detach() * mask).to(original.dtype), requires_grad=original.requires_grad)
