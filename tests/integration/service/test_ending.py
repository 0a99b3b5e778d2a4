"""Compensations and steps of `finally` in what the service shows of a run: steps with roles, and the trace."""

from __future__ import annotations

import asyncio

from meta.trace.model import Part
from tests.integration.service.servers import Rig
from tests.support.traces import check_tree
from workflows.messages import StepRole
from workflows.outcome import FailureClass, Outcome, RunState, StepState
from workflows.queries import PlanView

CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
steps:
  load: {argo: {manifest: step.yaml}, continueOn: [failed]}
  deploy: {argo: {manifest: step.yaml}, needs: [load], compensate: {argo: {manifest: step.yaml}}}
  check: {argo: {manifest: step.yaml}, needs: [deploy]}
finally:
  tell: {argo: {manifest: step.yaml}}
"""
FAILED = Outcome(failure=FailureClass.FAILED, message="exit 1")


async def test_a_run_shows_what_takes_its_work_back_while_that_goes_on_and_at_the_end(rig: Rig) -> None:
    rig.engine.script |= {"load": [FAILED], "check": [FAILED], "compensate_deploy": [None]}
    async with rig.client() as client, asyncio.timeout(60):
        started = await client.start(rig.chain(CHAIN))
        assert [step.role for step in (await client.get(started.id)).steps][-1] is StepRole.FINALLY
        seen: list[tuple[StepRole, RunState, str]] = []
        async for run in client.watch(started.id):
            undo = [step for step in run.steps if step.name == "compensate_deploy"]
            if undo and undo[0].run is not None and undo[0].state is StepState.RUNNING:
                seen.append((undo[0].role, run.state, run.message))
                rig.engine.finish("compensate_deploy")
        assert set(seen) == {(StepRole.COMPENSATION, RunState.RUNNING, "step check failed: exit 1")}
        run = await client.get(started.id)
        assert {step.name: (step.role.value, step.state.value, step.continued) for step in run.steps} == {
            "load": ("step", "failed", True),
            "deploy": ("step", "succeeded", False),
            "check": ("step", "failed", False),
            "compensate_deploy": ("compensation", "succeeded", False),
            "tell": ("finally", "succeeded", False),
        }
        spans = (await client.trace(started.id)).spans
    check_tree(spans)
    steps = [span for span in spans if span.part is Part.STEP]
    roles = {span.attributes["meta.step.name"]: span.attributes.get("meta.step.role") for span in steps}
    assert (roles["check"], roles["compensate_deploy"], roles["tell"]) == (None, "compensation", "finally")
    assert len([span for span in spans if span.part is Part.ENGINE]) == 5
    whole = next(span for span in spans if span.part is Part.RUN)
    assert whole.end is not None
    assert all(span.end is not None and span.end <= whole.end for span in steps)
    plan = await rig.temporal.get_workflow_handle(started.id).query("plan", result_type=PlanView)
    assert [(step.name, step.role.value) for step in plan.steps][2:] == [
        ("check", "step"),
        ("compensate_deploy", "compensation"),
        ("tell", "finally"),
    ]
