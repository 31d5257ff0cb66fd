"""How the inputs and outputs of a program are nested, from the file's treespecs: tuples, lists, dicts, no classes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import RootModel

from secateur.errors import CorruptArchive, UnsupportedStructure
from worker.program.layout import TreeSpec
from worker.program.remedies import FLAT
from worker.program.wire import parse

DEPTH_MAX = 32
CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


@dataclass(frozen=True)
class Structure:
    """A leaf, or a tuple, list or dict of structures; `keys` are a dict's keys in order."""

    kind: Literal["leaf", "tuple", "list", "dict"]
    keys: tuple[str, ...] = ()
    children: tuple[Structure, ...] = ()

    def leaves(self) -> int:
        """The number of leaves."""
        return 1 if self.kind == "leaf" else sum(child.leaves() for child in self.children)

    def fill(self, leaves: Iterator[Any]) -> Any:
        """The nested value that has these leaves, in order."""
        if self.kind == "leaf":
            return next(leaves)
        values = [child.fill(leaves) for child in self.children]
        return _FILL[self.kind](self.keys, values)


_FILL: dict[str, Callable[[tuple[str, ...], list[Any]], Any]] = {
    "tuple": lambda _, values: tuple(values),
    "list": lambda _, values: values,
    "dict": lambda keys, values: dict(zip(keys, values, strict=True)),
}


class _Text(RootModel[tuple[Literal[1], TreeSpec]]):
    """A treespec as written: `[1, {...}]`."""


def read_structure(text: str, where: str) -> Structure:
    """Reads a treespec; raises CorruptArchive, or UnsupportedStructure for a class that is not known.

    Named tuples become tuples; output classes whose context is the list of their fields (those of transformers) become
    dicts. The class itself is neither imported nor looked up.
    """
    return _structure(parse(_Text, text, where).root[1], where, 0)


def _structure(spec: TreeSpec, where: str, depth: int) -> Structure:
    if depth > DEPTH_MAX:
        raise UnsupportedStructure(f"{where} is nested more than {DEPTH_MAX} deep.", remedy=FLAT)
    children = tuple(_structure(child, where, depth + 1) for child in spec.children_spec)
    if spec.type is None:
        if children:
            raise CorruptArchive(f"{where} has a leaf with children.")
        return Structure("leaf")
    if spec.type in ("builtins.tuple", "collections.namedtuple"):
        return Structure("tuple", children=children)
    if spec.type in ("builtins.list", "torch.fx.immutable_collections.immutable_list"):
        return Structure("list", children=children)
    return Structure("dict", _keys(spec, where), children)


def _keys(spec: TreeSpec, where: str) -> tuple[str, ...]:
    """The keys of a dict-like node: its context is their JSON list."""
    try:
        keys = json.loads(spec.context or "null")
    except (ValueError, RecursionError) as error:
        raise CorruptArchive(f"{where} has a context that is not JSON.") from error
    known = CLASS.fullmatch(spec.type or "") and isinstance(keys, list)
    if not known or not all(isinstance(key, str) and 0 < len(key) <= 200 and key.isprintable() for key in keys):
        raise UnsupportedStructure(
            f"{where} holds a {str(spec.type)[:100]!r}; only tuples, lists and dicts with printable keys are handled.",
            remedy=FLAT,
        )
    if len(set(keys)) != len(keys) or len(keys) != len(spec.children_spec):
        raise CorruptArchive(f"{where} has a dict whose keys do not fit its values.")
    return tuple(keys)
