"""Nodes of an engine run (Argo's nodes, KFP's tasks) as spans. A fan-out has thousands: every pass is linear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from meta.trace import attributes as names
from meta.trace.making import GOOD, UNJUDGED, Trace, Verdict
from meta.trace.model import Attribute, Part, Span, SpanEvent
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, Node

_SUCCEEDED = frozenset({"SUCCEEDED"})
_FAILED = frozenset({"FAILED", "ERROR", "CANCELED"})
_RETRY = "Retry"


@dataclass(frozen=True, slots=True)
class Holder:
    """The engine run that nodes belong to.

    Attributes:
        key: of the attempt.
        span: id of the engine run's span.
        start: of that.
        end: of that; None while it goes on.
        since: when the attempt took the engine run over from the one before; None where it made it.
    """

    key: RunKey
    ref: EngineRunRef
    span: str
    start: datetime
    end: datetime | None
    since: datetime | None = None


def node_spans(
    trace: Trace, holder: Holder, nodes: Mapping[str, Node], ancestors: Mapping[str, Node]
) -> Iterator[Span]:
    """All nodes, parents before their children; one whose parent is not known hangs below the engine run itself.

    Args:
        trace: whose they are.
        holder: the engine run.
        nodes: by id.
        ancestors: further nodes that may lie between a node and its nearest parent among `nodes`.
    """
    below = _below(nodes, ancestors)
    seen: set[str] = set()
    # From the outermost ones; then from whatever is left, which only nodes that are parents of each other are.
    for first in (*below.get("", ()), *nodes):
        if first in seen:
            continue
        waiting = [(first, (holder.span, holder.start))]
        while waiting:
            at, parent = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            inner = [nodes[child] for child in below.get(at, ())]
            span = _node(trace, holder, nodes[at], parent, inner)
            yield span
            waiting += [(child.id, (span.span_id, span.start)) for child in reversed(inner)]


def _below(nodes: Mapping[str, Node], ancestors: Mapping[str, Node]) -> dict[str, list[str]]:
    """Ids of nodes by their nearest parent among them; under an empty id those that have none."""
    below: dict[str, list[str]] = {}
    found: dict[str, str] = {}  # of parents that are not among the nodes: the nearest one above that is
    for node in nodes.values():
        parent, passed = node.parent, dict[str, None]()
        while parent and parent not in nodes:
            if parent in found:
                parent = found[parent]
                break
            if parent in passed or parent not in ancestors:
                parent = ""
                break
            passed[parent] = None
            parent = ancestors[parent].parent
        found |= dict.fromkeys(passed, parent)
        below.setdefault(parent if parent != node.id else "", []).append(node.id)
    return below


def _node(trace: Trace, holder: Holder, node: Node, parent: tuple[str, datetime], inner: list[Node]) -> Span:
    start = node.started_at or node.finished_at
    if start is None:
        start = end = max(parent[1], holder.start)
    else:
        end = node.finished_at or holder.end
        start = start if holder.since is None else max(start, holder.since)
    key = holder.key
    return trace.span(
        Part.NODE,
        trace.id_of("node", key.step, key.index, key.attempt, node.id),
        parent[0],
        node.name or node.id,
        (start, end),
        verdict=_verdict(node),
        attributes={
            names.STEP: key.step,
            names.ATTEMPT: key.attempt,
            names.ENGINE: holder.ref.engine,
            names.NODE_ID: node.id,
            names.NODE_TYPE: node.type,
            names.NODE_PHASE: node.phase,
            names.NODE_CACHED: True if node.cached else None,
            names.NODE_TIMES: None if node.started_at is not None else "unknown",
            names.MESSAGE: node.message,
            names.EXIT_CODE: node.exit_code,
            names.NAMESPACE: holder.ref.namespace if node.pod else None,
            names.POD_NAME: node.pod,
        },
        events=_events(node, end, inner),
    )


def _verdict(node: Node) -> Verdict:
    phase = node.phase.upper()
    if phase in _FAILED:
        return Verdict.failed(node.message or node.phase, node.phase)
    return GOOD if phase in _SUCCEEDED else UNJUDGED


def _events(node: Node, end: datetime | None, inner: list[Node]) -> list[SpanEvent]:
    """The node's end in the engine's word, and of what the engine tries again each try that another one followed."""
    events: list[SpanEvent] = []
    if node.type == _RETRY:
        tries = [(node.started_at, node) for node in inner if node.started_at is not None]
        for _, tried in sorted(tries, key=lambda one: one[0])[:-1]:
            at = tried.finished_at or tried.started_at
            assert at is not None  # those without a start are left out
            events.append(SpanEvent("retry", at, {names.NODE_ID: tried.id, **_told(tried)}))
    if node.phase and end is not None and node.finished_at is not None:
        events.append(SpanEvent(node.phase, end, _told(node)))
    return events


def _told(node: Node) -> dict[str, Attribute]:
    return names.given({names.NODE_PHASE: node.phase, names.MESSAGE: node.message, names.EXIT_CODE: node.exit_code})
