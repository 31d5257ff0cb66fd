"""Writing: stock torch loads it, nothing of the uploader is in it, and the same program gives the same bytes."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import Tensor, nn
from torch.nn.utils import prune

from secateur.errors import ProgramFails
from tests.worker.program.conftest import Stock
from worker.program.program import Program
from worker.program.reader import read
from worker.program.writer import write, write_checkpoint, write_state

Export = Callable[..., Path]


class Net(nn.Module):
    """Two inputs, a tie, batch normalization, a dict with a list."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.words.weight
        self.extra = nn.Linear(4, 2)

    def forward(self, word: Tensor, x: Tensor) -> dict[str, object]:
        hidden = self.drop(self.norm(self.words(word) + x))
        return {"logits": self.head(hidden), "more": [self.extra(hidden).view(x.size(0), 1, 2)]}


def inputs(batch: int) -> tuple[Tensor, Tensor]:
    return torch.randint(0, 7, (batch,)), torch.randn(batch, 4)


@pytest.fixture
def module() -> Net:
    return Net().eval()


@pytest.fixture
def program(module: Net, export: Export) -> Program:
    return read(export(module, inputs(2)))


def test_stock_torch_loads_and_runs_it_at_other_batches(
    program: Program, module: Net, stock: Stock, tmp_path: Path
) -> None:
    write(program, tmp_path / "out.pt2")
    word, x = inputs(5)
    batches = (1, 2, 5)
    found = stock(tmp_path / "out.pt2", [((word[:batch], x[:batch]), {}) for batch in batches])
    for batch, result in zip(batches, found, strict=True):
        assert type(result) is dict
        assert type(result["more"]) is list
        expected = module(word[:batch], x[:batch])
        assert torch.allclose(result["logits"], expected["logits"], atol=1e-6)
        assert torch.allclose(result["more"][0], expected["more"][0], atol=1e-6)


def test_what_is_written_is_read_as_the_same(program: Program, tmp_path: Path) -> None:
    write(program, tmp_path / "once.pt2")
    again = read(tmp_path / "once.pt2")
    assert again.inputs == program.inputs
    assert again.sizes == program.sizes
    assert again.ties() == program.ties()
    assert list(again.outputs()) == list(program.outputs()) == ["logits", "more.0"]
    assert again.module.state_dict().keys() == program.module.state_dict().keys()
    given = inputs(3)
    assert all(torch.equal(a, b) for a, b in zip(again.run(*given).values(), program.run(*given).values(), strict=True))
    (tmp_path / "twice").mkdir()
    write(again, tmp_path / "twice" / "once.pt2")
    assert (tmp_path / "twice" / "once.pt2").read_bytes() == (tmp_path / "once.pt2").read_bytes()


def test_a_program_in_training_is_written_for_evaluation_and_goes_on_training(program: Program, tmp_path: Path) -> None:
    write(program, tmp_path / "model.pt2")
    expected = (tmp_path / "model.pt2").read_bytes()
    program.set_training(True)
    write(program, tmp_path / "model.pt2")
    assert (tmp_path / "model.pt2").read_bytes() == expected
    assert not torch.equal(program.run(*inputs(64))["logits"], program.run(*inputs(64))["logits"])


def test_nothing_of_the_uploader_is_written(program: Program, tmp_path: Path) -> None:
    write(program, tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2") as zipped:
        assert {name.split("/")[0] for name in zipped.namelist()} == {"model"}
        text = zipped.read("model/models/model.json").decode()
        assert zipped.getinfo("model/data/sample_inputs/model.pt").file_size < 4096
    for trace in ("stack_trace", "File ", ".py", str(Path(__file__).parent), "nn_module_stack"):
        assert trace not in text


BYTES = """
import sys
from pathlib import Path
from worker.program.reader import read
from worker.program.writer import write, write_state
program = read(Path(sys.argv[1]))
write(program, Path(sys.argv[2]) / "a.pt2")
write_state(program, Path(sys.argv[2]) / "a.safetensors")
"""


def test_two_processes_write_the_same_bytes(module: Net, export: Export, tmp_path: Path) -> None:
    """This one, which has done much else and draws its own seed of hashes, and a new one."""
    path, theirs, ours = export(module, inputs(2)), tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir(), ours.mkdir()
    environment = {"PYTHONHASHSEED": "77", "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BYTES, path, theirs],
        check=True, capture_output=True, env=environment, timeout=120,
    )  # fmt: skip
    program = read(path)
    write(program, ours / "a.pt2")
    write_state(program, ours / "a.safetensors")
    for name in ("a.pt2", "a.safetensors"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_the_state_loads_into_a_module_with_the_same_ties(program: Program, module: Net, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_state(program, path)
    fresh = Net()
    load_model(fresh, path, strict=True)
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in fresh.state_dict().items())
    with safe_open(path, "pt") as opened:
        assert opened.metadata() == {"format": "pt", "head.weight": "words.weight"}
        assert "head.weight" not in opened.keys()  # noqa: SIM118
    with path.open("rb") as file:
        assert int.from_bytes(file.read(8), "little") % 8 == 0


def test_the_checkpoint_loads_strictly_after_prune_identity(export: Export, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)).eval()
    program = read(export(module, [torch.randn(2, 6)]))
    masks = {f"{index}.weight": torch.rand(module[index].weight.shape) > 0.5 for index in (0, 2)}
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(program, masks, path)
    fresh = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)).eval()
    for index in (0, 2):
        prune.identity(fresh[index], "weight")
    fresh.load_state_dict(load_file(path), strict=True)
    given = torch.randn(3, 6)
    with torch.no_grad():
        for index in (0, 2):
            module[index].weight.mul_(masks[f"{index}.weight"])
    assert torch.equal(fresh(given), module(given))


def test_what_was_made_dynamic_is_written_so(module: Net, export: Export, tmp_path: Path) -> None:
    program = read(export(module, inputs(3), fixed=True))
    write(program, tmp_path / "model.pt2")
    again = read(tmp_path / "model.pt2")
    assert again.batch_kind == "dynamic"
    assert again.run(*inputs(11))["logits"].shape == (11, 7)


def test_half_precision_keeps_its_bytes(export: Export, tmp_path: Path) -> None:
    module = nn.Linear(4, 4).half().eval()
    program = read(export(module, [torch.randn(2, 4).half()]))
    write_state(program, tmp_path / "model.safetensors")
    assert torch.equal(load_file(tmp_path / "model.safetensors")["weight"], module.weight)


class Halves(nn.Module):
    """Two inputs go one way as one batch, as in networks that compare images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        ours, theirs = torch.chunk(self.layer(torch.cat([left, right])), 2)
        return ours * theirs


def test_conditions_that_torch_cannot_decide_leave_the_batch_free(tmp_path: Path) -> None:
    module, given = Halves().eval(), (torch.randn(2, 4), torch.randn(2, 4))
    hints = tuple({0: torch.export.Dim.DYNAMIC(min=2, max=64)} for _ in given)
    torch.export.save(torch.export.export(module, given, dynamic_shapes=hints), tmp_path / "upload.pt2")
    write(read(tmp_path / "upload.pt2"), tmp_path / "out.pt2")
    run = torch.export.load(tmp_path / "out.pt2").module()
    for batch in (2, 5, 64):
        given = (torch.randn(batch, 4), torch.randn(batch, 4))
        assert torch.equal(run(*given), module(*given))


class Pairs(nn.Module):
    """Swaps the halves of the batch: one of odd size has none."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, -1, 3).flip(0).reshape(-1, 3)


def test_a_condition_that_does_not_hold_for_every_batch_is_refused(tmp_path: Path) -> None:
    hints = ({0: torch.export.Dim.DYNAMIC(min=4, max=64)},)
    exported = torch.export.export(Pairs().eval(), (torch.randn(4, 3),), dynamic_shapes=hints)
    torch.export.save(exported, tmp_path / "upload.pt2")
    with pytest.raises(ProgramFails, match="exported again"):
        write(read(tmp_path / "upload.pt2"), tmp_path / "out.pt2")
