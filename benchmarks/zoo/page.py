"""The zoo as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from benchmarks.table import machine
from benchmarks.zoo.row import EXPORT_REFUSES, FAILS, PASSES, Row

FAMILIES = {
    "ResNet": "*/resnet*", "VGG": "*/vgg*", "DenseNet": "*/densenet*", "MobileNet": "*/mobilenet*",
    "EfficientNet": "*/efficientnet*", "ConvNeXt": "*/convnext*", "ViT": "*/vit*", "Swin": "*/swin*",
    "BERT": "transformers/bert*", "Llama": "transformers/llama*",
}  # fmt: skip
COLUMNS = (
    "model", "units", "prunable", "parameters", "MACs", "export s", "labels and units s", "surgery s", "peak MiB",
    "proof error", "effect", "norms of survivors", "frozen nodes", "verdict",
)  # fmt: skip
MILLION = 1e6
FLOAT64_TOLERANCE = 1e-9


def page(rows: Sequence[Row], tried: int) -> str:
    """All that was seen, the sums first."""
    tables = [
        line
        for library in ("torchvision", "timm", "transformers")
        for line in ("", f"## {library}", "", *_table([row for row in rows if row.name.startswith(library)]))
    ]
    return "\n".join([*_head(rows, tried), "", "## Share", "", *_shares(rows), "", *_failures(rows), *tables, ""])


def _head(rows: Sequence[Row], names: int) -> list[str]:
    passed = [row for row in rows if row.verdict == PASSES]
    refused = sum(row.verdict == EXPORT_REFUSES for row in rows)
    slowest = max(passed, key=_labels_seconds, default=None)
    largest = max(passed, key=lambda row: row.labels_mib, default=None)
    notes = [
        "# Half of every network",
        "",
        "Written by `make zoo`: 50 % of the units of every group, drawn at random, are removed from networks with "
        "random weights. Parameters and running statistics are redrawn before, so that activations are of order one.",
        "A model passes when stock `torch.export.load` loads the result, it runs at two batch sizes, gradients go back "
        "through it, and it equals the network with those units silent: within 1e-9 in float64, 1e-5 in float32 for "
        "the big ones.",
        "",
        f"**{len(passed)} of {len(rows) - refused} networks that torch.export accepts pass**; {refused} of {len(rows)} "
        f"are refused by export itself; {names - len(rows)} of {names} names were not tried.",
        "",
        *_counted(passed),
        "",
        f"{machine()} Seconds are processor time of one thread.",
        "Units: (>= n) where another implementation of the labels finds only n. Prunable: the share of all parameters; "
        "heads that only training uses (GoogLeNet, Inception) are in no exported graph, so nothing of them is.",
        f"Versions of the code in these rows: {', '.join(sorted({row.revision for row in rows}))}.",
    ]
    if slowest is not None and largest is not None:
        notes += [
            "",
            f"Labels and units take {_labels_seconds(slowest):.1f} s at most ({slowest.name}) and "
            f"{largest.labels_mib} MiB above what the process held ({largest.name}).",
        ]
    return notes


def _counted(passed: Sequence[Row]) -> list[str]:
    """How our count of MACs compares with torch's own."""
    others = [row for row in passed if row.counted != row.macs]
    lines = [
        f"Of {len(passed)} networks {len(passed) - len(others)} have, before and after, exactly the MACs that "
        "torch.utils.flop_counter counts; that counter leaves recurrent layers out."
    ]
    return lines + [
        f"* {row.name}: {row.macs[0]} and {row.macs[1]}; torch counts {row.counted[0]} and {row.counted[1]}"
        for row in others
    ]


def _shares(rows: Sequence[Row]) -> list[str]:
    lines = ["| family | models | least share of parameters in prunable units |", "|---|---:|---:|"]
    for family, pattern in FAMILIES.items():
        shares = [row.share for row in rows if row.verdict == PASSES and fnmatchcase(row.name, pattern)]
        lines.append(f"| {family} | {len(shares)} | {f'{min(shares):.4f}' if shares else 'not tried'} |")
    return lines


def _failures(rows: Sequence[Row]) -> list[str]:
    failed = [row for row in rows if row.verdict == FAILS]
    if not failed:
        return []
    return ["## Failures", "", *(f"* {row.name}, at {row.stage}: {row.cause}" for row in failed), ""]


def _table(rows: Sequence[Row]) -> list[str]:
    return [f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * 11 + "---|---|", *(_line(row) for row in rows)]


def _line(row: Row) -> str:
    if row.verdict != PASSES:
        words = row.cause.replace("|", "\\|")
        return f"| {_name(row)} |" + " |" * 12 + f" {row.verdict} ({row.stage}): {words} |"
    cells = (
        _name(row),
        f"{row.units}" if row.units == row.expected else f"{row.units} (>= {row.expected})",
        f"{row.share:.3f}",
        _change(row.parameters),
        _change(row.macs),
        f"{row.seconds['export']:.1f}",
        f"{_labels_seconds(row):.2f}",
        f"{row.seconds['surgery']:.2f}",
        f"{row.peak_mib}",
        f"{row.error:.0e}" + (" (float32)" if row.tolerance > FLOAT64_TOLERANCE else ""),
        f"{row.effect:.2g}",
        f"{row.restricted}",
        "; ".join(f"{why}: {count}" for why, count in sorted(row.frozen.items())),
        row.verdict,
    )
    return f"| {' | '.join(cells)} |"


def _name(row: Row) -> str:
    return row.name.partition("/")[2]


def _labels_seconds(row: Row) -> float:
    return row.seconds["label"] + row.seconds["units"]


def _change(numbers: tuple[int, int]) -> str:
    before, after = (number / MILLION for number in numbers)
    return f"{before:.4g} M -> {after:.4g} M"
