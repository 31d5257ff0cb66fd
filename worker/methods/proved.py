"""The proof that a job is to stand on: what it says where it does not hold."""

from __future__ import annotations

import math
from typing import Any

from secateur.errors import ProofFailed
from secateur.layers import named
from secateur.report import Proof
from worker.program.program import Program, named_tensors
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import Labelling
from worker.pruning.proof import Draw, prove
from worker.recovery.memory import memory_errors


def proved(whole: Program, lab: Labelling, cut: Cut, network: Program, some: Draw) -> Proof:
    """That `network` is what the cut leaves of `whole`. Where inputs of its own give no numbers, `some` gives others.

    Raises ProofFailed, OutOfMemory.
    """
    with memory_errors():
        proof = prove(whole, lab, cut, network)
        if not math.isfinite(proof.max_relative_error):
            proof = prove(whole, lab, cut, network, inputs=some)
    if not proof.holds:
        shown = proof.model_dump(mode="json")
        if not math.isfinite(proof.max_relative_error):
            _require_numbers(whole, shown)
        raise ProofFailed(
            f"The outputs of the pruned network differ by {proof.max_relative_error:.2g} of the largest from those "
            f"of the uploaded one without the removed units; at most {proof.tolerance:.2g} would be rounding.",
            remedy="This is a mistake of Secateur. Exclude groups until it holds, or prune single weights.",
            proof=shown,
        )
    return proof


def _require_numbers(whole: Program, proof: dict[str, Any]) -> None:
    """Raises ProofFailed where the program holds what no network computes with; -inf may be a mask."""
    state = dict(named_tensors(whole.module))
    broken = [name for name, tensor in state.items() if bool((tensor.isnan() | tensor.isposinf()).any())]
    if broken:
        raise ProofFailed(
            f"Nothing can be proved: there are infinite numbers or none at all in {named(broken)}.",
            remedy="Upload a network of finite numbers; if they became infinite in training, lower the learning rate.",
            proof=proof,
        )
