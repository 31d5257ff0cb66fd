"""A network with an N:M pattern on kernels that skip its zeros: whether they take it, are right, and are any faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from secateur.allocation import Blocks
from secateur.errors import OutOfMemory
from secateur.latency import Latency, SemiStructured
from secateur.report import finite
from secateur.spec.training import Training
from worker.bench import Bench
from worker.program.program import Program, Runnable
from worker.program.reason import reason
from worker.program.semi_structured import of_linear, packed, put
from worker.pruning.blocks import fullest
from worker.pruning.precision import converted, in_precision, let_go
from worker.pruning.proof import difference
from worker.recovery.autocast import autocast_dtype
from worker.recovery.memory import memory_errors
from worker.recovery.portion import Note, silent

KEEP, OF = 2, 4
EXAMPLES = 8
"""How many the outputs are compared on."""
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

    def own(self) -> Cast:
        """The same with a program of its own on the same tensors."""
        return replace(self, program=self.program.fork())


def measure(
    bench: Bench, dense: Program, pruned: Program, weights: Iterable[str], timed: Timed, note: Note
) -> SemiStructured | None:
    """What torch's kernels for 2:4 make of the network that is handed over; None where there are none.

    `weights` are those with blocks, `dense` is the upload; both programs are moved to the bench's device, and stay as
    they are otherwise. What was found is said in a sentence, too. Whatever the kernels do must not cost a job that is
    done: after an error on a CUDA device, no more can be asked of that.
    """
    if not has_kernels(bench.device):
        note(NO_KERNELS.format(device=bench.device.type))
        return None
    try:
        with memory_errors():
            for program in (dense, pruned):
                program.to(bench.device)
            found = try_out(bench, dense, pruned, weights, timed)
    except Exception as error:
        note(DENSE + f"torch's kernels for 2:4 failed here: {reason(error)}")
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
    sparse = cast.own()
    try:
        taken, left = _pack(sparse, weights, inputs)
        error, tolerance = _errors(cast, sparse, inputs, taken) if taken else (None, None)
        holds = None if tolerance is None else error is not None and error <= tolerance
        return SemiStructured(
            autocast=None if cast.dtype is None else precision,
            layers=tuple(taken),
            left=left,
            max_relative_error=error,
            tolerance=tolerance,
            holds=holds,
            metric=finite(bench.score(sparse, bench.reported).value) if holds else None,
            latency=timed(_alike(dense, cast, taken), sparse) if holds else (),
        )
    finally:
        let_go(sparse.program)


class Untaken(Exception):
    """Why the kernels do not take a weight."""


def _pack(
    sparse: Cast, weights: Iterable[str], inputs: tuple[Tensor, ...]
) -> tuple[dict[str, torch.dtype], dict[str, str]]:
    """Pack those of `weights` with which the program runs on the kernels; their dtypes, and why not the others."""
    taken: dict[str, torch.dtype] = {}
    left: dict[str, str] = {}
    for name in weights:
        try:
            taken[name] = _packed(sparse, name, inputs)
        except Untaken as refusal:
            left[name] = str(refusal)
    return taken, left


@torch.no_grad()
def _packed(sparse: Cast, name: str, inputs: tuple[Tensor, ...]) -> torch.dtype:
    """Pack one weight, if the program runs with it then. Raises Untaken, OutOfMemory."""
    weight = sparse.program.module.get_parameter(name)
    if not of_linear(sparse.program, name):
        raise Untaken("It is not the weight of linear layers alone.")
    if weight.shape[1] % OF or fullest(weight, Blocks(1, OF)) > KEEP:
        raise Untaken(f"Its rows are not blocks of {OF} with at most {KEEP} weights.")
    whole = weight.to(sparse.dtype)
    try:
        with memory_errors():
            put(sparse.program, name, packed(whole))
            sparse(*inputs)
    except OutOfMemory:
        raise
    except Exception as error:  # of whatever kind a prototype raises
        put(sparse.program, name, weight)
        raise Untaken(f"torch says: {reason(error)}") from error
    return whole.dtype


@torch.no_grad()
def _errors(
    cast: Cast, sparse: Cast, inputs: tuple[Tensor, ...], taken: Mapping[str, torch.dtype]
) -> tuple[float | None, float]:
    """How far the outputs are from those that are computed in float32 (None: infinitely), and how far they may be."""
    exact = in_precision(cast.program, torch.float32)
    expected = _floats(exact.run(*(tensor.to("cpu", converted(tensor.dtype, torch.float32)) for tensor in inputs)))
    let_go(exact)
    far = []
    for one in (cast, sparse):
        with one.casting():
            far.append(finite(difference(_floats(one.program.run(*inputs)), expected)))
    return far[1], ROOM * (far[0] or 0.0) + max(torch.finfo(dtype).eps for dtype in taken.values())


def _alike(dense: Program, cast: Cast, taken: Mapping[str, torch.dtype]) -> Cast:
    """The dense network, with the same weights cast beforehand: the kernels are to be all that differs."""
    alike = replace(cast, program=dense).own()
    for name, dtype in taken.items():
        put(alike.program, name, alike.program.module.get_parameter(name).detach().to(dtype))
    return alike


def _floats(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs that can be a little off, in float32 on the CPU."""
    return {name: tensor.to("cpu", torch.float32) for name, tensor in outputs.items() if tensor.is_floating_point()}


def told(found: SemiStructured) -> str:
    """What was found, in a sentence."""
    if not found.layers:
        return "torch's kernels for 2:4 take no layer of it here: semi_structured.left says why."
    if not found.holds:
        far = "no finite number" if found.max_relative_error is None else f"{found.max_relative_error:.2g}"
        return (
            f"torch's kernels for 2:4 compute something else here (the error is {far}, {found.tolerance:.2g} is "
            "tolerable): do not use them."
        )
    layers = f"{len(found.layers)} weight matri{'x' if len(found.layers) == 1 else 'ces'}"
    if not found.latency:
        return f"torch's kernels for 2:4 take {layers} of it; how fast that is was not measured."
    best = max(found.latency, key=lambda row: row.speed_up)
    verdict = "it is faster" if round(best.speed_up, 2) > 1 else "it is not faster here either"
    return (
        f"On torch's kernels for 2:4, which take {layers} of it, {verdict}: {best.speed_up:.2f} times as fast as the "
        f"dense network in the same precision, at best (batch size {best.batch})."
    )
