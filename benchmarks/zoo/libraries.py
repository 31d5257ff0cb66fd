"""Imports what builds the models, once for all trials."""

from __future__ import annotations

from benchmarks.zoo.operators import declare_operators

declare_operators()

import timm  # noqa: E402, F401
import torchvision  # noqa: E402, F401
import transformers  # noqa: E402, F401
