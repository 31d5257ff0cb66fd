from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from secateur.report import Report, Round, Ticket
from tests.store.samples import report as sample
from tests.store.samples import spec
from worker.reports import figure

PLAIN = [Round(round=i, sparsity=s, pruned=0.5, recovered=0.9 - i / 10, epochs=1, best_epoch=1) for i, s in
         ((1, 0.5), (2, 0.75))]  # fmt: skip
WITHOUT_NUMBERS = [Round(round=1, units_removed=0.5, pruned=None, recovered=None, epochs=0, best_epoch=0)]


def with_tickets() -> list[Round]:
    found = [Ticket(ticket=0.9, random_reinit=0.8, random_mask=0.7), Ticket(ticket=0.9, random_reinit=None)]
    return [each.model_copy(update={"ticket": ticket}) for each, ticket in zip(PLAIN, found, strict=True)]


@pytest.fixture
def report() -> Report:
    return sample(spec("mdl_01K00000000000000000000000", "dst_01K00000000000000000000000"))


@pytest.mark.parametrize(
    ("rounds", "lines"),
    [
        (PLAIN, {"recovered": [0.8, 0.7], "pruned, before its training": [0.5, 0.5]}),
        (
            with_tickets(),
            {
                "dense network": [0.9, 0.9],
                "lottery ticket": [0.9, 0.9],
                "same mask, values drawn anew": [0.8],
                "random mask, initial values": [0.7],
            },
        ),
        (WITHOUT_NUMBERS, {}),
        ([], {}),
    ],
)
def test_every_number_of_the_rounds_is_drawn(
    rounds: list[Round], lines: dict[str, list[float]], report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[float]] = {}
    plot, line = Axes.plot, Axes.axhline

    def seen(self: Axes, across: list[float], up: list[float], **how: object) -> object:
        drawn[str(how["label"])] = [round(value, 6) for value in up]
        return plot(self, across, up, **how)

    def across(self: Axes, height: float, **how: object) -> object:
        drawn[str(how["label"])] = [height, height]
        return line(self, height, **how)

    monkeypatch.setattr(Axes, "plot", seen)
    monkeypatch.setattr(Axes, "axhline", across)
    figure.draw(report.model_copy(update={"rounds": tuple(rounds)}), tmp_path / "metric.png")
    assert drawn == lines
    assert imread(tmp_path / "metric.png").shape == (660, 1050, 4)
