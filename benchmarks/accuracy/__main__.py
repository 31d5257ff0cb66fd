"""What is left of the accuracy: ours beside torch.nn.utils.prune and Torch-Pruning, in equally many steps.

    python -m benchmarks.accuracy

Needs the extra `peers`. Writes `benchmarks/accuracy.md` and `.json` and fails where the target does not hold. What is
done is kept in `benchmarks/.cache`: a run that was broken off goes on where it was. `--choose` tries all candidates
without the test images and writes `benchmarks/accuracy_choice.md` and `.json`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from benchmarks.accuracy import digits, lane, page, plan
from benchmarks.accuracy.cell import OURS, Cell, Outcome
from benchmarks.accuracy.match import matches
from benchmarks.accuracy.row import Row, rows
from benchmarks.accuracy.subject import Subject
from benchmarks.table import machine

PAGES = Path(__file__).parents[1]
LANES = 2


def main(choose: bool, only: Sequence[str], again: bool, lanes: int) -> int:
    """Do what is not done yet, write the page, and judge; the exit code."""
    whole = plan.choosing() if choose else plan.final()
    cells = [cell for cell in whole if all(part in str(cell) for part in only)]
    for cell in cells:
        if again and cell.method == OURS:
            Subject(cell).path.unlink(missing_ok=True)
    found = _worked_off(cells, lanes)
    made_on = f"{machine()} Torch-Pruning {version('torch-pruning')}."
    text = page.choice(found, made_on) if choose else page.final(found, made_on)
    if not only:
        path = PAGES / ("accuracy_choice.md" if choose else "accuracy.md")
        path.write_text(text, encoding="utf8")
        path.with_suffix(".json").write_text(page.as_json(found), encoding="utf8")
    print(text)
    failed = any(row.failures for row in found)
    return int(failed if choose else failed or not all(match.holds for match in matches(found)))


def _worked_off(cells: Sequence[Cell], lanes: int) -> list[Row]:
    subjects = [Subject(cell) for cell in cells]
    if not subjects[0].part("test").exists():
        digits.write(subjects[0].data)
    dense = {subject.dense.folder: subject for subject in subjects}
    with ProcessPoolExecutor(lanes, get_context("spawn")) as pool:
        list(pool.map(Subject.prepare, dense.values()))
    os.environ["SECATEUR_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="secateur-accuracy-") as folder, lane.opened(lanes, Path(folder)) as open:
        return rows(cells, lane.outcomes(open, cells, _told))


def _told(cell: Cell, outcome: Outcome | str) -> None:
    said = (
        outcome
        if isinstance(outcome, str)
        else f"{outcome.dense:.2%} -> {outcome.accuracy:.2%}, {outcome.wall_s:.1f} s"
    )
    Console(stderr=True).print(f"{cell}: {said}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What is left of the accuracy, beside the peers.")
    parser.add_argument("--choose", action="store_true", help="all candidates, without the test images")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the names of cells, as in: 'vit 95%%' ours")
    parser.add_argument("--again", action="store_true", help="run our jobs anew; the rest is kept")
    parser.add_argument("--lanes", type=int, default=LANES, help="cells at a time, on a thread each")
    options = parser.parse_args()
    sys.exit(main(options.choose, options.only, options.again, options.lanes))
