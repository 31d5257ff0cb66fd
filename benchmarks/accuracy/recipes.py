"""How networks are trained and pruned for the final table: chosen on the choice images, then frozen."""

from __future__ import annotations

from functools import partial

from benchmarks.accuracy.point import Kind
from benchmarks.accuracy.recipe import Recipe
from benchmarks.worth.networks import ResNet, Vit
from secateur.spec.recover import FineTune
from secateur.spec.training import AdamW, Sgd

CHOICE_SEEDS = range(3)
FINAL_SEEDS = range(3, 8)
SIZES = {"test": 1000, "train": 1000, "validation": 500}
"""Of the 5,000 images. The rest are the choice images."""

NETWORKS: dict[str, partial[ResNet] | partial[Vit]] = {
    "cnn": partial(ResNet, stem_stride=2, widths=(16, 32, 64), blocks=1),
    "vit": partial(Vit, size=28, patch=7, width=48, depth=3),
}
DENSE = {
    "cnn": FineTune(optimizer=Sgd(weight_decay=5e-4), learning_rate=0.05, epochs=20),
    "vit": FineTune(optimizer=AdamW(weight_decay=0.05), learning_rate=2e-3, warmup_steps=48, epochs=30),
}

OURS: dict[Kind, str] = {
    "sparsity": "taylor, soft and smoothed, steady, four times the rate, longer rounds",
    "macs": "l2, soft and smoothed, steady, four times the rate",
}
"""One of the candidates, for both networks: in the mean over both and over its points the best of those."""

RATES = (1.0, 2.0, 4.0)
"""What the others could choose from, as shares of the original rate; a tenth of it is too little for all of them."""

PEERS: dict[Kind, dict[str, Recipe]] = {
    "sparsity": {
        "torch one-shot": Recipe(RATES[0]),
        "torch iterative": Recipe(RATES[0], 5, 2, "geometric"),
    },
    "macs": {
        "Torch-Pruning group norm": Recipe(RATES[0], 5, 2, "linear"),
        "Torch-Pruning Taylor": Recipe(RATES[0], 5, 2, "linear"),
    },
}
PEER_RATES: dict[str, dict[str, float]] = {
    "cnn": {
        "torch one-shot": 4.0,
        "torch iterative": 4.0,
        "Torch-Pruning group norm": 4.0,
        "Torch-Pruning Taylor": 1.0,
    },
    "vit": {
        "torch one-shot": 4.0,
        "torch iterative": 4.0,
        "Torch-Pruning group norm": 2.0,
        "Torch-Pruning Taylor": 2.0,
    },
}
"""Of the RATES, for each network and method: the best in the mean over its points."""
