"""An N:M target on the layers that a job chose: what is taken of each block, and the proof that every block holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from secateur import n_m
from secateur.allocation import Blocks, Pool
from secateur.errors import ProofFailed
from secateur.inspection import Layer
from secateur.layers import named
from secateur.n_m import BlockedLayer, BlockedLayers
from secateur.spec.n_m import KeepNOfM
from worker.pruning.blocks import fullest
from worker.recovery.portion import Note


class Pattern:
    """At most so many weights of each block stay."""

    pools: list[Pool]

    def __init__(self, target: KeepNOfM, layers: Sequence[Layer], note: Note) -> None:
        """`layers` are those that are chosen. Raises NothingPrunable where none of them has a block."""
        n_m.require_blocks(layers, target)
        self._target, self._layers = target, layers
        self.pools = n_m.pools(layers, target)
        if whole := n_m.left_whole(layers, target):
            note(
                f"Layers without a block of {target.of} weights along a known input axis lose nothing: {named(whole)}."
            )

    def proof(self, weights: Mapping[str, Tensor]) -> BlockedLayers:
        """What the blocks of these tensors hold. Raises ProofFailed where one holds too much."""
        found = tuple(self._counted(layer, weights[layer.name]) for layer in self._layers)
        broken = [layer.name for layer in found if layer.fullest > self._target.keep]
        proof = BlockedLayers(keep=self._target.keep, of=self._target.of, holds=not broken, layers=found)
        if broken:
            raise ProofFailed(
                f"More than {proof.keep} of {proof.of} weights are left in blocks of {named(broken)}.",
                remedy="This is a mistake of Secateur. Exclude these layers, or ask for the target sparsity.",
                proof=proof.model_dump(mode="json"),
            )
        return proof

    def _counted(self, layer: Layer, weight: Tensor) -> BlockedLayer:
        blocks = n_m.number_of_blocks(layer, self._target.of)
        return BlockedLayer(
            name=layer.name,
            axis=layer.input_axis,
            blocks=blocks,
            remainder=layer.total - blocks * self._target.of,
            fullest=fullest(weight, Blocks(layer.input_axis, self._target.of)) if layer.input_axis is not None else 0,
        )
