"""Records of runs, as tests of traces make them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from meta.trace.model import Part, Span
from meta.trace.record import AttemptRecord, RunRecord, WorkRecord
from workflows.messages import Activity, Cause, RunSnapshot, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineKind, EngineRunRef, FailureClass, Node, RunState, StepKind, StepState

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = "chain-1"


def at(seconds: float) -> datetime:
    """So many seconds after the start of the run."""
    return START + timedelta(seconds=seconds)


def maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else at(seconds)


def key(step: str = "train", attempt: int = 1, index: int = 0) -> RunKey:
    return RunKey(meta_run=RUN, step=step, index=index, attempt=attempt)


def ref(uid: str = "u1", kind: EngineKind = EngineKind.ARGO) -> EngineRunRef:
    return EngineRunRef(
        engine=kind.value, kind=kind, name=f"chain-{uid}", uid=uid, namespace="ml", url=f"http://ui/{uid}"
    )


def attempt(
    *,
    key: RunKey,
    asked: float | None = None,
    submitted: float | None = None,
    engine: tuple[float | None, float | None] = (None, None),
    seen: float | None = None,
    uid: str = "u1",
    failure: FailureClass | None = None,
    message: str = "",
    nodes: Sequence[Node] = (),
    own_trace: str = "",
) -> AttemptRecord:
    """An attempt with an engine run; times in seconds after the start of the run."""
    return AttemptRecord(
        key=key, ref=ref(uid), asked_at=maybe(asked), tries=1, submitted_at=maybe(submitted),
        engine_started_at=maybe(engine[0]), ended_at=maybe(engine[1]), seen_at=maybe(seen), failure=failure,
        message=message, own_trace=own_trace, nodes=nodes,
    )  # fmt: skip


def node(
    id: str,
    start: float | None = None,
    end: float | None = None,
    *,
    parent: str = "",
    type: str = "Pod",
    phase: str = "Succeeded",
    message: str = "",
    exit_code: int | None = None,
    pod: str = "",
) -> Node:
    return Node(
        id=id, name=f"name of {id}", type=type, phase=phase, message=message, parent=parent, exit_code=exit_code,
        pod=pod, started_at=maybe(start), finished_at=maybe(end),
    )  # fmt: skip


def tried(key: RunKey, what: Activity, number: int, start: float, end: float, *, code: str = "") -> WorkRecord:
    message = f"{code} said" if code else ""
    return WorkRecord(key, what.value, number, "host, process 1", at(start), at(end), code, message)


def step(
    name: str = "train",
    state: StepState = StepState.SUCCEEDED,
    start: float | None = 1,
    end: float | None = 9,
    *,
    attempts: int = 1,
    message: str = "",
) -> StepSnapshot:
    return StepSnapshot(
        name=name, kind=StepKind.ARGO, engine="argo", state=state, attempt=attempts, message=message,
        started_at=maybe(start), finished_at=maybe(end),
    )  # fmt: skip


def record(
    *steps: StepSnapshot,
    attempts: Sequence[AttemptRecord] = (),
    work: Sequence[WorkRecord] = (),
    state: RunState = RunState.SUCCEEDED,
    end: float | None = 10,
    cause: Cause | None = None,
    trace: dict[str, str] | None = None,
    message: str = "",
) -> RunRecord:
    run = RunSnapshot(
        id=RUN, workflow="chain", bundle_digest="d", trigger="api", request_id="q", state=state, message=message,
        steps=list(steps), started_at=START, finished_at=maybe(end), cause=cause, trace=trace or {},
    )  # fmt: skip
    return RunRecord(run, attempts, work)


def only(spans: Sequence[Span], part: Part) -> Span:
    (found,) = of(spans, part)
    return found


def of(spans: Sequence[Span], part: Part) -> list[Span]:
    return [span for span in spans if span.part is part]


_seconds = st.none() | st.integers(-3, 20)
_names = st.sampled_from(["prepare", "train", "deploy"])
_ids = st.sampled_from("abcdef")
_nodes = st.lists(
    st.builds(
        node,
        _ids,
        _seconds,
        _seconds,
        parent=st.sampled_from(["", *"abcdefg"]),
        type=st.sampled_from(["Pod", "Retry", "DAG"]),
        phase=st.sampled_from(["", "Running", "Succeeded", "Failed", "FAILED", "Omitted"]),
    ),
    unique_by=lambda one: one.id,
    max_size=6,
)
_keys = st.builds(key, _names, st.integers(1, 3), st.integers(0, 1))
_attempts = st.builds(
    attempt,
    key=_keys,
    asked=_seconds,
    submitted=_seconds,
    engine=st.tuples(_seconds, _seconds),
    seen=_seconds,
    uid=st.sampled_from(["u1", "u2"]),
    failure=st.none() | st.sampled_from(FailureClass),
    nodes=_nodes,
)
_work = st.builds(
    tried,
    st.builds(key, st.sampled_from(["", "prepare", "train"]), st.integers(0, 3)),
    st.sampled_from(Activity),
    st.integers(1, 3),
    st.integers(0, 10),
    st.integers(0, 10),
    code=st.sampled_from(["", "ENGINE_UNAVAILABLE"]),
)
_steps = st.lists(
    st.builds(step, _names, st.sampled_from(StepState), _seconds, _seconds, attempts=st.integers(0, 3)),
    unique_by=lambda one: one.name,
    max_size=3,
)


@st.composite
def records(draw: st.DrawFn) -> RunRecord:
    """Any that the store could give, and many that it could not."""
    return record(
        *draw(_steps),
        attempts=draw(st.lists(_attempts, unique_by=lambda one: str(one.key), max_size=5)),
        work=draw(st.lists(_work, unique_by=lambda one: (str(one.key), one.what, one.number), max_size=5)),
        state=draw(st.sampled_from(RunState)),
        end=draw(_seconds),
    )
