"""The figures as Markdown, and as JSON for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence

import torch_pruning

from benchmarks.table import lines, machine
from benchmarks.worth.certainty import standard_error
from benchmarks.worth.ours import MULTIPLES
from benchmarks.worth.outcome import Outcome
from benchmarks.worth.pair import Pairs, Side
from benchmarks.worth.recipes import AMOUNT, CURVE, ROUNDS

NAMES = {"cnn": "ResNet", "vit": "ViT", "mnist": "MNIST", "digits": "digits"}
SUMMARY = [
    "data, network",
    "by",
    "dense",
    "one-shot",
    "pruned",
    "recovered",
    "MACs left",
    "parameters left",
    "speed-up",
]
SEEDS = ["data, network", "seed", "dense", "ours", "theirs", "ours - theirs", "MACs left, ours", "MACs left, theirs"]


def markdown(all_pairs: Sequence[Pairs]) -> str:
    """What was done, the means, the verdicts and every seed."""
    count = len(all_pairs[0].tasks)
    text = [
        "# What structured pruning is worth",
        "",
        f"Written by `python -m benchmarks.structured`. {AMOUNT:.0%} of the MACs taken away in {ROUNDS} rounds "
        f"({CURVE}), with training after each; {count} seeds. Ours: jobs through HTTP, granularity `unit`, l2, global. "
        f"Theirs: Torch-Pruning {torch_pruning.__version__}, GroupNormPruner with the L2 norm of the group, global.",
        "",
        "Both sides start from the same trained networks and have the same images, the same MACs after each round, and "
        "the same training: the service's loop, optimizer, learning rates, number and order of batches, best epoch on "
        "the same validation images. Test images are looked at by the report alone; recipe and scores were chosen on "
        "other splits without the test images, with other seeds. MACs: half of what `torch.utils.flop_counter` counts.",
        "",
        *lines(SUMMARY, [row for pairs in all_pairs for row in means(pairs)]),
        "",
        "Means over the seeds; accuracy on the test images. One-shot: all at once, untrained. Pruned: after the last "
        "pruning, before the training that follows. Speed-up: batch 32 on one thread, both in turn; processors like "
        "some numbers of channels better than others, which is what `multiple_of` is for.",
        "",
        *(f"* {verdict(pairs)}" for pairs in all_pairs),
        f"* {together(all_pairs)}",
        "",
        machine(),
        "",
        "## Every seed",
        "",
        *lines(SEEDS, [row for pairs in all_pairs for row in seeds(pairs)]),
    ]
    return "\n".join(text) + "\n"


def means(pairs: Pairs) -> list[list[str]]:
    """A row for each side."""
    rounded = f"ours, multiple_of {MULTIPLES['rounded']}"
    return [
        _means(pairs, "ours", pairs.ours),
        _means(pairs, rounded, pairs.rounded),
        _means(pairs, "theirs", pairs.theirs),
    ]


def _means(pairs: Pairs, by: str, sides: Sequence[Side]) -> list[str]:
    def mean(of: Callable[[Outcome], float]) -> str:
        return f"{statistics.mean(of(side.outcome) for side in sides):.2%}"

    accuracies = [mean(lambda it: it.dense), mean(lambda it: it.one_shot), mean(lambda it: it.pruned)]
    sizes = [mean(lambda it: it.macs_left), mean(lambda it: it.parameters_left)]
    speed_up = statistics.median(side.speed_up for side in sides)
    return [title(pairs), by, *accuracies, mean(lambda it: it.recovered), *sizes, f"{speed_up:.2f}x"]


def seeds(pairs: Pairs) -> list[list[str]]:
    """A row for each seed."""
    rows = zip(pairs.tasks, pairs.ours, pairs.theirs, pairs.differences, strict=True)
    return [
        [title(pairs), str(task.seed)]
        + [f"{value:.2%}" for value in (ours.outcome.dense, ours.outcome.recovered, theirs.outcome.recovered)]
        + [f"{100 * difference:+.2f}"]
        + [f"{side.outcome.macs_left:.2%}" for side in (ours, theirs)]
        for task, ours, theirs, difference in rows
    ]


def verdict(pairs: Pairs) -> str:
    """One sentence."""
    return (
        f"{title(pairs)}: recovered - dense {-100 * pairs.loss:+.2f} points (target: at least -1); ours - theirs "
        f"{100 * pairs.difference:+.2f} points, standard error {100 * pairs.standard_error:.2f} (target: minus one "
        f"standard error or more). {'Holds.' if pairs.good else 'DOES NOT HOLD.'}"
    )


def together(all_pairs: Sequence[Pairs]) -> str:
    """What all networks say together, which is not a part of the target."""
    found = [difference for pairs in all_pairs for difference in pairs.differences]
    return (
        f"All together: ours - theirs {100 * statistics.mean(found):+.2f} points over {len(found)} pairs, standard "
        f"error {100 * standard_error(found):.2f}."
    )


def title(pairs: Pairs) -> str:
    """Data set and network."""
    return f"{NAMES[pairs.tasks[0].images]}, {NAMES[pairs.tasks[0].network]}"


def as_json(all_pairs: Sequence[Pairs]) -> str:
    """Every outcome."""
    found = [
        {"images": task.images, "network": task.network, "seed": task.seed}
        | {name: side.outcome.model_dump() | {"speed_up": side.speed_up} for name, side in sides.items()}
        for pairs in all_pairs
        for task, sides in zip(pairs.tasks, _sides(pairs), strict=True)
    ]
    return json.dumps(found, indent=2) + "\n"


def _sides(pairs: Pairs) -> list[dict[str, Side]]:
    sides = {"ours": pairs.ours, "rounded": pairs.rounded, "theirs": pairs.theirs}
    return [{name: side[place] for name, side in sides.items()} for place in range(len(pairs.tasks))]
