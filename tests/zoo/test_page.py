"""The page counts what passed, and hides neither a failure nor a difference."""

from __future__ import annotations

from benchmarks.zoo.page import page
from benchmarks.zoo.row import EXPORT_REFUSES, FAILS, PASSES, Row

SECONDS = {"export": 1.0, "label": 0.5, "units": 0.25, "surgery": 0.125}


def passed(name: str, **more: object) -> Row:
    """A row of a network that passed."""
    known = {"verdict": PASSES, "units": 8, "expected": 8, "share": 0.95, "parameters": (4_000_000, 1_000_000),
             "macs": (8, 2), "counted": (8, 2), "seconds": SECONDS, "tolerance": 1e-9}  # fmt: skip
    return Row(name, **{**known, **more})


def test_the_sums_are_those_of_the_rows() -> None:
    refused = Row("torchvision/ssd", verdict=EXPORT_REFUSES, stage="export", cause="a | b")
    failed = Row("timm/odd", verdict=FAILS, stage="proof", cause="the proof does not hold")
    text = page([passed("torchvision/resnet18"), refused, failed], 5)
    assert "**1 of 2 networks that torch.export accepts pass**; 1 of 3 are refused" in text
    assert "2 of 5 names were not tried" in text
    assert "* timm/odd, at proof: the proof does not hold" in text
    assert "export refuses (export): a \\| b" in text
    assert "4 M -> 1 M" in text
    assert "Labels and units take 0.8 s at most (torchvision/resnet18)" in text


def test_families_show_their_least_share() -> None:
    text = page([passed("torchvision/resnet18"), passed("torchvision/resnet34", share=0.91)], 2)
    assert "| ResNet | 2 | 0.9100 |" in text
    assert "| VGG | 0 | not tried |" in text


def test_counts_that_differ_from_those_of_torch_are_listed() -> None:
    text = page([passed("timm/a"), passed("timm/b", counted=(8, 3))], 2)
    assert "Of 2 networks 1 have" in text
    assert "* timm/b: 8 and 2; torch counts 8 and 3" in text


def test_more_units_than_expected_and_float32_are_marked() -> None:
    text = page([passed("timm/a", units=9, tolerance=1e-5, error=4e-7)], 1)
    assert "| a | 9 (>= 8) |" in text
    assert "4e-07 (float32)" in text
