"""`secateur sensitivity`: how much each layer matters, before anything is pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from secateur.cli.connection import LOCAL, ApiKey, Json, Url
from secateur.cli.draft import measuring
from secateur.cli.submission import Data, Task, carry_out, share

Option = typer.Option


def sensitivity(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="A .pt2 file, or the id of an uploaded model.")],
    train: Annotated[str, Option(help="Training data: a safetensors or npz file, or an id.")],
    validation: Annotated[
        str | None, Option(help="What it is measured on: a share of the training data, a file, or an id.")
    ] = None,
    granularity: Annotated[
        Literal["weight", "channel", "neuron", "head", "unit"] | None,
        Option(help="What is taken away; unit: channels, neurons and heads. (weight by default)"),
    ] = None,
    importance: Annotated[
        Literal["l1", "l2", "lamp", "taylor", "snip", "wanda", "movement", "geometric_median", "random"] | None,
        Option(help="What goes first within a layer. (l1 by default; of units l2)"),
    ] = None,
    include: Annotated[list[str] | None, Option(help="Measure only these layers (glob).")] = None,
    exclude: Annotated[list[str] | None, Option(help="Leave these layers out (glob).")] = None,
    task: Task = None,
    spec: Annotated[Path | None, Option(help="A job spec (YAML, JSON) without ids; options win over it.")] = None,
    seed: Annotated[int | None, Option(help="Of everything random.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, Option(help="Where the job runs.")] = None,
    out: Annotated[Path | None, Option(help="Download report and picture into this folder.", file_okay=False)] = None,
    detach: Annotated[bool, Option("--detach", help="Submit and do not wait.")] = False,
    as_json: Json = False,
    url: Url = LOCAL,
    api_key: ApiKey = None,
) -> None:
    """Measure how much each layer, or group of units, matters by itself. Nothing is trained."""
    partial = measuring(ctx.params, spec)
    if out is not None:
        partial["finalize"] = {"artifacts": ["figure"]}
    carry_out(model, Data(train, None, share(validation)), partial, out, detach, False, as_json, url, api_key)
