"""`secateur inspect`: what is inside a model, and what could be pruned, before anything is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.connection import LOCAL, ApiKey, Json, Url, connected, write_json
from secateur.cli.submission import a_source, watcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from secateur.inspection import ModelInspection


def inspect(
    model: Annotated[str, typer.Argument(help="A .pt2 file, or the id of an uploaded model.")],
    as_json: Json = False,
    url: Url = LOCAL,
    api_key: ApiKey = None,
) -> None:
    """Show the layers and units of a model that can be pruned, and what is frozen and why."""
    a_source(model, "mdl_")
    with connected(url, api_key) as client, watcher(as_json) as watching:
        client.on_bytes = watching.on_bytes
        found = client.inspected(client.model(model) if model.startswith("mdl_") else client.upload_model(model))
        watching.stop()
    if as_json:
        write_json(found)
    elif found.inspection is not None:
        from rich.console import Console, Group

        typer.echo(found.id)
        Console().print(Group(*parts(found.inspection)))


def parts(inspection: ModelInspection) -> Iterator[RenderableType]:
    """The tables that there is something to show in."""
    from rich.padding import Padding

    from secateur.cli.drawing import plain, table
    from secateur.cli.structure import frozen_table, groups_table

    layers = table(f"{inspection.parameters:,} parameters", "layer", "operator", "shape", "zeros")
    for layer in inspection.layers:
        shape = " x ".join(map(str, layer.shape))
        layers.add_row(plain(layer.name), plain(layer.operator), shape, f"{layer.zeros:,}")
    yield layers
    if inspection.units is not None:
        if inspection.units.groups:
            yield groups_table(inspection.units)
        if inspection.units.frozen:
            yield frozen_table(inspection.units.frozen)
    for note in inspection.notes:
        yield Padding(plain(note), (1, 0, 0, 1))
