"""Whether one model can be an earlier state of another, judged from their inspections."""

from __future__ import annotations

from collections.abc import Iterator

from secateur.errors import InvalidSpec
from secateur.inspection import ModelInspection
from secateur.resources import Finding


def same_network(initial: ModelInspection | None, model: ModelInspection) -> Iterator[Finding]:
    """A finding where `initial`, which a lottery ticket names as its initialisation, is another network than `model`.

    All tensors are compared when the job reads both.
    """
    if initial is None or _shape(initial) == _shape(model):
        return
    layers = [[(layer.name, tuple(layer.shape)) for layer in each.layers] for each in (initial, model)]
    odd = sorted(set(layers[0]) ^ set(layers[1]))
    where = f"the layer {odd[0][0]!r} is not the same in both" if odd else "inputs, outputs or parameters differ"
    yield Finding(
        code=InvalidSpec.code,
        pointer="/recover/initial",
        message=f"The initialisation is no earlier state of the model: {where}. Export both from the same module.",
    )


def _shape(model: ModelInspection) -> object:
    return (
        model.parameters,
        [(layer.name, tuple(layer.shape)) for layer in model.layers],
        [(each.name, each.dtype, each.shape) for each in model.inputs],
        [(each.name, each.dtype) for each in model.outputs],
    )
