"""What a run is started with, whoever starts it: the service, a step of another run, a schedule, a backfill."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel

from workflows.board import first_steps
from workflows.inputs import check_inputs
from workflows.messages import Cause, Reused, RunSnapshot, StartRun
from workflows.spec.models import MetaWorkflow
from workflows.use_cases import UseCases
from workflows.values import JsonObject


class RunMemo(BaseModel):
    """Stands with the workflow, so that a repeated start can be compared with the first without the store."""

    workflow: str
    inputs_digest: str
    bundle_digest: str
    request_id: str = ""
    trigger: str = ""


def make_start(
    definition: MetaWorkflow,
    bundle_digest: str,
    inputs: JsonObject,
    *,
    trigger: str,
    request_id: str = "",
    trace: Mapping[str, str] | None = None,
    cause: Cause | None = None,
    parent: str = "",
    depth: int = 0,
    use_cases: UseCases | None = None,
    retry_of: str = "",
    reuse: Mapping[str, Reused] | None = None,
    no_cache: bool = False,
) -> StartRun:
    """The argument of a run's workflow: the one place where it is made from a definition and the inputs given.

    Args:
        definition: of the bundle.
        bundle_digest: names it.
        inputs: as given; defaults are filled in here.
        trigger: what asks: `api`, `nats`, `bridge`, `workflow`, `schedule`, `backfill`.
        request_id: identity of the request.
        trace: W3C trace context of the cause.
        cause: what made the run start.
        parent: id of the meta-run that this one is a step of.
        depth: how many meta-runs this one is below.
        use_cases: the table that says which engine a use case goes to.
        retry_of: id of the run whose finished steps this one takes over.
        reuse: those steps.
        no_cache: no earlier success stands for a step.

    Raises:
        InputsInvalid: with every input that is wrong.
        UseCaseUnsettled: with every step whose use case goes nowhere.
    """
    settled = (use_cases or UseCases()).settle(definition)
    return StartRun(
        definition=settled.definition,
        choices=settled.choices,
        bundle_digest=bundle_digest,
        inputs=check_inputs(definition, inputs),
        request_id=request_id,
        trigger=trigger,
        trace=dict(trace or {}),
        cause=cause,
        named_timers=True,
        parent=parent,
        depth=depth,
        retry_of=retry_of,
        reuse=dict(reuse or {}),
        no_cache=no_cache,
    )


def first_snapshot(run_id: str, argument: StartRun, at: datetime) -> RunSnapshot:
    """A run as it stands before anything has happened.

    Args:
        run_id: its id.
        argument: what it was started with.
        at: when.
    """
    return RunSnapshot(
        id=run_id,
        workflow=argument.definition.name,
        bundle_digest=argument.bundle_digest,
        request_id=argument.request_id,
        trigger=argument.trigger,
        trace=argument.trace,
        cause=argument.cause,
        inputs=argument.inputs,
        parent=argument.parent,
        retry_of=argument.retry_of,
        steps=first_steps(argument.definition),
        started_at=at,
    )
