"""Every error that Secateur tells a user about: one tree, each leaf with a stable `code`.

The docstring of a class is its default message and names the way out. Nothing here knows HTTP: `app/errors.py` maps the
branches to status codes, and the worker stores `to_dict()` in the record.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar


class SecateurError(Exception):
    """Something went wrong inside Secateur; the log of the service has the details."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None, *, remedy: str | None = None, **context: Any) -> None:
        self.message = message or " ".join(inspect.cleandoc(type(self).__doc__ or "").split())
        self.remedy = remedy
        self.context = context
        super().__init__(self.message)

    def to_dict(self) -> dict[str, Any]:
        """The record of this error: `code`, `message`, the `remedy` where there is one, and what else is known."""
        remedy = {} if self.remedy is None else {"remedy": self.remedy}
        return {"code": self.code, "message": self.message, **remedy, **self.context}


# --- what came in cannot be used -------------------------------------------------------------------------------------


class BadUpload(SecateurError):
    """The uploaded file cannot be used."""

    code = "bad_upload"


class BadModel(BadUpload):
    """The uploaded model cannot be used."""

    code = "bad_model"


class NotAProgram(BadModel):
    """The file is not a program written by torch.export.save."""

    code = "not_a_program"


class PickledModule(BadModel):
    """The file is a pickle (torch.save of a module): loading it would run code. Export the module instead."""

    code = "pickled_module"


class TorchScript(BadModel):
    """The file is TorchScript, which is code and no longer supported by PyTorch. Export the module instead."""

    code = "torchscript"


class UnsafeArchive(BadModel):
    """The archive holds something that a program written by torch.export.save never holds."""

    code = "unsafe_archive"


class CorruptArchive(BadModel):
    """The archive is damaged or cut off. Upload it again."""

    code = "corrupt_archive"


class UnsupportedSchema(BadModel):
    """The program was written by a version of PyTorch that is not read here. Export it with PyTorch 2.11 to 2.15."""

    code = "unsupported_schema"


class UnsupportedOperator(BadModel):
    """The program uses an operator that is not on the list of those known to be safe."""

    code = "unsupported_operator"


class UnsupportedStructure(BadModel):
    """The program's inputs, outputs or state have a form that Secateur does not handle."""

    code = "unsupported_structure"


class RandomOperator(BadModel):
    """The program draws random numbers whenever it runs: it was exported in training mode. Call eval() first."""

    code = "random_operator"


class FixedBatch(BadModel):
    """The program only works for the batch size of its example input, and that cannot be undone here."""

    code = "fixed_batch"


class ProgramFails(BadModel):
    """The program cannot be run on inputs of the shapes that it declares."""

    code = "program_fails"


class BadDataset(BadUpload):
    """The data set is neither a safetensors file nor an npz file of plain arrays."""

    code = "bad_dataset"


class EmptyDataset(BadDataset):
    """The data set holds no examples."""

    code = "empty_dataset"


class TooLarge(BadUpload):
    """The upload is larger than this server accepts."""

    code = "too_large"


class IncompleteUpload(BadUpload):
    """The connection ended before the whole body had arrived. Nothing was stored; send it again."""

    code = "incomplete_upload"


class DigestMismatch(BadUpload):
    """The bytes that arrived do not have the digest that the request promised. Nothing was stored; send them again."""

    code = "digest_mismatch"


# --- what was asked for makes no sense -------------------------------------------------------------------------------


class BadRequest(SecateurError):
    """The request cannot be understood."""

    code = "bad_request"


class UnsupportedMedia(BadRequest):
    """The body has a form that is not taken here."""

    code = "unsupported_media"


class RangeNotSatisfiable(BadRequest):
    """The range begins behind the end of the file."""

    code = "range_not_satisfiable"


class InvalidSpec(BadRequest):
    """The job spec is not valid; `errors` lists every problem with a pointer to its field."""

    code = "invalid_spec"


class NothingMatches(InvalidSpec):
    """A name pattern of the spec matches nothing prunable of the model."""

    code = "nothing_matches"


class NothingPrunable(InvalidSpec):
    """The model has no unit of the granularity that was asked for."""

    code = "nothing_prunable"


class TargetUnreachable(InvalidSpec):
    """So much cannot be taken away with these bounds."""

    code = "target_unreachable"


class DataMismatch(InvalidSpec):
    """The data set does not fit the model."""

    code = "data_mismatch"


class LabelsOutOfRange(DataMismatch):
    """The data set has labels that the model has no output for."""

    code = "labels_out_of_range"


class IdempotencyMismatch(BadRequest):
    """This Idempotency-Key was used before with another request. Use a new key for a new request."""

    code = "idempotency_mismatch"


class Unauthorized(SecateurError):
    """An API key is needed: send it as `Authorization: Bearer KEY`."""

    code = "unauthorized"


class NotFound(SecateurError):
    """There is nothing with this id."""

    code = "not_found"


class Conflict(SecateurError):
    """The request does not fit the present state."""

    code = "conflict"


class WrongState(Conflict):
    """The state of the record does not allow this."""

    code = "wrong_state"


class InUse(Conflict):
    """A job that has not ended still uses this. Cancel the job or wait for its end."""

    code = "in_use"


# --- what went wrong on the way --------------------------------------------------------------------------------------


class Unavailable(SecateurError):
    """The record (Redis) cannot be reached. Nothing was changed; try again in a moment."""

    code = "unavailable"


class NotReady(Unavailable):
    """The server runs but cannot take work yet."""

    code = "not_ready"


class NoSpace(SecateurError):
    """The server's disk is full. Nothing was stored; delete what is no longer needed, or give it a larger disk."""

    code = "no_space"


class FenceLost(SecateurError):
    """This attempt lost its lease: another attempt owns the record now, and nothing that this one says counts."""

    code = "fence_lost"


class JobFailed(SecateurError):
    """The job failed."""

    code = "job_failed"


class Diverged(JobFailed):
    """The loss is no longer a finite number. Ask for a smaller learning rate, or remove less in each round."""

    code = "diverged"


class SurgeryFailed(JobFailed):
    """Units could not be cut out of the program without changing what it computes. Exclude those of the node named."""

    code = "surgery_failed"


class ProofFailed(JobFailed):
    """The pruned network does not compute what the upload does without the removed units, or its zeros do not lie in
    the pattern that was asked for. Nothing was published."""

    code = "proof_failed"


class BadFeature(JobFailed):
    """A node named in distill.features cannot be learned from. Name others, or none."""

    code = "bad_feature"


class OutOfMemory(JobFailed):
    """There was not enough memory. Ask for a smaller batch size, or run the job on a larger device."""

    code = "out_of_memory"


class TookTooLong(JobFailed):
    """This took longer than the server allows."""

    code = "timed_out"


class WorkerLost(JobFailed):
    """None of the attempts came to an end; the log of the worker has the details."""

    code = "worker_lost"


class StackError(SecateurError):
    """The local stack could not be started."""

    code = "stack"
