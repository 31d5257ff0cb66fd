"""Whether a model has what a job wants to prune, and whether so much of it can go."""

from __future__ import annotations

from collections.abc import Container, Iterator

from secateur.errors import InvalidSpec, NothingMatches, NothingPrunable, TargetUnreachable
from secateur.forecast import chosen_layers
from secateur.inspection import ModelInspection
from secateur.n_m import by_name, require_blocks
from secateur.removal import choose_groups, require_reachable
from secateur.removal.prices import stored_scores
from secateur.resources import Finding
from secateur.spec.importance import Wanda
from secateur.spec.n_m import KeepNOfM
from secateur.spec.structured import Groups, PruneUnits
from secateur.spec.weights import Layers, PruneWeights

UNITS_UNKNOWN = (
    "Nothing is known of this model's units. Where the search for them stopped, the notes of its inspection say why: "
    "ask for granularity weight. Without such a note it was inspected before Secateur could remove any: upload it anew."
)

KERNELS = frozenset(
    ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "embedding_bag")
)
"""Operators that keep to themselves what they multiply a weight by."""


def prunable(prune: PruneWeights | PruneUnits, model: ModelInspection) -> Iterator[Finding]:
    """What is wrong with the `prune` of a spec, for this model."""
    try:
        if isinstance(prune, PruneWeights):
            chosen = chosen_layers(prune.layers, model)
            if isinstance(prune.target, KeepNOfM):
                require_blocks(by_name(model.layers, chosen), prune.target)
            yield from _without_inputs(prune, chosen, model)
        elif model.units is None:
            yield Finding(code=InvalidSpec.code, pointer="/prune/granularity", message=UNITS_UNKNOWN)
        elif not prune.searches:  # a search goes as far as it can
            require_reachable(model.units, prune.fixed, stored_scores(model.units, prune.fixed))
        else:
            choose_groups(model.units, prune)
    except NothingMatches as error:
        pointer = _where(prune.layers, error.context.get("pattern"))
        yield Finding(code=error.code, pointer=pointer, message=error.message)
    except NothingPrunable as error:
        pointer = "/prune/target" if isinstance(prune, PruneWeights) else "/prune/granularity"
        yield Finding(code=error.code, pointer=pointer, message=f"{error.message} {error.remedy}")
    except TargetUnreachable as error:
        yield Finding(code=error.code, pointer="/prune/target/amount", message=f"{error.message} {error.remedy}")


def _without_inputs(prune: PruneWeights, chosen: Container[str], model: ModelInspection) -> Iterator[Finding]:
    """The chosen layers that wanda cannot rank: nothing says which numbers such a kernel multiplies by its weights."""
    for layer in model.layers if isinstance(prune.importance, Wanda) else ():
        if layer.name in chosen and layer.operator in KERNELS:
            message = (
                f"wanda needs the inputs of each weight, and inside of {layer.operator} those of {layer.name!r} cannot "
                "be seen: exclude the layer with prune.layers.exclude, or ask for taylor or l1."
            )
            yield Finding(code=InvalidSpec.code, pointer="/prune/importance", message=message)


def _where(layers: Layers | Groups, pattern: str | None) -> str:
    for field, patterns in (("include", layers.include), ("exclude", layers.exclude)):
        if pattern in patterns:
            return f"/prune/layers/{field}/{patterns.index(pattern)}"
    return "/prune/layers" if pattern is None else f"/prune/layers/override/{escaped(pattern)}"


def escaped(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
