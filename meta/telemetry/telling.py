"""What a collector is told of a run now: pure functions on what the store knows.

A parent is never told after its children, so a trace is one tree at any time: the root at once, a step with all that is
below it when the step is over, the run's own span when the run has ended. A success is an attempt's word, and ends its
step; that a failed attempt was the last one, only the workflow says.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from meta.store.outgoing import is_described
from meta.trace.model import Span
from meta.trace.otlp import from_traces_data, to_traces_data
from workflows.messages import RunSnapshot
from workflows.outcome import StepState
from workflows.trace import span_id

ROOT, RUN = "root", "run"
PATIENCE = timedelta(minutes=3)
"""How long an over step may have spans without an end, as of an engine run that was cut off and is still to end; then
it is told without them."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What is to be told of a run.

    Attributes:
        told: what the collector has when it has these spans: `root`, `run`, `step/NAME`.
        spans: parents before children.
        waits: more is to be told though nothing changes: see `PATIENCE`.
    """

    told: list[str]
    spans: list[Span]
    waits: bool = False


def ready(run: RunSnapshot, told: Collection[str], over: Collection[str]) -> set[str]:
    """What can be told of a run and has not been; of all that the snapshot knows of.

    Args:
        run: with its steps.
        told: what the collector has.
        over: steps that the workflow has called ended.
    """
    if not (is_described(run) and run.started_at):
        return set()
    found = {ROOT}
    for step in run.steps:
        final = step.state is StepState.SUCCEEDED or (step.state.ended and step.name in over)
        if final or run.state.ended:
            found.add(f"step/{step.name}")
    if run.state.ended:
        found.add(RUN)
    return found - set(told)


def telling(
    run: RunSnapshot, spans: Sequence[Span], told: Collection[str], over: Collection[str], now: datetime
) -> Telling:
    """What is to be told of a run now.

    Args:
        run: with its steps.
        spans: all of the run, parents before children; the first is the root.
        told: what the collector has.
        over: steps that the workflow has called ended.
        now: for the patience with what has no end yet.
    """
    wanted = ready(run, told, over)
    groups = _groups(run.id, [step.name for step in run.steps], spans)
    ends = {f"step/{step.name}": step.finished_at for step in run.steps}
    result = Telling([], [])
    waits = False
    for name in sorted(wanted, key=lambda name: (name != ROOT, name)):
        group = groups.get(name, [])
        since = ends.get(name) or run.finished_at or now
        if name != ROOT and any(span.end is None for span in group) and now < since + PATIENCE:
            waits = True
            continue
        result.told.append(name)
        result.spans.extend(_whole(group))
    return Telling(result.told, result.spans, waits)


def _groups(run_id: str, steps: Iterable[str], spans: Iterable[Span]) -> Mapping[str, list[Span]]:
    """Spans by what they are told with: that of the child of the root which they are below."""
    names = {span_id(run_id, "step", step): f"step/{step}" for step in steps}
    found: dict[str, list[Span]] = {}
    group: dict[str, str] = {}
    for span in spans:
        if not group:
            name = ROOT
        elif (above := group.get(span.parent_id, ROOT)) != ROOT:
            name = above
        else:
            name = names.get(span.span_id, RUN)
        group[span.span_id] = name
        found.setdefault(name, []).append(span)
    return found


def _whole(spans: Sequence[Span]) -> Iterator[Span]:
    """Those that have ended, without what is below one that has not."""
    missing = {span.span_id for span in spans if span.end is None}
    for span in spans:
        if span.parent_id in missing:
            missing.add(span.span_id)
        elif span.span_id not in missing:
            yield span


def pack(found: Telling) -> bytes:
    """A telling as it is written down before it goes out."""
    head = json.dumps({"told": found.told, "waits": found.waits}).encode()
    return zlib.compress(head + b"\n" + to_traces_data(found.spans, {}).SerializeToString())


def unpack(packed: bytes) -> Telling:
    """A telling as it was written down."""
    head, _, body = zlib.decompress(packed).partition(b"\n")
    values = json.loads(head)
    return Telling(values["told"], from_traces_data(TracesData.FromString(body)), values["waits"])
