"""Which layers a job prunes: the spec's patterns against a model's names. Needs no torch: the door checks with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from secateur.errors import NothingMatches

_SHOWN = 5
_LENGTH = 100


def choose(
    names: Iterable[str],
    include: Iterable[str] = ("*",),
    exclude: Iterable[str] = (),
    override: Mapping[str, float] | None = None,
) -> dict[str, float | None]:
    """The names that are pruned, in the order given, each with the amount of its own or None for the common one.

    Patterns are fnmatch globs on full parameter names, and case counts. A name is chosen when an `include` pattern
    matches it and no `exclude` pattern does; of several `override` patterns that match, the last wins.

    Raises NothingMatches for a pattern that matches nothing (for `override`: nothing that is chosen), and when
    nothing at all is left.
    """
    names = list(names)
    wanted = matched(include, names, "include", "prunable layer")
    unwanted = matched(exclude, names, "exclude", "prunable layer")
    chosen = [name for name in names if name in wanted and name not in unwanted]
    if not chosen:
        raise NothingMatches(
            f"prune.layers leaves nothing to prune: all of the model's {len(names)} prunable layers are excluded.",
            remedy="Exclude fewer layers.",
        )
    amounts: dict[str, float | None] = dict.fromkeys(chosen)
    for pattern, amount in (override or {}).items():
        amounts.update(dict.fromkeys(matched([pattern], chosen, "override", "chosen layer"), amount))
    return amounts


def matched(patterns: Iterable[str], names: list[str], field: str, what: str) -> set[str]:
    """The names that any of the patterns of `prune.layers.FIELD` matches; `what` says what names are, for the message.

    Raises NothingMatches for a pattern that matches none.
    """
    matched: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if fnmatchcase(name, pattern)]
        if not hits:
            raise NothingMatches(_nothing(pattern, names, field, what), remedy=_remedy(names), pattern=pattern)
        matched.update(hits)
    return matched


def _nothing(pattern: str, names: list[str], field: str, what: str) -> str:
    if not names:
        return f"prune.layers.{field}: {pattern!r} matches no {what}, because the model has none."
    return f"prune.layers.{field}: {pattern!r} matches no {what}. There are: {named(names)}."


def named(names: list[str]) -> str:
    """Some of the names, and how many there are."""
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(name[:_LENGTH] for name in names[:_SHOWN]) + more


def _remedy(names: list[str]) -> str:
    if not names:
        return "Upload a model with a linear, convolution, matmul or embedding weight."
    return "Name at least one of them; patterns are fnmatch globs on full parameter names, and case counts."
