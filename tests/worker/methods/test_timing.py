"""What units cost in time, on clocks that tell a time of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.spec import JobSpec
from tests.secateur.removal.chain import Chain, asked
from tests.worker.clocks import by_size
from tests.worker.jobs import order
from tests.worker.networks import CLASSES, Case, images, labels
from worker.bench import Bench, lay_out
from worker.methods import timing
from worker.methods.anatomy import Anatomy
from worker.methods.timing import FEWEST, MOST, Timing, half_of, timed_batch
from worker.order import JobOrder
from worker.program.inspection import inspect
from worker.program.program import Program
from worker.program.reader import read
from worker.reports.latency import WARM_UP


class Wide(nn.Module):
    """Twelve channels, seven neurons, and a decision."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.hidden, self.head = nn.Conv2d(1, 12, 3), nn.Linear(12, 7), nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(torch.relu(self.stem(x)).mean((2, 3)))))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> JobOrder:
    x = images(1, 6, 6)
    batch = torch.export.Dim("batch", min=1, max=16)
    case = Case(Wide().eval(), (x[:2],), {"x": x, "target": labels()}, dynamic=({0: batch},))
    target = {"kind": "max_accuracy_drop", "amount": 0.1, "minimise": "latency"}
    spec = {"prune": {"granularity": "unit", "target": target}, "finalize": {"latency": {"batch_sizes": [2]}}}
    return order(tmp_path_factory.mktemp("wide"), case, spec=spec)


@pytest.fixture(scope="module")
def bench(wanted: JobOrder) -> Bench:
    program = read(Path(wanted.model))
    return lay_out(wanted, inspect(program), program)


@pytest.fixture(scope="module")
def anatomy(wanted: JobOrder) -> Anatomy:
    return Anatomy(read(Path(wanted.model)))


def clocked(monkeypatch: pytest.MonkeyPatch, ms: Callable[[Program], float]) -> list[int]:
    """Time passes as `ms` says; how often each pair was run."""
    asked: list[int] = []

    def pairs(dense: Program, pruned: Program, inputs: Any, runs: int, *_: Any) -> tuple[list[float], list[float]]:
        asked.append(runs)
        return [ms(dense)] * runs, [ms(pruned)] * runs

    monkeypatch.setattr(timing, "time_pairs", pairs)
    return asked


def timed(anatomy: Anatomy, bench: Bench, notes: list[str]) -> timing.UnitTimes:
    prune: Any = bench.spec.prune.fixed
    return Timing(anatomy, prune, bench, notes.append).of_units(["node"])


def test_a_group_costs_what_the_network_without_half_of_it_saves(
    anatomy: Anatomy, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocked(monkeypatch, by_size)
    times = timed(anatomy, bench, notes := [])
    stem, hidden = times.groups
    assert (stem.group, stem.units, stem.ms) == ("stem.weight", 6, 6 * (9 + 1 + 7))
    assert (hidden.group, hidden.units, hidden.ms) == ("hidden.weight", 3, 3 * (12 + 1 + CLASSES))
    assert (stem.macs, hidden.macs) == (6 * (9 * 16 + 7), 3 * (12 + CLASSES))
    assert times.dense_ms == by_size(anatomy.whole)
    assert (times.batch, times.device, times.left_alone) == (2, "cpu", ("node",))
    assert len(notes) == 1


def test_what_is_no_faster_without_half_of_its_units_costs_nothing(
    anatomy: Anatomy, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocked(monkeypatch, lambda program: 1000 - by_size(program))
    times = timed(anatomy, bench, notes := [])
    assert [group.ms for group in times.groups] == [0.0, 0.0]
    assert "nothing to take" in notes[-1]


@pytest.mark.parametrize(("ms", "runs"), [(1.0, MOST), (750.0, 10), (1e6, FEWEST)])
def test_slow_networks_are_run_less_often(
    ms: float, runs: int, anatomy: Anatomy, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair of two groups takes 4 times as long as a run, and all of them at most half a minute, if they can."""
    pairs = clocked(monkeypatch, lambda program: ms)
    assert timed(anatomy, bench, []).runs == runs
    assert pairs == [FEWEST, runs, runs]


def test_a_real_clock_is_stopped_between_two_pairs(anatomy: Anatomy, bench: Bench) -> None:
    class Paused(Exception):
        pass

    left = iter(range(WARM_UP + FEWEST + 2))

    def pause() -> None:
        if next(left, None) is None:
            raise Paused

    with pytest.raises(Paused):
        timed(anatomy, replace(bench, pause_if_asked=pause), [])
    times = timed(anatomy, bench, [])
    assert times.dense_ms > 0
    assert times.runs == MOST


@pytest.mark.parametrize(
    ("latency", "batch"),
    [(None, 1), ({"batch_sizes": [8, 2]}, 8), ({"batch_sizes": [99, 4]}, 4), ({"batch_sizes": [99]}, 1)],
)
def test_the_first_batch_size_that_the_network_takes_is_timed(
    latency: dict[str, Any] | None, batch: int, bench: Bench
) -> None:
    spec = JobSpec.model_validate(bench.spec.model_dump() | {"finalize": {"latency": latency}})
    assert timed_batch(replace(bench, spec=spec)) == batch


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=3, max_size=3), st.floats(0.05, 1), st.integers(1, 8))
def test_half_of_a_group_is_what_may_go_evenly_spread(sizes: list[int], max_amount: float, step: int) -> None:
    chain = Chain([[size] for size in sizes])
    prune = asked("latency", max_amount=max_amount, multiple_of=step)
    for at, group in enumerate(chain.units.groups):
        half = half_of(chain.units, prune, at)
        assert half <= set(range(group.size))
        assert len(half) <= min(max(1, group.size // 2), max_amount * group.size + 1e-9, group.size - 1)
        if max_amount == 1 and group.size > 1:
            assert half
        if len(half) == group.size // 2 > 1:
            assert min(half) < group.size / 2 < max(half) + 1, "not the first half of them"
