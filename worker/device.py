"""Which device a worker serves, found without torch: this process must never touch CUDA."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from secateur.errors import StackError
from worker.settings import machine_bytes

QUERY = ("--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device and the queues whose jobs it can take, the more special one first."""

    name: str
    model: str
    memory_bytes: int
    queues: tuple[str, ...]


def find(wanted: str) -> Device:
    """The device that `wanted` (auto, cpu or cuda:N) names; auto is the first CUDA device where there is one.

    Raises:
        StackError: there is no such device; the message lists those that there are.
    """
    cards = {} if wanted == "cpu" else _cards()
    if wanted == "auto":
        wanted = next(iter(cards), "cpu")
    if wanted == "cpu":
        return Device(name="cpu", model=_processor(), memory_bytes=machine_bytes(), queues=("cpu", "any"))
    if wanted not in cards:
        raise StackError(f"There is no device {wanted} here; there are: {', '.join([*cards, 'cpu'])}.")
    return cards[wanted]


def _cards() -> dict[str, Device]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    answer = subprocess.run([tool, *QUERY], capture_output=True, text=True, timeout=30, check=False)
    rows = [line.split(", ") for line in answer.stdout.splitlines()] if answer.returncode == 0 else []
    return {
        f"cuda:{index}": Device(
            name=f"cuda:{index}", model=model, memory_bytes=int(mebibytes) << 20, queues=("cuda", "any")
        )
        for index, model, mebibytes in rows
    }


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf8") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else os.uname().machine
