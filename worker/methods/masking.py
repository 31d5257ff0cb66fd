"""Taking single weights: they become zero, and tensors keep their shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from secateur import layers
from secateur.allocation import SCOPES, Pool, by_sensitivity
from secateur.inspection import Layer
from secateur.n_m import by_name
from secateur.sensitivity import Sensitivity
from secateur.spec.n_m import KeepNOfM
from secateur.spec.weights import PruneWeights
from worker.bench import Bench
from worker.checkpoint import Checkpoint
from worker.ledger import Taken
from worker.methods.gathering import FIRST, Gathering
from worker.methods.method import Network
from worker.methods.pattern import Pattern
from worker.methods.probe import WeightProbe
from worker.program.program import Program
from worker.pruning import masks
from worker.pruning.growth import filled, rounds
from worker.pruning.importance import IMPORTANCE
from worker.pruning.masks import Masks
from worker.pruning.select import select
from worker.recovery.best import tensors_of
from worker.recovery.portion import Note
from worker.recovery.state import TrainState, restore_tensors
from worker.reports.sparsity import measure_sparsity

PREFIX = "mask"


class Masking:
    """The uploaded program itself, with masks that grow from round to round."""

    program: Program
    masks: Masks
    unit_times: None = None

    def __init__(self, program: Program, bench: Bench, note: Note) -> None:
        """Raises NothingMatches, NothingPrunable."""
        assert isinstance(bench.spec.prune, PruneWeights)
        self._prune, self._device, self._note = bench.spec.prune.fixed, bench.device, note
        self._gathering = Gathering(self._prune.importance, bench, note)
        wanted = self._prune.layers
        names = [layer.name for layer in bench.inspection.layers]
        self._amounts = layers.choose(names, wanted.include, wanted.exclude, wanted.override)
        self._pattern = self._patterned(by_name(bench.inspection.layers, self._amounts))
        self.program = program.to(self._device)
        self.masks = dict(program.masks)
        self._found: Sensitivity | None = None
        self._uploaded = filled(self._weights, self.masks)
        self._plan = self._rounds()

    @property
    def network(self) -> Network:
        """The program with its masks."""
        return Network(self.program, self.masks)

    @contextmanager
    def at_once(self) -> Iterator[Program]:
        """The final amount, on tensors that are put back afterwards."""
        dense = {name: tensor.detach().clone() for name, tensor in self._weights.items()}
        masks.apply(self._weights, self._selected(self._plan[-1], FIRST))
        yield self.program
        with torch.no_grad():
            for name, tensor in self._weights.items():
                tensor.copy_(dense[name])

    def probe(self) -> WeightProbe:
        """Of the weights that have no amount of their own; what the importance sees is gathered once."""
        weights = {name: weight for name, weight in self._weights.items() if self._amounts[name] is None}
        evidence = self._gathering.of_weights(self.program, self.masks, weights, FIRST)
        return WeightProbe(self.program, weights, self.masks, IMPORTANCE[self._prune.importance.kind], evidence)

    def spread(self, found: Sensitivity) -> None:
        """Plan the rounds anew, with an amount for each layer."""
        if self._prune.scope == "sensitivity":
            self._found = found
            self._plan = self._rounds()

    @property
    def most(self) -> float:
        """What the target asks for."""
        return self._prune.target.amount

    def prune(self, number: int, amount: float | None = None) -> Taken:
        """Let the masks grow; one that is there already never shrinks."""
        pools = self._plan[number - 1] if amount is None else self._pools(amount)
        before = measure_sparsity(self._weights, self._amounts)
        self.masks = {**self.masks, **self._selected(pools, number)}
        masks.apply(self._parameters, self.masks)
        after = measure_sparsity(self._weights, self._amounts)
        if after.zeros == before.zeros:
            self._note(f"Round {number} removed nothing: as many weights as it asks for were zero before.")
        return Taken(sparsity=after.overall)

    def carried(self, state: TrainState) -> TrainState:
        """The same: no shape has changed."""
        return state

    def rewind(self, values: Mapping[str, Tensor]) -> None:
        """Set all tensors, and clear what is pruned."""
        restore_tensors(tensors_of(self.program), values)
        masks.apply(self._parameters, self.masks)

    def sibling(self, values: Mapping[str, Tensor], shuffled: int | None = None) -> Network:
        """A copy of the program; the same masks, or random ones with as many zeros in each layer."""
        program = self.program.copy()
        kept = self.masks if shuffled is None else masks.shuffled(self.masks, shuffled)
        restore_tensors(tensors_of(program), values)
        masks.apply(dict(program.named_parameters()), kept)
        return Network(program, kept)

    def tensors(self) -> dict[str, Tensor]:
        """The masks."""
        return {f"{PREFIX}/{name}": mask for name, mask in self.masks.items()}

    def restore(self, saved: Checkpoint) -> None:
        """Take over the masks of a checkpoint."""
        self.masks = {name: mask.to(self._device) for name, mask in saved.under(PREFIX).items()}

    def commit(self, dense: Program) -> None:
        """As `torch.nn.utils.prune.remove` does: the zeros stay, the masks are no more. Raises ProofFailed."""
        masks.apply(self._parameters, self.masks)
        self.program.masks.clear()
        self._proof = None if self._pattern is None else self._pattern.proof(self._weights)

    def findings(self) -> dict[str, Any]:
        """The zeros, on how much data they were chosen, and whether they lie in the pattern that was asked for."""
        zeros = measure_sparsity(self._parameters, self._amounts)
        return {"sparsity": zeros, "n_m": self._proof, **self._gathering.findings()}

    @property
    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.program.named_parameters())

    @property
    def _weights(self) -> dict[str, torch.nn.Parameter]:
        """The chosen layers' weights, in the program's order."""
        return {name: tensor for name, tensor in self.program.named_parameters() if name in self._amounts}

    def _patterned(self, chosen: list[Layer]) -> Pattern | None:
        target = self._prune.target
        return Pattern(target, chosen, self._note) if isinstance(target, KeepNOfM) else None

    def _rounds(self) -> list[list[Pool]]:
        pools = self._pools(self.most) if self._pattern is None else self._pattern.pools
        curve = getattr(self._prune.schedule, "curve", "one_shot")
        return rounds(pools, self._uploaded, number=self._prune.rounds, curve=curve)

    def _pools(self, amount: float) -> list[Pool]:
        shapes = {name: weight.shape for name, weight in self._weights.items()}
        if self._found is not None:
            return by_sensitivity(self._amounts, shapes, amount, self._found)
        return SCOPES[self._prune.scope](self._amounts, amount, shapes)

    def _selected(self, pools: list[Pool], number: int) -> Masks:
        """Masks that take so much, by what the importance sees in round `number`, in the weights as they are."""
        weights = self._weights
        evidence = self._gathering.of_weights(self.program, self.masks, weights, number)
        importance = IMPORTANCE[self._prune.importance.kind]
        return select(weights, pools, importance=importance, masks=self.masks, evidence=evidence)
