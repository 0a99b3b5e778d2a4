"""What holds for every trace, whoever tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from meta.trace.model import Span


def check_tree(spans: Sequence[Span]) -> None:
    """The spans are one whole tree: one root, every parent there, no circle, no span told in two ways.

    A span that is told twice is fine while both tellings are the same; so are parents that come after their children.

    Raises:
        AssertionError: with what is wrong.
    """
    assert spans, "no spans"
    by_id: dict[str, Span] = {}
    for span in spans:
        known = by_id.setdefault(span.span_id, span)
        assert known == span, f"two tellings of {span.span_id} differ:\n  {known}\n  {span}"
        assert span.end is None or span.start <= span.end, f"{span.name} ends before it starts: {span}"
        assert len(span.span_id) == 16 and len(span.trace_id) == 32, f"ids of no trace: {span}"
    traces = Counter(span.trace_id for span in spans)
    assert len(traces) == 1, f"spans of several traces: {dict(traces)}"
    roots = [span for span in by_id.values() if span.parent_id not in by_id]
    assert len(roots) == 1, f"one root expected: {[(span.name, span.span_id, span.parent_id) for span in roots]}"
    reached, below = 0, children(list(by_id.values()))
    waiting = [roots[0]]
    while waiting:
        span = waiting.pop()
        reached += 1
        waiting += below.get(span.span_id, [])
    assert reached == len(by_id), "spans are parents of each other"


def children(spans: Sequence[Span]) -> dict[str, list[Span]]:
    """Spans by the id of their parent, in the order in which they are told."""
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.parent_id, []).append(span)
    return found


def path_of(span: Span, spans: Sequence[Span]) -> list[str]:
    """Names from the root down to a span."""
    by_id = {one.span_id: one for one in spans}
    names = [span.name]
    while (parent := by_id.get(span.parent_id)) is not None:
        span = parent
        names.append(span.name)
    return names[::-1]
