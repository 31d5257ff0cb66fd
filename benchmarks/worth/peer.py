"""Torch-Pruning (Fang et al. 2023), used as its own scripts use it.

As in its `reproduce/main.py` for `group_norm`: GroupNormPruner, L2 norm over the group, global ranking, small steps
until the wanted MACs are reached, the output layer ignored. As in its `examples/transformers/prune_timm_vit.py`:
`num_heads` is told, dimensions inside the heads are pruned, and `head_dim` is set by hand afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch_pruning
from torch import Tensor, nn

from benchmarks.worth.macs import count_macs
from benchmarks.worth.networks import Attention

STEPS = 400
STEPS_WITH_ATTENTION = 150
"""How many steps would remove everything: its own default, and fewer where each takes longer and is small anyway."""


@dataclass(frozen=True)
class Method:
    """One of its pruners with one of its importances."""

    pruner: type[torch_pruning.pruner.BasePruner]
    importance: torch_pruning.importance.Importance


GROUP_NORM = Method(torch_pruning.pruner.GroupNormPruner, torch_pruning.importance.GroupMagnitudeImportance(p=2))
GROUP_TAYLOR = Method(torch_pruning.pruner.BasePruner, torch_pruning.importance.GroupTaylorImportance())
"""Reads the gradients of the parameters (Molchanov et al. 2019); they are cut with them."""


def prune(network: nn.Module, image: Tensor, macs: float, method: Method = GROUP_NORM) -> None:
    """Make the network smaller, in place, until its MACs are as close to `macs` as the steps allow.

    A step that would go further below than what is left to go is not taken; it is expected to be as large as the last.
    """
    size = count_macs(network, image)
    for _ in _steps(network, image, method):
        step, size = size - count_macs(network, image), count_macs(network, image)
        if size - step / 2 <= macs:
            return


def _steps(network: nn.Module, image: Tensor, method: Method) -> Iterator[None]:
    network.eval()
    attentions = [module for module in network.modules() if isinstance(module, Attention)]
    steps = STEPS_WITH_ATTENTION if attentions else STEPS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = method.pruner(
            network,
            image,
            importance=method.importance,
            global_pruning=True,
            pruning_ratio=1.0,
            iterative_steps=steps,
            ignored_layers=[network.head],
            num_heads={attention.qkv: attention.num_heads for attention in attentions},
        )
        for _ in range(steps):
            pruner.step()
            for attention in attentions:
                attention.head_dim = attention.qkv.out_features // (3 * attention.num_heads)
            yield
