"""What goes from each layer follows from its shape, and adds up to what is asked for."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur import erk

SHAPES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.lists(st.integers(1, 40), min_size=2, max_size=4),
    min_size=1,
    max_size=6,
)


@given(SHAPES, st.floats(0, 0.999))
def test_the_amounts_add_up_to_what_is_asked_for(shapes: dict[str, list[int]], amount: float) -> None:
    found = erk.amounts(shapes, amount)
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    assert sum(found[name] * size for name, size in sizes.items()) == pytest.approx(
        amount * sum(sizes.values()), abs=1e-9 * sum(sizes.values())
    )
    assert all(0 <= each < 1 for each in found.values())


@given(SHAPES, st.floats(0, 0.999))
def test_what_stays_is_in_proportion_to_sizes_over_product(shapes: dict[str, list[int]], amount: float) -> None:
    """Evci et al. 2020: densities of layers that are not whole are one number times (n_in + n_out + w + h) / size."""
    found = erk.amounts(shapes, amount)
    sparse = [name for name, each in found.items() if each > 0]
    scales = [(1 - found[name]) * prod(shapes[name]) / sum(shapes[name]) for name in sparse]
    assert scales == pytest.approx([scales[0]] * len(scales)) if scales else True
    whole = [sum(shapes[name]) / prod(shapes[name]) for name, each in found.items() if each == 0]
    assert all(scales[0] * ratio >= 1 - 1e-9 for ratio in whole) if scales else True


def test_a_known_network() -> None:
    """LeNet-300-100 at 90 %: 26,620 of 266,200 weights stay; more than all of the last layer would, so it is whole."""
    shapes = {"1": (300, 784), "2": (100, 300), "3": (10, 100)}
    found = erk.amounts(shapes, 0.9)
    scale = (26_620 - 1_000) / (1_084 + 400)
    assert found == pytest.approx({"1": 1 - scale * 1_084 / 235_200, "2": 1 - scale * 400 / 30_000, "3": 0.0})


def test_nothing_to_allocate() -> None:
    assert erk.amounts({}, 0.9) == {}
