"""Tiny BERT and Llama (grouped-query, rotary positions, tied words): read, trained, freed and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.worker.program.conftest import Stock
from worker.program.inspection import inspect
from worker.program.reader import read
from worker.program.writer import write

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
    "max_position_embeddings": 16,
}  # fmt: skip


def bert() -> nn.Module:
    config = transformers.BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3)
    return transformers.BertForSequenceClassification(config)


def llama() -> nn.Module:
    config = transformers.LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=True, use_cache=False)
    return transformers.LlamaForCausalLM(config)


NAMES = {bert: ("input_ids", "attention_mask"), llama: ("input_ids",)}


def _inputs(make: Callable[[], nn.Module], batch: int) -> dict[str, Tensor]:
    given = {"input_ids": torch.randint(0, 32, (batch, 6)), "attention_mask": torch.ones(batch, 6, dtype=torch.int64)}
    return {name: given[name] for name in NAMES[make]}


@pytest.fixture(params=[bert, llama], ids=["bert", "llama"])
def make(request: pytest.FixtureRequest) -> Callable[[], nn.Module]:
    chosen: Callable[[], nn.Module] = request.param
    return chosen


class Logits(nn.Module):
    """The network with a single tensor as its output; a cache cannot be exported."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": self.model(input_ids=input_ids, attention_mask=attention_mask).logits}


def _save(module: nn.Module, given: Mapping[str, Tensor], path: Path, *, fixed: bool = False) -> Path:
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = None if fixed else {name: {0: batch} for name in given}
    torch.export.save(torch.export.export(module.eval(), (), dict(given), dynamic_shapes=shapes), path)
    return path


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed batch"])
def test_outputs_and_gradients_equal_the_module(make: Callable[[], nn.Module], fixed: bool, tmp_path: Path) -> None:
    module = Logits(make())
    program = read(_save(module, _inputs(make, 2), tmp_path / "model.pt2", fixed=fixed))
    given = _inputs(make, 3)
    program.set_training(True)
    module.train()
    ours, theirs = program.run(*given.values())["logits"], module(**given)["logits"]
    assert torch.allclose(ours, theirs, atol=1e-6)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    known = dict(module.named_parameters(remove_duplicate=False))
    for name, parameter in program.named_parameters():
        assert torch.allclose(parameter.grad, known[name].grad, rtol=1e-4, atol=1e-5), name


def test_what_is_written_runs_in_stock_torch_with_the_same_keywords(
    make: Callable[[], nn.Module], stock: Stock, tmp_path: Path
) -> None:
    module = Logits(make())
    program = read(_save(module, _inputs(make, 2), tmp_path / "model.pt2"))
    write(program, tmp_path / "out.pt2")
    given = _inputs(make, 5)
    (found,) = stock(tmp_path / "out.pt2", [((), given)])
    assert torch.allclose(found["logits"], module(**given)["logits"], atol=1e-6)


def test_an_output_class_becomes_a_dict(tmp_path: Path) -> None:
    given = _inputs(bert, 2)
    module = bert()
    program = read(_save(module, given, tmp_path / "model.pt2"))
    assert torch.allclose(program(*given.values())["logits"], module(**given).logits, atol=1e-6)
    found = inspect(program)
    assert [output.shape for output in found.outputs] == [("batch", 3)]
    assert "bert.encoder.layer.0.attention.self.query.weight" in {layer.name for layer in found.layers}


def test_rotary_positions_are_in_the_graph_itself(tmp_path: Path) -> None:
    program = read(_save(Logits(llama()), _inputs(llama, 2), tmp_path / "model.pt2"))
    assert {node.op for node in program.module.graph.nodes} == {"placeholder", "get_attr", "call_function", "output"}
    assert program.ties() == (("model.model.embed_tokens.weight", "model.lm_head.weight"),)
