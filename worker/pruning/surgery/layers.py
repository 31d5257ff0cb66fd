"""Literals of layers: groups, the shape that is normalized, the scale of attention."""

from __future__ import annotations

import math

from torch import Tensor, fx

from worker.pruning.surgery.site import Rewrite, Site


def convolution(site: Site) -> None:
    """As many groups as are left of those of the input."""
    spatial = len(site.was("weight")) - 2
    kept = site.kept("input")[-spatial - 1]
    site.call["groups"] = _groups_left(site, kept, site.call["groups"])


def group_norm(site: Site) -> None:
    """As many groups as are left."""
    site.call["num_groups"] = _groups_left(site, site.kept("input")[1], site.call["num_groups"])


def native_group_norm(site: Site) -> None:
    """As many groups as are left, and channels."""
    site.call["group"] = _groups_left(site, site.kept("input")[1], site.call["group"])
    site.call["C"] = site.cut.shape(site.operand("input"))[1]


def layer_norm(site: Site) -> None:
    """The last sizes of the input."""
    given = site.call["normalized_shape"]
    sizes = site.cut.shape(site.operand("input"))[-len(given) :]
    site.call["normalized_shape"] = [
        entry if isinstance(entry, fx.Node) else size for entry, size in zip(given, sizes, strict=True)
    ]


def attention(site: Site) -> None:
    """The scale that is implied by the size of a head is that of the size it had."""
    if site.call["scale"] is None and site.kept("query")[-1] is not None:
        site.call["scale"] = 1 / math.sqrt(site.was("query")[-1])


def _groups_left(site: Site, kept: Tensor | None, groups: int) -> int:
    """The groups of which anything is left: whole groups go, or the same places of every group."""
    if kept is None or groups == 1:
        return groups
    members = kept.view(groups, -1)
    left = members[members.any(dim=1)]
    if not bool((left == left[:1]).all()):
        raise site.failed(f"its {groups} groups would keep different places")
    return len(left)


LAYERS: dict[str, Rewrite] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), convolution),
    "group_norm": group_norm,
    "native_group_norm": native_group_norm,
    **dict.fromkeys(("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm"), layer_norm),
    "scaled_dot_product_attention": attention,
}
