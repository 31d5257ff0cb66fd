from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur import fit
from secateur.errors import DataMismatch, InvalidSpec, LabelsOutOfRange, NothingMatches, SecateurError
from secateur.findings import FLOATS, INTEGERS
from secateur.forecast import forecast
from secateur.inspection import ArrayInfo, Batch, DatasetInspection, ModelInspection, TensorInfo
from secateur.spec import JobSpec
from tests.secateur.fitting import (
    TEST,
    TRAIN,
    VALIDATION,
    array,
    dataset,
    found,
    labels,
    layer,
    model,
    only,
    spec,
    tensor,
)


def test_what_fits_fits() -> None:
    assert found() == ()
    fit.require_fit(spec(), model(), {TRAIN: dataset()})


def test_an_input_without_an_array() -> None:
    problem = only(found(train=dataset(array("image", 3, 8), labels())))
    assert (problem.code, problem.pointer) == ("data_mismatch", "/data/train")
    assert all(word in problem.message for word in ("'x'", "'image'", "data.inputs"))


def test_a_mapping_names_input_and_array() -> None:
    mapped = spec(data={"inputs": {"x": "image"}})
    assert found(mapped, train=dataset(array("image", 3, 8), labels())) == ()
    assert "'image'" in only(found(mapped)).message
    unknown = only(found(spec(data={"inputs": {"a/b~c": "x"}})))
    assert unknown.pointer == "/data/inputs/a~1b~0c"
    assert "'x'" in unknown.message


@pytest.mark.parametrize("shape", [(3, 9), (3,), (), (3, 8, 1), (8, 3)])
def test_shapes_behind_the_first_axis_must_agree(shape: tuple[int, ...]) -> None:
    problem = only(found(train=dataset(array("x", *shape), labels())))
    assert str((20, *shape)).replace(",)", ")") in problem.message
    assert "(examples, 3, 8)" in problem.message


def test_equal_names_stand_for_equal_sizes() -> None:
    of = model(inputs=(tensor("x", "length", 4), tensor("y", "length", dtype="int64")))
    good = dataset(array("x", 7, 4), array("y", 7, dtype="int64"), labels())
    bad = dataset(array("x", 7, 4), array("y", 6, dtype="int64"), labels())
    assert found(of=of, train=good) == ()
    assert "'y'" in only(found(of=of, train=bad)).message


FITTING = {
    "float32": {"float16", "bfloat16", "float32", "float64", "uint8"},
    "bfloat16": {"float16", "bfloat16", "float32", "float64", "uint8"},
    "int64": {"int32", "int64"},
    "int32": {"int32", "int64"},
    "bool": {"bool"},
    "uint8": {"uint8"},
}


@pytest.mark.parametrize("wanted", FITTING)
@pytest.mark.parametrize("dtype", sorted(FLOATS | INTEGERS | {"bool"}))
def test_dtypes(wanted: str, dtype: str) -> None:
    problems = found(
        of=model(inputs=(tensor("x", 3, 8, dtype=wanted),)), train=dataset(array("x", 3, 8, dtype=dtype), labels())
    )
    assert (problems == ()) == (dtype in FITTING[wanted])
    if problems:
        assert dtype in only(problems).message
        assert wanted in only(problems).message


def test_without_labels() -> None:
    assert "data.target" in only(found(train=dataset(array("x", 3, 8)))).message
    assert "'y'" in only(found(spec(data={"target": "y"}))).message


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 10), (-1, 9), (-5, 99)])
def test_labels_that_the_model_has_no_output_for(minimum: int, maximum: int) -> None:
    train = dataset(array("x", 3, 8), labels(minimum=minimum, maximum=maximum))
    problem = only(found(train=train))
    assert problem.code == "labels_out_of_range"
    assert all(word in problem.message for word in (str(minimum), str(maximum), "10 classes", "0 to 9"))
    with pytest.raises(LabelsOutOfRange) as refused:
        fit.require_fit(spec(), model(), {TRAIN: train})
    assert refused.value.context["errors"] == [problem.model_dump()]


def test_labels_that_are_all_ignored() -> None:
    assert "-100" in only(found(train=dataset(array("x", 3, 8), labels(minimum=None, maximum=None)))).message


@pytest.mark.parametrize("target", [labels(1), labels(10), labels(dtype="float32")])
def test_labels_of_another_form(target: ArrayInfo) -> None:
    assert only(found(train=dataset(array("x", 3, 8), target))).code == "data_mismatch"


def test_labels_of_a_dense_prediction() -> None:
    of = model(outputs=(tensor("0", 5, "height", 6),))
    assert found(of=of, train=dataset(array("x", 3, 8), labels(4, 6, maximum=4))) == ()
    assert "(examples, height, 6)" in only(found(of=of, train=dataset(array("x", 3, 8), labels(4, maximum=4)))).message


@pytest.mark.parametrize(
    ("output", "target", "fits"),
    [((), (), True), ((1,), (), True), ((), (1,), True), ((3,), (3,), True), ((3,), (), False), ((3, 1), (3,), True)],
)
def test_regression_targets(output: tuple[int, ...], target: tuple[int, ...], fits: bool) -> None:
    train = dataset(array("x", 3, 8), array("target", *target))
    problems = found(spec(task={"kind": "regression"}), model(outputs=(tensor("0", *output),)), train)
    assert (problems == ()) == fits


def test_regression_wants_floats() -> None:
    of = model(outputs=(tensor("0"),))
    assert "int64" in only(found(spec(task={"kind": "regression"}), of)).message


@pytest.mark.parametrize("name", ["x", "target"])
def test_values_must_be_finite(name: str) -> None:
    arrays = {"x": array("x", 3, 8), "target": array("target")}
    arrays[name] = arrays[name].model_copy(update={"finite": False})
    train = dataset(*arrays.values(), array("unused").model_copy(update={"finite": False}))
    problem = only(found(spec(task={"kind": "regression"}), model(outputs=(tensor("0"),)), train))
    assert name in problem.message


def test_every_array_has_as_many_examples() -> None:
    train = dataset(array("x", 3, 8), labels().model_copy(update={"shape": (19,)}))
    assert "20 examples" in only(found(train=train)).message


@pytest.mark.parametrize(
    ("output", "fits"), [(None, False), (0, False), (1, True), ("logits", True), ("1", False), (2, False), (-1, False)]
)
def test_the_scored_output(output: int | str | None, fits: bool) -> None:
    of = model(outputs=(tensor("features"), tensor("logits", 10)))
    problems = found(spec(task={"kind": "classification", "output": output}), of)
    assert (problems == ()) == fits
    assert all(problem.pointer.startswith("/task") for problem in problems if problem.code != "data_mismatch")


def test_only_floats_can_be_scored() -> None:
    assert only(found(of=model(outputs=(tensor("0", 10, dtype="int64"),)))).pointer == "/task/output"


def test_one_example_cannot_be_split() -> None:
    one = DatasetInspection(
        format="npz",
        examples=1,
        arrays=tuple(a.model_copy(update={"shape": (1, *a.shape[1:])}) for a in dataset().arrays),
    )
    assert only(found(train=one)).pointer == "/data/validation"
    apart = spec(data={"validation": VALIDATION})
    assert fit.findings(apart, model(), {TRAIN: one, VALIDATION: one}) == ()


def test_every_data_set_is_judged_once_where_it_is_named() -> None:
    bad = dataset(array("x", 3, 8))
    wanted = spec(data={"test": TEST, "validation": VALIDATION})
    problems = fit.findings(wanted, model(), {TRAIN: dataset(), TEST: bad, VALIDATION: bad})
    assert [problem.pointer for problem in problems] == ["/data/validation", "/data/test"]
    again = spec(data={"test": TRAIN, "validation": TRAIN})
    assert only(fit.findings(again, model(), {TRAIN: bad})).pointer == "/data/train"


@pytest.mark.parametrize(
    ("layers", "pointer"),
    [
        ({"include": ["*", "c.*"]}, "/prune/layers/include/1"),
        ({"exclude": ["c.*"]}, "/prune/layers/exclude/0"),
        ({"override": {"c/d~": 0.5}}, "/prune/layers/override/c~1d~0"),
        ({"exclude": ["*"]}, "/prune/layers"),
    ],
)
def test_patterns_that_match_nothing(layers: dict[str, Any], pointer: str) -> None:
    wanted = spec(prune={"layers": layers})
    assert only(found(wanted)).pointer == pointer
    with pytest.raises(NothingMatches):
        fit.require_fit(wanted, model(), {TRAIN: dataset()})


def test_batch_sizes_that_the_model_does_not_take() -> None:
    of = model(batch=Batch(kind="dynamic", minimum=2, maximum=16))
    wanted = spec(finalize={"latency": {"batch_sizes": [1, 2, 16, 17]}})
    problems = found(wanted, of)
    assert [problem.pointer for problem in problems] == [
        "/finalize/latency/batch_sizes/0",
        "/finalize/latency/batch_sizes/3",
    ]
    assert "2 to 16" in problems[0].message
    assert found(spec(finalize={"latency": None}), of) == ()


@pytest.mark.parametrize(("sizes", "fits"), [(None, True), ([1, 32], True), ([1], False), ([32, 1], False)])
def test_the_usual_batch_sizes_are_nobodys_mistake(sizes: list[int] | None, fits: bool) -> None:
    of = model(batch=Batch(kind="dynamic", minimum=2, maximum=16))
    wanted = spec(finalize={} if sizes is None else {"latency": {"batch_sizes": sizes}})
    for one in (wanted, JobSpec.model_validate_json(wanted.model_dump_json())):  # as it comes back from the record
        assert (found(one, of) == ()) == fits


@pytest.mark.parametrize(
    ("bounds", "length", "expected"),
    [
        ((1, 8), 8, None),
        ((1, 8), 9, "1 to 8 (length)"),
        ((4, None), 3, "4 or more (length)"),
        ((4, None), 4000, None),
    ],
)
def test_sizes_that_vary_stay_within_their_range(
    bounds: tuple[int, int | None], length: int, expected: str | None
) -> None:
    ids = tensor("ids", "length", dtype="int64").model_copy(update={"ranges": {"length": bounds, "batch": (1, 2)}})
    train = dataset(array("ids", length, dtype="int64"), labels())
    problems = found(of=model(inputs=(ids,)), train=train)
    if expected is None:
        assert problems == ()
    else:
        problem = only(problems)
        assert problem.code == "data_mismatch"
        assert all(word in problem.message for word in (expected, f"size {length}", "'ids'"))


@pytest.mark.parametrize(
    ("lowest", "highest", "fits"), [(0, 49, True), (0, 50, False), (-1, 3, False), (None, None, True), (50, 50, False)]
)
def test_indices_stay_within_their_table(lowest: float | None, highest: float | None, fits: bool) -> None:
    ids = tensor("ids", 4, dtype="int64").model_copy(update={"below": 50})
    train = dataset(array("ids", 4, dtype="int32", minimum=lowest, maximum=highest), labels())
    problems = found(of=model(inputs=(ids,)), train=train)
    assert (problems == ()) == fits
    if not fits:
        assert only(problems).code == "data_mismatch"
        assert all(word in only(problems).message for word in (f"{lowest} to {highest}", "0 to 49", "'ids'"))


def test_inspections_of_earlier_versions_are_read() -> None:
    fields = model().model_dump(mode="json")
    for wanted in fields["inputs"]:
        del wanted["ranges"], wanted["below"]
    assert ModelInspection.model_validate(fields) == model()


def test_several_kinds_of_problems_are_one_invalid_spec() -> None:
    wanted = spec(prune={"layers": {"include": ["nothing"]}}, data={"target": "nowhere"})
    with pytest.raises(InvalidSpec) as refused:
        fit.require_fit(wanted, model(), {TRAIN: dataset()})
    assert type(refused.value) is InvalidSpec
    assert {error["code"] for error in refused.value.context["errors"]} == {"data_mismatch", "nothing_matches"}
    with pytest.raises(DataMismatch):
        fit.require_fit(spec(data={"target": "nowhere"}), model(), {TRAIN: dataset()})


sizes = st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1)), min_size=1, max_size=5)
amounts = st.floats(0, 1, exclude_max=True)


@given(sizes=sizes, amount=amounts, own=st.none() | amounts, scope=st.sampled_from(["global", "layer"]))
def test_the_forecast_counts_what_pruning_takes(
    sizes: list[tuple[int, float]], amount: float, own: float | None, scope: str
) -> None:
    layers = [layer(f"l{at}.weight", total, int(share * total)) for at, (total, share) in enumerate(sizes)]
    override = {} if own is None else {"l0.*": own}
    prune = {"target": {"kind": "sparsity", "amount": amount}, "scope": scope, "layers": {"override": override}}
    seen = forecast(spec(prune=prune), model(layers=tuple(layers)), {TRAIN: dataset()})
    single, common = (layers[:1], layers[1:]) if own is not None else ([], layers)
    pools = [(pool, amount) for pool in ([common] if scope == "global" else [[each] for each in common]) if pool]
    pools += [(single, own or 0.0)] if single else []
    expected = sum(
        max(round(share * sum(each.total for each in pool)), sum(each.zeros for each in pool)) for pool, share in pools
    )
    assert seen.zeros == expected
    assert (seen.weights, seen.examples, seen.rounds) == (sum(total for total, _ in sizes), 20, 5)
    assert seen.layers == tuple(each.name for each in layers)


@given(data=st.data())
def test_no_inspection_makes_it_stumble(data: st.DataObject) -> None:
    """Whatever an upload holds, there are findings or none, but no other error."""
    dims = st.lists(st.integers(0, 3) | st.sampled_from(["batch", "s"]), max_size=3).map(tuple)
    dtypes = st.sampled_from(["float32", "int64", "uint8", "bool", "complex64"])
    names = st.sampled_from(["x", "target", "y/~", ""])
    infos = st.lists(
        st.builds(
            TensorInfo,
            name=names,
            dtype=dtypes,
            shape=dims,
            ranges=st.just({"s": (2, 3)}) | st.just({}),
            below=st.none() | st.integers(0, 3),
        ),
        max_size=3,
    ).map(tuple)
    numbers = st.none() | st.floats(allow_nan=False)
    shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
    arrays = st.builds(ArrayInfo, name=names, dtype=dtypes, shape=shapes, minimum=numbers, maximum=numbers)
    of = model(inputs=data.draw(infos), outputs=data.draw(infos))
    train = DatasetInspection(
        format="npz", examples=data.draw(st.integers(0, 3)), arrays=tuple(data.draw(st.lists(arrays, max_size=3)))
    )
    wanted = spec(task={"kind": data.draw(st.sampled_from(["classification", "regression"]))})
    problems = fit.findings(wanted, of, {TRAIN: train})
    refused: list[SecateurError] = []
    try:
        fit.require_fit(wanted, of, {TRAIN: train})
    except SecateurError as error:
        refused.append(error)
    assert [len(error.context["errors"]) for error in refused] == ([len(problems)] if problems else [])


def test_messages_stay_short_whatever_an_upload_holds() -> None:
    wide = model(inputs=tuple(tensor(f"{index:04}" * 50, 3) for index in range(500)))
    long = dataset(*(array("x" * 1000 + str(index), 3) for index in range(1000)))
    problems = found(of=wide, train=long)
    assert len(problems) == fit.FINDINGS_SHOWN
    assert sum(len(problem.message) for problem in problems) < 1_000_000


def unlabelled(**fields: Any) -> JobSpec:
    return spec(task={"kind": "distillation_only", **fields})


@pytest.mark.parametrize("like", ["classification", "regression"])
@pytest.mark.parametrize("target", [(), (array("target", 7, dtype="bool"),), (array("target", finite=False),)])
def test_without_labels_whatever_else_is_there_is_not_looked_at(like: str, target: tuple[ArrayInfo, ...]) -> None:
    assert found(unlabelled(like=like), train=dataset(array("x", 3, 8), *target)) == ()


def test_without_labels_the_inputs_are_looked_at_all_the_same() -> None:
    assert only(found(unlabelled(), train=dataset(array("image", 3, 8)))).code == "data_mismatch"


@pytest.mark.parametrize(
    ("like", "shape", "pointer", "told"),
    [
        ("classification", (), "/task", "(examples, classes, ...)"),
        ("classification", (1,), "/task/like", '"regression"'),
        ("tokens", (7,), "/task", "(examples, positions, classes)"),
        ("tokens", (7, 1), "/task/like", '"regression"'),
    ],
)
def test_an_output_on_which_any_two_networks_agree(like: str, shape: tuple[int, ...], pointer: str, told: str) -> None:
    lone = model(outputs=(tensor("0", *shape),))
    problem = only(found(unlabelled(like=like), of=lone, train=dataset(array("x", 3, 8))))
    assert (problem.code, problem.pointer) == ("data_mismatch", pointer)
    assert told in problem.message
    assert found(unlabelled(like="regression"), of=lone, train=dataset(array("x", 3, 8))) == ()


def test_classes_along_the_last_axis() -> None:
    wordy = model(outputs=(tensor("0", 1, 9),))
    assert found(unlabelled(like="tokens"), of=wordy, train=dataset(array("x", 3, 8))) == ()
