"""What the service adds to a job, and what its fixed steps cost: `python -m benchmarks.service`.

The worker runs as it always does, except that it prints when it hears the first and the last line of a child
(CLOCK_MONOTONIC, which all processes of a machine share).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.table import machine, write
from examples.digits import export, train_network, write_data
from secateur import Client
from secateur.spec.task import Classification
from secateur.stack import Stack
from worker.program.inspection import inspect
from worker.program.reader import read
from worker.program.writer import export as export_again
from worker.program.writer import write as write_program
from worker.recovery.data import Dataset
from worker.recovery.evaluate import evaluate
from worker.recovery.objective import objective_for
from worker.reports.latency import measure_latency

JOBS = 20
LIMIT_MS = 250.0
TIMED_WORKER = """
import sys, time
from worker import nursery
from worker.__main__ import main
plain = nursery._parse
def timed(line):
    message = plain(line)
    if message.type in ("started", "finished"):
        print("TIMED", message.type, time.monotonic(), flush=True)
    return message
nursery._parse = timed
main()
"""


def main() -> None:
    """Measure, print the table and write it beside this file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(train_network(0), folder / "model.pt2")
        write_data(folder)
        rows = [*overheads(folder), *steps(folder)]
    columns = ["step", "median (ms)", "worst (ms)", "target (ms)"]
    notes = [
        f"{JOBS} jobs one after the other through HTTP, Redis, Celery and a warm zygote; one round, no training.",
        "read to latency: the demo's network (47,610 parameters), in one process, 20 times each.",
        machine(),
    ]
    write(Path(__file__).with_suffix(".md"), "What the service adds", columns, rows, notes)


def overheads(folder: Path) -> list[list[str]]:
    """From the 202 to the child's first line, and from its last line to `succeeded` over HTTP."""
    before, after = [], []
    with Stack(data_dir=folder / "var") as stack, timed_worker(stack) as heard, Client(stack.url) as client:
        spec = one_round(client, folder)
        heard(client, spec)
        for _ in range(JOBS):
            accepted, started, finished, succeeded = heard(client, spec)
            before.append((started - accepted) * 1e3)
            after.append((succeeded - finished) * 1e3)
    return [row("from the 202 to the child's first line", before), row("from its last line to `succeeded`", after)]


@contextmanager
def timed_worker(stack: Stack) -> Iterator[Callable[[Client, dict[str, Any]], tuple[float, float, float, float]]]:
    """A worker in the place of the stack's own; gives a function that runs a job and tells its four moments."""
    stack.processes.pop("worker").finish(0)
    environment = os.environ | {"SECATEUR_REDIS_URL": stack.redis.url, "SECATEUR_DATA_DIR": str(stack.data_dir)}
    worker = subprocess.Popen(
        [sys.executable, "-c", TIMED_WORKER],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert worker.stdout is not None
    lines = (line.split() for line in worker.stdout)
    said = (words[1:] for words in lines if words[:1] == ["TIMED"])

    def run(client: Client, spec: dict[str, Any]) -> tuple[float, float, float, float]:
        job = client.submit(spec)
        accepted = time.monotonic()
        while client.job(job.id).state != "succeeded":
            time.sleep(0.002)
        succeeded = started = time.monotonic()
        for what, when in said:  # inspections say `started` too; the job's own is the last before `finished`
            if what == "finished":
                return accepted, started, float(when), succeeded
            started = float(when)
        raise RuntimeError("the worker ended")

    try:
        yield run
    finally:
        worker.terminate()
        worker.wait()
        worker.stdout.close()


def one_round(client: Client, folder: Path) -> dict[str, Any]:
    """The smallest whole job: everything but training."""
    model = client.wait(client.upload_model(folder / "model.pt2"))
    train = client.wait(client.upload_dataset(folder / "train.safetensors"))
    return {
        "model": model.id,
        "data": {"train": train.id},
        "prune": {"target": {"kind": "sparsity", "amount": 0.9}, "schedule": {"kind": "one_shot"}},
        "recover": {"kind": "none"},
        "finalize": {"latency": None},
        "device": "cpu",
    }


def steps(folder: Path) -> list[list[str]]:
    """The fixed steps of a job, each by itself."""
    model = folder / "model.pt2"
    program = read(model)
    known = inspect(program)
    data = Dataset.open(folder / "test.safetensors", {}, "target", known.inputs)
    device = torch.device("cpu")
    objective = objective_for(Classification(), known.outputs)
    out = folder / "written.pt2"
    return [
        row("read", timed(lambda: read(model))),
        row("evaluate 899 images", timed(lambda: evaluate(program, data.all(), objective, 64, device))),
        row("export", timed(lambda: export_again(program))),
        row("export and save", timed(lambda: write_program(program, out))),
        row("latency, batch 1, 30 pairs", timed(lambda: latency(program, model, device))),
    ]


def latency(program: Any, model: Path, device: torch.device) -> None:
    """The measurement that a report holds, for one batch size."""
    measure_latency(read(model), program, program.example, [1], 30, device)


def timed(work: Callable[[], object]) -> list[float]:
    """Milliseconds of 20 runs, after one to warm up."""
    work()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def row(step: str, times: list[float]) -> list[str]:
    """Median and worst."""
    target = f"{LIMIT_MS:.0f}" if "line" in step else ""
    return [step, f"{statistics.median(times):.1f}", f"{max(times):.1f}", target]


if __name__ == "__main__":
    main()
