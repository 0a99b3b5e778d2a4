"""What holds for the trace of every run, whatever the store knows of it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from meta.trace.model import Part, Span
from meta.trace.otlp import from_traces_data, to_traces_data
from meta.trace.record import RunRecord
from meta.trace.spans import run_spans
from tests.support.traces import check_tree
from tests.unit.trace.support import attempt, key, node, of, record, records, step


@settings(max_examples=150)
@given(records())
def test_spans_of_any_record_are_one_whole_tree_that_otlp_gives_back(found: RunRecord) -> None:
    spans = run_spans(found)
    check_tree(spans)
    check_order(spans)
    check_nodes(spans)
    if found.run.state.ended:
        assert [span.name for span in spans if span.end is None] == []
    assert from_traces_data(to_traces_data(spans, {"service.name": "meta"})) == spans


@settings(max_examples=50)
@given(records(), st.randoms(use_true_random=False))
def test_a_repeat_gives_the_same_and_so_does_another_order_of_rows(found: RunRecord, chance: random.Random) -> None:
    attempts = list(found.attempts)
    chance.shuffle(attempts)
    assert run_spans(found) == run_spans(RunRecord(found.run, attempts, found.work))


def check_order(spans: Sequence[Span]) -> None:
    """Parents come before their children, and nothing is told twice."""
    told = {spans[0].parent_id}
    for span in spans:
        assert span.parent_id in told, f"{span.name} comes before its parent"
        told.add(span.span_id)
    assert len(told) == len(spans) + 1


def check_nodes(spans: Sequence[Span]) -> None:
    """Nodes are below the engine run of their attempt, however deep, and none starts before an attempt that resumed."""
    by_id = {span.span_id: span for span in spans}
    for span in of(spans, Part.NODE):
        above = by_id[span.parent_id]
        while above.part is Part.NODE:
            above = by_id[above.parent_id]
        assert above.part is Part.ENGINE
        assert above.attributes["meta.attempt"] == span.attributes["meta.attempt"]
        if by_id[above.parent_id].attributes.get("meta.attempt.resumed"):
            assert span.start >= above.start


def test_a_fan_out_of_thousands_of_nodes_takes_time_in_proportion() -> None:
    def seconds(count: int) -> float:
        # Half of them each below the one before it, given from the innermost outwards, half side by side.
        chain = [node(str(i), i, i + 1, parent=str(i - 1) if i else "") for i in range(count // 2)]
        fan = [node(f"fan-{i}", 1, 2, parent="0") for i in range(count // 2)]
        one = attempt(key=key(), asked=1, submitted=2, engine=(2, 8), seen=9, nodes=[*reversed(chain), *fan])
        found = record(step(), attempts=[one])
        start = time.perf_counter()
        spans = run_spans(found)
        taken = time.perf_counter() - start
        assert len(of(spans, Part.NODE)) == count
        return taken

    small = min(seconds(500) for _ in range(3))
    large = min(seconds(5000) for _ in range(2))
    assert large < 10 * small * 5 + 0.1, f"{small:.4f} s for 500 nodes, {large:.4f} s for 5000"
