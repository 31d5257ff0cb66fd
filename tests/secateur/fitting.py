"""A model, a data set and a spec that fit, to be changed in one place at a time."""

from __future__ import annotations

from typing import Any

from secateur import fit
from secateur.ids import new_id
from secateur.inspection import ArrayInfo, Batch, DatasetInspection, Layer, ModelInspection, TensorInfo
from secateur.resources import Finding
from secateur.spec import JobSpec

TRAIN, TEST, VALIDATION = (new_id("dst") for _ in range(3))


def tensor(name: str, *shape: int | str, dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name=name, dtype=dtype, shape=("batch", *shape))


def layer(name: str, total: int, zeros: int = 0) -> Layer:
    return Layer(name=name, shape=(total, 1), total=total, zeros=zeros, operator="linear")


def model(**fields: Any) -> ModelInspection:
    whole: dict[str, Any] = {
        "written_by": "2.13.0",
        "inputs": (tensor("x", 3, 8),),
        "outputs": (tensor("0", 10),),
        "batch": Batch(kind="dynamic"),
        "parameters": 100,
        "state_bytes": 400,
        "layers": (layer("a.weight", 60), layer("b.weight", 41)),
    }
    return ModelInspection.model_validate({**whole, **fields})


def array(name: str, *shape: int, dtype: str = "float32", **fields: Any) -> ArrayInfo:
    return ArrayInfo.model_validate({"name": name, "dtype": dtype, "shape": (20, *shape), **fields})


def labels(*shape: int, dtype: str = "int64", minimum: float | None = 0, maximum: float | None = 9) -> ArrayInfo:
    return array("target", *shape, dtype=dtype, minimum=minimum, maximum=maximum)


def dataset(*arrays: ArrayInfo) -> DatasetInspection:
    arrays = arrays or (array("x", 3, 8), labels())
    return DatasetInspection(format="npz", examples=arrays[0].shape[0], arrays=arrays)


def spec(**fields: Any) -> JobSpec:
    data = {"train": TRAIN, **fields.pop("data", {})}
    prune = {"target": {"kind": "sparsity", "amount": 0.5}, **fields.pop("prune", {})}
    whole = {"model": new_id("mdl"), "data": data, "prune": prune, "recover": {"kind": "none"}}
    return JobSpec.model_validate({**whole, **fields})


def found(
    wanted: JobSpec | None = None, of: ModelInspection | None = None, train: DatasetInspection | None = None
) -> tuple[Finding, ...]:
    return fit.findings(wanted or spec(), of or model(), {TRAIN: train or dataset()})


def only(problems: tuple[Finding, ...]) -> Finding:
    assert len(problems) == 1, problems
    return problems[0]
