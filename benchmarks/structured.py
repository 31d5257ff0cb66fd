"""What structured pruning is worth: half of the MACs, ours beside Torch-Pruning's.

    python -m benchmarks.structured

Needs the extra `peers`. Writes `benchmarks/structured.md` and `.json`. Fails when more than a point of accuracy is
lost, or when ours is behind by more than one standard error. What is done is kept in `benchmarks/.cache`: a run that
was broken off goes on where it was; `--again` runs our jobs anew, for another revision of the service.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from benchmarks.worth import images, ours, speed, theirs
from benchmarks.worth.networks import NETWORKS
from benchmarks.worth.outcome import Outcome, kept
from benchmarks.worth.page import as_json, markdown
from benchmarks.worth.pair import Pairs, Side
from benchmarks.worth.task import Task
from secateur.client import Client
from secateur.stack import Stack

PAGE = Path(__file__).with_suffix(".md")
SEEDS = 5
SIDES = (*ours.MULTIPLES, "theirs")
TRIAL_SEED = 100


def main(seeds: int, trial: bool, again: bool, only: str) -> int:
    """Do what is not done yet, write the page, and judge; the exit code."""
    first = TRIAL_SEED if trial else 0
    chosen = [key for key in NETWORKS if only in "-".join(key)]
    tasks = [Task(*key, seed, trial) for key in chosen for seed in range(first, first + seeds)]
    prepare(tasks)
    for path in (task.outcome(side) for task in tasks if again for side in ours.MULTIPLES):
        path.unlink(missing_ok=True)
    pruned(tasks)
    all_pairs = [_pairs([task for task in tasks if (task.images, task.network) == key]) for key in chosen]
    text = markdown(all_pairs)
    if seeds == SEEDS and not trial and not only:
        PAGE.write_text(text, encoding="utf8")
        PAGE.with_suffix(".json").write_text(as_json(all_pairs), encoding="utf8")
    print(text)
    return 0 if all(pairs.good for pairs in all_pairs) else 1


def prepare(tasks: Sequence[Task]) -> None:
    """Data sets and dense networks, one for each core at a time."""
    for task in tasks:
        if not task.part("test").exists():
            images.write(task.images, task.data, task.trial)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        list(pool.map(Task.prepare, tasks))


def pruned(tasks: Sequence[Task]) -> None:
    """All sides of every task: theirs in a process beside the stack that does ours."""
    os.environ["SECATEUR_THREADS"] = "1"
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        tempfile.TemporaryDirectory(prefix="secateur-worth-") as folder,
        Stack(data_dir=Path(folder) / "var") as stack,
        Client(stack.url) as client,
    ):
        waiting = [pool.submit(_theirs, task) for task in tasks]
        for task in tasks:
            for side in ours.MULTIPLES:
                _told(task, side, kept(task.outcome(side), partial(ours.prune, client, task, side), Outcome))
        for task, future in zip(tasks, waiting, strict=True):
            _told(task, "theirs", future.result())


def _theirs(task: Task) -> Outcome:
    return kept(task.outcome("theirs"), partial(theirs.prune, task), Outcome)


def _told(task: Task, by: str, outcome: Outcome) -> None:
    Console(stderr=True).print(
        f"{task.images} {task.network} seed {task.seed} {by}: dense {outcome.dense:.2%}, recovered "
        f"{outcome.recovered:.2%}, MACs left {outcome.macs_left:.2%}"
    )


def _pairs(tasks: Sequence[Task]) -> Pairs:
    sides = {side: tuple(_side(task, side) for task in tasks) for side in SIDES}
    return Pairs(tasks=tuple(tasks), **sides)


def _side(task: Task, side: str) -> Side:
    outcome = Outcome.model_validate_json(task.outcome(side).read_text(encoding="utf8"))
    return Side(outcome, speed.measured(task.folder / "dense.pt2", task.folder / f"{side}.pt2").speed_up)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Half of the MACs, ours beside Torch-Pruning's.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="fewer are not written down")
    parser.add_argument("--trial", action="store_true", help="other splits and seeds, without the test images")
    parser.add_argument("--again", action="store_true", help="run our jobs anew; the rest is kept")
    parser.add_argument("--only", default="", help="a part of the names, as in mnist-vit")
    options = parser.parse_args()
    if options.seeds < 2 or not any(options.only in "-".join(key) for key in NETWORKS):
        parser.error(
            f"--seeds 2 or more, for a standard error, and --only a part of: {', '.join(map('-'.join, NETWORKS))}"
        )
    sys.exit(main(options.seeds, options.trial, options.again, options.only))
