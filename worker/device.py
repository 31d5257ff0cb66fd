"""Which device a worker serves, found without torch: this process must never touch CUDA."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from secateur.errors import StackError
from worker.machine import processor
from worker.settings import machine_bytes

QUERY = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
ANSWERS_WITHIN_S = 30


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device and the queues whose jobs it can take, the more special one first.

    `visible` is what CUDA_VISIBLE_DEVICES has to say in a child: a UUID, because CUDA counts in another order than
    nvidia-smi does.
    """

    name: str
    model: str
    memory_bytes: int
    queues: tuple[str, ...]
    visible: str = ""


def find(wanted: str) -> Device:
    """The device that `wanted` (auto, cpu or cuda:N) names; auto is the first CUDA device where there is one.

    Raises:
        StackError: there is no such device; the message lists those that there are.
    """
    cards = {} if wanted == "cpu" else _cards()
    if wanted == "auto":
        wanted = next(iter(cards), "cpu")
    if wanted == "cpu":
        return Device(name="cpu", model=processor(), memory_bytes=machine_bytes(), queues=("cpu", "any"))
    if wanted not in cards:
        raise StackError(f"There is no device {wanted} here; there are: {', '.join([*cards, 'cpu'])}.")
    return cards[wanted]


def _cards() -> dict[str, Device]:
    """The CUDA devices as nvidia-smi numbers them, without those that CUDA_VISIBLE_DEVICES hides from this process."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    try:
        answer = subprocess.run(
            [tool, *QUERY], capture_output=True, text=True, timeout=ANSWERS_WITHIN_S, check=True
        ).stdout
    except (subprocess.SubprocessError, OSError):
        return {}
    cards = [_card(*(field.strip() for field in line.split(",", 3))) for line in answer.splitlines()]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        cards = [card for card in cards if _allowed(card, allowed.split(","), len(cards))]
    return {card.name: card for card in cards}


def _allowed(card: Device, names: list[str], cards: int) -> bool:
    numbers = [name.strip() for name in names if name.strip().isdecimal()]
    if numbers and cards > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise StackError(
            "CUDA_VISIBLE_DEVICES names cards by number, and CUDA numbers them in its own order: "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID too, or name them by UUID (nvidia-smi -L)."
        )
    return card.name.removeprefix("cuda:") in numbers or any(
        card.visible.startswith(name.strip()) for name in names if name.strip().startswith("GPU-")
    )


def _card(index: str, uuid: str, model: str, mebibytes: str) -> Device:
    memory = int(mebibytes) << 20 if mebibytes.isdigit() else 0  # some cards share the machine's and say [N/A]
    return Device(name=f"cuda:{index}", model=model, memory_bytes=memory, queues=("cuda", "any"), visible=uuid)
