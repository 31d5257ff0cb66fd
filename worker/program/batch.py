from __future__ import annotations

from worker.program.program import Program


def free_batch(program: Program, batch: int) -> Program:
    return program
