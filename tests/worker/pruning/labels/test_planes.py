"""Planes: what they vary along, and what they say."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from worker.pruning.labels.planes import Plane, along_axis

SMALL = arrays("int64", st.tuples(*[st.integers(1, 3)] * 3), elements=st.integers(0, 2))


@given(SMALL)
def test_a_plane_says_what_its_tensor_says_and_has_stride_0_where_that_is_constant(array) -> None:
    labels = torch.from_numpy(array.copy())
    plane = Plane(labels)
    assert torch.equal(plane.tensor, labels)
    for axis in range(3):
        constant = torch.equal(labels, labels.narrow(axis, 0, 1).expand_as(labels))
        assert (axis in plane.axes) == (not constant)
    assert torch.equal(plane.core.expand(labels.shape), labels)
    assert plane.labels().tolist() == sorted(set(labels.reshape(-1).tolist()))


@given(SMALL, SMALL)
def test_planes_are_equal_when_their_tensors_are(one, other) -> None:
    ours, theirs = Plane(torch.from_numpy(one.copy())), Plane(torch.from_numpy(other.copy()))
    if ours.tensor.shape == theirs.tensor.shape:
        assert ours.equals(theirs) == torch.equal(ours.tensor, theirs.tensor)


def test_a_line_of_labels_lies_along_its_axis() -> None:
    plane = along_axis(torch.tensor([4, 5, 6]), 1, (2, 3, 2))
    assert plane.axes == {1}
    assert plane.along(1).tolist() == [4, 5, 6]
    assert torch.equal(plane.tensor[1, :, 1], torch.tensor([4, 5, 6]))
    assert plane.tensor.untyped_storage().nbytes() == 3 * 8


SHAPES = [(2, 3, 4), (6, 4), (2, 12), (24,), (2, 3, 2, 2), (4, 6), (1, 24), (2, 1, 3, 4, 1), (3, 8), (8, 3)]


@given(st.sampled_from(SHAPES), st.sampled_from(SHAPES), st.sets(st.integers(0, 4)))
def test_reshaping_a_plane_is_reshaping_its_labels(before, after, varying) -> None:
    cut = [size if axis in varying else 1 for axis, size in enumerate(before)]
    labels = torch.arange(torch.tensor(cut).prod()).view(cut).expand(before)
    assert torch.equal(Plane(labels).reshape(after).tensor, labels.reshape(after))
