"""How much each weight matters: the entries with the smallest scores go first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from worker.pruning.draws import generator
from worker.pruning.evidence import Evidence
from worker.pruning.keys import ordered

Importance = Callable[[str, Tensor, Evidence], Tensor]
"""(name of the parameter, its weight, what else is known) -> scores shaped as the weight, ranked by magnitude.

An exact zero of the weight scores zero, and nothing else does, so that zeros which are there already count before
anything else goes.
"""


def l1(name: str, weight: Tensor, evidence: Evidence) -> Tensor:
    """|w| (Han et al. 2015). The weight itself: scores are ranked by magnitude, so nothing is computed or copied."""
    return weight


def random(name: str, weight: Tensor, evidence: Evidence) -> Tensor:
    """Uniform draws that depend on the seed and the parameter's name alone, so that rounds are nested.

    Drawn on the CPU, the same for every device. float64 has 2**53 values: ties do not happen in practice.
    """
    drawn = torch.rand(weight.shape, generator=generator(evidence.seed, name), dtype=torch.float64)
    scores = drawn.add_(1.0).to(weight.device)
    return scores.masked_fill_(weight.detach() == 0, 0.0)


def lamp(name: str, weight: Tensor, evidence: Evidence) -> Tensor:
    """The square of a weight over those of all weights of its layer that are not smaller (Lee et al. 2021).

    Layers compare by what each would lose of what is left of it. Of equal weights the first scores lowest; what is no
    finite number scores as it is, above all others.
    """
    squares, order = weight.detach().double().square().flatten().sort(stable=True)
    left = squares.nan_to_num(0.0, 0.0).flip(0).cumsum(0).flip(0)
    shares = torch.where(squares.isfinite(), squares / left.clamp_min_(torch.finfo(left.dtype).tiny), squares)
    return torch.empty_like(shares).scatter_(0, order, shares).view(weight.shape)


def gathered(name: str, weight: Tensor, evidence: Evidence) -> Tensor:
    """What was gathered on data for this weight, in its order: a score may be negative or zero where nothing is."""
    return ordered(evidence.gathered[name]).masked_fill_(weight.detach() == 0, 0.0)


def wanda(name: str, weight: Tensor, evidence: Evidence) -> Tensor:
    """|w| times the Euclidean norm of what it was multiplied by, which was gathered (Sun et al. 2023)."""
    scores = weight.detach().abs().to(torch.float32).mul_(evidence.gathered[name])
    return ordered(scores).masked_fill_(weight.detach() == 0, 0.0)


IMPORTANCE: dict[str, Importance] = {
    "l1": l1,
    "lamp": lamp,
    "random": random,
    **dict.fromkeys(("taylor", "snip", "movement"), gathered),
    "wanda": wanda,
}
"""Every importance by the `kind` of the spec."""
