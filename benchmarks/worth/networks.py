"""The networks that are pruned: a small ResNet and a small vision transformer, written as everybody writes them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm and a way past them (He et al. 2016)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.past: nn.Module = nn.Identity()
        if stride > 1 or inside != outside:
            self.past = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inside, h, w] -> [batch, outside, h / stride, w / stride]."""
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.past(x))


class ResNet(nn.Module):
    """A stem, three stages of residual blocks, one linear layer. Images (N, 1, H, W) to logits (N, 10)."""

    def __init__(self, stem_stride: int, widths: tuple[int, int, int] = (24, 48, 96), blocks: int = 2) -> None:
        super().__init__()
        first, second, third = widths
        self.stem = nn.Sequential(nn.Conv2d(1, first, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.stages = nn.Sequential(
            *_stage(first, first, 1, blocks),
            *_stage(first, second, 2, blocks),
            *_stage(second, third, 2, blocks),
        )
        self.head = nn.Linear(third, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image."""
        logits: Tensor = self.head(self.stages(self.stem(image)).mean((2, 3)))
        return logits


def _stage(inside: int, outside: int, stride: int, blocks: int) -> list[Residual]:
    return [Residual(inside, outside, stride), *(Residual(outside, outside, 1) for _ in range(blocks - 1))]


class Attention(nn.Module):
    """Self-attention with one linear layer for queries, keys and values, as in timm.

    `num_heads` and `head_dim` are read by the forward pass, since Torch-Pruning asks its users to set them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same shape."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return out


class Layer(nn.Module):
    """Attention and a feed-forward part, each normalized before and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same shape."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Vit(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) without class token: mean over the patches."""

    def __init__(self, size: int, patch: int, width: int = 64, heads: int = 4, depth: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, patch, patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image."""
        tokens = self.patch(image).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.layers(tokens)).mean(1))
        return logits


NETWORKS: dict[tuple[str, str], Callable[[], nn.Module]] = {
    ("mnist", "cnn"): lambda: ResNet(stem_stride=2),
    ("mnist", "vit"): lambda: Vit(size=28, patch=7),
    ("digits", "cnn"): lambda: ResNet(stem_stride=1),
    ("digits", "vit"): lambda: Vit(size=8, patch=4),
}
