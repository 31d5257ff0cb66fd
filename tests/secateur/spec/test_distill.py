"""What may be learned from the dense network, and what has nothing to learn from it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.examples import SPEC
from secateur.ids import new_id
from secateur.spec import JobSpec
from secateur.spec.distill import Distill
from secateur.spec.importance import UnitImportance, WeightImportance
from tests.secateur.spec.refusals import problems

NUMBERS = {"kind": "distillation_only", "like": "regression"}


def tuning(**fields: Any) -> dict[str, Any]:
    return {"kind": "fine_tune", "learning_rate": 0.01, **fields}


@given(
    temperature=st.floats(0.1, 100),
    weight=st.floats(0, 1),
    features=st.lists(st.text(min_size=1, max_size=256), unique=True, max_size=3),
    feature_weight=st.floats(0, 1e6, exclude_min=True),
)
def test_json_there_and_back(**fields: Any) -> None:
    distill = Distill.model_validate(fields)
    assert Distill.model_validate_json(distill.model_dump_json()) == distill
    assert distill.teaches == (distill.weight > 0 or distill.features != ())


@pytest.mark.parametrize(
    ("fields", "where", "told"),
    [
        ({"temperature": 0}, "temperature", "greater than or equal to 0.1"),
        ({"temperature": float("nan")}, "temperature", "finite"),
        ({"weight": 1.1}, "weight", "less than or equal to 1"),
        ({"feature_weight": 0}, "feature_weight", "greater than 0"),
        ({"features": ["relu", "relu"]}, "features", "'relu' is named twice"),
        ({"features": [""]}, "features.0", "at least 1 character"),
    ],
)
def test_what_makes_no_sense_is_told_where_it_is(fields: dict[str, Any], where: str, told: str) -> None:
    found = problems(recover=tuning(distill=fields))
    assert [(at, told in message) for at, message in found] == [(f"recover.distill.{where}", True)]


@pytest.mark.parametrize(
    ("task", "fields", "told"),
    [
        ({"kind": "regression"}, {"distill": {"temperature": 3.0}}, "temperature softens scores of classes"),
        (NUMBERS, {"distill": {"temperature": 3.0, "features": ["relu"]}}, "temperature softens scores of classes"),
        (NUMBERS, {"distill": {}}, "no other loss"),
        ({"kind": "distillation_only"}, {"label_smoothing": 0.1}, "distillation_only has none: leave it at 0"),
    ],
)
def test_what_has_nothing_to_learn_from_is_refused(task: dict[str, Any], fields: dict[str, Any], told: str) -> None:
    ((where, message),) = problems(task=task, recover=tuning(**fields))
    assert where == "recover"
    assert told in message


@pytest.mark.parametrize(
    ("granularity", "kinds", "others"),
    [
        ("weight", {"taylor", "snip", "movement"}, "l1, lamp or wanda"),
        ("unit", {"taylor", "snip"}, "l2, l1 or geometric_median"),
    ],
)
def test_without_labels_what_is_gathered_from_slopes_is_refused(granularity: str, kinds: set[str], others: str) -> None:
    target = {"kind": "sparsity" if granularity == "weight" else "units", "amount": 0.5}
    union = WeightImportance if granularity == "weight" else UnitImportance
    told = {}
    for kind in (member.model_fields["kind"].default for member in get_args(get_args(union)[0])):
        prune = {"granularity": granularity, "importance": {"kind": kind}, "target": target}
        JobSpec.model_validate({**SPEC, "prune": prune})
        if kind in kinds:
            told[kind] = problems(prune=prune, task={"kind": "distillation_only"})
        else:
            JobSpec.model_validate({**SPEC, "prune": prune, "task": {"kind": "distillation_only"}})
    for (where, message), *more in told.values():
        assert (where, more) == ("prune", [])
        assert message.endswith(f"take {others}")


@pytest.mark.parametrize(
    ("task", "distill"), [("classification", {}), ("distillation_only", None), ("distillation_only", {})]
)
def test_a_network_that_is_yet_to_be_trained_teaches_nothing(task: str, distill: dict[str, Any] | None) -> None:
    ticket = {"kind": "lottery_ticket", "learning_rate": 0.1, "distill": distill}
    ((_, message),) = problems(task={"kind": task}, recover=ticket)
    assert "give the trained network as model" in message
    given = {"task": {"kind": task}, "recover": {**ticket, "initial": new_id("mdl")}}
    assert JobSpec.model_validate({**SPEC, **given}).recover.kind == "lottery_ticket"


@pytest.mark.parametrize(
    ("task", "distill"),
    [
        ({"kind": "classification"}, {"temperature": 3.0}),
        ({"kind": "regression"}, {}),
        ({"kind": "distillation_only"}, {"temperature": 3.0, "weight": 1.0}),
        (NUMBERS, {"features": ["relu"]}),
        (NUMBERS, None),
    ],
)
def test_what_can_be_learned_is_taken(task: dict[str, Any], distill: dict[str, Any] | None) -> None:
    wanted = JobSpec.model_validate({**SPEC, "task": task, "recover": tuning(distill=distill)})
    assert JobSpec.model_validate_json(wanted.model_dump_json()) == wanted
