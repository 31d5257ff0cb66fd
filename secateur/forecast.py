"""What a job would take away, computed from inspections alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from secateur import n_m
from secateur.allocation import SCOPES, Pool
from secateur.inspection import DatasetInspection, Layer, ModelInspection
from secateur.layers import choose
from secateur.removal import choose_groups, count_macs, count_parameters, kept_per_part, select
from secateur.removal.prices import foreseen, stored_scores
from secateur.report import UnitCount
from secateur.resources import Change, Forecast
from secateur.spec import JobSpec
from secateur.spec.n_m import KeepNOfM
from secateur.spec.structured import PruneUnits
from secateur.spec.weights import Layers, PruneWeights
from secateur.units import ModelUnits


def forecast(spec: JobSpec, model: ModelInspection, datasets: Mapping[str, DatasetInspection]) -> Forecast:
    """What a spec that fits takes away.

    Of each pool of n weights, round(amount * n), or what is zero already, exactly; of rows and of blocks of N:M the
    least, where some may hold more zeros than they would lose. Of units, what the selection by the stored scores takes.

    Of a search the most that it may take; of one that minimises latency, as if it counted MACs.

    Raises:
        InvalidSpec: It does not fit: a pattern matches nothing, say.
    """
    prune = spec.prune.fixed
    if isinstance(prune, PruneWeights):
        taken = _of_weights(prune, model)
    else:
        assert model.units is not None
        taken = _of_units(prune.foreseeable, model.units)
    if prune is not spec.prune:
        taken["estimate"] = True
    return Forecast(rounds=spec.prune.rounds, examples=datasets[spec.data.train].examples, **taken)


def _of_weights(prune: PruneWeights, model: ModelInspection) -> dict[str, Any]:
    chosen = chosen_layers(prune.layers, model)
    layers = {layer.name: layer for layer in model.layers}
    if isinstance(prune.target, KeepNOfM):
        return _of_blocks(n_m.by_name(model.layers, chosen), prune.target)
    pools = SCOPES[prune.scope](chosen, prune.target.amount, {name: layers[name].shape for name in chosen})
    pooled = [([layers[name] for name in pool.names], pool) for pool in pools]
    return {
        "weights": sum(layers[name].total for name in chosen),
        "zeros": sum(max(_taken(layers, pool), _zeros(layers)) for layers, pool in pooled),
        "layers": tuple(chosen),
        "estimate": any(pool.by_row and _zeros(layers) > _of_a_row(layers[0], pool) for layers, pool in pooled),
    }


def _taken(layers: Sequence[Layer], pool: Pool) -> int:
    """How many weights of a pool are asked for."""
    if pool.by_row:
        return layers[0].shape[0] * _of_a_row(layers[0], pool)
    return round(pool.amount * sum(layer.total for layer in layers))


def _of_a_row(layer: Layer, pool: Pool) -> int:
    return round(pool.amount * (layer.total // max(1, layer.shape[0])))


def _zeros(layers: Sequence[Layer]) -> int:
    return sum(layer.zeros for layer in layers)


def _of_blocks(layers: Sequence[Layer], pattern: KeepNOfM) -> dict[str, Any]:
    return {
        "weights": sum(layer.total for layer in layers),
        "zeros": sum(n_m.zeros(layer, pattern) for layer in layers),
        "layers": tuple(layer.name for layer in layers),
        "left_whole": tuple(n_m.left_whole(layers, pattern)),
        "estimate": any(layer.zeros and n_m.number_of_blocks(layer, pattern.of) for layer in layers),
    }


def _of_units(prune: PruneUnits, units: ModelUnits) -> dict[str, Any]:
    gone = select(units, prune, stored_scores(units, prune), prune.target.amount)
    dense, kept = kept_per_part(units), kept_per_part(units, gone)
    groups = [units.groups[index] for index in choose_groups(units, prune)]
    return {
        "units": tuple(
            UnitCount(
                group=group.name, kind=group.kind, before=group.size, after=group.size - len(gone.get(group.name, ()))
            )
            for group in groups
        ),
        "parameters": Change(before=count_parameters(units, dense), after=count_parameters(units, kept)),
        "macs": Change(before=count_macs(units, dense), after=count_macs(units, kept)),
        "estimate": not foreseen(units, prune),
    }


def chosen_layers(layers: Layers, model: ModelInspection) -> dict[str, float | None]:
    """The names of the layers that a spec chooses, each with the amount of its own or None.

    Raises:
        NothingMatches: A pattern matches no layer.
    """
    return choose([layer.name for layer in model.layers], layers.include, layers.exclude, layers.override)
