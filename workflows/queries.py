"""Answers of the workflow's queries `plan` and `trace`; `state` answers with the snapshot itself."""

from __future__ import annotations

from pydantic import Field

from workflows.details import source_of
from workflows.expressions.references import references
from workflows.messages import Message, RunSnapshot, StepRole, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import StepKind
from workflows.plan import PlannedStep, make_plan, step_expressions
from workflows.spec.durations import format_duration
from workflows.spec.models import COMPENSATE, MetaWorkflow
from workflows.spec.steps import ENGINE_KINDS, Step
from workflows.trace import TRACEPARENT, engine_span_id, span_id, trace_id


class PlannedView(Message):
    """A step before anything has happened.

    Attributes:
        role: a compensation runs when the run does not succeed and its step did, a step of `finally` at the end.
        runs: what it submits: a file of the bundle, or what the engine has.
        after: steps that must have ended before.
        reads: what its expressions read, as `steps.train.outputs.accuracy`.
        attempts: at most.
        timeout: over all attempts, as the definition writes it; empty when there is none.
    """

    name: str
    kind: StepKind
    engine: str
    role: StepRole = StepRole.STEP
    runs: str
    after: list[str] = Field(default_factory=list[str])
    when: str = ""
    reads: list[str] = Field(default_factory=list[str])
    attempts: int = 1
    timeout: str = ""


class PlanView(Message):
    """The steps of a run, each after those it depends on."""

    workflow: str
    steps: list[PlannedView]


class StepTrace(Message):
    """Spans of a step; `attempts` are those of the engine runs, the first attempt's first.

    Code in an engine run continues the trace below the span of its attempt.
    """

    name: str
    span_id: str
    attempts: list[str] = Field(default_factory=list[str])


class TraceView(Message):
    """Where a run is in its trace; ids are functions of the run's id, so they are known before any span is exported.

    Attributes:
        parent: the `traceparent` that the run was caused with; empty when the trace begins with it.
        cause_span_id: the root of what this run adds to the trace.
    """

    trace_id: str
    parent: str = ""
    cause_span_id: str
    run_span_id: str
    steps: list[StepTrace] = Field(default_factory=list[StepTrace])


def plan_view(definition: MetaWorkflow) -> PlanView:
    plan = make_plan(definition)
    undo = [
        PlannedStep(COMPENSATE + name, ()) for name, step in definition.steps.items() if step.compensate is not None
    ]
    ordered = [
        *((one, StepRole.STEP) for one in plan.steps),
        *((one, StepRole.COMPENSATION) for one in undo),
        *((one, StepRole.FINALLY) for one in plan.finally_),
    ]
    return PlanView(
        workflow=definition.name,
        steps=[_planned(definition.step(one.name), one, role) for one, role in ordered],
    )


def trace_view(run: RunSnapshot) -> TraceView:
    """The ids of `workflows.trace`, by the paths that the exported spans have."""
    return TraceView(
        trace_id=trace_id(run.id, run.trace),
        parent=run.trace.get(TRACEPARENT, ""),
        cause_span_id=span_id(run.id, "cause"),
        run_span_id=span_id(run.id, "run"),
        steps=[_traced(run.id, step) for step in run.steps],
    )


def _planned(step: Step, planned: PlannedStep, role: StepRole) -> PlannedView:
    read = {str(reference) for text in step_expressions(step) for reference in references(text)}
    return PlannedView(
        name=planned.name,
        kind=step.kind,
        engine=step.engine,
        role=role,
        runs=source_of(step),
        after=list(planned.dependencies),
        when=step.when or "",
        reads=sorted(read),
        attempts=step.retry.attempts,
        timeout="" if step.timeout is None else format_duration(step.timeout),
    )


def _traced(run_id: str, step: StepSnapshot) -> StepTrace:
    # Of others than an engine's own attempts there is no span: of steps that no engine runs, and of whole fan-outs.
    attempts = step.attempt if step.kind in ENGINE_KINDS and step.items is None else 0
    keys = [RunKey(meta_run=run_id, step=step.name, attempt=number + 1) for number in range(attempts)]
    return StepTrace(
        name=step.name,
        span_id=span_id(run_id, "step", step.name),
        attempts=[engine_span_id(key) for key in keys],
    )
