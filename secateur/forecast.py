"""What a job would take away, computed from inspections alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secateur.inspection import DatasetInspection, Layer, ModelInspection
from secateur.layers import choose
from secateur.resources import Forecast
from secateur.spec import JobSpec
from secateur.spec.weights import Layers


def forecast(spec: JobSpec, model: ModelInspection, datasets: Mapping[str, DatasetInspection]) -> Forecast:
    """What a spec that fits takes away: of each pool of n weights round(amount * n), or what is zero already.

    Raises:
        NothingMatches: It does not fit: a pattern matches no layer.
    """
    chosen = chosen_layers(spec.prune.layers, model)
    layers = {layer.name: layer for layer in model.layers}
    common = [layers[name] for name, own in chosen.items() if own is None]
    single = [(layers[name], own) for name, own in chosen.items() if own is not None]
    amount = spec.prune.target.amount
    pools = [common] if spec.prune.scope == "global" else [[layer] for layer in common]
    zeros = sum(_zeros(pool, amount) for pool in pools) + sum(_zeros([layer], own) for layer, own in single)
    return Forecast(
        rounds=spec.prune.rounds,
        weights=sum(layers[name].total for name in chosen),
        zeros=zeros,
        layers=tuple(chosen),
        examples=datasets[spec.data.train].examples,
    )


def _zeros(pool: Sequence[Layer], amount: float) -> int:
    return max(round(amount * sum(layer.total for layer in pool)), sum(layer.zeros for layer in pool))


def chosen_layers(layers: Layers, model: ModelInspection) -> dict[str, float | None]:
    """The names of the layers that a spec chooses, each with the amount of its own or None.

    Raises:
        NothingMatches: A pattern matches no layer.
    """
    return choose([layer.name for layer in model.layers], layers.include, layers.exclude, layers.override)
