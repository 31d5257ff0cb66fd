"""Whether a job spec, a model and its data sets fit together, judged from inspections alone.

Needs neither torch nor the files, so the door can say everything that is wrong before a job is queued.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice

from secateur.errors import (
    DataMismatch,
    InvalidSpec,
    LabelsOutOfRange,
    NothingMatches,
    NothingPrunable,
    TargetUnreachable,
)
from secateur.findings import FLOATS, listed, mismatch, missing, problem, same_sizes, written
from secateur.inspection import ArrayInfo, DatasetInspection, ModelInspection, TensorInfo
from secateur.kinship import same_network
from secateur.pictures import input_of, shape_after
from secateur.prunable import escaped, prunable
from secateur.resources import Finding
from secateur.spec import JobSpec
from secateur.spec.data import Data
from secateur.spec.finalize import Latency
from secateur.spec.task import CausalLm, DistillationOnly
from secateur.spec.transforms import HorizontalFlip, Normalize, RandomCrop, Transform
from secateur.targets import judge_output, judge_target

FINDINGS_SHOWN = 200
INDEXES = frozenset({"int32", "int64"})

LEAVES = {
    leaf.code: leaf
    for leaf in (InvalidSpec, NothingMatches, NothingPrunable, TargetUnreachable, DataMismatch, LabelsOutOfRange)
}

Datasets = Mapping[str, DatasetInspection]


def require_fit(
    spec: JobSpec, model: ModelInspection, datasets: Datasets, initial: ModelInspection | None = None
) -> None:
    """Do nothing when all fits.

    Raises:
        InvalidSpec: It does not; `errors` in the context lists every problem. Where all are of one kind, that leaf.
    """
    found = findings(spec, model, datasets, initial)
    if not found:
        return
    codes = {finding.code for finding in found}
    leaf = LEAVES[codes.pop()] if len(codes) == 1 else InvalidSpec
    more = f" ({len(found) - 1} more in `errors`)" if len(found) > 1 else ""
    raise leaf(found[0].message + more, errors=[finding.model_dump() for finding in found])


def findings(
    spec: JobSpec, model: ModelInspection, datasets: Datasets, initial: ModelInspection | None = None
) -> tuple[Finding, ...]:
    """Everything that does not fit, up to FINDINGS_SHOWN; `datasets` holds the inspection of each by its id.

    `initial` is the model that a lottery ticket goes back to, where the spec names one.
    """
    roles = _roles(spec.data)
    found = chain(
        _mapping(spec.data, model),
        _output(spec, model),
        _transforms(spec, model),
        (finding for pointer, name in roles for finding in _dataset(pointer, spec, model, datasets[name])),
        _split(spec.data, datasets),
        prunable(spec.prune, model),
        _latency(spec, model),
        same_network(initial, model),
    )
    return tuple(islice(found, FINDINGS_SHOWN))


def _roles(data: Data) -> Iterator[tuple[str, str]]:
    """The data sets, each once, with a pointer to where it is named first."""
    named = {"/data/train": data.train, "/data/validation": data.validation, "/data/test": data.test}
    seen: set[str] = set()
    for pointer, name in named.items():
        if isinstance(name, str) and name not in seen:
            seen.add(name)
            yield pointer, name


def _mapping(data: Data, model: ModelInspection) -> Iterator[Finding]:
    names = [wanted.name for wanted in model.inputs]
    for name in data.inputs:
        if name not in names:
            message = f"The model has no input {name!r}; it has {listed(names)}."
            yield problem(DataMismatch.code, f"/data/inputs/{escaped(name)}", message)


def _output(spec: JobSpec, model: ModelInspection) -> Iterator[Finding]:
    names = [output.name for output in model.outputs]
    output = _scored(spec, model)
    if output is None and spec.task.output is None:
        message = f"The model has {len(names)} outputs; name the one that is scored: {listed(names)}."
        yield problem(DataMismatch.code, "/task/output", message)
    elif output is None:
        message = f"The model has no output {spec.task.output!r}; it has {listed(names)}."
        yield problem(DataMismatch.code, "/task/output", message)
    else:
        yield from judge_output(spec.task, output)


def _transforms(spec: JobSpec, model: ModelInspection) -> Iterator[Finding]:
    """Transforms that are for no input, or for another one."""
    for at, transform in enumerate(spec.data.transforms):
        pointer = f"/data/transforms/{at}"
        try:
            wanted = input_of(transform, model.inputs)
        except DataMismatch as error:
            yield problem(DataMismatch.code, f"{pointer}/input", str(error))
            continue
        if isinstance(transform, Normalize) and wanted.shape[1] not in (len(transform.mean), str(wanted.shape[1])):
            message = f"There are {len(transform.mean)} means; input {wanted.name!r} has {wanted.shape[1]} channels."
            yield problem(DataMismatch.code, f"{pointer}/mean", message)
        moves = isinstance(transform, RandomCrop | HorizontalFlip) and not isinstance(spec.task, DistillationOnly)
        if moves and _is_map(_scored(spec, model)):
            message = f"{transform.kind} moves the pictures and not their targets, which have places too: leave it out."
            yield problem(InvalidSpec.code, pointer, message)


def _is_map(output: TensorInfo | None) -> bool:
    """Whether an output has places besides classes, as pictures have."""
    return output is not None and len(output.shape) > 2


def _transformed(array: ArrayInfo, wanted: TensorInfo, data: Data, model: ModelInspection) -> ArrayInfo:
    """The array as the program sees it. Raises DataMismatch where a transform cannot be done."""
    shape = array.shape
    for transform in data.transforms:
        if _is_for(transform, wanted, model):
            shape = shape_after(transform, shape)
    return array.model_copy(update={"shape": shape})


def _is_for(transform: Transform, wanted: TensorInfo, model: ModelInspection) -> bool:
    try:
        return input_of(transform, model.inputs) == wanted
    except DataMismatch:
        return False  # told once, of the transform


def _scored(spec: JobSpec, model: ModelInspection) -> TensorInfo | None:
    """The output that the task scores, by index or key; None when it is not there or not named."""
    wanted, outputs = spec.task.output, model.outputs
    if wanted is None:
        return outputs[0] if len(outputs) == 1 else None
    if isinstance(wanted, int) and 0 <= wanted < len(outputs):
        return outputs[wanted]
    return next((output for output in outputs if output.name == str(wanted)), None)


def _dataset(pointer: str, spec: JobSpec, model: ModelInspection, dataset: DatasetInspection) -> Iterator[Finding]:
    """What is wrong with one data set; `sizes` learns the sizes of the model's named axes from it."""
    arrays = {array.name: array for array in dataset.arrays}
    sizes: dict[str, int | str] = {}
    used: dict[str, ArrayInfo] = {}
    for wanted in model.inputs:
        name = spec.data.inputs.get(wanted.name, wanted.name)
        if name not in arrays:
            yield missing(pointer, name, f"input {wanted.name!r}", arrays, hint="map it with data.inputs")
            continue
        used[name] = arrays[name]
        try:
            seen = _transformed(arrays[name], wanted, spec.data, model)
        except DataMismatch as error:
            yield problem(DataMismatch.code, pointer, str(error))
            continue
        yield from _input(pointer, seen, wanted, sizes)
    target = spec.data.target
    if isinstance(spec.task, DistillationOnly):
        pass  # none are read
    elif target not in arrays:
        hint = "that of the token ids" if isinstance(spec.task, CausalLm) else "the array"
        yield missing(pointer, target, "the labels", arrays, hint=f"name {hint} in data.target")
    else:
        used[target] = arrays[target]
        if output := _scored(spec, model):
            yield from judge_target(pointer, spec.task, arrays[target], output, sizes)
    for array in used.values():
        yield from _values(pointer, array, dataset.examples)


def _input(pointer: str, array: ArrayInfo, wanted: TensorInfo, sizes: dict[str, int | str]) -> Iterator[Finding]:
    if not same_sizes(array.shape, wanted.shape, sizes):
        yield mismatch(
            pointer, array, f"has the shape {written(array.shape)}", wanted, written(("examples", *wanted.shape[1:]))
        )
    else:
        yield from _ranges(pointer, array, wanted)
    accepted = _accepted(wanted.dtype)
    if array.dtype not in accepted:
        yield mismatch(pointer, array, f"is {array.dtype}", wanted, " or ".join(sorted(accepted)))
    below, smallest, largest = wanted.below, array.minimum, array.maximum
    if below is None or smallest is None or largest is None:
        return
    if smallest < 0 or largest >= below:
        yield mismatch(
            pointer, array, f"holds indices from {smallest:.0f} to {largest:.0f}", wanted, f"0 to {below - 1}"
        )


def _ranges(pointer: str, array: ArrayInfo, wanted: TensorInfo) -> Iterator[Finding]:
    """Sizes that the program may take no more, or not yet; the shape has as many axes as it should."""
    for axis, (size, name) in enumerate(zip(array.shape, wanted.shape, strict=True)):
        smallest, largest = wanted.ranges.get(str(name), (0, None))
        if axis > 0 and (size < smallest or (largest is not None and size > largest)):
            found = f"has the size {size} along axis {axis}"
            expected = f"{smallest} to {largest}" if largest is not None else f"{smallest} or more"
            yield mismatch(pointer, array, found, wanted, f"{expected} ({name})")


def _accepted(dtype: str) -> frozenset[str]:
    """Dtypes that become this one without loss of meaning; uint8 for a float is divided by 255."""
    if dtype in FLOATS:
        return FLOATS | {"uint8"}
    return INDEXES if dtype in INDEXES else frozenset({dtype})


def _values(pointer: str, array: ArrayInfo, examples: int) -> Iterator[Finding]:
    if not array.finite:
        message = f"Array {array.name!r} holds values that are not finite (NaN or infinity)."
        yield problem(DataMismatch.code, pointer, message)
    if array.shape[:1] != (examples,):
        message = f"Array {array.name!r} has the shape {written(array.shape)}; {examples} examples are expected."
        yield problem(DataMismatch.code, pointer, message)


def _split(data: Data, datasets: Datasets) -> Iterator[Finding]:
    if isinstance(data.validation, float) and datasets[data.train].examples < 2:
        message = "The training data has 1 example; at least 2 are needed to set one aside for validation."
        yield problem(DataMismatch.code, "/data/validation", message)


def _latency(spec: JobSpec, model: ModelInspection) -> Iterator[Finding]:
    """Batch sizes that the model does not take; of the usual ones the worker leaves out what does not fit."""
    batch, latency = model.batch, spec.finalize.latency
    if latency is None or latency.batch_sizes == Latency().batch_sizes:
        return
    for at, size in enumerate(latency.batch_sizes):
        if not batch.allows(size):
            message = (
                f"The model takes {batch.minimum} to {batch.maximum or 'any number of'} examples at once, not {size}."
            )
            yield problem(InvalidSpec.code, f"/finalize/latency/batch_sizes/{at}", message)
