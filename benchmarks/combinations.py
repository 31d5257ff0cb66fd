"""Whatever the spec allows to be combined runs: the whole product of what is pruned and how it is trained back.

    python -m benchmarks.combinations

The values are read off the spec; `tests/worker/test_combinations.py` runs every pair of them, this every combination.
Writes `benchmarks/combinations.md`, and fails where one fails. What is done is kept in `benchmarks/.cache`: a run that
was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from pydantic import ValidationError
from rich.console import Console

from benchmarks.table import machine
from secateur.errors import SecateurError
from secateur.spec.location import said
from tests.worker import test_combinations as pairs
from tests.worker.jobs import order, run

PAGE = Path(__file__).with_suffix(".md")
CACHE = Path(__file__).parent / ".cache" / "combinations"
FIELDS = ("granularity", "importance", "scope", "target", "schedule", "recover")
PLAIN = {"learned": "labels", "curve": "cosine", "precision": "full"}
CHUNK = 24
RAN = "ran"


def whole(fields: Mapping[str, Iterable[str]]) -> list[dict[str, str]]:
    """Every combination of the values of FIELDS."""
    return [dict(zip(FIELDS, values, strict=True)) for values in product(*(fields[name] for name in FIELDS))]


def refused(choice: pairs.Choice) -> str | None:
    """Why the spec does not take these values together; None where it does."""
    if pairs.trains_nothing(choice):
        return "the target sensitivity takes nothing and trains nothing"
    try:
        pairs.PRUNE.validate_python(pairs.pruning(choice))
    except ValidationError as error:
        return said(error.errors()[0]["msg"])
    return None


def path_of(choices: list[dict[str, str]]) -> Path:
    """Where it is kept how the jobs of some combinations ended."""
    return CACHE / f"{hashlib.sha256(json.dumps(choices).encode()).hexdigest()[:16]}.json"


def outcomes(choices: list[dict[str, str]]) -> list[str]:
    """How the jobs of some combinations ended; those that are known are read."""
    path = path_of(choices)
    if path.exists():
        known: list[str] = json.loads(path.read_text(encoding="utf8"))
        return known
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="secateur-combinations-") as folder:
        found = [_outcome(choice, Path(folder)) for choice in choices]
    path.write_text(json.dumps(found), encoding="utf8")
    return found


def _outcome(choice: Mapping[str, str], folder: Path) -> str:
    spec = pairs.spec({**choice, **PLAIN, "artifact": "safetensors"})
    try:
        report = run(order(folder, pairs.case(), spec=spec)).report
    except SecateurError as error:
        return f"{error.code}: {error.message}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return RAN if report.proof is None or report.proof.holds else "the proof does not hold"


Jobs = list[tuple[dict[str, str], str]]


def page(found: Mapping[str, Jobs], all_of_them: Mapping[str, int], no: Counter[str]) -> str:
    """What ran, what did not, what was not tried yet, and what the spec refuses."""
    lines = ["# Every combination", "", "Written by `python -m benchmarks.combinations`: whole jobs on a toy network."]
    for kind, jobs in found.items():
        ran, left = sum(outcome == RAN for _, outcome in jobs), all_of_them[kind] - len(jobs)
        lines += ["", f"## {kind}", "", f"{ran} of {len(jobs)} combinations that the spec allows ran to their end."]
        if left:
            lines += [f"{left} more were not tried yet: those above are drawn from all, in runs of {CHUNK}."]
        lines += ["", "| field | value | ran | did not |", "| --- | --- | ---: | ---: |"]
        for field in FIELDS:
            values = Counter((choice[field], outcome == RAN) for choice, outcome in jobs)
            lines += [
                f"| {field} | {value} | {values[value, True]} | {values[value, False]} |"
                for value in dict.fromkeys(choice[field] for choice, _ in jobs)
            ]
        lines += [f"* {' '.join(choice.values())}: {outcome}" for choice, outcome in jobs if outcome != RAN]
    lines += ["", "## Refused by the spec", "", "| combinations | why |", "| ---: | --- |"]
    lines += [f"| {count} | {why} |" for why, count in no.most_common()]
    return "\n".join([*lines, "", machine(), ""])


def parts_of(chosen: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """Some combinations at a time, in an order that was drawn once: a run that is broken off has seen of everything."""
    parts = [chosen[start : start + CHUNK] for start in range(0, len(chosen), CHUNK)]
    random.Random(0).shuffle(parts)
    return parts


def main(so_far: bool) -> int:
    """Run what is not done yet, unless only what is known `so_far` is wanted; write the page; the exit code."""
    CACHE.mkdir(parents=True, exist_ok=True)
    found: dict[str, Jobs] = {}
    sizes: dict[str, int] = {}
    no = Counter[str]()
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for kind, fields in (("Weights", pairs.WEIGHTS), ("Units", pairs.UNITS)):
            every = [{**choice, **PLAIN} for choice in whole(fields)]
            why = [refused(choice) for choice in every]
            no.update(reason for reason in why if reason is not None)
            chosen = [choice for choice, reason in zip(every, why, strict=True) if reason is None]
            parts = [part for part in parts_of(chosen) if not so_far or path_of(part).exists()]
            found[kind], sizes[kind] = [], len(chosen)
            for part, done in zip(parts, pool.map(outcomes, parts), strict=True):
                found[kind] += zip(part, done, strict=True)
                failed = sum(outcome != RAN for _, outcome in found[kind])
                Console(stderr=True).print(f"{kind}: {len(found[kind])} of {len(chosen)}, {failed} failed")
    PAGE.write_text(page(found, sizes, no), encoding="utf8")
    return int(any(outcome != RAN for jobs in found.values() for _, outcome in jobs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run everything that the spec allows to be combined.")
    parser.add_argument("--so-far", action="store_true", help="only write the page of what has run already")
    sys.exit(main(parser.parse_args().so_far))
