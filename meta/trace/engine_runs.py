"""Engine runs and their nodes as spans, by the engine's clock.

Engines cut their times to whole seconds, and their clocks are not ours: what they say is kept as it is, so that a trace
agrees with their own pages. Only a span that would end before it starts, or a node that an attempt took over from the
one before it, is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from meta.trace import attributes as names
from meta.trace.making import GOOD, UNJUDGED, Times, Trace, Verdict
from meta.trace.model import Attribute, Link, Part, Span, SpanEvent
from meta.trace.nodes import Holder, node_spans
from meta.trace.record import AttemptRecord
from workflows.outcome import Node
from workflows.trace import engine_span_id


@dataclass(slots=True)
class Share:
    """What one attempt did of an engine run that several may have had a part in.

    Attributes:
        start: of its part; None where that is the engine run's own start, or unknown.
        resumed: it went on with what the attempt before had begun.
        nodes: those that ran in it.
        ancestors: all that the engine told of, by id: where a node hangs when its parent is in another's part.
    """

    start: datetime | None = None
    resumed: bool = False
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    ancestors: dict[str, Node] = field(default_factory=dict[str, Node])


def share_out(records: Sequence[AttemptRecord | None]) -> list[Share | None]:
    """Give each attempt the nodes that it ran, and the start of its part of the engine run.

    An attempt that resumed the engine run of the one before tells of its nodes again: those that it kept stay with the
    attempt that ran them. What ran in both, as a group of nodes does, has a part in each.

    Args:
        records: of one step's attempts in their order; None for those without an engine run.
    """
    shares: list[Share | None] = []
    before: AttemptRecord | None = None
    told: set[tuple[str, datetime | None, datetime | None]] = set()
    for record in records:
        if record is None:
            shares.append(None)
            continue
        share = Share(ancestors={node.id: node for node in record.nodes})
        if before is None or before.ref.uid != record.ref.uid:
            told = set()
            share.nodes = dict(share.ancestors)
        else:
            new = [node for node in share.ancestors.values() if _telling(node) not in told]
            share.start, share.resumed = _resumed_at(record, before, new), True
            earlier = next((one for one in reversed(shares) if one is not None), None)
            for node in new:
                if earlier is not None and _ran_before(node, share.start):
                    earlier.nodes.setdefault(node.id, node)
                else:
                    share.nodes[node.id] = node
        told |= {_telling(node) for node in share.ancestors.values()}
        shares.append(share)
        before = record
    return shares


def _telling(node: Node) -> tuple[str, datetime | None, datetime | None]:
    return node.id, node.started_at, node.finished_at


def _ran_before(node: Node, at: datetime | None) -> bool:
    return at is not None and node.finished_at is not None and node.finished_at < at


def _resumed_at(record: AttemptRecord, before: AttemptRecord, new: Sequence[Node]) -> datetime | None:
    """When an engine run went on: Argo starts its clock anew, KFP keeps the time at which the run was made."""
    ended = before.ended_at or before.seen_at
    if ended is None or (record.engine_started_at is not None and record.engine_started_at >= ended):
        return record.engine_started_at or record.submitted_at
    starts = [node.started_at for node in new if node.started_at is not None and node.started_at >= ended]
    return min([at for at in (record.submitted_at, *starts) if at is not None], default=ended)


def engine_spans(trace: Trace, record: AttemptRecord, share: Share, parent: str, times: Times) -> Iterator[Span]:
    """An attempt's engine run, and its nodes below it.

    Args:
        trace: whose it is.
        record: the attempt.
        share: the attempt's part of the engine run.
        parent: the attempt's span.
        times: start and end of that, for what the engine has not told.
    """
    ref = record.ref
    start = share.start or record.engine_started_at or record.submitted_at or times[0]
    end = record.ended_at or times[1]
    if end is not None:
        end = max(start, end)
    own = engine_span_id(record.key)
    phase = _phase(record)
    yield trace.span(
        Part.ENGINE,
        own,
        parent,
        f"run on {ref.engine}",
        (start, end),
        verdict=_verdict(record, end),
        attributes={
            names.STEP: record.key.step,
            names.ATTEMPT: record.key.attempt,
            names.INDEX: record.key.index or None,
            names.ENGINE: ref.engine,
            names.ENGINE_KIND: ref.kind.value,
            names.ENGINE_RUN_NAME: ref.name,
            names.ENGINE_RUN_UID: ref.uid,
            names.ENGINE_RUN_PHASE: phase,
            names.NAMESPACE: ref.namespace,
            names.URL: ref.url,
            names.TASK_NAME: record.key.step,
            names.TASK_RUN_ID: ref.uid,
            names.TASK_RUN_URL: ref.url,
            names.NODES: len(share.nodes),
            names.CACHED_NODES: sum(node.cached for node in share.nodes.values()),
        },
        events=[SpanEvent(phase, end, _said(record))] if phase and end is not None else (),
        links=[Link(record.own_trace)] if record.own_trace else (),
    )
    holder = Holder(record.key, ref, own, start, end, start if share.resumed else None)
    yield from node_spans(trace, holder, share.nodes, share.ancestors)


def _phase(record: AttemptRecord) -> str:
    """The engine's own word for how it came out; empty while it runs, or when unknown.

    The outermost node has it, but for KFP 2, which leaves the state of that one as it was at its start.
    """
    if record.ended_at is None:
        return ""
    return next((node.phase for node in record.nodes if not node.parent and node.finished_at is not None), "")


def _said(record: AttemptRecord) -> dict[str, Attribute]:
    return names.given({names.MESSAGE: record.message})


def _verdict(record: AttemptRecord, end: datetime | None) -> Verdict:
    if end is None:
        return UNJUDGED
    if record.failure is not None:
        return Verdict.failed(record.message or record.failure.value, record.failure.value)
    if record.ended_at is None:
        return Verdict.failed("nobody has seen how it ended", "")
    return GOOD
