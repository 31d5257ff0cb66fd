"""A network with an N:M pattern on kernels that skip its zeros: whether they take it, are right, and are any faster."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from secateur.allocation import Blocks
from secateur.errors import SecateurError
from secateur.latency import Latency, SemiStructured
from secateur.report import finite
from secateur.spec.training import Precision, Training
from worker.bench import Bench
from worker.program.program import Program, Runnable
from worker.program.semi_structured import of_linear, on_kernels, packed
from worker.pruning.blocks import fullest
from worker.pruning.precision import converted, in_precision, let_go
from worker.pruning.proof import difference
from worker.recovery.autocast import DTYPES, autocast_dtype
from worker.recovery.memory import memory_errors
from worker.recovery.portion import Note, silent

KEEP, OF = 2, 4
EXAMPLES = 8
"""How many the outputs are compared on."""
NAMES: dict[torch.dtype | None, Precision] = {dtype: name for name, dtype in DTYPES.items()}
ROOM = 4
"""How many times as far off as dense kernels the others may be: they sum in another order."""

NO_KERNELS = (
    "N:M zeros bring no speed-up here, on {device}: the program runs on dense kernels, which multiply by zeros. For "
    "2:4 in float16 and bfloat16, CUDA devices of compute capability 8.0 or more have kernels that skip them; "
    "torch.sparse.to_sparse_semi_structured makes the weights of linear layers theirs."
)
DENSE = "model.pt2 as it is runs on dense kernels, which multiply by zeros: `latency` shows no speed-up from them. "

Timed = Callable[[Runnable, Runnable], tuple[Latency, ...]]
"""Times two programs side by side."""


@dataclass(frozen=True)
class Cast:
    """A program that runs under torch.autocast, where a dtype is given."""

    program: Program
    device: torch.device
    dtype: torch.dtype | None

    def __call__(self, *inputs: Tensor) -> Any:
        """The outputs of the program."""
        with self.casting():
            return self.program(*inputs)

    def casting(self) -> AbstractContextManager[Any]:
        """Has what is run inside cast as it does."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def set_training(self, mode: bool) -> None:
        """Switches the program."""
        self.program.set_training(mode)


def measure(
    bench: Bench, dense: Program, pruned: Program, weights: Iterable[str], timed: Timed, note: Note
) -> SemiStructured | None:
    """What torch's kernels for 2:4 make of the network that is handed over; None where there are none.

    `weights` are those with blocks, `dense` is the upload; both programs are moved to the bench's device, and stay as
    they are otherwise. What was found is said in a sentence, too.
    """
    if not has_kernels(bench.device):
        note(NO_KERNELS.format(device=bench.device.type))
        return None
    try:
        with memory_errors():
            for program in (dense, pruned):
                program.to(bench.device)
        found = try_out(bench, dense, pruned, weights, timed)
    except (SecateurError, RuntimeError) as error:  # kernels that fail must not cost a job that is done
        note(DENSE + f"torch's kernels for 2:4 failed here: {_first_line(error)}")
        return None
    note(DENSE + told(found))
    return found


def has_kernels(device: torch.device) -> bool:
    """Whether it is of a kind for which torch has kernels at all; each device and build says itself what it takes."""
    return device.type == "cuda"


def try_out(bench: Bench, dense: Program, pruned: Program, weights: Iterable[str], timed: Timed) -> SemiStructured:
    """Pack what can be packed, compare, and measure, on the device where both programs are. Raises OutOfMemory."""
    recover = bench.spec.recover
    precision = recover.precision if isinstance(recover, Training) else "full"
    parameters = [parameter for _, parameter in pruned.named_parameters()]
    cast = Cast(pruned, bench.device, autocast_dtype(precision, bench.device, parameters, silent))
    cast.set_training(False)
    few = max(bench.inspection.batch.minimum, min(EXAMPLES, bench.batch_size))
    inputs = tuple(tensor.to(bench.device) for tensor in bench.some(few))
    taken, left = _packed(cast, weights, inputs)
    sparse = replace(cast, program=on_kernels(pruned, taken))
    error, tolerance = _errors(cast, sparse, inputs) if taken else (0.0, 0.0)
    usable = bool(taken) and error <= tolerance
    return SemiStructured(
        autocast=None if cast.dtype is None else NAMES[cast.dtype],
        layers=tuple(taken),
        left=left,
        max_relative_error=error,
        tolerance=tolerance,
        holds=error <= tolerance,
        metric=finite(bench.score(sparse, bench.reported).value) if usable else None,
        latency=timed(replace(cast, program=dense), sparse) if usable else (),
    )


def _packed(cast: Cast, weights: Iterable[str], inputs: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Those of `weights` with which the program runs on the kernels, and why not with the others."""
    parameters = dict(cast.program.named_parameters())
    taken: dict[str, Tensor] = {}
    left: dict[str, str] = {}
    for name in weights:
        try:
            taken[name] = _tried(cast, name, parameters[name], inputs)
        except Untaken as refusal:
            left[name] = str(refusal)
    return taken, left


class Untaken(Exception):
    """Why the kernels do not take a weight."""


@torch.no_grad()
def _tried(cast: Cast, name: str, weight: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """The weight, packed, where the program runs with it. Raises Untaken, OutOfMemory."""
    if not of_linear(cast.program, name):
        raise Untaken("It is not the weight of linear layers alone.")
    if weight.shape[1] % OF or fullest(weight, Blocks(1, OF)) > KEEP:
        raise Untaken(f"Its rows are not blocks of {OF} with at most {KEEP} weights.")
    try:
        with memory_errors():
            sparse = packed(weight.to(cast.dtype))
            replace(cast, program=on_kernels(cast.program, {name: sparse}))(*inputs)
    except (RuntimeError, KeyError) as error:
        raise Untaken(f"torch says: {_first_line(error)}") from error
    return sparse


@torch.no_grad()
def _errors(cast: Cast, sparse: Cast, inputs: tuple[Tensor, ...]) -> tuple[float, float]:
    """How far the outputs are from those that are computed in float32, and how far they may be."""
    exact = in_precision(cast.program, torch.float32)
    expected = _floats(exact.run(*(tensor.to("cpu", converted(tensor.dtype, torch.float32)) for tensor in inputs)))
    let_go(exact)
    far = []
    for one in (cast, sparse):
        with one.casting(), memory_errors():
            outputs = one.program.run(*inputs)
        far.append(difference(_floats(outputs), expected))
    rounding = max(torch.finfo(tensor.dtype).eps for tensor in outputs.values() if tensor.is_floating_point())
    return far[1], (ROOM * far[0] if math.isfinite(far[0]) else 0.0) + rounding


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _floats(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("cpu", converted(tensor.dtype, torch.float32)) for name, tensor in outputs.items()}


def told(found: SemiStructured) -> str:
    """What was found, in a sentence."""
    if not found.layers:
        return "torch's kernels for 2:4 take none of its weights here: semi_structured.left says why."
    if not found.holds:
        return (
            f"torch's kernels for 2:4 compute something else here (error {found.max_relative_error:.2g}, "
            f"{found.tolerance:.2g} is tolerable): do not use them."
        )
    if not found.latency:
        return f"torch's kernels for 2:4 take {len(found.layers)} of its weights; how fast that is was not asked for."
    best = max(found.latency, key=lambda row: row.speed_up)
    verdict = "it is faster" if round(best.speed_up, 2) > 1 else "it is not faster here either"
    return (
        f"On torch's kernels for 2:4, which take {len(found.layers)} of its weights, {verdict}: {best.speed_up:.2f} "
        f"times as fast as the dense network in the same precision, at best (batch size {best.batch})."
    )
