from __future__ import annotations

from typing import Any

import pytest

from app.examples import SPEC
from secateur.ids import new_id
from secateur.spec import JobSpec
from worker.agenda import CONTROLS, round_of, sessions


def planned(**recover: Any) -> list[tuple[int, int, int]]:
    prune = {"target": {"kind": "sparsity", "amount": 0.5}, "schedule": {"kind": "iterative", "rounds": 2}}
    spec = JobSpec.model_validate({**SPEC, "prune": prune, "recover": recover})
    return [(each.index, each.epochs, each.before) for each in sessions(spec)]


def ticket(**fields: Any) -> list[tuple[int, int, int]]:
    return planned(kind="lottery_ticket", learning_rate=0.1, epochs=5, **fields)


REINIT, MASK = CONTROLS["random_reinit"], CONTROLS["random_mask"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (planned(kind="none"), []),
        (planned(kind="fine_tune", learning_rate=0.1, epochs_per_round=1, epochs=3), [(1, 1, 0), (2, 3, 0)]),
        (
            planned(kind="learning_rate_rewind", original_learning_rate=0.1, epochs=5, rewind_epoch=2),
            [(1, 3, 2), (2, 3, 2)],
        ),
        (ticket(initial=new_id("mdl")), [(1, 5, 0), (2, 5, 0)]),
        (
            ticket(rewind_epoch=1, controls="last_round"),
            [(0, 5, 0), (1, 4, 1), (2, 4, 1), (REINIT + 2, 5, 0), (MASK + 2, 4, 1)],
        ),
    ],
)
def test_every_training_of_a_job_in_its_order(found: object, expected: object) -> None:
    assert found == expected


def test_no_two_trainings_share_an_index() -> None:
    found = [index for index, *_ in ticket(controls="every_round")]
    assert len(set(found)) == len(found) == 1 + 3 * 2
    assert [round_of(index) for index in found] == [0, 1, 1, 1, 2, 2, 2]
