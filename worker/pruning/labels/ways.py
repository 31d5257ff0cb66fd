"""Why a parameter cannot be pruned: the node that froze it, and the nodes in between."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order
from torch import fx

from secateur.units import FrozenNode
from worker.pruning.labels.book import FROZEN, Book, Ids

LONGEST = 12
JOINED = "meets entries that are frozen or have no units, as where a concatenation holds some"


def explain(book: Book, axes: Mapping[str, Ids]) -> tuple[FrozenNode, ...]:
    """Who froze which of `axes`: for each, the labels that its frozen entries were born with.

    Uniting and freezing are edges between labels; the way to a parameter is the shortest from label 0.
    """
    if not book.edges:
        return ()
    a, b = (np.concatenate([edge[side] for edge in book.edges]) for side in (0, 1))
    owner = np.repeat(np.arange(len(book.edges)), [len(edge[0]) for edge in book.edges])
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), (len(book), len(book))).tocsr()
    _, before = breadth_first_order(graph, FROZEN, directed=False)
    keys = np.minimum(a, b) * len(book) + np.maximum(a, b)
    order = np.argsort(keys, kind="stable")
    reasons = {(freeze.node, int(label)): freeze.why for freeze in book.freezes for label in freeze.labels}
    found: dict[tuple[str, str], tuple[list[str], tuple[str, ...]]] = {}
    for axis, labels in axes.items():
        steps = _steps(int(labels[0]), before)
        if not steps:
            continue
        places = [order[np.searchsorted(keys, min(s) * len(book) + max(s), sorter=order)] for s in steps]
        nodes = [book.edges[owner[place]][2] for place in places]
        why = reasons.get((nodes[-1], steps[-1][0]), JOINED)
        names = found.setdefault((nodes[-1].name, why), ([], _way(nodes)))
        names[0].append(axis)
    return tuple(
        FrozenNode(node=node, why=why, parameters=tuple(names), way=way) for (node, why), (names, way) in found.items()
    )


def _steps(label: int, before: Ids) -> list[tuple[int, int]]:
    """The edges from a label to the frozen one."""
    steps = []
    while label != FROZEN and before[label] >= 0:
        steps.append((label, int(before[label])))
        label = int(before[label])
    return steps if label == FROZEN else []


def _way(nodes: list[fx.Node]) -> tuple[str, ...]:
    names = list(dict.fromkeys(node.name for node in reversed(nodes)))
    return tuple(names if len(names) <= LONGEST else [*names[: LONGEST // 2], "...", *names[-LONGEST // 2 :]])
