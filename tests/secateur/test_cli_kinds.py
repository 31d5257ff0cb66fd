"""What the command line offers by name is what the spec has: no kind more, and none that only a file can ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from secateur.cli.prune import prune
from secateur.cli.sensitivity import sensitivity
from secateur.spec import JobSpec
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.importance import UnitImportance, WeightImportance
from secateur.spec.recover import Recover
from secateur.spec.structured import PruneUnits, StructuredTarget
from secateur.spec.task import Task
from secateur.spec.training import Optimizer, Training
from secateur.spec.weights import PruneWeights


def kinds(*unions: Any) -> set[str]:
    """Of unions that are told apart by `kind`."""
    return {member.model_fields["kind"].default for union in unions for member in get_args(get_args(union)[0])}


def texts(field: str, *records: Any) -> set[str]:
    """The values of a field that is one of some texts."""
    return {text for record in records for text in get_args(record.model_fields[field].annotation)}


IN_THE_SPEC = {
    "minimise": texts("minimise", MaxAccuracyDrop),
    "granularity": texts("granularity", PruneWeights, PruneUnits),
    "target": kinds(StructuredTarget) - {"max_accuracy_drop", "sensitivity"},  # an option, and a command, of their own
    "scope": texts("scope", PruneWeights, PruneUnits),
    "importance": kinds(WeightImportance, UnitImportance),
    "recover": kinds(Recover),
    "optimizer": kinds(Optimizer),
    "curve": texts("curve", Training),
    "precision": texts("precision", Training),
    "task": kinds(Task),
    "device": texts("device", JobSpec),
}


def offered(command: Callable[..., None]) -> dict[str, set[str]]:
    """Of each option that is one of some texts, what these are."""
    hints = get_type_hints(command)
    choices = {name: [each for each in get_args(hint) if get_origin(each) is Literal] for name, hint in hints.items()}
    return {name: set(get_args(found[0])) for name, found in choices.items() if found}


@pytest.mark.parametrize("option", IN_THE_SPEC)
def test_an_option_offers_every_kind_of_the_spec(option: str) -> None:
    assert offered(prune)[option] == IN_THE_SPEC[option]


def test_every_option_of_this_sort_is_looked_at() -> None:
    assert offered(prune).keys() == IN_THE_SPEC.keys()


def test_another_command_offers_the_same() -> None:
    found = offered(sensitivity)
    assert found.keys() >= {"granularity", "importance", "device"}
    assert found == {option: IN_THE_SPEC[option] for option in found}
