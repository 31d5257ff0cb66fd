"""What was seen of one model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from time import process_time

from benchmarks.zoo.memory import peak_mib

PASSES = "passes"
EXPORT_REFUSES = "export refuses"
FAILS = "fails"
SOURCES = (
    *("worker/program/**/*.py", "worker/pruning/**/*.py"),
    *("benchmarks/zoo/trial.py", "benchmarks/zoo/redraw.py", "benchmarks/zoo/*_models.py"),
)


class Finding(Exception):
    """Something about a model that must not be so."""


@dataclass
class Row:
    """A model's way through the trial: how far it came, what was measured, and the cause where it went wrong."""

    name: str
    revision: str = ""
    verdict: str = FAILS
    stage: str = "build"
    cause: str = "the process died"
    units: int = 0
    expected: int = 0
    share: float = 0.0
    parameters: tuple[int, int] = (0, 0)
    macs: tuple[int, int] = (0, 0)
    counted: tuple[int, int] = (0, 0)
    """MACs by torch's own counter."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of processor time, by stage."""
    labels_mib: int = 0
    peak_mib: int = 0
    error: float = 0.0
    tolerance: float = 0.0
    effect: float = 0.0
    restricted: int = 0
    frozen: dict[str, int] = field(default_factory=dict)
    """How many nodes froze units, by reason."""

    @contextmanager
    def timed(self, stage: str, note: Callable[[Row], None]) -> Iterator[None]:
        """Notes that a stage has begun, and afterwards how much of the processor it took: others may use it too."""
        self.stage = stage
        note(self)
        begun = process_time()
        yield
        self.seconds[stage] = round(process_time() - begun, 3)
        self.peak_mib = max(self.peak_mib, peak_mib())

    def written(self) -> str:
        """The row as one line of JSON."""
        return json.dumps(asdict(self))


def read_row(text: str) -> Row:
    """The row in a line of JSON, as far as this version of the code knows its fields."""
    names = {known.name for known in fields(Row)}
    values = {name: value for name, value in json.loads(text).items() if name in names}
    return Row(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def revision(root: Path) -> str:
    """A digest of the code that is tried and of how it is tried."""
    paths = sorted(path for pattern in SOURCES for path in root.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:8]
