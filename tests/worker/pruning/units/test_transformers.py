"""BERT and a grouped-query Llama: one residual stream, one group of heads and one of hidden neurons a layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.worker.pruning.units.conftest import Find, Found

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 16,
}  # fmt: skip


class Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=words).logits
        return logits


@pytest.fixture
def words() -> list[Tensor]:
    return [torch.randint(0, 32, (2, 6))]


def names(found: Found) -> dict[str, tuple[str, int]]:
    return {group.name: (group.kind, group.size) for group in found.described.groups}


@pytest.mark.filterwarnings("ignore")
def test_bert(find: Find, words: list[Tensor]) -> None:
    module = Logits(transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL, num_labels=3)))
    found = find(module, words)
    layer = "model.bert.encoder.layer.{}."
    assert names(found) == {
        "model.bert.embeddings.word_embeddings.weight": ("channel", 16),
        **{layer.format(at) + "attention.self.query.weight": ("head", 4) for at in range(2)},
        **{layer.format(at) + "intermediate.dense.weight": ("neuron", 24) for at in range(2)},
        "model.bert.pooler.dense.weight": ("neuron", 16),
    }
    stream = found.group("model.bert.embeddings.word_embeddings.weight")
    outputs = [layer.format(at) + name for at in range(2) for name in ("attention.output.dense", "output.dense")]
    assert {f"{name}.weight" for name in outputs} <= set(stream.births)
    assert found.described.prunable_share > 0.99


@pytest.mark.filterwarnings("ignore")
def test_grouped_queries_go_with_their_keys(find: Find, words: list[Tensor]) -> None:
    config = transformers.LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=True, use_cache=False)
    found = find(Logits(transformers.LlamaForCausalLM(config)), words)
    layer = "model.model.layers.{}."
    assert names(found) == {
        "model.model.embed_tokens.weight": ("channel", 16),
        **{layer.format(at) + "self_attn.q_proj.weight": ("head", 2) for at in range(2)},
        **{layer.format(at) + "mlp.gate_proj.weight": ("neuron", 24) for at in range(2)},
    }
    heads = found.group("model.model.layers.0.self_attn.q_proj.weight")
    assert set(heads.births) == {f"model.model.layers.0.self_attn.{name}_proj.weight" for name in "qkv"}
    assert heads.parameters_per_unit == (8 + 4 + 4 + 8) * 16
