"""The gradients of the loss by some parameters, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, fx

from secateur.errors import Diverged, OutOfMemory
from worker.program.operators import name
from worker.recovery.calibration import Batch, Calibration
from worker.recovery.course import Trainable
from worker.recovery.masters import HALF
from worker.recovery.running import gradient_errors, run
from worker.recovery.statistics import Statistics

LARGEST_SCALE = 2.0**16
SMALLEST_SCALE = 2.0**-10
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")

Gradients = Mapping[str, Tensor | None]
"""By the name of the parameter, in float32 or wider; None where the loss does not depend on it."""


class Slopes:
    """Differentiates the loss of batches by the parameters of these names, which must ask for a gradient.

    No gradient is left at a parameter. The loss of float16 parameters is scaled so that small gradients are not lost,
    by less where larger ones overflow.
    """

    def __init__(self, program: Trainable, calibration: Calibration, names: Iterable[str]) -> None:
        wanted = set(names)
        self._program, self._calibration, self._portion = program, calibration, calibration.portion()
        self._statistics = Statistics(program.module)
        self._parameters = {name: tensor for name, tensor in program.named_parameters() if name in wanted}
        self._scaled = any(tensor.dtype == torch.float16 for _, tensor in program.named_parameters())
        self._scale = LARGEST_SCALE if self._scaled else 1.0
        self._kernels = own_kernels if _recurrent(program.module) else nullcontext

    def of(self, batch: Batch, seed: int | None = None) -> tuple[Gradients, float]:
        """The gradients of the mean loss, and of how many labels; where there is no label, no gradients.

        `seed` is that of operators that draw. Where the memory is not enough for a batch it goes through the program in
        parts, and so do those that follow. Raises Diverged, OutOfMemory, DataMismatch, JobFailed.
        """
        while True:
            gradients, labels = self._portion.fitting(lambda: self._in_parts(batch, seed))
            if _finite(gradients):
                return gradients, labels
            if not self._scaled or self._scale <= SMALLEST_SCALE:
                raise Diverged(
                    "The gradients that the importance is gathered from are no finite numbers.",
                    remedy="Ask for an importance that needs none (l1, say); movement may need a lower learning_rate.",
                )
            self._scale /= 2

    def _in_parts(self, batch: Batch, seed: int | None) -> tuple[Gradients, float]:
        """The mean over the labels of all parts; a pass that fails leaves the program as it was."""
        if seed is not None:
            torch.manual_seed(seed)
        self._statistics.keep()
        inputs, target = batch
        mean = Mean(self._parameters)
        try:
            with self._kernels():
                for part in self._portion.parts(len(target)):
                    mean.add(*self._differentiated((tuple(tensor[part] for tensor in inputs), target[part])))
        except OutOfMemory:
            self._statistics.put_back()
            raise
        return mean.gradients, mean.labels

    def _differentiated(self, batch: Batch) -> tuple[Gradients, float]:
        (inputs, target), device, objective = batch, self._calibration.device, self._calibration.objective
        output = objective.select(run(self._program, inputs, device))
        labels = objective.labels(output, target)
        loss = objective.loss(output, target.to(device)) if labels else output.detach()
        if not loss.requires_grad:
            return dict.fromkeys(self._parameters), labels
        with gradient_errors():
            found = torch.autograd.grad(loss * self._scale, list(self._parameters.values()), allow_unused=True)
        pairs = zip(self._parameters, found, strict=True)
        return {name: None if slope is None else _wide(slope) / self._scale for name, slope in pairs}, labels


class Mean:
    """Of gradients, each of which weighs as much as its labels; of a single one it is that."""

    def __init__(self, names: Iterable[str]) -> None:
        self.gradients: dict[str, Tensor | None] = dict.fromkeys(names)
        self.labels = 0.0

    def add(self, gradients: Gradients, labels: float) -> None:
        """One more, which has no other owner."""
        if labels == 0:
            return
        self.labels += labels
        for parameter, gradient in gradients.items():
            known = self.gradients[parameter]
            if known is None or gradient is None:
                self.gradients[parameter] = gradient
            else:
                known.lerp_(gradient, labels / self.labels)


@contextmanager
def own_kernels() -> Iterator[None]:
    """Without cuDNN: its recurrent kernels have gradients in training mode alone, those of torch itself always."""
    before, torch.backends.cudnn.enabled = torch.backends.cudnn.enabled, False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


def _finite(gradients: Gradients) -> bool:
    """Waits for the device once."""
    flags = [gradient.isfinite().all() for gradient in gradients.values() if gradient is not None]
    return not flags or bool(torch.stack(flags).all())


def _wide(gradient: Tensor) -> Tensor:
    return gradient.float() if gradient.dtype in HALF else gradient


def _recurrent(module: torch.nn.Module) -> bool:
    return isinstance(module, fx.GraphModule) and any(name(node.target) in RECURRENT for node in module.graph.nodes)
