"""All models of the zoo by name, `library/model`."""

from __future__ import annotations

from fnmatch import fnmatchcase

from benchmarks.zoo.subject import Build
from benchmarks.zoo.timm_models import timm_models
from benchmarks.zoo.torchvision_models import torchvision_models
from benchmarks.zoo.transformers_models import transformers_models


def catalogue(patterns: str = "*") -> dict[str, Build]:
    """The builders whose names match globs, which spaces separate, in the order of these."""
    builders = {**transformers_models(), **torchvision_models(), **timm_models()}
    matching = (name for pattern in patterns.split() for name in builders if fnmatchcase(name, pattern))
    return {name: builders[name] for name in matching}
