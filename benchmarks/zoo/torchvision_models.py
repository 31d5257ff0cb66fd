"""Every model that torchvision lists, with random weights."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from benchmarks.zoo.operators import declare_operators
from benchmarks.zoo.subject import Build, Picked, Subject, of_images

IMAGE = 64
SIZES = {"inception_v3": 96, "quantized_inception_v3": 96, "maxvit_t": 224, "raft_large": 128, "raft_small": 128}
"""Where 64 pixels are too few."""
VIDEOS = {
    **dict.fromkeys(("mc3_18", "r2plus1d_18", "r3d_18", "swin3d_b", "swin3d_s", "swin3d_t"), (8, IMAGE, IMAGE)),
    **dict.fromkeys(("mvit_v1_b", "mvit_v2_s"), (16, 224, 224)),
    "s3d": (16, 224, 224),
}
"""Frames, height and width."""
PATCHES = {"vit_b_16": 64, "vit_b_32": 64, "vit_h_14": 56, "vit_l_16": 64, "vit_l_32": 64}
"""Vision transformers are built for one image size, a multiple of the patch."""
DETECTION = ("rcnn", "fcos", "retinanet", "ssd")
SEGMENTATION = ("deeplabv3", "fcn_", "lraspp")


class Detector(nn.Module):
    """A detection model for a batch of images of one size: boxes, labels and scores of every image."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        return [(found["boxes"], found["labels"], found["scores"]) for found in self.module(list(x))]


def torchvision_models() -> dict[str, Build]:
    """A builder for every name of `torchvision.models.list_models()`."""
    declare_operators()
    from torchvision import models

    return {f"torchvision/{name}": partial(_subject, name) for name in models.list_models()}


def _subject(name: str) -> Subject:
    from torchvision import models

    module: nn.Module = models.get_model(name, weights=None, **_options(name))
    if name.startswith(SEGMENTATION):
        module = Picked(module, "out")
    if any(word in name for word in DETECTION):
        module = Detector(module)
    if name in VIDEOS:
        return of_images(module, 3, *VIDEOS[name])
    size = PATCHES.get(name, SIZES.get(name, IMAGE))
    return of_images(module, 3, size, size, count=2 if name.startswith("raft") else 1)


def _options(name: str) -> dict[str, object]:
    if name.endswith(("googlenet", "inception_v3")):
        quantize = {"quantize": False} if name.startswith("quantized_") else {}
        return {
            "init_weights": False,
            **quantize,
        }  # scipy's truncated normal numbers take half a minute; they are redrawn
    if name.startswith("quantized_"):
        return {"quantize": False}
    if name in PATCHES:
        return {"image_size": PATCHES[name]}
    if name.startswith(SEGMENTATION) or any(word in name for word in DETECTION):
        return {"weights_backbone": None}
    return {}
