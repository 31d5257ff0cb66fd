"""Small networks of every kind that people upload, each with data that fits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

CLASSES = 4
EXAMPLES = 24


@dataclass
class Case:
    """A module, example inputs, what to export it with, and the arrays of a data set."""

    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    arrays: dict[str, torch.Tensor]
    dynamic: Any = None
    output: int | str | None = None
    exclude: tuple[str, ...] = ()
    kwargs: dict[str, torch.Tensor] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=lambda: {"kind": "classification"})


def labels() -> torch.Tensor:
    """Every class as often as the others."""
    return torch.arange(EXAMPLES) % CLASSES


def images(*shape: int) -> torch.Tensor:
    """Noise with a bright square whose place is the label."""
    x = torch.randn(EXAMPLES, *shape) * 0.1
    for row, label in enumerate(labels()):
        x[row, ..., int(label)] += 1
    return x


class Net(nn.Module):
    """A convolution and a linear layer, with the way between them left open."""

    def __init__(self, join: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6 * 36, CLASSES)
        self.join = join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.join(torch.relu(self.norm(self.conv(x)))))


def fitted(net: nn.Module, x: torch.Tensor) -> nn.Module:
    """The network after a short training on `x` and the labels, in evaluation mode."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 8), nn.Linear(5, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.left(left) + self.right(right)))


class DictOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = torch.relu(self.body(x))
        return {"hidden": hidden, "scores": self.head(hidden)}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(CLASSES, 8)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, CLASSES, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.mix(self.embed(ids).mean(dim=1))))


class Logits(nn.Module):
    """A transformers model that gives its logits, with explicit arguments."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids).logits


class Tagger(nn.Module):
    """A class for every token, from itself and its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(32, 8), nn.Conv1d(8, 12, 3, padding=1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.mix(self.embed(ids).transpose(1, 2))).transpose(1, 2))


def _picture(module: nn.Module, dtype: torch.dtype = torch.float32) -> Case:
    x = images(1, 6, 6).to(dtype)
    return Case(module.to(dtype).eval(), (x[:2],), {"x": x, "target": labels()})


def _pruned() -> Case:
    case = _picture(Net(lambda x: x.flatten(1)))
    assert isinstance(case.module, Net)
    prune.l1_unstructured(case.module.fc, "weight", amount=0.3)
    prune.l1_unstructured(case.module.conv, "weight", amount=0.5)
    return case


def _pruned_beside() -> Case:
    """Masks on a bias, which is never chosen, and on a layer that the spec of the test leaves out."""
    case = _pruned()
    prune.random_unstructured(case.module.get_submodule("fc"), "bias", amount=0.5)
    return replace(case, exclude=("conv.*",))


def _two_inputs() -> Case:
    left, right = images(6), images(5)
    batch = torch.export.Dim("batch", min=1, max=64)
    return Case(
        TwoInputs().eval(),
        (left[:3], right[:3]),
        {"left": left, "right": right, "target": labels()},
        dynamic=({0: batch}, {0: batch}),
    )


def _dict() -> Case:
    x = images(6)
    return Case(DictOutput().eval(), (x[:2],), {"x": x, "target": labels()}, output="scores")


def _tied() -> Case:
    ids = labels()[:, None].expand(-1, 5).contiguous()
    return Case(Tied().eval(), (ids[:2],), {"ids": ids, "target": labels()})


def _transformer(name: str, **config: Any) -> Case:
    import transformers

    settings = transformers.AutoConfig.for_model(
        name, vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
        max_position_embeddings=16, num_labels=CLASSES, pad_token_id=0, **config,
    )  # fmt: skip
    model = transformers.AutoModelForSequenceClassification.from_config(settings)
    ids = torch.randint(1, 32, (EXAMPLES, 8))
    ids[:, 0] = labels() + 1
    batch = torch.export.Dim("batch", min=1, max=64)
    return Case(Logits(model).eval(), (ids[:2],), {"input_ids": ids, "target": labels()}, dynamic=({0: batch},))


CASES: dict[str, Callable[[], Case]] = {
    "flatten, fixed batch": lambda: _picture(Net(lambda x: x.flatten(1))),
    "view, fixed batch": lambda: _picture(Net(lambda x: x.view(x.size(0), -1))),
    "half precision": lambda: _picture(Net(lambda x: x.flatten(1)), torch.float16),
    "two inputs": _two_inputs,
    "a dict": _dict,
    "tied weights": _tied,
    "torch's pruning attached": _pruned,
    "masks on what is not chosen": _pruned_beside,
    "tiny BERT": lambda: _transformer("bert"),
    "tiny Llama": lambda: _transformer("llama", num_key_value_heads=2),
}


def words() -> torch.Tensor:
    """Token ids of 8 positions, each the one before it and 3, so that the next can be foretold."""
    return (torch.arange(EXAMPLES)[:, None] + 3 * torch.arange(8)) % 31 + 1


def _language(name: str, target: torch.Tensor, **task: Any) -> Case:
    import transformers

    settings = transformers.AutoConfig.for_model(
        name, vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=16, pad_token_id=0,
    )  # fmt: skip
    kind = transformers.AutoModelForCausalLM if task["kind"] == "causal_lm" else transformers.AutoModelForMaskedLM
    ids = words().where(target == -100, 0) if task["kind"] == "masked_lm" else words()
    batch = torch.export.Dim("batch", min=1, max=64)
    model = Logits(kind.from_config(settings)).eval()
    return Case(model, (ids[:2],), {"input_ids": ids, "target": target}, dynamic=({0: batch},), task=task)


def _masked() -> Case:
    hidden = (torch.arange(EXAMPLES)[:, None] + torch.arange(8)) % 4 == 0
    return _language("bert", words().where(hidden, -100), kind="masked_lm")


def _tagged() -> Case:
    ids = words()
    target = (ids % CLASSES).where(ids > 5, -100)
    task = {"kind": "token_classification", "class_weights": "balanced"}
    return Case(Tagger().eval(), (ids[:2],), {"ids": ids, "target": target}, task=task)


def _segmented() -> Case:
    x = torch.rand(EXAMPLES, 1, 8, 8)
    target = (x[:, 0] * CLASSES).to(torch.uint8)
    target[:, 0] = 255
    layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, CLASSES, 1))
    task = {"kind": "segmentation", "class_weights": [1.0, 2.0, 0.5, 1.0]}
    return Case(layers.eval(), (x[:2],), {"input": x, "target": target}, task=task)


TASKS: dict[str, Callable[[], Case]] = {
    "causal_lm": lambda: _language("gpt2", words().where(torch.arange(8) != 3, -100), kind="causal_lm"),
    "masked_lm": _masked,
    "token_classification": _tagged,
    "segmentation": _segmented,
}
"""Each learns something within a few epochs."""
