"""What writes through to an input or to the state of a program is found, whatever the view is called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx

from secateur.errors import UnsupportedStructure
from worker.program.catalogue import OUT_OF_PLACE, VIEWS
from worker.program.effects import confine

aten = torch.ops.aten
TABLE = torch.arange(6.0).view(2, 3)


def writing(view: Any, *args: Any, kind: str = "get_attr") -> fx.Graph:
    """A graph that adds 1 in place to a view of its table or of its input."""
    graph = fx.Graph()
    given = graph.placeholder("x")
    root = graph.get_attr("table") if kind == "get_attr" else given
    moved = graph.call_function(view, (root, *args))
    added = graph.call_function(aten.add_.Tensor, (moved, 1))
    graph.output(graph.call_function(aten.add.Tensor, (given, added)))
    return graph


def may_alias(name: str) -> bool:
    """Whether torch itself says that a result may share memory with an argument."""
    packet = getattr(aten, name, None)
    schemas = [getattr(packet, overload)._schema for overload in packet.overloads()] if packet else []
    aliases = [result.alias_info for schema in schemas for result in schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def test_every_operator_that_may_share_memory_counts_as_a_view() -> None:
    assert {name for name in OUT_OF_PLACE if may_alias(name)} <= VIEWS <= OUT_OF_PLACE


@pytest.mark.parametrize(
    ("view", "args"),
    [
        (aten.contiguous.default, ()),
        (aten.to.dtype, (torch.float32,)),
        (aten.type_as.default, (TABLE,)),
        (aten.dropout.default, (0.5, False)),
        (aten.atleast_2d.default, ()),
    ],
)
def test_a_state_that_is_written_to_through_what_did_nothing_is_refused(view: Any, args: tuple[Any, ...]) -> None:
    assert view(TABLE, *args).data_ptr() == TABLE.data_ptr()
    with pytest.raises(UnsupportedStructure, match="changes its tensor 'table'"):
        confine(writing(view, *args), {"table": TABLE})


def test_a_cast_to_another_dtype_is_a_copy() -> None:
    graph = writing(aten.to.dtype, torch.float64)
    confine(graph, {"table": TABLE})
    assert [node.name for node in graph.nodes] == ["x", "table", "to_dtype", "add__tensor", "add_tensor", "output"]


def test_an_input_that_is_written_to_is_copied_first() -> None:
    graph = writing(aten.contiguous.default, kind="placeholder")
    confine(graph, {})
    assert "clone" in [node.name.split("_")[0] for node in graph.nodes]
