"""All that the store knows of a run, in the form that its trace is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Node


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt that has an engine run; see `meta.store.tables.EngineRunRow` for the times and their clocks."""

    key: RunKey
    ref: EngineRunRef
    asked_at: datetime | None
    tries: int
    submitted_at: datetime | None
    engine_started_at: datetime | None
    ended_at: datetime | None
    seen_at: datetime | None
    failure: FailureClass | None
    message: str
    own_trace: str
    nodes: Sequence[Node]


@dataclass(frozen=True, slots=True)
class WorkRecord:
    """A try of an activity; see `meta.store.tables.WorkRow`."""

    key: RunKey
    what: str
    number: int
    worker: str
    started_at: datetime
    ended_at: datetime
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run with its steps, attempts by step and number, and tries of activities in the order of their starts.

    `created_at` is when the store heard of the run first; unlike the run's start it never changes. `others` are the
    trace contexts of the causes of runs that this one takes from, or retries, by id, as far as the store has them.
    """

    run: RunSnapshot
    attempts: Sequence[AttemptRecord]
    work: Sequence[WorkRecord]
    created_at: datetime | None = None
    others: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
