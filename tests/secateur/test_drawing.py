"""Figures as people read them."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from app import examples
from secateur.cli.drawing import figure
from secateur.cli.table import difference
from secateur.report import SHARES, Metric, MetricName


@pytest.mark.parametrize(
    ("name", "value", "drawn", "far"),
    [
        ("accuracy", 0.5, "50.00%", "-20.00 points"),
        ("macro_f1", 0.5, "50.00%", "-20.00 points"),
        ("mean_iou", 0.5, "50.00%", "-20.00 points"),
        ("rmse", 2.5, "2.5", "+1.8"),
        ("perplexity", 20.7, "20.7", "+20"),
    ],
)
def test_shares_are_percent_and_all_else_are_numbers(name: Any, value: float, drawn: str, far: str) -> None:
    metric = Metric.model_validate({**examples.REPORT["metric"], "name": name, "dense": 0.7})
    assert figure(value, name) == drawn
    assert difference(value, metric) == far


def test_every_share_is_a_metric() -> None:
    assert set(get_args(MetricName)) >= SHARES
