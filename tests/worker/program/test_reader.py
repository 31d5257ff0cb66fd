"""Reading: the same outputs and gradients as the module that was exported, and a plain answer to every other file."""

from __future__ import annotations

import io
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils import _pytree as pytree

from secateur.errors import BadModel, RandomOperator, UnsupportedStructure
from tests.worker.program.attacks import MODEL, clean, edited, rewrite
from worker.program.program import Program
from worker.program.reader import read

FIXTURES = Path(__file__).parents[2] / "fixtures"

Export = Callable[..., Path]


class Convolutions(nn.Module):
    """Images: normalization, dropout, in-place activation, a view by the batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(self.drop(x.view(x.size(0), -1)))


class TwoInputs(nn.Module):
    """A dict of a tensor, a tuple with a list, and a constant buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, left: Tensor, input: Tensor) -> dict[str, object]:
        hidden = self.layer(left) * self.scale
        return {"sum": hidden + input, "parts": (hidden.sum(1), [input.exp()])}


class Tied(nn.Module):
    """An embedding whose weight is the head's, and a shared layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.words(ids)))


class Recurrent(nn.Module):
    """LSTM and GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(4, 6, num_layers=2, batch_first=True, dropout=0.2)
        self.second = nn.GRU(6, 5, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)[0])[0][:, -1]


class Operators(nn.Module):
    """Movement, reductions, creation and comparison in one."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 3, 2, stride=2)
        self.groups = nn.GroupNorm(1, 3)
        self.mix = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.up(nn.functional.pad(x, (1, 1, 0, 0), mode="reflect")))
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = torch.einsum("nchw,cd->ndhw", x, self.mix)
        rows = torch.arange(x.size(2)) < 3
        x = torch.where(rows[None, None, :, None], x, torch.zeros_like(x))
        x = torch.cat([x.amax(1, keepdim=True), x.flip(-1)], 1).roll(1, 2)
        return nn.functional.avg_pool2d(x, 2).flatten(1).softmax(-1).log().clamp(min=-9.0)


class Attention(nn.Module):
    """The stock encoder layer, with a learned token in front."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(torch.cat([self.token.expand(x.size(0), -1, -1), x], 1))[:, 0]


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor, ...]]]] = {
    "convolutions": (Convolutions, lambda n: (torch.randn(n, 3, 8, 8),)),
    "two inputs": (TwoInputs, lambda n: (torch.randn(n, 4), torch.randn(n, 3))),
    "tied": (Tied, lambda n: (torch.randint(0, 7, (n, 5)),)),
    "recurrent": (Recurrent, lambda n: (torch.randn(n, 5, 4),)),
    "operators": (Operators, lambda n: (torch.randn(n, 2, 4, 4),)),
    "attention": (Attention, lambda n: (torch.randn(n, 5, 8),)),
}


def _same(ours: object, theirs: object) -> bool:
    left, right = pytree.tree_flatten(ours), pytree.tree_flatten(theirs)
    pairs = zip(left[0], right[0], strict=True)
    return left[1] == right[1] and all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed batch"])
@pytest.mark.parametrize("net", NETS)
def test_outputs_equal_those_of_the_module(net: str, fixed: bool, export: Export) -> None:
    make, inputs = NETS[net]
    module = make().eval()
    program = read(export(module, inputs(2), fixed=fixed))
    for batch in (1, 2, 3, 5):
        given = inputs(batch)
        expected = module(*(tensor.clone() for tensor in given))
        before = [tensor.clone() for tensor in given]
        assert _same(program(*given), expected)
        assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
    assert program.batch_kind == ("made_dynamic" if fixed else "dynamic")
    assert sorted(program.module.state_dict()) == sorted(module.state_dict())


@pytest.mark.parametrize("net", NETS)
def test_training_gradients_and_statistics_equal_those_of_the_module(net: str, export: Export) -> None:
    make, inputs = NETS[net]
    module = make().eval()
    program = read(export(module, inputs(2)))
    for drop in (m for m in module.modules() if isinstance(m, nn.Dropout | nn.LSTM)):
        setattr(drop, "p" if isinstance(drop, nn.Dropout) else "dropout", 0.0)
    _without_dropout(program)
    module.train()
    program.set_training(True)
    given = inputs(4)
    for run in (module, program):
        sum(leaf.square().sum() for leaf in pytree.tree_leaves(run(*(t.clone() for t in given)))).backward()
    theirs = dict(module.named_parameters())
    ours = dict(program.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, parameter in theirs.items():
        assert parameter.grad is not None
        assert torch.allclose(ours[name].grad, parameter.grad, rtol=1e-4, atol=1e-5), name
    for name, buffer in module.named_buffers():
        assert name.endswith("num_batches_tracked") or torch.allclose(program.module.get_buffer(name), buffer)


def _without_dropout(program: Program) -> None:
    for node in program.module.graph.nodes:
        if "dropout" in str(node.target):
            node.update_arg(1, 0.0)
        if "lstm" in str(node.target):
            node.update_arg(5, 0.0)
    program.module.recompile()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_keep_their_dtype(dtype: torch.dtype, export: Export) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).to(dtype).eval()
    program = read(export(module, [torch.randn(2, 4, dtype=dtype)]))
    given = torch.randn(3, 4, dtype=dtype)
    assert torch.equal(program(given), module(given))
    assert program.inputs[0].dtype == dtype


def test_attached_pruning_becomes_a_parameter_and_a_mask(export: Export) -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).eval()
    prune.l1_unstructured(module[0], "weight", 0.4)
    prune.ln_structured(module[2], "weight", 0.5, n=2, dim=0)
    program = read(export(module, [torch.randn(2, 6)]))
    expected = {f"{index}.weight": module[index].weight_mask.bool() for index in (0, 2)}
    assert program.masks.keys() == expected.keys()
    assert all(torch.equal(program.masks[name], mask) for name, mask in expected.items())
    for index in (0, 2):
        prune.remove(module[index], "weight")
    assert set(program.module.state_dict()) == set(module.state_dict())
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in program.module.state_dict().items())
    given = torch.randn(3, 6)
    assert torch.equal(program(given), module(given))


def test_ties_are_one_parameter_under_all_names(export: Export) -> None:
    program = read(export(Tied().eval(), [torch.randint(0, 7, (2, 5))]))
    assert program.ties() == (("words.weight", "head.weight"),)
    assert program.module.get_parameter("words.weight") is program.module.get_parameter("head.weight")
    copied = program.copy()
    assert copied.ties() == program.ties()
    with torch.no_grad():
        copied.module.get_parameter("words.weight").zero_()
    assert copied(torch.zeros(1, 5, dtype=torch.int64)).abs().sum() == 0
    assert program.module.get_parameter("words.weight").abs().sum() > 0


def test_an_export_in_training_mode_is_evaluated_in_evaluation_mode(export: Export) -> None:
    module = Convolutions().train()
    program = read(export(module, [torch.randn(2, 3, 8, 8)]))
    module.eval()
    state = {name: tensor.clone() for name, tensor in program.module.state_dict().items()}
    given = torch.randn(3, 3, 8, 8)
    assert torch.allclose(program(given), module(given.clone()), atol=1e-6)
    assert all(torch.equal(tensor, state[name]) for name, tensor in program.module.state_dict().items())
    assert any("training mode" in note for note in program.notes)


def test_normalization_without_statistics_stays_as_it_is(export: Export) -> None:
    module = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)).eval()
    program = read(export(module, [torch.randn(4, 3)]))
    given = torch.randn(5, 3)
    assert torch.allclose(program(given), module(given), atol=1e-6)


class Casting(nn.Module):
    """Computes one layer with autocast switched on or off."""

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=self.enabled):
            hidden = self.layer(x)
        return torch.relu(hidden)


def test_a_region_without_autocast_runs_in_place(export: Export) -> None:
    module = Casting(False).eval()
    program = read(export(module, [torch.randn(2, 3)]))
    given = torch.randn(5, 3)
    assert torch.equal(program(given), module(given))
    program(given).sum().backward()
    assert all(parameter.grad is not None for _, parameter in program.named_parameters())


def test_a_region_under_autocast_is_refused(export: Export) -> None:
    with pytest.raises(UnsupportedStructure, match="autocast"):
        read(export(Casting(True).eval(), [torch.randn(2, 3)]))


def test_random_layers_are_refused_with_the_line_that_exports_right(export: Export) -> None:
    class Drops(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.empty(x.shape[1:]).bernoulli_(0.5)

    with pytest.raises(RandomOperator) as caught:
        read(export(Drops(), [torch.randn(2, 3)]))
    assert "model.eval()" in str(caught.value.remedy)


def test_a_network_that_counts_its_calls_is_refused(export: Export) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("level", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            self.level.add_(1.0)
            return x + self.level

    with pytest.raises(UnsupportedStructure, match="'level'"):
        read(export(Counts().eval(), [torch.randn(2, 3)]))


def test_constants_and_keywords_among_the_inputs(tmp_path: Path) -> None:
    class Keywords(nn.Module):
        def forward(self, x: Tensor, times: int, nothing: None = None, *, y: Tensor) -> Tensor:
            return x * times + y

    path = tmp_path / "model.pt2"
    batch = {0: torch.export.Dim("batch", min=1, max=9)}
    shapes = {"x": batch, "times": None, "nothing": None, "y": batch}
    given = (torch.ones(2, 3), 3, None)
    torch.export.save(torch.export.export(Keywords(), given, {"y": torch.ones(2, 3)}, dynamic_shapes=shapes), path)
    program = read(path)
    assert [(i.name, i.keyword) for i in program.inputs] == [("x", False), ("y", True)]
    assert torch.equal(program(torch.ones(4, 3), torch.ones(4, 3)), torch.full((4, 3), 4.0))
    assert "times" in program.notes[0]


def test_nested_inputs_are_refused_with_a_way_out(tmp_path: Path) -> None:
    class Nested(nn.Module):
        def forward(self, pair: list[Tensor]) -> Tensor:
            return pair[0] + pair[1]

    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Nested(), ([torch.ones(2), torch.ones(2)],)), path)
    with pytest.raises(UnsupportedStructure) as caught:
        read(path)
    assert "class Flat" in str(caught.value.remedy)


def test_an_input_that_is_no_batch_is_refused(tmp_path: Path) -> None:
    class Table(nn.Module):
        def forward(self, x: Tensor, table: Tensor) -> Tensor:
            return x @ table

    path = tmp_path / "model.pt2"
    shapes = ({0: torch.export.Dim("batch", min=1, max=9)}, None)
    torch.export.save(torch.export.export(Table(), (torch.ones(2, 3), torch.ones(3, 4)), dynamic_shapes=shapes), path)
    with pytest.raises(UnsupportedStructure, match="Axis 0"):
        read(path)


def test_a_file_from_cuda_is_read_on_the_cpu(tmp_path: Path) -> None:
    def on_cuda(value: object) -> None:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            on_cuda(inner)
        if isinstance(value, dict) and value.get("type") == "cpu":
            value.update(type="cuda", index=0)

    class Creates(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.ones(3, device=x.device)

    source = tmp_path / "cpu.pt2"
    batch = torch.export.Dim("batch", min=1, max=9)
    torch.export.save(torch.export.export(Creates(), (torch.ones(2, 3),), dynamic_shapes=({0: batch},)), source)
    program = read(rewrite(source, tmp_path / "cuda.pt2", {MODEL: edited(on_cuda)}))
    assert torch.equal(program(torch.ones(4, 3)), torch.full((4, 3), 2.0))


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("torch-*.pt2")), ids=lambda path: path.stem)
def test_files_of_other_versions_of_torch(path: Path) -> None:
    known = load_file(path.with_suffix(".safetensors"))
    program = read(path)
    assert program.written_by.startswith(path.stem.removeprefix("torch-"))
    result = program.run(*(known[given.name] for given in program.inputs))
    assert result.keys() == {"logits", "hidden"}
    for name, tensor in result.items():
        assert torch.allclose(tensor, known[name], atol=1e-6)
    assert program.ties() == (("words.weight", "head.weight"),)


def _torchscript(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)


def _numpy(path: Path) -> None:
    with path.open("wb") as file:
        numpy.savez(file, x=numpy.zeros(3))


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("pickle"), io.BytesIO())


OTHER_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "saved module": (lambda path: torch.save(nn.Linear(2, 2), path), "pickled_module"),
    "saved state dict": (lambda path: torch.save(nn.Linear(2, 2).state_dict(), path), "pickled_module"),
    "old saved module": (
        lambda path: torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=False),
        "pickled_module",
    ),
    "very old tar": (_tar, "pickled_module"),
    "torchscript": (_torchscript, "torchscript"),
    "safetensors": (lambda path: save_file({"x": torch.zeros(2)}, path), "not_a_program"),
    "npz": (_numpy, "not_a_program"),
    "text": (lambda path: path.write_text("hello"), "not_a_program"),
    "nothing": (lambda path: path.write_bytes(b""), "not_a_program"),
    "start of a zip": (lambda path: path.write_bytes(b"PK\x03\x04"), "corrupt_archive"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_every_other_file_is_told_apart(kind: str, tmp_path: Path) -> None:
    write, code = OTHER_FILES[kind]
    write(tmp_path / "model.pt2")
    with pytest.raises(BadModel) as caught:
        read(tmp_path / "model.pt2")
    assert caught.value.code == code
    assert code == "corrupt_archive" or "torch.export.save" in str(caught.value.remedy)


def test_another_major_version_of_the_schema_is_refused(tmp_path: Path) -> None:
    newer = edited(lambda model: model["schema_version"].update(major=9))
    with pytest.raises(BadModel) as caught:
        read(rewrite(clean(tmp_path / "clean.pt2"), tmp_path / "newer.pt2", {MODEL: newer}))
    assert caught.value.code == "unsupported_schema"
