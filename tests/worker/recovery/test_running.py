"""What a program cannot run on is said, with the shapes and torch's reason; other errors keep their own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateur.errors import DataMismatch, LabelsOutOfRange, OutOfMemory
from secateur.inspection import TensorInfo
from secateur.spec.recover import FineTune
from secateur.spec.task import Classification
from worker.program.program import Program
from worker.program.reader import read
from worker.recovery.course import Course
from worker.recovery.data import Dataset
from worker.recovery.evaluate import evaluate
from worker.recovery.objective import objective_for
from worker.recovery.running import run
from worker.recovery.train import fine_tune

CPU = torch.device("cpu")
OBJECTIVE = objective_for(Classification(), [TensorInfo(name="0", dtype="float32", shape=("batch", 3))])


class Tokens(nn.Module):
    """Classifies sentences of 2 to 9 tokens, each 0 to 9."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.table(x).mean(dim=1))
        return scores


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt2"
    sizes = {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("length", min=2, max=9)}
    sample = torch.zeros(4, 5, dtype=torch.int64)
    torch.export.save(torch.export.export(Tokens().eval(), (sample,), dynamic_shapes=(sizes,)), path)
    return path


@pytest.fixture
def program(exported: Path) -> Program:
    return read(exported)


@pytest.fixture
def course(make_dataset: Callable[..., Dataset]) -> Callable[..., Course]:
    """Makes a course on 30 sentences of 5 tokens, the largest of which is given."""

    def make(token: int, label: int = 2) -> Course:
        x = torch.zeros(30, 5, dtype=torch.int64)
        x[-1, -1] = token
        y = torch.zeros(30, dtype=torch.int64)
        y[-1] = label
        examples = make_dataset(x, y, torch.int64).all()
        return Course(examples, examples, OBJECTIVE, FineTune(learning_rate=0.1, batch_size=10), seed=0, device=CPU)

    return make


def test_an_index_that_a_table_lacks_in_evaluation(program: Program, course: Callable[..., Course]) -> None:
    evaluate(program, course(9).validation, OBJECTIVE, 10, CPU)
    with pytest.raises(DataMismatch, match=r"inputs of \(10, 5\): index out of range"):
        evaluate(program, course(10).validation, OBJECTIVE, 10, CPU)


def test_an_index_that_a_table_lacks_in_training(
    program: Program, course: Callable[..., Course], guarding: Any
) -> None:
    good, bad = course(9), course(10)
    pruned = evaluate(program, good.validation, OBJECTIVE, 10, CPU)
    with pytest.raises(DataMismatch, match=r"inputs of \(10, 5\): index out of range"):
        fine_tune(program, bad, guarding({}), 1, 1, pruned=pruned)


def test_a_label_beyond_the_outputs_keeps_its_code(program: Program, course: Callable[..., Course]) -> None:
    with pytest.raises(LabelsOutOfRange):
        evaluate(program, course(9, label=3).validation, OBJECTIVE, 10, CPU)


def test_an_axis_that_the_program_does_not_have(program: Program) -> None:
    with pytest.raises(DataMismatch, match=r"inputs of \(3,\): ."):
        run(program, [torch.zeros(3, dtype=torch.int64)], CPU)


@pytest.mark.parametrize("kind", [IndexError, RuntimeError, ValueError, NotImplementedError, AssertionError])
@pytest.mark.parametrize("text", ["", "first\nsecond", "long " * 1000])
def test_reasons_are_one_short_line(kind: type[Exception], text: str) -> None:
    def failing(*inputs: torch.Tensor) -> torch.Tensor:
        raise kind(text)

    with pytest.raises(DataMismatch) as caught:
        run(failing, [torch.zeros(2, 3)] * 50, CPU)
    assert "(2, 3), (2, 3)" in caught.value.message
    assert (text.splitlines() or [kind.__name__])[0][:20] in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


def test_memory_errors_keep_their_code() -> None:
    def greedy(*inputs: torch.Tensor) -> torch.Tensor:
        return torch.zeros(2**57)

    with pytest.raises(OutOfMemory):
        run(greedy, [torch.zeros(1)], CPU)


@pytest.mark.parametrize("library", ["CUBLAS", "CUDNN"])
def test_libraries_of_cuda_say_it_in_their_own_way(library: str) -> None:
    def failing(*inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"CUDA error: {library}_STATUS_ALLOC_FAILED when calling `create(handle)`")

    with pytest.raises(OutOfMemory):
        run(failing, [torch.zeros(1)], CPU)
