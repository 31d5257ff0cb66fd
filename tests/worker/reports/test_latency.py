"""Latency: pairs in one run, summed up by medians and percentiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.reports import latency
from worker.reports.latency import WARM_UP, measure_latency, percentile


class Clock:
    """Time that passes only when a program runs."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns


class Timed:
    """A program whose n-th run takes `base * (n + 1)` milliseconds, and that writes down who ran."""

    def __init__(self, name: str, base_ms: int, clock: Clock, log: list[str]) -> None:
        self.name, self.base_ms, self.clock, self.log = name, base_ms, clock, log
        self.training = True

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.log.append(self.name)
        self.clock.now_ns += self.base_ms * self.log.count(self.name) * 1_000_000
        return inputs[0]

    def set_training(self, mode: bool, /) -> None:
        self.training = mode


def test_pairs_are_interleaved_and_the_warm_up_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = Clock(), []
    monkeypatch.setattr(latency, "time", clock)
    dense, pruned = Timed("dense", 4, clock, log), Timed("pruned", 2, clock, log)
    device = torch.device("cpu")
    (row,) = measure_latency(dense, pruned, lambda batch: (torch.zeros(batch, 2),), [5], 9, device)
    # Runs 4 to 12 are kept.
    assert (row.dense_p50_ms, row.pruned_p50_ms, row.speed_up) == (4 * 8, 2 * 8, 2)
    assert row.dense_p95_ms == pytest.approx(4 * 11.6)
    assert (row.batch, row.runs, row.device, row.threads) == (5, 9, "cpu", torch.get_num_threads())
    pairs = [log[start : start + 2] for start in range(0, len(log), 2)]
    assert all(set(pair) == {"dense", "pruned"} for pair in pairs)
    assert len(pairs) == 9 + WARM_UP
    assert {pair[0] for pair in pairs} == {"dense", "pruned"}


def test_every_batch_size_gets_inputs_of_its_own() -> None:
    program = Timed("one", 0, Clock(), [])
    asked: list[int] = []

    def inputs(batch: int) -> tuple[torch.Tensor, ...]:
        asked.append(batch)
        return (torch.zeros(batch, 2),)

    rows = measure_latency(program, program, inputs, (1, 4), 3, torch.device("cpu"))
    assert asked == [row.batch for row in rows] == [1, 4]


@settings(deadline=None)
@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=50), share=st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(float(np.quantile(values, share)), abs=1e-6)
