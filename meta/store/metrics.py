"""What the store counts, through OpenTelemetry's metrics API. Without a provider, counting does nothing.

| instrument | unit | attributes |
|---|---|---|
| `meta.runs.started` | meta-runs | workflow |
| `meta.runs.ended` | meta-runs | workflow, state: `succeeded`, `failed`, `canceled`, `terminated` |
| `meta.run.duration` | seconds | workflow, state |
| `meta.steps.ended` | steps, all their attempts together | workflow, engine, state, failure: the class, empty where there is none |
| `meta.step.duration` | seconds, over all attempts | workflow, engine, state |
| `meta.steps.taken` | steps, and items of fan-outs, that were not run: another run's success stands for them | workflow, engine, how: `cache`, `retry` |
| `meta.attempts.ended` | attempts that had an engine run | workflow, engine, state, failure |
| `meta.submit.latency` | seconds from the workflow's wish to the adopted engine run | engine |
| `meta.engine.queue.time` | seconds from an engine run's start to its first pod's or task's, by the engine's clock | engine |
| `meta.detection.delay` | seconds from an engine run's end, by the engine's clock, to our reading of it | engine |
| `meta.engine.nodes` | pods and tasks | engine, cached: `true`, `false` |

Each transition is counted once, by the process whose transaction wrote it, after its commit: what is told again by a
replay, a repeat or another process changes nothing and counts for nothing. A process that is killed between the two
leaves one out.
"""  # noqa: E501 -- a row of a table is one line

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from opentelemetry import metrics
from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from meta.store.counting import Transitions, leaves, queue_time
from meta.store.fold import STATE_OF_FAILURE
from workflows.messages import RunSnapshot, StepSnapshot
from workflows.outcome import FailureClass, Outcome, RunState, StepState

_LONG = [1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 259200]
_SHORT = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800]

_meter = metrics.get_meter("meta_workflows.store")
_started = _meter.create_counter("meta.runs.started", "{run}", "Meta-runs that came to be known.")
_ended = _meter.create_counter("meta.runs.ended", "{run}", "Meta-runs that have ended.")
_run_duration = _meter.create_histogram(
    "meta.run.duration", "s", "From a meta-run's start to its end.", explicit_bucket_boundaries_advisory=_LONG
)
_steps = _meter.create_counter("meta.steps.ended", "{step}", "Steps that have ended, all their attempts together.")
_step_duration = _meter.create_histogram(
    "meta.step.duration", "s", "From a step's start to its end.", explicit_bucket_boundaries_advisory=_LONG
)
_taken = _meter.create_counter(
    "meta.steps.taken", "{step}", "Steps and items of fan-outs that were not run: an earlier success stands for them."
)
_attempts = _meter.create_counter("meta.attempts.ended", "{attempt}", "Attempts that had an engine run, and ended.")
_submit = _meter.create_histogram(
    "meta.submit.latency",
    "s",
    "From the workflow's wish to the adopted engine run.",
    explicit_bucket_boundaries_advisory=_SHORT,
)
_queue = _meter.create_histogram(
    "meta.engine.queue.time",
    "s",
    "From an engine run's start to its first pod's or task's.",
    explicit_bucket_boundaries_advisory=_SHORT,
)
_detection = _meter.create_histogram(
    "meta.detection.delay",
    "s",
    "From an engine run's end to our reading of it.",
    explicit_bucket_boundaries_advisory=_SHORT,
)
_known = set[str]()  # meta-workflows whose runs this process has told of
_nodes = _meter.create_counter("meta.engine.nodes", "{node}", "Pods and tasks of engine runs that have ended.")


def after_commit(session: AsyncSession, count: Callable[[], None]) -> None:
    """Count when the transaction is through; never when it is rolled back."""

    def committed(_session: Session) -> None:
        count()

    event.listen(session.sync_session, "after_commit", committed, once=True)


def known(workflow: str) -> None:
    """Begin the counts of ends with 0: a series that begins with 1 shows no rise to Prometheus."""
    if workflow and workflow not in _known:
        _known.add(workflow)
        for state in RunState:
            if state.ended:
                _ended.add(0, {"workflow": workflow, "state": state.value})


def run_changed(run: RunSnapshot, news: Transitions, failures: dict[str, str]) -> None:
    """Count the transitions of a run.

    Args:
        run: after the change.
        news: what happened.
        failures: class of failure by step, of the steps that have one.
    """
    workflow = run.workflow
    if news.started:
        _started.add(1, {"workflow": workflow})
    for step in news.steps:
        attributes = {"workflow": workflow, "engine": step.engine, "state": step.state.value}
        _steps.add(1, attributes | {"failure": failures.get(step.name, "")})
        _count_taken(workflow, step)
        if step.duration is not None and step.taken_from is None:
            _step_duration.record(max(step.duration.total_seconds(), 0.0), attributes)
    if news.ended:
        attributes = {"workflow": workflow, "state": run.state.value}
        _ended.add(1, attributes)
        if run.started_at is not None and run.finished_at is not None:
            _run_duration.record(max((run.finished_at - run.started_at).total_seconds(), 0.0), attributes)


def _count_taken(workflow: str, step: StepSnapshot) -> None:
    how, count = "cache", 0 if step.items is None else step.items.taken
    if step.taken_from is not None:
        how, count = step.taken_from.how, 1
    if count:
        _taken.add(count, {"workflow": workflow, "engine": step.engine, "how": how})


def submitted(engine: str, asked_at: datetime | None, at: datetime) -> None:
    if asked_at is not None:
        _submit.record(max((at - asked_at).total_seconds(), 0.0), {"engine": engine})


def attempt_ended(workflow: str, engine: str, failure: FailureClass | None) -> None:
    state = StepState.SUCCEEDED if failure is None else STATE_OF_FAILURE[failure]
    attributes = {"workflow": workflow, "engine": engine, "state": state.value}
    _attempts.add(1, attributes | {"failure": "" if failure is None else failure.value})


def engine_run_read(engine: str, outcome: Outcome, at: datetime) -> None:
    """The end of an engine run was read, and written down for the first time.

    Args:
        engine: its name.
        outcome: what was read.
        at: now.
    """
    if (waited := queue_time(outcome)) is not None:
        _queue.record(waited, {"engine": engine})
    if outcome.finished_at is not None:
        _detection.record(max((at - outcome.finished_at).total_seconds(), 0.0), {"engine": engine})
    pods = leaves(outcome)
    cached = sum(node.cached for node in pods)
    for count, hit in ((cached, "true"), (len(pods) - cached, "false")):
        if count:
            _nodes.add(count, {"engine": engine, "cached": hit})
