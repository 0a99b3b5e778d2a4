"""From what the store knows of a run to OpenLineage events: a pure function, so that a repeat is the same event.

A meta-run is a run of the job `<workflow>`; every attempt of a step is a run of `<workflow>.<step>`, its child. What
was skipped has not run, and has no events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import RunFacet, nominal_time_run

from meta.lineage import facets
from meta.lineage.naming import job_name, run_uuid
from meta.lineage.reading import artifacts_read
from meta.trace.record import AttemptRecord, RunRecord
from workflows.messages import StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, StepState
from workflows.outcome import RunState as MetaState
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import ENGINE_KINDS
from workflows.trace import trace_id

_OF_RUN = {
    MetaState.SUCCEEDED: RunState.COMPLETE,
    MetaState.FAILED: RunState.FAIL,
    MetaState.CANCELED: RunState.ABORT,
    MetaState.TERMINATED: RunState.ABORT,
}
_OF_STEP = {
    StepState.SUCCEEDED: RunState.COMPLETE,
    StepState.CANCELLED: RunState.ABORT,
}


@dataclass(frozen=True, slots=True)
class LineageEvent:
    """An event, and the mark that says that it was told: `start`, `end/train/1`."""

    mark: str
    at: datetime
    event: RunEvent


@dataclass(frozen=True, slots=True)
class _Turn:
    """What an event is of."""

    kind: RunState
    at: datetime
    message: str = ""


def lineage_events(
    record: RunRecord,
    definition: MetaWorkflow | None,
    *,
    namespace: str,
    over: Collection[str] = (),
    told: Collection[str] = (),
) -> list[LineageEvent]:
    """The events of a run so far, in an order in which each comes after what it needs.

    Args:
        record: of the run.
        definition: says what steps have read; None when it is gone.
        namespace: of jobs.
        over: steps that the run's workflow has called ended. That an attempt failed is told when the workflow has
            made up its mind about it: by then it is known whether it was cut off.
        told: marks of events to leave out; to make one costs an evaluation of its step's expressions.
    """
    run = record.run
    if run.started_at is None or not run.workflow:
        return []
    return list(_Telling(record, definition, namespace, over, told=frozenset(told)).all())


class _Telling:
    def __init__(
        self,
        record: RunRecord,
        definition: MetaWorkflow | None,
        namespace: str,
        over: Collection[str],
        *,
        told: frozenset[str],
    ) -> None:
        self._record = record
        self._run = record.run
        self._definition = definition
        self._namespace = namespace
        self._over = over
        self._told = told
        self._run_uuid = run_uuid(namespace, record.run.id)

    def all(self) -> Iterator[LineageEvent]:
        run = self._run
        started = self._record.created_at or run.started_at
        assert started is not None  # asked before
        yield from self._of_run("start", RunState.START, started)
        steps = {step.name: step for step in run.steps}
        told = [one for attempt in self._record.attempts for one in self._of_attempt(attempt, steps)]
        told += [one for step in run.steps for one in self._of_refused(step)]
        yield from sorted(told, key=lambda one: one.at)  # stable: the start of an attempt comes before its end
        if run.state.ended:
            at = max(run.finished_at or started, started)
            yield from self._of_run("end", _OF_RUN[run.state], at)

    def _of_run(self, mark: str, kind: RunState, at: datetime) -> Iterator[LineageEvent]:
        if mark in self._told:
            return
        run = self._run
        run_facets: dict[str, RunFacet] = {
            "processing_engine": facets.processing_engine(None),
            "meta_run": self._meta_run(),
        }
        if run.cause is not None and run.cause.kind == "schedule" and run.cause.at is not None:
            run_facets["nominalTime"] = nominal_time_run.NominalTimeRunFacet(nominalStartTime=_text(run.cause.at))
        if kind in (RunState.FAIL, RunState.ABORT):
            run_facets["errorMessage"] = facets.error_message(run.message)
        description = self._definition.metadata.description if self._definition is not None else ""
        job = Job(self._namespace, job_name(run.workflow), facets=facets.job_facets("WORKFLOW", description))
        event = RunEvent(eventType=kind, eventTime=_text(at), run=Run(self._run_uuid, facets=run_facets), job=job)
        yield LineageEvent(mark, at, event)

    def _of_attempt(self, attempt: AttemptRecord, steps: dict[str, StepSnapshot]) -> Iterator[LineageEvent]:
        step = steps.get(attempt.key.step)
        began = attempt.submitted_at or attempt.asked_at or attempt.engine_started_at or attempt.ended_at
        if step is None or began is None:
            return
        yield from self._of_step(step, attempt.key, attempt.ref, _Turn(RunState.START, began))
        if (end := self._end_of(attempt, step)) is not None:
            # the engine's clock is another one, and may be cut to whole seconds
            yield from self._of_step(step, attempt.key, attempt.ref, replace(end, at=max(end.at, began)))

    def _end_of(self, attempt: AttemptRecord, step: StepSnapshot) -> _Turn | None:
        if attempt.ended_at is not None and attempt.failure is None:
            return _Turn(RunState.COMPLETE, attempt.ended_at, "")
        last = step.attempt <= attempt.key.attempt or attempt.key.index > 0
        if last and not self._run.state.ended and not (step.state.ended and step.name in self._over):
            return None
        kind = _of_failure(attempt.failure) if attempt.failure is not None else RunState.ABORT
        at = attempt.ended_at or attempt.seen_at
        if at is None and attempt.key.index:  # of an item: its next attempt, rather than the end of all items
            at = self._begin_of_next(attempt.key)
        at = at or step.finished_at or self._run.finished_at
        if at is None:  # the workflow has gone on to the next attempt, and the step with it
            at = self._begin_of_next(attempt.key)
        return _Turn(kind, at, attempt.message or step.message) if at is not None else None

    def _begin_of_next(self, key: RunKey) -> datetime | None:
        later = [
            one.asked_at or one.submitted_at
            for one in self._record.attempts
            if (one.key.step, one.key.index) == (key.step, key.index) and one.key.attempt > key.attempt
        ]
        return min((at for at in later if at is not None), default=None)

    def _of_refused(self, step: StepSnapshot) -> Iterator[LineageEvent]:
        """The last attempt of a step of an engine, when no engine has taken it."""
        if step.kind not in ENGINE_KINDS or step.items is not None:
            return  # a fan-out itself runs nothing; its items have attempts of their own
        key = RunKey(meta_run=self._run.id, step=step.name, attempt=step.attempt)
        known = {(one.key.step, one.key.attempt) for one in self._record.attempts}
        over = self._run.state.ended or step.name in self._over
        if not step.attempt or (step.name, step.attempt) in known or not step.state.ended or not over:
            return
        if step.started_at is None or step.finished_at is None:
            return
        yield from self._of_step(step, key, None, _Turn(RunState.START, step.started_at))
        kind = _OF_STEP.get(step.state, RunState.FAIL)
        turn = _Turn(kind, max(step.finished_at, step.started_at), step.message)
        yield from self._of_step(step, key, None, turn)

    def _of_step(
        self, step: StepSnapshot, key: RunKey, ref: EngineRunRef | None, turn: _Turn
    ) -> Iterator[LineageEvent]:
        mark = f"{'start' if turn.kind is RunState.START else 'end'}/{_place(key)}"
        if mark in self._told:
            return
        run = self._run
        run_facets: dict[str, RunFacet] = {
            "parent": facets.parent(self._namespace, job_name(run.workflow), self._run_uuid),
            "processing_engine": facets.processing_engine(step.kind),
            "meta_run": self._meta_run(),
            "meta_engineRun": facets.EngineRunFacet(
                step=step.name,
                attempt=key.attempt,
                engine=step.engine,
                kind=step.kind.value,
                name=ref.name if ref is not None else "",
                namespace=ref.namespace if ref is not None else "",
                uid=ref.uid if ref is not None else "",
                url=ref.url if ref is not None else "",
            ),
        }
        if turn.kind in (RunState.FAIL, RunState.ABORT):
            run_facets["errorMessage"] = facets.error_message(turn.message)
        described = self._definition.everything().get(step.name) if self._definition is not None else None
        job_facets = facets.job_facets("STEP", described.description if described is not None else "")
        event = RunEvent(
            eventType=turn.kind,
            eventTime=_text(turn.at),
            run=Run(run_uuid(self._namespace, key), facets=run_facets),
            job=Job(self._namespace, job_name(run.workflow, step.name), facets=job_facets),
            inputs=self._inputs(step),
            outputs=self._outputs(step, key) if turn.kind is not RunState.START else [],
        )
        yield LineageEvent(mark, turn.at, event)

    def _meta_run(self) -> facets.MetaRunFacet:
        run = self._run
        return facets.MetaRunFacet(
            id=run.id,
            workflow=run.workflow,
            trigger=run.trigger,
            requestId=run.request_id,
            traceId=trace_id(run.id, run.trace),
        )

    def _inputs(self, step: StepSnapshot) -> list[InputDataset]:
        if self._definition is None or step.name not in self._definition.everything():
            return []
        return [facets.input_of(one) for one in artifacts_read(self._definition, self._run, step.name)]

    def _outputs(self, step: StepSnapshot, key: RunKey) -> list[OutputDataset]:
        """What the step's last attempt has written; what an earlier one wrote, that one has not delivered."""
        if step.attempt != key.attempt:
            return []
        return [facets.output_of(one) for one in step.artifacts.values()]


def _of_failure(failure: FailureClass) -> RunState:
    return RunState.ABORT if failure is FailureClass.CANCELLED else RunState.FAIL


def _place(key: RunKey) -> str:
    return "/".join(str(part) for part in (key.step, key.index, key.attempt) if part)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
