"""Which layers a spec's patterns choose."""

from __future__ import annotations

from typing import Any

import pytest

from secateur.errors import NothingMatches
from secateur.layers import choose

NAMES = [
    "conv1.weight",
    "layer1.0.conv.weight",
    "layer1.1.conv.weight",
    "layer2.0.conv.weight",
    "Fc.weight",
    "fc.weight",
]


def test_everything_by_default_in_the_order_of_the_model() -> None:
    assert choose(NAMES) == dict.fromkeys(NAMES)


def test_exclude_beats_include_and_case_counts() -> None:
    assert list(choose(NAMES, include=["layer1.*", "fc.*"], exclude=["*.1.*"])) == ["layer1.0.conv.weight", "fc.weight"]


def test_the_last_override_that_matches_wins() -> None:
    chosen = choose(NAMES, override={"*": 0.1, "layer?.*": 0.2, "layer2.*": 0.3})
    assert list(chosen.values()) == [0.1, 0.2, 0.2, 0.3, 0.1, 0.1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"include": ["conv1.*", "typo.*"]},
        {"exclude": ["typo.*"]},
        {"override": {"typo.*": 0.5}},
        {"exclude": ["conv1.weight"], "override": {"typo.*": 0.5}},
    ],
)
def test_a_pattern_that_matches_nothing_is_named_with_names_that_there_are(arguments: dict[str, Any]) -> None:
    with pytest.raises(NothingMatches) as caught:
        choose(NAMES, **arguments)
    assert "'typo.*'" in caught.value.message
    assert "layer1.0.conv.weight" in caught.value.message
    assert caught.value.context["pattern"] == "typo.*"


def test_an_override_of_what_is_excluded_is_refused() -> None:
    with pytest.raises(NothingMatches, match="override"):
        choose(NAMES, exclude=["fc.*"], override={"fc.weight": 0.5})


def test_nothing_left_is_refused() -> None:
    with pytest.raises(NothingMatches, match="nothing to prune"):
        choose(NAMES, exclude=["*"])


def test_a_model_without_prunable_layers_is_refused() -> None:
    with pytest.raises(NothingMatches, match="the model has none"):
        choose([])
