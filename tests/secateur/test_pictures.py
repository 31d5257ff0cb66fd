"""What the door says of transforms that do not fit the model or the data."""

from __future__ import annotations

from typing import Any

import pytest

from secateur.inspection import ArrayInfo, DatasetInspection, ModelInspection, TensorInfo
from tests.secateur.fitting import array, dataset, found, labels, model, only, spec, tensor
from tests.secateur.spec.refusals import problems

NORMALIZE = {"kind": "normalize", "mean": [0.5] * 3, "std": [0.25] * 3}
FLIP = {"kind": "horizontal_flip"}
CROP = {"kind": "random_crop", "padding": 4}


def resize(*size: int) -> dict[str, Any]:
    return {"kind": "resize", "size": list(size)}


def crop(*size: int, padding: int = 0) -> dict[str, Any]:
    return {"kind": "random_crop", "size": list(size), "padding": padding}


def judged(
    *transforms: dict[str, Any],
    sides: tuple[int, int] = (32, 32),
    inputs: tuple[TensorInfo, ...] = (tensor("x", 3, 32, 32),),
    more: tuple[ArrayInfo, ...] = (),
    outputs: tuple[TensorInfo, ...] = (tensor("0", 10),),
) -> Any:
    of: ModelInspection = model(inputs=inputs, outputs=outputs)
    train: DatasetInspection = dataset(array("x", 3, *sides, dtype="uint8"), *more, labels())
    return found(spec(data={"transforms": transforms}), of, train)


@pytest.mark.parametrize(
    ("transforms", "sides"),
    [
        ((NORMALIZE, CROP, FLIP), (32, 32)),
        ((resize(32, 32),), (28, 40)),
        ((crop(32, 32),), (40, 36)),
        ((crop(32, 32, padding=2),), (28, 30)),
        ((resize(40, 40), crop(32, 32), FLIP, NORMALIZE), (100, 64)),
        ((crop(20, 20), resize(32, 32)), (28, 28)),
    ],
)
def test_what_ends_in_the_shape_of_the_input_fits(transforms: Any, sides: tuple[int, int]) -> None:
    assert judged(*transforms, sides=sides) == ()


@pytest.mark.parametrize(
    ("transforms", "sides", "says"),
    [
        ((NORMALIZE,), (28, 28), "(20, 3, 28, 28)"),
        ((resize(28, 28),), (32, 32), "(20, 3, 28, 28)"),
        ((crop(28, 28),), (32, 32), "(20, 3, 28, 28)"),
        ((crop(32, 32, padding=1),), (28, 32), "pad more"),
        ((resize(30, 32), crop(32, 32)), (40, 40), "resize first"),
    ],
)
def test_pictures_of_another_size_are_refused(transforms: Any, sides: tuple[int, int], says: str) -> None:
    problem = only(judged(*transforms, sides=sides))
    assert (problem.code, problem.pointer) == ("data_mismatch", "/data/train")
    assert says in problem.message


@pytest.mark.parametrize("channels", [1, 4])
def test_normalize_has_a_mean_for_every_channel(channels: int) -> None:
    step = {"kind": "normalize", "mean": [0.0] * channels, "std": [1.0] * channels}
    problem = only(judged(FLIP, step))
    assert problem.pointer == "/data/transforms/1/mean"
    assert f"{channels} means" in problem.message
    assert "3 channels" in problem.message


def test_among_several_pictures_one_is_named() -> None:
    inputs = (tensor("x", 3, 32, 32), tensor("depth", 1, 32, 32))
    more = (array("depth", 1, 32, 32),)
    problem = only(judged(FLIP, inputs=inputs, more=more))
    assert problem.pointer == "/data/transforms/0/input"
    assert all(word in problem.message for word in ("'x'", "'depth'", "`input`"))
    assert judged({**FLIP, "input": "depth"}, inputs=inputs, more=more) == ()
    words = (tensor("x", 3, 32, 32), tensor("words", 8, dtype="int64"))
    assert judged(FLIP, inputs=words, more=(array("words", 8, dtype="int64", minimum=0, maximum=9),)) == ()


@pytest.mark.parametrize(
    ("name", "says"), [("image", "no input 'image'; it has 'x', 'row'"), ("row", "'row' is float32 (batch, 8)")]
)
def test_a_transform_names_an_input_with_pictures(name: str, says: str) -> None:
    inputs = (tensor("x", 3, 32, 32), tensor("row", 8))
    problem = only(judged({**FLIP, "input": name}, inputs=inputs, more=(array("row", 8),)))
    assert problem.pointer == "/data/transforms/0/input"
    assert says in problem.message


def test_without_pictures_there_is_nothing_to_transform() -> None:
    problem = only(found(spec(data={"transforms": [NORMALIZE]})))
    assert problem.pointer == "/data/transforms/0/input"
    assert "no input holds any" in problem.message


def test_an_array_that_is_no_picture_is_refused() -> None:
    of = model(inputs=(tensor("x", 3, 32, 32),))
    problem = only(found(spec(data={"transforms": [resize(32, 32)]}), of, dataset(array("x", 32, 32), labels())))
    assert "resize needs pictures" in problem.message


@pytest.mark.parametrize("moving", [FLIP, CROP])
def test_pictures_are_not_moved_away_from_their_maps(moving: dict[str, Any]) -> None:
    of = model(inputs=(tensor("x", 3, 32, 32),), outputs=(tensor("0", 10, 32, 32),))
    train = dataset(array("x", 3, 40, 40), labels(32, 32))
    problem = only(found(spec(data={"transforms": [resize(32, 32), moving]}), of, train))
    assert (problem.code, problem.pointer) == ("invalid_spec", "/data/transforms/1")
    unlabelled = spec(data={"transforms": [resize(32, 32), moving]}, task={"kind": "distillation_only"})
    assert found(unlabelled, of, train) == ()


@pytest.mark.parametrize(
    ("transform", "where", "says"),
    [
        ({"kind": "normalize", "mean": [0.0], "std": [1.0, 1.0]}, "", "one of each a channel"),
        ({"kind": "normalize", "mean": [0.0], "std": [0.0]}, ".std.0", "greater than 0"),
        ({"kind": "normalize", "mean": [float("nan")], "std": [1.0]}, ".mean.0", "finite"),
        ({"kind": "normalize", "mean": [], "std": []}, ".mean", "at least 1"),
        ({"kind": "random_crop"}, "", "give one of them"),
        ({"kind": "random_crop", "size": [0, 4]}, ".size.0", "greater than or equal to 1"),
        ({"kind": "resize", "size": [4]}, ".size.1", "required"),
        ({"kind": "resize", "size": [4, 100_000]}, ".size.1", "less than or equal"),
        ({"kind": "horizontal_flip", "p": 0}, ".p", "greater than 0"),
        ({"kind": "rotate"}, "", "horizontal_flip"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_spec(transform: dict[str, Any], where: str, says: str) -> None:
    train = "dst_" + "0" * 26
    problem = problems(data={"train": train, "transforms": [transform]})[0]
    assert problem[0] == f"data.transforms.0{where}"
    assert says in problem[1]
