from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.examples import SPEC
from app.specs import parse, problems
from secateur.errors import BadRequest


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b'{"a": 1, "a": 2}',
        b'{"x": {"a": 1, "a": 1}}',
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"\xff\xfe{\x00}\x00",
        b'"\xff"',
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"1" * 5000,
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_bad_request(body: bytes) -> None:
    try:
        value = parse(body)
    except BadRequest:
        return
    assert json.loads(json.dumps(value)) == value


def test_the_example_is_a_spec() -> None:
    spec, found = problems(SPEC)
    assert spec is not None
    assert found == []


def changed(path: str, value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(SPEC)
    *parents, last = path.strip("/").split("/")
    place = spec
    for each in parents:
        place = place[each]
    place[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value", "pointer"),
    [
        ("/prune/target/amount", 1, "/prune/target/amount"),
        ("/prune/target/amount", -0.1, "/prune/target/amount"),
        ("/prune/target/amount", "x", "/prune/target/amount"),
        ("/prune/target/extra", 1, "/prune/target/extra"),
        ("/prune/target/kind", "magic", "/prune/target"),
        ("/prune/schedule", {"kind": "iterative", "rounds": 0}, "/prune/schedule/rounds"),
        ("/prune/schedule", {"kind": "iterative"}, "/prune/schedule/rounds"),
        ("/prune/layers", {"include": ["*", ""]}, "/prune/layers/include/1"),
        ("/prune/layers", {"override": {"a/b~c": 2}}, "/prune/layers/override/a~1b~0c"),
        ("/recover/learning_rate", 0.1, "/recover"),
        ("/recover/batch_size", 0, "/recover/batch_size"),
        ("/recover/optimizer", {"kind": "sgd", "momentum": 2}, "/recover/optimizer/momentum"),
        ("/data/validation", [], "/data/validation"),
        ("/data/validation", 2.0, "/data/validation"),
        ("/model", "mdl_x", "/model"),
        ("/metadata", {"": "x"}, "/metadata/"),
        ("/priority", 1e300, "/priority"),
    ],
)
def test_a_problem_points_into_what_was_sent(path: str, value: Any, pointer: str) -> None:
    spec, found = problems(changed(path, value))
    assert spec is None
    assert {each.pointer for each in found} == {pointer}
    assert all(each.message and not each.message.startswith("Value error") for each in found)


def test_every_problem_is_named() -> None:
    _, found = problems(changed("/prune/target/amount", 3) | {"seed": -1, "unknown": 0})
    assert {each.pointer for each in found} == {"/prune/target/amount", "/seed", "/unknown"}


@pytest.mark.parametrize("value", [None, [], "text", 3, True])
def test_what_is_no_object(value: Any) -> None:
    spec, found = problems(value)
    assert spec is None
    assert [each.pointer for each in found] == [""]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("kind"), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(SPEC)), json_values)
def test_any_value_in_any_place_is_judged(field: str, value: Any) -> None:
    spec, found = problems(SPEC | {field: value})
    assert (spec is None) == bool(found)
    assert all(each.pointer.startswith(f"/{field}") for each in found)
