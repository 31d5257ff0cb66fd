"""What is said of a structured job before it runs: exactly what it will take, or why it cannot run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import examples
from secateur import erk, fit
from secateur.errors import NothingMatches, NothingPrunable, TargetUnreachable
from secateur.forecast import forecast
from secateur.inspection import DatasetInspection, ModelInspection
from secateur.report import UnitCount
from secateur.resources import Change, Finding, Forecast
from secateur.spec import JobSpec
from secateur.units import ModelUnits
from tests.secateur.removal.chain import Chain

MODEL = ModelInspection.model_validate(examples.MODEL["inspection"])
DATA = DatasetInspection.model_validate(examples.DATASET["inspection"])
CHAIN = Chain([[8], [12], [4]])


def of(chain: Chain) -> ModelInspection:
    return MODEL.model_copy(update={"units": chain.units})


def spec(**fields: Any) -> JobSpec:
    prune = {"granularity": "unit", "target": {"kind": "units", "amount": 0.5}, "schedule": {"kind": "one_shot"}}
    data = {"train": examples.TRAIN_ID}
    return JobSpec.model_validate({**examples.SPEC, "data": data, "prune": {**prune, **fields}})


def seen(wanted: JobSpec, model: ModelInspection) -> Forecast:
    return forecast(wanted, model, {examples.TRAIN_ID: DATA})


def found(wanted: JobSpec, model: ModelInspection) -> tuple[Finding, ...]:
    return fit.findings(wanted, model, {examples.TRAIN_ID: DATA})


def test_an_amount_that_follows_from_the_shape_is_counted_layer_by_layer() -> None:
    layers = {layer.name: layer for layer in MODEL.layers}
    target = {"target": {"kind": "sparsity", "amount": 0.8}, "scope": "erk"}
    wanted = JobSpec.model_validate({**examples.SPEC, "data": {"train": examples.TRAIN_ID}, "prune": target})
    amounts = erk.amounts({name: layer.shape for name, layer in layers.items()}, 0.8)
    assert seen(wanted, MODEL).zeros == sum(round(amounts[name] * layer.total) for name, layer in layers.items())


def weights(**fields: Any) -> JobSpec:
    target = {"target": {"kind": "sparsity", "amount": 0.8}}
    data = {"train": examples.TRAIN_ID}
    return JobSpec.model_validate({**examples.SPEC, "data": data, "prune": {**target, **fields}})


def with_zeros(zeros: int) -> ModelInspection:
    layers = [layer.model_copy(update={"zeros": zeros}) for layer in MODEL.layers]
    return MODEL.model_copy(update={"layers": tuple(layers)})


def test_rows_are_counted_one_by_one() -> None:
    expected = sum(layer.shape[0] * round(0.8 * layer.total / layer.shape[0]) for layer in MODEL.layers)
    told = seen(weights(scope="row"), with_zeros(0))
    assert (told.zeros, told.estimate) == (expected, False)


def test_where_a_row_may_hold_more_zeros_than_it_would_lose_the_count_is_the_least() -> None:
    """All zeros of a layer may be in one row."""
    fewest = min(round(0.8 * layer.total / layer.shape[0]) for layer in MODEL.layers)
    told = [seen(weights(scope="row"), with_zeros(zeros)) for zeros in (fewest, fewest + 1)]
    assert [each.estimate for each in told] == [False, True]
    assert told[0].zeros == told[1].zeros
    assert not seen(weights(), with_zeros(fewest + 1)).estimate


def test_the_example_of_the_api_is_what_the_forecast_says() -> None:
    wanted = JobSpec.model_validate({**examples.STRUCTURED_SPEC, "data": {"train": examples.TRAIN_ID}})
    shown = Forecast.model_validate(examples.STRUCTURED_VALIDATION["forecast"])
    assert seen(wanted, MODEL) == shown.model_copy(update={"examples": DATA.examples})


def test_groups_parameters_and_macs_are_counted() -> None:
    told = seen(spec(scope="layer"), of(CHAIN))
    assert told.units == (
        UnitCount(group="layers.0.weight", kind="channel", before=8, after=4),
        UnitCount(group="layers.1.weight", kind="neuron", before=12, after=6),
        UnitCount(group="layers.2.weight", kind="head", before=4, after=2),
    )
    assert told.parameters == Change(before=2 * 8 + 8 * 12 + 12 * 4 + 4 * 3, after=2 * 4 + 4 * 6 + 6 * 2 + 2 * 3)
    assert told.macs == Change(before=16 + 2 * 96 + 3 * 48 + 4 * 12, after=8 + 2 * 24 + 3 * 12 + 4 * 6)
    assert (told.weights, told.zeros, told.layers, told.rounds) == (None, None, (), 1)


def test_only_the_chosen_groups_are_listed() -> None:
    told = seen(spec(granularity="head"), of(CHAIN))
    assert [(each.group, each.after) for each in told.units] == [("layers.2.weight", 2)]


@pytest.mark.parametrize(
    ("fields", "estimate"),
    [
        ({}, False),
        ({"importance": {"kind": "l1"}}, False),
        ({"schedule": {"kind": "iterative", "rounds": 1}}, False),
        ({"schedule": {"kind": "iterative", "rounds": 2}}, True),
        ({"importance": {"kind": "random"}}, True),
        ({"importance": {"kind": "taylor"}}, True),
        ({"importance": {"kind": "geometric_median"}}, True),
    ],
)
def test_what_can_come_out_otherwise_is_an_estimate(fields: dict[str, Any], estimate: bool) -> None:
    assert seen(spec(**fields), of(CHAIN)).estimate is estimate


@pytest.mark.parametrize("kind", ["units", "parameters", "macs"])
def test_a_model_without_scores_is_estimated_and_judged_all_the_same(kind: str) -> None:
    bare = MODEL.model_copy(update={"units": Chain([[64], [64], [64]]).units.without_scores()})
    parts = [group.model_copy(update={"part": (at,)}) for at, group in enumerate(bare.units.groups)]
    bare = bare.model_copy(update={"units": bare.units.model_copy(update={"groups": tuple(parts)})})
    told = seen(spec(target={"kind": kind, "amount": 0.5}), bare)
    assert told.estimate
    assert all(each.after < each.before for each in told.units)
    refused = spec(target={"kind": kind, "amount": 0.95}, max_amount=0.5)
    assert only(found(refused, bare))[0] == "target_unreachable"


def test_macs_stand_in_for_time_of_which_nothing_is_known_yet() -> None:
    search = {"kind": "max_accuracy_drop", "amount": 0.01}
    inspected = ModelUnits.model_validate(CHAIN.units.model_dump(exclude={"times"}))
    model = MODEL.model_copy(update={"units": inspected})
    by_time, by_macs = (seen(spec(target={**search, "minimise": what}), model) for what in ("latency", "macs"))
    assert by_time == by_macs
    assert by_time.estimate
    assert found(spec(target={**search, "minimise": "latency"}), model) == ()


@given(amount=st.floats(0, 0.8), scores=st.permutations([float(index) for index in range(12)]))
def test_the_scores_that_are_stored_decide(amount: float, scores: list[float]) -> None:
    model = of(Chain([[4], [8]], [scores[:4], scores[4:]]))
    told = seen(spec(target={"kind": "units", "amount": amount}, max_amount=1), model)
    lost = sorted(scores)[: 12 - sum(each.after for each in told.units)]
    best = (max(scores[:4]), max(scores[4:]))
    if not any(score in best for score in lost):
        assert [each.before - each.after for each in told.units] == [
            sum(score in group for score in lost) for group in (scores[:4], scores[4:])
        ]


# Refusals


def only(problems: tuple[Finding, ...]) -> tuple[str, str, str]:
    assert len(problems) == 1, problems
    return problems[0].code, problems[0].pointer, problems[0].message


def test_nothing_prunable() -> None:
    code, pointer, message = only(found(spec(granularity="head"), MODEL))
    assert (code, pointer) == ("nothing_prunable", "/prune/granularity")
    assert "64 neurons in 1 group" in message
    assert "output: the network's outputs are never cut" in message
    assert "Ask for granularity neuron or weight." in message


def test_a_glob_that_matches_no_unit() -> None:
    code, pointer, message = only(found(spec(layers={"include": ["hidden.*", "fc.*"]}), MODEL))
    assert (code, pointer) == ("nothing_matches", "/prune/layers/include/1")
    assert "hidden.weight" in message
    code, pointer, _ = only(found(spec(layers={"exclude": ["conv*"]}), MODEL))
    assert (code, pointer) == ("nothing_matches", "/prune/layers/exclude/0")


def test_a_target_out_of_reach() -> None:
    target = {"kind": "macs", "amount": 0.7}
    code, pointer, message = only(found(spec(target=target, max_amount=0.5), MODEL))
    assert (code, pointer) == ("target_unreachable", "/prune/target/amount")
    assert "at most 0.5 can" in message
    assert "raise max_amount" in message
    assert found(spec(target={"kind": "macs", "amount": 0.5}, max_amount=0.5), MODEL) == ()


def test_wanda_of_a_layer_whose_inputs_cannot_be_seen() -> None:
    recurrent = MODEL.layers[-1].model_copy(update={"operator": "lstm"})
    model = MODEL.model_copy(update={"layers": (*MODEL.layers[:-1], recurrent)})
    code, pointer, message = only(found(weights(importance={"kind": "wanda"}), model))
    assert (code, pointer) == ("invalid_spec", "/prune/importance")
    assert recurrent.name in message
    assert "prune.layers.exclude" in message
    assert found(weights(importance={"kind": "wanda"}, layers={"exclude": [recurrent.name]}), model) == ()
    assert found(weights(importance={"kind": "taylor"}), model) == ()


def test_a_model_whose_units_are_not_known() -> None:
    code, pointer, message = only(found(spec(), MODEL.model_copy(update={"units": None})))
    assert (code, pointer) == ("invalid_spec", "/prune/granularity")
    assert "ask for granularity weight" in message
    assert "upload it anew" in message


@pytest.mark.parametrize(
    ("fields", "leaf"),
    [
        ({"granularity": "head"}, NothingPrunable),
        ({"layers": {"exclude": ["*"]}}, NothingMatches),
        ({"max_amount": 0.1}, TargetUnreachable),
    ],
)
def test_a_refusal_has_the_code_of_its_kind(fields: dict[str, Any], leaf: type[Exception]) -> None:
    with pytest.raises(leaf):
        fit.require_fit(spec(**fields), MODEL, {examples.TRAIN_ID: DATA})
