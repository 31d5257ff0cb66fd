"""`secateur prune`: one command from a file to a pruned file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from secateur.cli.connection import LOCAL, ApiKey, Json, Url
from secateur.cli.draft import draft
from secateur.cli.submission import Data, Task, carry_out, share

Option = typer.Option


def prune(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="A .pt2 file, or the id of an uploaded model.")],
    train: Annotated[str, Option(help="Training data: a safetensors or npz file, or an id.")],
    test: Annotated[str | None, Option(help="Test data; it only reports.")] = None,
    validation: Annotated[str | None, Option(help="A share of the training data, a file, or an id.")] = None,
    sparsity: Annotated[float | None, Option(help="The share of weights to take away, 0 <= share < 1.")] = None,
    n_m: Annotated[
        str | None, Option(help="Of each block of OF weights along the input at most KEEP stay: 2:4.")
    ] = None,
    max_drop: Annotated[
        float | None, Option(help="Search for the smallest network whose metric is at most so much worse.")
    ] = None,
    minimise: Annotated[
        Literal["parameters", "macs", "latency"] | None, Option(help="What makes a network small, for --max-drop.")
    ] = None,
    granularity: Annotated[
        Literal["weight", "channel", "neuron", "head", "unit"] | None,
        Option(help="What is taken away; unit: channels, neurons and heads. (weight by default)"),
    ] = None,
    amount: Annotated[float | None, Option(help="The share to take away of what --target says.")] = None,
    target: Annotated[
        Literal["units", "parameters", "macs"] | None, Option(help="What --amount is a share of.")
    ] = None,
    max_amount: Annotated[float | None, Option(help="No group of units loses more. (0.9 by default)")] = None,
    multiple_of: Annotated[int | None, Option(help="What stays of a group of units is a multiple of this.")] = None,
    rounds: Annotated[int | None, Option(help="Prune and retrain so often. (5 by default)")] = None,
    scope: Annotated[
        Literal["global", "layer", "erk", "row", "sensitivity"] | None,
        Option(
            help="Rank all layers together, each alone, each alone by an amount from its shape or from how much it "
            "matters, or each row alone."
        ),
    ] = None,
    importance: Annotated[
        Literal["l1", "l2", "lamp", "taylor", "snip", "wanda", "movement", "geometric_median", "random"] | None,
        Option(help="What goes first. (l1 by default; of units l2)"),
    ] = None,
    include: Annotated[list[str] | None, Option(help="Prune only these layers (glob).")] = None,
    exclude: Annotated[list[str] | None, Option(help="Leave these layers alone (glob).")] = None,
    override: Annotated[list[str] | None, Option(help="Another share for these layers: GLOB=SHARE.")] = None,
    recover: Annotated[
        Literal["fine_tune", "retrain", "learning_rate_rewind", "lottery_ticket", "none"] | None,
        Option(help="How accuracy is trained back. (fine_tune by default; retrain is for when there is more time)"),
    ] = None,
    epochs: Annotated[int | None, Option(help="Retraining after the last round.")] = None,
    epochs_per_round: Annotated[int | None, Option(help="Retraining after each other round.")] = None,
    batch_size: Annotated[int | None, Option(help="Of the retraining.")] = None,
    optimizer: Annotated[Literal["sgd", "adamw"] | None, Option(help="Of the retraining.")] = None,
    lr: Annotated[float | None, Option(help="Learning rate of the retraining.")] = None,
    original_lr: Annotated[
        float | None,
        Option(help="What the network was trained with: fine_tune uses a tenth, retrain four times it."),
    ] = None,
    curve: Annotated[
        Literal["cosine", "constant", "step", "one_cycle"] | None,
        Option(help="How the learning rate goes within a round. (cosine by default)"),
    ] = None,
    warmup_steps: Annotated[int | None, Option(help="Steps in which the learning rate rises.")] = None,
    accumulate: Annotated[int | None, Option(help="So many batches make one step.")] = None,
    clip_norm: Annotated[float | None, Option(help="The largest norm of all gradients.")] = None,
    label_smoothing: Annotated[float | None, Option(help="The share of a label that all classes get.")] = None,
    patience: Annotated[int | None, Option(help="End a round after so many epochs without a better one.")] = None,
    precision: Annotated[
        Literal["full", "bf16", "fp16"] | None, Option(help="What the retraining multiplies with. (full by default)")
    ] = None,
    recalibration_batches: Annotated[
        int | None, Option(help="Take the statistics of batch norm anew, over so many batches.")
    ] = None,
    task: Task = None,
    spec: Annotated[Path | None, Option(help="A job spec (YAML, JSON) without ids; options win over it.")] = None,
    seed: Annotated[int | None, Option(help="Of everything random.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, Option(help="Where the job runs.")] = None,
    distill: Annotated[
        float | None, Option(help="The share of the loss that is the dense network's: its outputs are learned, too.")
    ] = None,
    temperature: Annotated[
        float | None, Option(help="By which scores are softened for --distill. (2 by default)")
    ] = None,
    out: Annotated[Path | None, Option(help="Download the results into this folder.", file_okay=False)] = None,
    detach: Annotated[bool, Option("--detach", help="Submit and do not wait.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what the job would take away.")] = False,
    as_json: Json = False,
    url: Url = LOCAL,
    api_key: ApiKey = None,
) -> None:
    """Prune a model, retrain it, and show the report."""
    partial = draft(ctx.params, spec)
    data = Data(train, test, share(validation))
    carry_out(model, data, partial, out, detach, dry_run, as_json, url, api_key)
