"""Hostile JSON: whatever stands anywhere in the file, the answer is a program or an error of ours, and soon."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from secateur.errors import BadModel, CorruptArchive
from tests.worker.program.attacks import CONSTANTS, MODEL, WEIGHTS, clean, rewrite
from worker.program.archive import Archive
from worker.program.program import Program
from worker.program.reader import read

NASTY = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 255, 2**31, 2**62, 2**63, -(2**63), 10**40, float("nan"), float("inf"), 0.5]),
    st.sampled_from(
        ["", "x", "linear", "p_layer_weight", "s0", "__class__", "../x", "'", "\x00", "\u2028", "9" * 5000]
    ),
    st.sampled_from(["torch.ops.aten.relu.default", "torch.ops.aten.relu_.default", "_operator.mul", "layer.weight"]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["as_int", "as_tensor", "as_none", "as_graph"]), st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean(tmp_path_factory.mktemp("good") / "good.pt2")


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, inner in items for place in _places(inner, (*path, key))]


def _mutated(value: Any, place: tuple[Any, ...], how: str, new: Any) -> Any:
    if not place:
        return new
    result = copy.deepcopy(value)
    parent = result
    for step in place[:-1]:
        parent = parent[step]
    if how == "drop":
        del parent[place[-1]]
    elif how == "repeat" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[place[-1]]))
    else:
        parent[place[-1]] = new
    return result


def _answer(path: Path) -> Program | BadModel:
    try:
        return read(path)
    except BadModel as error:
        return error


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(member=st.sampled_from([MODEL, MODEL, WEIGHTS, CONSTANTS]), data=st.data())
def test_mutated_json_is_read_or_refused(member: str, data: st.DataObject, good: Path, tmp_path: Path) -> None:
    with Archive(good) as opened:
        value = json.loads(opened.text(member))
    place = data.draw(st.sampled_from(_places(value)))
    how = data.draw(st.sampled_from(["set", "drop", "repeat"]))
    mutated = _mutated(value, place, how, data.draw(NASTY))
    path = rewrite(good, tmp_path / "fuzzed.pt2", {member: json.dumps(mutated).encode()})
    answer = _answer(path)
    if isinstance(answer, BadModel):
        assert 0 < len(answer.message) < 1000


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.binary(max_size=60))
@example(contents=b"[" * 100_000)
@example(contents=b'{"a":' * 100_000)
@example(contents=b"9" * 100_000)
@example(contents=b'{"schema_version": NaN}')
@example(contents=b"\xff\xfe")
def test_json_that_is_none_is_refused(contents: bytes, good: Path, tmp_path: Path) -> None:
    for member in (MODEL, WEIGHTS):
        with pytest.raises(CorruptArchive):
            read(rewrite(good, tmp_path / "bad.pt2", {member: contents}))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_are_read_or_refused(data: st.DataObject, good: Path, tmp_path: Path) -> None:
    contents = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "flipped.pt2"
    path.write_bytes(contents)
    answer = _answer(path)
    if isinstance(answer, Program):
        assert answer(torch.zeros(2, 3)).shape == (2, 2)


def test_errors_of_the_rules_are_not_those_of_the_last_resort(good: Path, tmp_path: Path) -> None:
    """A name that is used before it is defined is found by a rule, not by a KeyError."""
    with Archive(good) as opened:
        model = json.loads(opened.text(MODEL))
    model["graph_module"]["graph"]["nodes"].reverse()
    with pytest.raises(CorruptArchive, match="before it is defined"):
        read(rewrite(good, tmp_path / "bad.pt2", {MODEL: json.dumps(model).encode()}))
