"""What every table for a terminal is made of."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from secateur.report import SHARES

KIB = 1024


def plain(text: str) -> Text:
    """Text from a stranger (layer names, messages): no markup, and no control character reaches the terminal."""
    return Text("".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text))


def figure(value: float | None, name: str) -> str:
    """A metric as people read it: shares in percent."""
    if value is None:
        return "not finite"
    return f"{value:.2%}" if name in SHARES else f"{value:.4g}"


def size(size_bytes: int) -> str:
    """Bytes, in the unit that keeps them short."""
    value, units = float(size_bytes), ["B", "KiB", "MiB", "GiB"]
    while value >= KIB and len(units) > 1:
        value, units = value / KIB, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def table(title: str, *columns: str) -> Table:
    """An empty table whose first column is text and whose others are figures."""
    drawn = Table(title=title, title_justify="left", title_style="bold", show_footer=False)
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return drawn
