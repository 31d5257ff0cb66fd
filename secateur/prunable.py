"""Whether a model has what a job wants to prune, and whether so much of it can go."""

from __future__ import annotations

from collections.abc import Iterator

from secateur.errors import InvalidSpec, NothingMatches, NothingPrunable, TargetUnreachable
from secateur.forecast import chosen_layers
from secateur.inspection import ModelInspection
from secateur.removal import require_reachable
from secateur.removal.prices import stored_scores
from secateur.resources import Finding
from secateur.spec.structured import Groups, PruneUnits
from secateur.spec.weights import Layers, PruneWeights

UNITS_UNKNOWN = (
    "Nothing is known of this model's units. Where the search for them stopped, the notes of its inspection say why: "
    "ask for granularity weight. Without such a note it was inspected before Secateur could remove any: upload it anew."
)


def prunable(prune: PruneWeights | PruneUnits, model: ModelInspection) -> Iterator[Finding]:
    """What is wrong with the `prune` of a spec, for this model."""
    try:
        if isinstance(prune, PruneWeights):
            chosen_layers(prune.layers, model)
        elif model.units is None:
            yield Finding(code=InvalidSpec.code, pointer="/prune/granularity", message=UNITS_UNKNOWN)
        else:
            require_reachable(model.units, prune, stored_scores(model.units, prune))
    except NothingMatches as error:
        pointer = _where(prune.layers, error.context.get("pattern"))
        yield Finding(code=error.code, pointer=pointer, message=error.message)
    except NothingPrunable as error:
        yield Finding(code=error.code, pointer="/prune/granularity", message=f"{error.message} {error.remedy}")
    except TargetUnreachable as error:
        yield Finding(code=error.code, pointer="/prune/target/amount", message=f"{error.message} {error.remedy}")


def _where(layers: Layers | Groups, pattern: str | None) -> str:
    for field, patterns in (("include", layers.include), ("exclude", layers.exclude)):
        if pattern in patterns:
            return f"/prune/layers/{field}/{patterns.index(pattern)}"
    return "/prune/layers" if pattern is None else f"/prune/layers/override/{escaped(pattern)}"


def escaped(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
