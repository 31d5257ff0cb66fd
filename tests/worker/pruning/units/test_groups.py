"""Groups bear the name of the weight that first gives their units, and know all weights that give any."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.worker.pruning.units.conftest import Find, Found

IMAGES = torch.randn(2, 3, 8, 8)
WORDS = torch.randint(0, 11, (2, 6))


def conv(inputs: int, outputs: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """A stem, one block that keeps the stream and one that begins a new one, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.inner, self.back = conv(8, 5), conv(5, 8)
        self.down, self.out, self.short = conv(8, 7), conv(7, 12), conv(8, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.back(torch.relu(self.inner(x))))
        x = torch.relu(self.short(x) + self.out(torch.relu(self.down(x))))
        return self.head(x.mean((2, 3)))


class Concat(nn.Module):
    """Depthwise convolution, concatenation of what has units already, and a shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv(3, 6), conv(3, 6)
        self.depth = conv(12, 12, groups=12)
        self.point, self.head = conv(12, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = x.view(-1, 2, 6, 8, 8).transpose(1, 2).reshape(-1, 12, 8, 8)
        return self.head(torch.relu(self.point(self.depth(x))).mean((2, 3)))


class Fused(nn.Module):
    """Heads and hidden neurons out of one linear layer, and a table that no operator gives birth to."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 6, 8))
        self.words, self.both = nn.Embedding(11, 8), nn.Linear(8, 3 * 8 + 10)
        self.gate = nn.Parameter(torch.randn(8))
        self.mix, self.down, self.head = nn.Linear(8, 8), nn.Linear(10, 8), nn.Linear(8, 4)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.table
        q, k, v, hidden = self.both(x).split([8, 8, 8, 10], 2)
        q, k, v = (part.reshape(-1, 6, 2, 4).transpose(1, 2) for part in (q, k, v))
        attended = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, 6, 8)
        x = x + self.gate * self.mix(attended) + self.down(torch.relu(hidden))
        return self.head(x.mean(1))


def names(found: Found) -> dict[str, tuple[str, int]]:
    return {group.name: (group.kind, group.size) for group in found.described.groups}


def test_a_residual_stream_is_one_group_with_many_births(find: Find) -> None:
    found = find(Residual(), [IMAGES])
    assert names(found) == {
        "stem.0.weight": ("channel", 8),
        "inner.0.weight": ("channel", 5),
        "short.0.weight": ("channel", 12),
        "down.0.weight": ("channel", 7),
    }
    assert found.group("stem.0.weight").births == ("stem.0.weight", "back.0.weight")
    assert found.group("short.0.weight").births == ("short.0.weight", "out.0.weight")
    assert set(found.group("inner.0.weight").tensors) == {
        "inner.0.weight:0",
        *(f"inner.1.{name}:0" for name in ("weight", "bias", "running_mean", "running_var")),
        "back.0.weight:1",
    }


def test_what_has_units_already_gives_no_new_group(find: Find) -> None:
    found = find(Concat(), [IMAGES])
    assert names(found) == {
        "left.0.weight": ("channel", 6),
        "right.0.weight": ("channel", 6),
        "point.0.weight": ("channel", 5),
    }
    for side in ("left", "right"):
        assert found.group(f"{side}.0.weight").births == (f"{side}.0.weight", "depth.0.weight")
    assert len(found.described.parts) == 3


def test_heads_and_neurons_of_one_weight_are_apart(find: Find) -> None:
    found = find(Fused(), [WORDS])
    assert names(found) == {
        "words.weight": ("channel", 8),
        "both.weight": ("head", 2),
        "both.weight#2": ("neuron", 10),
    }
    assert found.group("words.weight").births == ("words.weight", "mix.weight", "down.weight")
    assert {"table:2", "gate:0"} <= set(found.group("words.weight").tensors)


def test_what_nothing_gives_birth_to_is_named_by_its_axis(find: Find) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6))

        def forward(self, x: Tensor) -> Tensor:
            return (x.sum(1, keepdim=True) * self.scale + self.shift).sum(1)

    found = find(Scaled(), [torch.randn(2, 5)])
    assert names(found) == {"scale:0": ("neuron", 6)}
    assert found.group("scale:0").births == ("scale",)


def test_weights_that_are_computed_bear_the_names_of_their_parameters(find: Find) -> None:
    class Computed(nn.Module):
        """Two weights side by side, and one of weight normalization: a direction and lengths."""

        def __init__(self) -> None:
            super().__init__()
            self.upper, self.lower = nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(3, 5))
            self.inner = nn.utils.parametrizations.weight_norm(nn.Linear(7, 6))
            self.head = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.linear(x, torch.cat([self.upper, self.lower]))
            return self.head(torch.relu(self.inner(torch.relu(x))))

    found = find(Computed(), [torch.randn(2, 5)])
    direction = "inner.parametrizations.weight.original1"
    assert names(found) == {"upper": ("neuron", 4), "lower": ("neuron", 3), direction: ("neuron", 6)}
    assert found.group(direction).births == (direction,)
