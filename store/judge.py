"""Whether a spec can be done with the uploads that it names, as far as their inspections are finished."""

from __future__ import annotations

from collections.abc import Callable

from secateur import fit
from secateur.errors import NotFound, WrongState
from secateur.forecast import forecast
from secateur.inspection import DatasetInspection, ModelInspection
from secateur.resources import Dataset, Finding, Model, Validation
from secateur.spec import JobSpec
from secateur.states import UploadState

Upload = Model | Dataset


class Judge:
    """Judges specs by the records of their uploads; `read` gives the record of one, or raises NotFound."""

    def __init__(self, read: Callable[[str], Upload]) -> None:
        self._read = read

    def require(self, spec: JobSpec) -> dict[str, str]:
        """The state of every upload of a spec that may be queued or parked.

        Raises:
            NotFound: An upload does not exist.
            WrongState: An upload was rejected.
            InvalidSpec: Everything is inspected, and it does not fit.
        """
        uploads = {name: self._read(name) for name in (*spec.models, *spec.datasets)}
        for upload in uploads.values():
            if upload.state is UploadState.REJECTED:
                raise WrongState(_rejected(upload), id=upload.id, state=upload.state.value)
        states = {name: upload.state.value for name, upload in uploads.items()}
        if inspected := _inspected(spec, uploads):
            fit.require_fit(spec, *inspected)
        return states

    def validate(self, spec: JobSpec) -> Validation:
        """Every problem that can be seen now, and a forecast where there is none."""
        uploads: dict[str, Upload] = {}
        problems: list[Finding] = []
        for pointer, name in _named(spec):
            try:
                uploads[name] = self._read(name)
            except NotFound as error:
                problems.append(Finding(code=error.code, pointer=pointer, message=error.message))
                continue
            if uploads[name].state is UploadState.REJECTED:
                problems.append(Finding(code=WrongState.code, pointer=pointer, message=_rejected(uploads[name])))
        pending = tuple(name for name, upload in uploads.items() if upload.state is UploadState.INSPECTING)
        inspected = None if problems else _inspected(spec, uploads)
        if inspected:
            problems += fit.findings(spec, *inspected)
        taken = forecast(spec, *inspected[:2]) if inspected and not problems else None
        return Validation(valid=not problems, problems=tuple(problems), pending=pending, forecast=taken)


def _named(spec: JobSpec) -> list[tuple[str, str]]:
    """Every upload that the spec names, with the pointer to where."""
    data = spec.data
    named = [("/model", spec.model), ("/data/train", data.train)]
    if data.test is not None:
        named.append(("/data/test", data.test))
    if isinstance(data.validation, str):
        named.append(("/data/validation", data.validation))
    named += [("/recover/initial", name) for name in spec.models[1:]]
    return named


def _inspected(
    spec: JobSpec, uploads: dict[str, Upload]
) -> tuple[ModelInspection, dict[str, DatasetInspection], ModelInspection | None] | None:
    """The inspections of model, data sets and initialisation, if one is named, or None while one is missing."""
    found = {name: upload.inspection for name, upload in uploads.items()}
    models = [each for name in spec.models if isinstance(each := found[name], ModelInspection)]
    datasets = {name: each for name in spec.datasets if isinstance(each := found[name], DatasetInspection)}
    if len(models) < len(spec.models) or len(datasets) < len(spec.datasets):
        return None
    return models[0], datasets, models[1] if len(models) > 1 else None


def _rejected(upload: Upload) -> str:
    why = f"{upload.error.code}: {upload.error.message}" if upload.error else "no reason is known"
    return f"{upload.id} was rejected ({why})"
