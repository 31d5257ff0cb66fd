"""Prunes half of all units of every model of the zoo, and proves each result: `python -m benchmarks.zoo`.

    python -m benchmarks.zoo --only 'torchvision/resnet*'

Rows are kept in var/zoo.jsonl as they come; those that passed with the code as it is are not made again. The page is
benchmarks/zoo.md. Fails when a model that torch.export accepts does not pass.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.zoo.catalogue import catalogue
from benchmarks.zoo.expected import expected_units
from benchmarks.zoo.page import page
from benchmarks.zoo.process import Limits, run_trials
from benchmarks.zoo.results import Results
from benchmarks.zoo.row import FAILS, PASSES, Row, revision

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "benchmarks" / "zoo.md"
RESULTS = ROOT / "var" / "zoo.jsonl"


def main(options: argparse.Namespace) -> int:
    """Try what has not been tried, write the page, and judge; the exit code."""
    results, code, expected = Results(options.results), revision(ROOT), expected_units()
    names = catalogue(options.only)
    stale = [name for name in names if options.again or _is_stale(results.rows.get(name), code, options.keep)]
    rows = [Row(name, revision=code, expected=expected.get(name, 0)) for name in stale]
    limits = Limits(options.timeout, options.memory, options.threads)
    run_trials(rows, limits, options.jobs, lambda row: _done(results, row))
    known = [_judged(row, expected) for name in catalogue() if (row := results.rows.get(name)) is not None]
    options.page.write_text(page(known, len(catalogue())), encoding="utf8")
    return int(any(results.rows[name].verdict == FAILS for name in names))


def _is_stale(row: Row | None, code: str, keep: bool) -> bool:
    return row is None or row.verdict == FAILS or (row.revision != code and not keep)


def _judged(row: Row, expected: Mapping[str, int]) -> Row:
    """A row by what is expected today, which may be more than when the row was filled."""
    row.expected = expected.get(row.name, 0)
    if row.verdict == PASSES and row.units < row.expected:
        row.verdict, row.stage = FAILS, "units"
        row.cause = f"{row.units} units were found; {row.expected} are expected"
    return row


def _done(results: Results, row: Row) -> None:
    results.add(row)
    seconds = sum(row.seconds.values())
    print(f"{row.name}: {row.verdict} {row.stage} {row.cause} ({row.units} units, {seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Structured pruning of every model of the zoo.")
    parser.add_argument("--only", default="*", help="globs of names, such as 'timm/* */vit*'")
    parser.add_argument("--again", action="store_true", help="also those that are known")
    parser.add_argument("--keep", action="store_true", help="keep what passed with other code")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds for each")
    parser.add_argument("--memory", type=int, default=20_000, help="MiB for each")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are kept")
    parser.add_argument("--page", type=Path, default=PAGE, help="what is written")
    sys.exit(main(parser.parse_args()))
