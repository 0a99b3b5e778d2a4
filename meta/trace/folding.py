"""Of very many equal siblings those that matter are shown: what failed, took longest, or was waited for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from meta.trace.reading import has_failed, is_cached, state_of
from meta.trace.tree import Branch

_INDEX = re.compile(r"\(.*\)$|\[\d+\]$|[-_. ]?\d+$")
_MANY = 40  # siblings of whatever names


@dataclass(frozen=True, slots=True)
class Folded:
    """Siblings that are not shown one by one.

    Attributes:
        states: how many there are of each; the engine's cache counts as one.
        shortest: seconds.
        longest: seconds.
        start: of the first.
        end: of the last.
        of: what their names have in common; empty for a mixed lot.
    """

    count: int
    states: Mapping[str, int]
    shortest: float
    longest: float
    start: datetime
    end: datetime
    of: str = ""


def fold(siblings: Sequence[Branch], path: Collection[str], top: int) -> list[Branch | Folded]:
    """Fold what there are too many of.

    Args:
        siblings: in the order of their starts.
        path: span ids of the critical path.
        top: how many of a kind are shown; up to as many more that failed. 0 folds nothing.

    Returns:
        Those to show in their order, and after the last of a kind what is folded of it.
    """
    if not top:
        return list(siblings)
    kinds: dict[str, list[Branch]] = {}
    for one in siblings:
        kinds.setdefault(_kind(one), []).append(one)
    shown_at_most = sum(min(len(ones), top + 1) for ones in kinds.values())
    if shown_at_most > max(_MANY, top + 1):
        kinds = {"": list(siblings)}
    found: list[tuple[datetime, int, Branch | Folded]] = []
    for kind, ones in kinds.items():
        chosen = _chosen(ones, path, top)
        kept = [one for one in ones if one.span.span_id in chosen]
        found += [(one.start, 0, one) for one in kept]
        if len(kept) < len(ones):
            rest = [one for one in ones if one.span.span_id not in chosen]
            found.append((max(one.start for one in kept), 1, _folded(rest, kind)))
    return [one for _, _, one in sorted(found, key=lambda entry: entry[:2])]


def _kind(one: Branch) -> str:
    return _INDEX.sub("", one.span.name) or one.span.name


def _chosen(ones: Sequence[Branch], path: Collection[str], top: int) -> set[str]:
    if len(ones) <= top + 1:  # one line for one sibling saves nothing
        return {one.span.span_id for one in ones}
    by_length = sorted(ones, key=lambda one: one.seconds, reverse=True)
    failed = [one.span.span_id for one in by_length if has_failed(one.span)][:top]
    waited_for = [one.span.span_id for one in by_length if one.span.span_id in path][: max(1, top // 2)]
    chosen = {*failed, *waited_for}
    for one in by_length:
        if len(chosen) >= max(top, len(failed) + 1):
            break
        chosen.add(one.span.span_id)
    return chosen


def _folded(ones: Sequence[Branch], kind: str) -> Folded:
    states = Counter("cached" if is_cached(one.span) else state_of(one.span) for one in ones)
    return Folded(
        count=len(ones),
        states=dict(states.most_common()),
        shortest=min(one.seconds for one in ones),
        longest=max(one.seconds for one in ones),
        start=min(one.start for one in ones),
        end=max(one.end for one in ones),
        of=kind,
    )
