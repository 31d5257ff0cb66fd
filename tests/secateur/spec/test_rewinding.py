from __future__ import annotations

from typing import Any

import pytest

from app.examples import SPEC
from secateur.ids import new_id
from secateur.spec import JobSpec
from secateur.spec.rewinding import LearningRateRewind, LotteryTicket
from tests.secateur.spec.refusals import problems


def ticket(**fields: Any) -> dict[str, Any]:
    return {"kind": "lottery_ticket", "learning_rate": 0.1, **fields}


@pytest.mark.parametrize(
    ("recover", "told"),
    [
        (ticket(epochs=5, rewind_epoch=5), "leaves nothing to train of 5 epochs"),
        (ticket(initial=new_id("mdl"), rewind_epoch=1), "set rewind_epoch to 0"),
        (ticket(reset_optimizer=False), "reset_optimizer cannot be false"),
        (ticket(patience=3), "leave out patience"),
        (ticket(recalibration_batches=8, controls="last_round"), "recalibration_batches to 0"),
        ({"kind": "learning_rate_rewind", "original_learning_rate": 0.1, "epochs": 1, "rewind_epoch": 1}, "below"),
    ],
)
def test_what_makes_no_sense_is_told_with_the_way_out(recover: dict[str, Any], told: str) -> None:
    assert [(at, told in message) for at, message in problems(recover=recover)] == [("recover", True)]


def test_every_round_is_trained_for_what_is_left_of_the_whole_training() -> None:
    for recover in (
        LotteryTicket(learning_rate=0.2, epochs=7, rewind_epoch=3),
        LearningRateRewind(original_learning_rate=0.2, epochs=7, rewind_epoch=3),
    ):
        assert [recover.epochs_in(number, 3) for number in (1, 2, 3)] == [4, 4, 4]
        assert (recover.rate, recover.epochs_before) == (0.2, 3)


def test_the_initialisation_is_one_of_the_models_of_a_job() -> None:
    initial = new_id("mdl")
    named = JobSpec.model_validate({**SPEC, "recover": ticket(initial=initial)})
    assert named.models == (named.model, initial)
    assert JobSpec.model_validate({**SPEC, "recover": ticket()}).models == (named.model,)
    assert JobSpec.model_validate({**SPEC, "recover": ticket(initial=named.model)}).models == (named.model,)
