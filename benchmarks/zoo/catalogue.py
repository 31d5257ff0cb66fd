"""All models of the zoo by name, `library/model`."""

from __future__ import annotations

from fnmatch import fnmatchcase

from benchmarks.zoo.subject import Build
from benchmarks.zoo.timm_models import timm_models
from benchmarks.zoo.torchvision_models import torchvision_models
from benchmarks.zoo.transformers_models import transformers_models


def catalogue(pattern: str = "*") -> dict[str, Build]:
    """The builders whose names match a glob; small models of each library need nothing of the others."""
    builders = {**transformers_models(), **torchvision_models(), **timm_models()}
    return {name: build for name, build in builders.items() if fnmatchcase(name, pattern)}
