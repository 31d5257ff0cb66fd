"""What a spec may ask for, at each granularity."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.examples import SPEC
from secateur.spec import JobSpec
from secateur.spec.importance import L1, L2
from secateur.spec.prune import Prune
from secateur.spec.structured import PruneUnits
from secateur.spec.weights import PruneWeights
from tests.secateur.spec.refusals import problems

PRUNE: TypeAdapter[Any] = TypeAdapter(Prune)


def units(**fields: Any) -> dict[str, Any]:
    return {"granularity": "channel", "target": {"kind": "macs", "amount": 0.5}, **fields}


def blocks(scope: str | None = None, layers: dict[str, Any] | None = None, **target: Any) -> dict[str, Any]:
    around = {name: given for name, given in (("scope", scope), ("layers", layers)) if given is not None}
    return {"target": {"kind": "n_m", "keep": 2, "of": 4, **target}, **around}


@given(of=st.integers(2, 64), data=st.data())
def test_blocks_are_taken_layer_by_layer_there_and_back(of: int, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, of - 1))
    prune = PRUNE.validate_python(blocks(keep=keep, of=of))
    assert (prune.scope, round(prune.target.amount * of)) == ("layer", of - keep)
    assert prune == PRUNE.validate_python(blocks("layer", keep=keep, of=of))
    assert PRUNE.validate_json(PRUNE.dump_json(prune)) == prune


def test_no_granularity_means_weights() -> None:
    prune = PRUNE.validate_python({"target": {"kind": "sparsity", "amount": 0.5}})
    assert isinstance(prune, PruneWeights)
    assert (prune.granularity, prune.importance, prune.rounds) == ("weight", L1(), 5)


@pytest.mark.parametrize("granularity", ["channel", "neuron", "head", "unit"])
@pytest.mark.parametrize("kind", ["units", "parameters", "macs"])
def test_every_structured_granularity_takes_every_target(granularity: str, kind: str) -> None:
    prune = PRUNE.validate_python(units(granularity=granularity, target={"kind": kind, "amount": 0.3}))
    assert isinstance(prune, PruneUnits)
    assert (prune.importance, prune.max_amount, prune.multiple_of, prune.rounds) == (L2(), 0.9, 1, 5)


@given(
    granularity=st.sampled_from(["channel", "neuron", "head", "unit"]),
    amount=st.floats(0, 1, exclude_max=True),
    max_amount=st.floats(0, 1, exclude_min=True),
    multiple_of=st.integers(1, 1024),
    importance=st.sampled_from(["l1", "l2", "taylor", "snip", "geometric_median", "random"]),
)
def test_json_there_and_back(granularity: str, importance: str, **numbers: Any) -> None:
    target = {"kind": "parameters", "amount": numbers.pop("amount")}
    prune = PRUNE.validate_python(
        units(granularity=granularity, target=target, importance={"kind": importance}, **numbers)
    )
    assert PRUNE.validate_json(PRUNE.dump_json(prune)) == prune


@pytest.mark.parametrize(
    ("prune", "where", "told"),
    [
        (units(target={"kind": "sparsity", "amount": 0.5}), "prune.target", "units, parameters or macs"),
        ({"target": {"kind": "macs", "amount": 0.5}}, "prune.target", "channel, neuron, head or unit"),
        ({**SPEC["prune"], "importance": {"kind": "l2"}}, "prune.importance", "l1"),
        (units(target={"kind": "n_m", "keep": 2, "of": 4}), "prune.target", "units, parameters or macs"),
        (blocks(scope="global"), "prune.target", "leave scope out"),
        (blocks(scope="erk"), "prune.target", "leave scope out"),
        (blocks(layers={"override": {"*": 0.5}}), "prune.layers", "with exclude"),
        (blocks(keep=4), "prune.target", "must be smaller, not 4 of 4"),
        (blocks(keep=0), "prune.target.keep", "greater than or equal to 1"),
        (blocks(of=65), "prune.target.of", "less than or equal to 64"),
        (blocks(of=4.5), "prune.target.of", "integer"),
        (blocks(amount=0.5), "prune.target.amount", "not permitted"),
        (units(importance={"kind": "lamp"}), "prune.importance", "ask for l2"),
        (units(importance={"kind": "wanda"}), "prune.importance", "ask for taylor"),
        (units(importance={"kind": "movement"}), "prune.importance", "ask for taylor"),
        ({**SPEC["prune"], "importance": {"kind": "geometric_median"}}, "prune.importance", "compares whole units"),
        (units(importance={"kind": "taylor", "batches": 0}), "prune.importance.batches", "greater than or equal to 1"),
        (units(importance={"kind": "l2", "batches": 3}), "prune.importance.batches", "not permitted"),
        (units(scope="row"), "prune.scope", "'global', 'layer' or 'sensitivity'"),
        (units(scope="erk"), "prune.scope", "'global', 'layer' or 'sensitivity'"),
        (units(granularity="filter"), "prune", "'weight', 'channel', 'neuron', 'head', 'unit'"),
        (units(granularity=["channel"]), "prune", "'channel'"),
        (units(layers={"override": {"*": 0.5}}), "prune.layers", "exclude"),
        (units(max_amount=0), "prune.max_amount", "greater than 0"),
        (units(max_amount=1.5), "prune.max_amount", "less than or equal to 1"),
        (units(multiple_of=0), "prune.multiple_of", "greater than or equal to 1"),
        (units(target={"kind": "units", "amount": 1}), "prune.target.amount", "less than 1"),
        (units(target={"kind": "units", "amount": float("nan")}), "prune.target.amount", "finite"),
        ({**SPEC["prune"], "multiple_of": 8}, "prune.multiple_of", "not permitted"),
        (5, "prune", "dictionary"),
    ],
)
def test_what_makes_no_sense_is_told_where_it_is_and_with_the_way_out(prune: Any, where: str, told: str) -> None:
    found = problems(prune=prune)
    assert [(at, told in message) for at, message in found] == [(where, True)]


def test_units_have_no_checkpoint_of_masks() -> None:
    artifacts = {"artifacts": ["pt2", "checkpoint"]}
    ((where, told),) = problems(prune=units(), finalize=artifacts)
    assert where == "finalize"
    assert "pt2 and safetensors" in told
    assert JobSpec.model_validate({**SPEC, "finalize": artifacts}).finalize.artifacts == ("pt2", "checkpoint")
