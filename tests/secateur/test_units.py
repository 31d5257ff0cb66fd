"""The record of a model's units."""

from __future__ import annotations

from app import examples
from secateur.inspection import ModelInspection
from tests.secateur.removal.chain import Chain


def test_json_there_and_back() -> None:
    inspection = ModelInspection.model_validate(examples.MODEL["inspection"])
    chain = Chain([[3, 2], [4]], occupied=[[0, 1]])
    whole = inspection.model_copy(update={"units": chain.record()})
    assert ModelInspection.model_validate_json(whole.model_dump_json()) == whole


def test_an_inspection_from_before_there_were_units_is_read() -> None:
    old = {key: value for key, value in examples.MODEL["inspection"].items() if key != "units"}
    assert ModelInspection.model_validate(old).units is None


def test_scores_are_left_out_of_lists() -> None:
    units = Chain([[500, 500], [1000]]).units
    bare = units.without_scores()
    assert units.scored
    assert not bare.scored
    assert [(group.name, group.size) for group in bare.groups] == [(group.name, group.size) for group in units.groups]
    assert len(bare.model_dump_json()) < 2000
    assert type(bare).model_validate_json(bare.model_dump_json()) == bare
