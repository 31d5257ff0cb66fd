"""What the door says of outputs and labels that do not have the form that the task needs."""

from __future__ import annotations

from typing import Any

import pytest

from secateur.inspection import ArrayInfo, TensorInfo
from tests.secateur.fitting import array, dataset, found, labels, model, only, spec, tensor
from tests.secateur.spec.refusals import problems

TUNED = {"kind": "fine_tune", "learning_rate": 0.01}


def judged(task: dict[str, Any], output: TensorInfo, target: ArrayInfo) -> Any:
    wanted = spec(task=task, recover=TUNED)
    return found(wanted, model(outputs=(output,)), dataset(array("x", 3, 8), target))


def lm(kind: str) -> dict[str, Any]:
    return {"kind": kind}


TOKENS = tensor("0", "length", 10)
MAPS = tensor("0", 10, 16, 16)


@pytest.mark.parametrize(
    ("kind", "output", "target"),
    [
        ("causal_lm", TOKENS, labels(12)),
        ("masked_lm", TOKENS, labels(12)),
        ("token_classification", TOKENS, labels(12)),
        ("token_classification", tensor("0", 12, 10), labels(12)),
        ("segmentation", MAPS, labels(16, 16)),
        ("segmentation", tensor("0", 10, "h", "w"), labels(16, 16)),
    ],
)
def test_what_fits_fits(kind: str, output: TensorInfo, target: ArrayInfo) -> None:
    assert judged(lm(kind), output, target) == ()


@pytest.mark.parametrize(
    ("kind", "output", "target", "says"),
    [
        ("causal_lm", tensor("0", 10), labels(), "(examples, positions, tokens) is expected"),
        ("masked_lm", MAPS, labels(16, 16), "(examples, positions, tokens) is expected"),
        ("token_classification", tensor("0", 10), labels(), "(examples, positions, classes) is expected"),
        ("segmentation", TOKENS, labels(12), "(examples, classes, height, width) is expected"),
        ("causal_lm", tensor("0", 1, 10), labels(1), "needs at least 2"),
    ],
)
def test_outputs_of_another_form_are_refused(kind: str, output: TensorInfo, target: ArrayInfo, says: str) -> None:
    problem = judged(lm(kind), output, target)[0]
    assert (problem.code, problem.pointer) == ("data_mismatch", "/task")
    assert says in problem.message


@pytest.mark.parametrize(
    ("kind", "output", "target", "says"),
    [
        ("causal_lm", tensor("0", 12, 10), labels(11), "(examples, 12) is expected"),
        ("masked_lm", tensor("0", 12, 10), labels(), "(examples, 12) is expected"),
        ("token_classification", TOKENS, labels(12, dtype="float32"), "integer labels is expected"),
        ("segmentation", MAPS, labels(16, 15), "(examples, 16, 16) is expected"),
        ("segmentation", MAPS, labels(10, 16, 16), "(examples, 16, 16) is expected"),
        ("token_classification", TOKENS, labels(12, maximum=10), "0 to 9 is expected (or -100"),
        ("segmentation", MAPS, labels(16, 16, maximum=10), "0 to 9 is expected (or -100 or 255"),
    ],
)
def test_labels_of_another_form_are_refused(kind: str, output: TensorInfo, target: ArrayInfo, says: str) -> None:
    problem = only(judged(lm(kind), output, target))
    assert problem.pointer == "/data/train"
    assert says in problem.message


@pytest.mark.parametrize(
    ("ignore", "lowest", "highest", "fits"),
    [
        (255, (0, 1), (9, 255), True),
        (255, (0, 1), (10, 255), False),
        (-1, (-1, 0), (8, 9), True),
        (-1, (-2, -1), (8, 9), False),
        (254, (0, 1), (9, 255), False),
        (255, (255, None), (None, 255), False),
        (255, (4, None), (None, 4), True),
        (-100, (0, 1), (8, 9), True),
        (255, (4, 255), (4, 255), True),
        (255, (0, None), (None, 255), True),  # an inspection of an earlier version
    ],
)
def test_the_ignored_label_is_left_out_of_the_range(ignore: int, lowest: Any, highest: Any, fits: bool) -> None:
    ends = {"minimum": lowest[0], "next_minimum": lowest[1], "next_maximum": highest[0], "maximum": highest[1]}
    target = array("target", 16, 16, dtype="int64", **ends)
    problems = judged({"kind": "segmentation", "ignore_label": ignore}, MAPS, target)
    assert (problems == ()) is fits
    assert all(problem.pointer == "/data/train" for problem in problems)


def test_an_ignored_label_is_no_class() -> None:
    problem = only(judged({"kind": "segmentation", "ignore_label": 9}, MAPS, labels(16, 16, maximum=8)))
    assert problem.pointer == "/task/ignore_label"


def test_a_mean_is_taken_over_so_many_classes() -> None:
    output = tensor("0", 12, 1025)
    assert only(judged(lm("token_classification"), output, labels(12))).pointer == "/task/kind"
    assert judged(lm("masked_lm"), output, labels(12)) == ()


@pytest.mark.parametrize(("weights", "fits"), [([1.0] * 10, True), ([1.0] * 9, False), ("balanced", True)])
@pytest.mark.parametrize(
    ("kind", "output", "target"),
    [
        ("classification", tensor("0", 10), labels()),
        ("token_classification", TOKENS, labels(12)),
        ("segmentation", MAPS, labels(16, 16)),
    ],
)
def test_there_is_a_weight_for_every_class(
    kind: str, output: TensorInfo, target: ArrayInfo, weights: Any, fits: bool
) -> None:
    problems = judged({"kind": kind, "class_weights": weights}, output, target)
    assert [problem.pointer for problem in problems] == ([] if fits else ["/task/class_weights"])
    assert all("9 class weights" in problem.message and "10 classes" in problem.message for problem in problems)


def test_classes_without_a_number_have_no_weights() -> None:
    task = {"kind": "classification", "class_weights": "balanced"}
    assert only(judged(task, tensor("0", "classes"), labels())).pointer == "/task/class_weights"


def test_the_ids_themselves_are_the_labels_of_causal_lm() -> None:
    ids = array("ids", 12, dtype="int64", minimum=0, maximum=9)
    of = model(inputs=(tensor("ids", "length", dtype="int64"),), outputs=(TOKENS,))
    problem = only(found(spec(task=lm("causal_lm")), of, dataset(ids)))
    assert "that of the token ids in data.target" in problem.message
    assert found(spec(task=lm("causal_lm"), data={"target": "ids"}), of, dataset(ids)) == ()


@pytest.mark.parametrize(
    ("task", "where", "says"),
    [
        ({"kind": "regression", "class_weights": "balanced"}, "task.class_weights", "not permitted"),
        ({"kind": "causal_lm", "class_weights": "balanced"}, "task.class_weights", "not permitted"),
        ({"kind": "classification", "class_weights": [1.0, 0.0]}, "task.class_weights.1", "greater than"),
        ({"kind": "segmentation", "ignore_label": 2**31}, "task.ignore_label", "less than"),
        ({"kind": "detection"}, "task", "segmentation"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_spec(task: dict[str, Any], where: str, says: str) -> None:
    assert any(at == where and says in message for at, message in problems(task=task)), problems(task=task)


def test_weights_without_training_are_refused() -> None:
    task = {"kind": "classification", "class_weights": "balanced"}
    ((where, told),) = problems(task=task, recover={"kind": "none"})
    assert where == "recover"
    assert "leave them out" in told
