"""Transforms equal a plain loop over single pictures, and what is random is so in training alone, by the example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from safetensors.torch import save_file

from secateur.errors import DataMismatch
from secateur.inspection import TensorInfo
from secateur.pictures import shape_after
from secateur.spec.transforms import Transform
from worker.recovery.data import Dataset
from worker.recovery.order import uniform
from worker.recovery.transforms import Draws, transform

TRANSFORM: TypeAdapter[Any] = TypeAdapter(Transform)
NORMALIZE = {"kind": "normalize", "mean": [0.1, 0.2, 0.3], "std": [0.5, 1.0, 2.0]}
KEY = (5, 1, 2)


def steps(*raw: dict[str, Any]) -> list[tuple[int, Any]]:
    return list(enumerate(map(TRANSFORM.validate_python, raw)))


def pictures(number: int, *shape: int) -> torch.Tensor:
    return torch.rand(number, *shape, generator=torch.Generator().manual_seed(number))


def test_normalize_is_the_formula() -> None:
    x = pictures(4, 3, 2, 5)
    expected = torch.stack([(x[:, c] - m) / s for c, m, s in ((0, 0.1, 0.5), (1, 0.2, 1.0), (2, 0.3, 2.0))], dim=1)
    torch.testing.assert_close(transform(x, steps(NORMALIZE), np.arange(4), None), expected)


@settings(deadline=None, max_examples=40)
@given(
    sides=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    padding=st.integers(0, 3),
    cut=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    seed=st.integers(0, 100),
)
def test_a_random_crop_is_a_window_of_the_padded_picture(
    sides: tuple[int, int], padding: int, cut: tuple[int, int], seed: int
) -> None:
    x, indices = pictures(6, 2, *sides), np.array([9, 0, 3, 3, 7, 1])
    size = [max(1, side + 2 * padding - less) for side, less in zip(sides, cut, strict=True)]
    step = steps({"kind": "random_crop", "size": size, "padding": padding})
    cropped = transform(x, step, indices, Draws(10, seed))
    ups, lefts = uniform(10, seed, 0, 0), uniform(10, seed, 0, 1)
    for row, index in enumerate(indices):
        padded = torch.zeros(2, sides[0] + 2 * padding, sides[1] + 2 * padding)
        padded[:, padding : padding + sides[0], padding : padding + sides[1]] = x[row]
        top = int(ups[index] * (padded.shape[1] - size[0] + 1))
        left = int(lefts[index] * (padded.shape[2] - size[1] + 1))
        assert torch.equal(cropped[row], padded[:, top : top + size[0], left : left + size[1]])
    assert cropped.shape == shape_after(step[0][1], tuple(x.shape))
    assert cropped.is_contiguous()


def test_every_place_of_a_crop_is_as_likely_as_the_others() -> None:
    numbers = torch.arange(25.0).reshape(1, 1, 5, 5).expand(5000, 1, 5, 5)
    step = steps({"kind": "random_crop", "size": [3, 3]})
    corners = transform(numbers, step, np.arange(5000), Draws(5000, 0))[:, 0, 0, 0]
    counts = np.unique_counts(corners.numpy()).counts
    assert len(counts) == 9
    assert abs(counts - 5000 / 9).max() < 5 * np.sqrt(5000 / 9)


def test_each_picture_is_flipped_by_its_own_chance() -> None:
    x, indices = pictures(200, 1, 2, 3), np.arange(200)[::-1].copy()
    flipped = transform(x, steps({"kind": "horizontal_flip", "p": 0.3}), indices, Draws(200, *KEY))
    chances = uniform(200, *KEY, 0, 0)[indices]
    for row in range(200):
        assert torch.equal(flipped[row], x[row].flip(2) if chances[row] < 0.3 else x[row])
    assert 30 < (chances < 0.3).sum() < 90


@pytest.mark.parametrize("size", [(4, 9), (3, 3), (7, 2)])
def test_resize_weighs_by_a_triangle_as_wide_as_a_new_pixel(size: tuple[int, int]) -> None:
    x = pictures(3, 2, 7, 5)

    def weights(old: int, new: int) -> torch.Tensor:
        scale = old / new
        centers = (torch.arange(new) + 0.5) * scale
        far = (torch.arange(old)[None, :] + 0.5 - centers[:, None]) / max(scale, 1)
        raw = (1 - far.abs()).clamp(min=0)
        return raw / raw.sum(dim=1, keepdim=True)

    expected = torch.einsum("ih,nchw,jw->ncij", weights(7, size[0]), x, weights(5, size[1]))
    resized = transform(x, steps({"kind": "resize", "size": list(size)}), np.arange(3), None)
    torch.testing.assert_close(resized, expected, rtol=1e-4, atol=1e-5)


def test_outside_training_nothing_is_random() -> None:
    x, every = pictures(8, 3, 6, 6), np.arange(8)
    flip = {"kind": "horizontal_flip", "p": 1}
    pad = {"kind": "random_crop", "padding": 2}
    assert torch.equal(transform(x, steps(flip, pad), every, None), x)
    small = transform(x, steps({"kind": "random_crop", "size": [2, 3], "padding": 1}, flip), every, None)
    assert torch.equal(small, x[:, :, 2:4, 1:4])  # rows 3 to 5 of 8 padded ones, columns 2 to 5


def test_the_order_of_the_list_is_the_order_of_the_work() -> None:
    x = torch.ones(2, 1, 2, 2)
    normalize = {"kind": "normalize", "mean": [1], "std": [1]}
    crop = {"kind": "random_crop", "size": [4, 4], "padding": 1}
    assert transform(x, steps(crop, normalize), np.arange(2), None).min() == -1
    assert transform(x, steps(normalize, crop), np.arange(2), None).abs().max() == 0


RANDOM = [{"kind": "random_crop", "padding": 2}, {"kind": "horizontal_flip"}]


def test_what_an_example_gets_depends_on_key_and_example_alone() -> None:
    x = pictures(30, 1, 5, 5)
    whole = transform(x, steps(*RANDOM), np.arange(30), Draws(30, *KEY))
    draws = Draws(30, *KEY)
    for part in (np.arange(20, 30), np.array([4, 2]), np.array([25])):
        assert torch.equal(transform(x[part], steps(*RANDOM), part, draws), whole[part])
    for other in ((5, 1, 3), (5, 2, 2), (6, 1, 2)):
        assert not torch.equal(transform(x, steps(*RANDOM), np.arange(30), Draws(30, *other)), whole)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes arrays and opens them for a program with one input x."""

    def make(x: torch.Tensor, shape: tuple[int | str, ...], *raw: dict[str, Any], dtype: str = "float32") -> Dataset:
        save_file({"x": x, "target": torch.arange(len(x))}, tmp_path / "d")
        wanted = TensorInfo(name="x", dtype=dtype, shape=shape)
        return Dataset.open(tmp_path / "d", {}, "target", [wanted], [step for _, step in steps(*raw)])

    return make


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_bytes_are_divided_first_and_the_programs_dtype_comes_last(opened: Callable[..., Dataset], dtype: str) -> None:
    x = (pictures(6, 3, 4, 4) * 255).to(torch.uint8)
    dataset = opened(x, ("batch", 3, 4, 4), NORMALIZE, dtype=dtype)
    (seen,) = dataset.all().inputs(np.array([5, 2]))
    mean, std = (torch.tensor(NORMALIZE[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(seen, ((x[[5, 2]].float() / 255 - mean) / std).to(getattr(torch, dtype)))


def test_only_training_draws(opened: Callable[..., Dataset]) -> None:
    x = pictures(30, 3, 4, 4)
    subset = opened(x, ("batch", 3, 4, 4), *RANDOM).all()
    positions = np.arange(30)
    (plain,), _ = subset.batch(positions)
    (drawn,) = subset.inputs(positions, subset.draws(*KEY))
    assert torch.equal(plain, x)
    assert not torch.equal(drawn, x)


def test_shapes_are_judged_after_the_transforms(opened: Callable[..., Dataset]) -> None:
    x = pictures(5, 1, 9, 7)
    resize = {"kind": "resize", "size": [4, 6]}
    (seen,) = opened(x, ("batch", 1, 4, 6), resize).all().inputs(np.arange(5))
    assert seen.shape == (5, 1, 4, 6)
    with pytest.raises(DataMismatch, match=r"\(5, 1, 4, 6\) after its transforms"):
        opened(x, ("batch", 1, 9, 7), resize)
