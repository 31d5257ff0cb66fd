"""`secateur compare`: which of some recipes wins on a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.connection import LOCAL, ApiKey, Json, Url, connected, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from secateur.comparison import Comparison


def compare(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="The ids of jobs that succeeded.")],
    as_json: Json = False,
    url: Url = LOCAL,
    api_key: ApiKey = None,
) -> None:
    """Show jobs side by side: what differs between them, and which came off best."""
    from secateur import comparison

    with connected(url, api_key) as client:
        reports = {job: client.report(job) for job in jobs}
    try:
        found = comparison.compare(reports)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="JOB...") from None
    if as_json:
        write_json(found)
    else:
        draw(found)


def draw(found: Comparison) -> None:
    """All of a comparison, on the standard output."""
    from rich.console import Console

    Console().print(*parts(found), sep="\n")


def parts(found: Comparison) -> Iterator[RenderableType]:
    """The table, which job is which, and why they should perhaps not be compared."""
    from secateur.cli.table import notes

    yield comparison_table(found)
    yield jobs_table(found)
    yield from notes(*found.cautions)


def comparison_table(found: Comparison) -> Table:
    """One job a row, the best first."""
    from secateur.cli.drawing import figure, table
    from secateur.report import SHARES

    scale, digits = (100, ".2f") if found.metric in SHARES else (1, ".4g")
    columns = ("recovered", "±", "behind", "parameters left", "MACs left", "speed-up")
    drawn = table(f"{found.metric}, the best first", "", *columns)
    for place, each in enumerate(found.jobs, start=1):
        drawn.add_row(
            str(place),
            figure(each.recovered, found.metric),
            format(scale * each.standard_error, digits),
            "level" if each.level and place > 1 else format(scale * each.behind, digits),
            f"{each.parameters_left:.1%}",
            "" if each.macs_left is None else f"{each.macs_left:.1%}",
            "" if each.speed_up is None else f"{each.speed_up:.2f} x",
        )
    drawn.caption = "level: no more than a standard error of the difference behind the best"
    return drawn


def jobs_table(found: Comparison) -> Table:
    """The id of each, and what of its spec is not the same for all."""
    from rich.text import Text

    from secateur.cli.drawing import plain, table

    drawn = table("where they differ", "", "job")
    drawn.columns[1].justify = "left"
    for place, each in enumerate(found.jobs, start=1):
        asked = (plain(f"  {name} {value}") for name, value in each.asked.items())
        drawn.add_row(str(place), Text("\n").join([Text(each.job), *asked]))
    return drawn
