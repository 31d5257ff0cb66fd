from __future__ import annotations

from typing import Any

import pytest

from secateur import fit
from tests.secateur.test_fit import TRAIN, dataset, layer, model, spec, tensor


def told(**fields: Any) -> list[str]:
    found = fit.findings(spec(), model(), {TRAIN: dataset()}, model(**fields))
    assert {each.pointer for each in found} <= {"/recover/initial"}
    return [each.message for each in found]


def test_an_earlier_state_of_the_same_network_fits() -> None:
    assert told(written_by="2.12.1", notes=("other notes",)) == []
    assert told(layers=(layer("a.weight", 60, zeros=9), layer("b.weight", 41))) == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"layers": (layer("a.weight", 60),)}, "'b.weight'"),
        ({"layers": (layer("a.weight", 59), layer("b.weight", 41))}, "'a.weight'"),
        ({"outputs": (tensor("1", 10),)}, "inputs, outputs or parameters"),
        ({"parameters": 101}, "inputs, outputs or parameters"),
    ],
)
def test_another_network_is_named_with_what_differs(fields: dict[str, Any], where: str) -> None:
    (message,) = told(**fields)
    assert where in message
