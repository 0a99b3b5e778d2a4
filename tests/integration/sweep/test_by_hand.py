"""Engine runs that ended and that somebody retries at the engine, as `argo retry` does."""

from __future__ import annotations

import asyncio

import pytest
import urllib3

from tests.integration.sweep.rig import Rig, eventually, step_of
from workflows.attempts import RETRIED_BY_HAND
from workflows.messages import RunSnapshot
from workflows.outcome import EngineRunRef, RunState, StepState

STEPS = {"argo": "argo: {manifest: step.yaml}", "kfp": "kfp: {package: train.yaml}"}


def chain(engine: str, *, retry: str = "", more: str = "") -> str:
    """One step on an engine; `more` are lines of other steps."""
    lines = [
        "apiVersion: meta/v1",
        "kind: MetaWorkflow",
        "metadata: {name: chain}",
        "steps:",
        "  one:",
        f"    {STEPS[engine]}",
        *([f"    retry: {retry}"] if retry else []),
        more,
    ]
    return "\n".join(lines) + "\n"


def fail(rig: Rig, ref: EngineRunRef) -> None:
    if ref.engine == "argo":
        rig.argo.finish(ref.name, "Failed", "exit code 1")
    else:
        rig.kfp.finish(ref.uid, "FAILED", "exit code 1")


def succeed(rig: Rig, ref: EngineRunRef) -> None:
    if ref.engine == "argo":
        rig.argo.finish(ref.name)
    else:
        rig.kfp.finish(ref.uid)


def phase(rig: Rig, ref: EngineRunRef) -> str:
    """The engine's word, in one spelling."""
    return (rig.argo.phase(ref.name) if ref.engine == "argo" else rig.kfp.state(ref.uid)).capitalize()


async def retry_by_hand(rig: Rig, ref: EngineRunRef) -> None:
    """What a person does in the engine's own UI."""
    if ref.engine == "argo":
        method, url = "PUT", f"{rig.argo.url}/api/v1/workflows/argo/{ref.name}/retry"
    else:
        method, url = "POST", f"{rig.kfp.url}/apis/v2beta1/runs/{ref.uid}:retry"
    with urllib3.PoolManager() as http:
        response = await asyncio.to_thread(http.request, method, url, json={})
    assert response.status == 200, response.data


def run_of(run: RunSnapshot, step: str = "one") -> EngineRunRef:
    found = next(one.run for one in run.steps if one.name == step)
    assert found is not None
    return found


@pytest.mark.parametrize("engine", ["argo", "kfp"])
async def test_the_next_attempt_waits_for_a_run_that_was_retried_by_hand(rig: Rig, engine: str) -> None:
    run = await rig.start(chain(engine, retry="{attempts: 2, backoff: 6s}"))
    ref = run_of(run)
    fail(rig, ref)
    await rig.until(run.id, lambda r: r.steps[0].state is not StepState.RUNNING)
    await retry_by_hand(rig, ref)
    second = await rig.until(run.id, lambda r: r.steps[0].attempt == 2 and bool(r.steps[0].note))
    assert run_of(second) == ref
    assert second.steps[0].state is StepState.RUNNING
    assert second.steps[0].note == "retried by hand at the engine; this attempt waits for that run"
    handle = rig.temporal.get_workflow_handle(run.id)
    await eventually(
        lambda: _message_is(handle.query("state", result_type=RunSnapshot), RETRIED_BY_HAND), "the board says so"
    )
    succeed(rig, ref)
    ended = await rig.until(run.id, lambda r: r.state.ended)
    assert (ended.state, ended.steps[0].attempt) == (RunState.SUCCEEDED, 2)
    assert rig.argo.requests["create"] + rig.kfp.requests["create"] == 1, "no second run was made"


@pytest.mark.parametrize("engine", ["argo", "kfp"])
async def test_a_run_that_was_retried_by_hand_and_has_succeeded_is_taken(rig: Rig, engine: str) -> None:
    run = await rig.start(chain(engine, retry="{attempts: 2, backoff: 6s}"))
    ref = run_of(run)
    fail(rig, ref)
    await rig.until(run.id, lambda r: r.steps[0].state is not StepState.RUNNING)
    await retry_by_hand(rig, ref)
    succeed(rig, ref)
    ended = await rig.until(run.id, lambda r: r.state.ended)
    assert (ended.state, ended.steps[0].attempt) == (RunState.SUCCEEDED, 2)
    assert rig.argo.requests["create"] + rig.kfp.requests["create"] == 1, "no second run was made"


@pytest.mark.parametrize("engine", ["argo", "kfp"])
async def test_cancelling_an_attempt_that_waits_for_such_a_run_ends_it(rig: Rig, engine: str) -> None:
    run = await rig.start(chain(engine, retry="{attempts: 2, backoff: 6s}"))
    ref = run_of(run)
    fail(rig, ref)
    await rig.until(run.id, lambda r: r.steps[0].state is not StepState.RUNNING)
    await retry_by_hand(rig, ref)
    await rig.until(run.id, lambda r: r.steps[0].attempt == 2)
    await rig.client.cancel(run.id)
    ended = await rig.until(run.id, lambda r: r.state.ended)
    assert ended.state is RunState.CANCELED
    assert phase(rig, ref) == "Failed"


@pytest.mark.parametrize("engine", ["argo", "kfp"])
async def test_a_retry_after_the_step_has_ended_is_noticed_left_alone_and_its_end_recorded(
    rig: Rig, engine: str
) -> None:
    other = "kfp" if engine == "argo" else "argo"
    run = await rig.start(chain(engine, more=f"  other:\n    {STEPS[other]}"))
    ref = run_of(run)
    fail(rig, ref)
    await rig.until(run.id, lambda r: step_of(r, "one").state is StepState.FAILED)
    handle = rig.temporal.get_workflow_handle(run.id)
    await eventually(
        lambda: _step_ended(handle.query("state", result_type=RunSnapshot)), "the workflow has seen it too"
    )
    await retry_by_hand(rig, ref)
    noticed = await rig.until(run.id, lambda r: bool(step_of(r, "one").note))
    assert "retried by hand at the engine, running again" in step_of(noticed, "one").note
    assert step_of(noticed, "one").state is StepState.FAILED
    rounds = rig.kfp.requests["list"]
    await eventually(lambda: rig.kfp.requests["list"] >= rounds + 40, "many rounds have passed")
    assert phase(rig, ref) == "Running", "a person wants it to run"
    succeed(rig, ref)
    recorded = await rig.until(run.id, lambda r: "and then succeeded" in step_of(r, "one").note)
    assert step_of(recorded, "one").state is StepState.FAILED, "the step keeps what its workflow made of it"
    found = (await rig.store.engine_runs.by_uid(ref.engine, [ref.uid]))[ref.uid]
    assert found.ended_at is not None
    assert not found.reopened

    succeed(rig, run_of(recorded, "other"))
    ended = await rig.until(run.id, lambda r: r.state.ended)
    assert ended.state is RunState.FAILED
    assert "and then succeeded" in step_of(ended, "one").note, "the workflow's last word, which lacks it, leaves it"


async def test_a_retry_after_the_whole_run_has_failed_is_left_alone_too(rig: Rig) -> None:
    run = await rig.start(chain("argo"))
    ref = run_of(run)
    fail(rig, ref)
    assert (await rig.watched(run.id)).state is RunState.FAILED
    await retry_by_hand(rig, ref)
    await rig.until(run.id, lambda r: "running again" in r.steps[0].note)
    assert [getattr(one, "reason", "") async for one in rig.client.orphans()] == ["retried by hand"]
    rounds = rig.kfp.requests["list"]
    await eventually(lambda: rig.kfp.requests["list"] >= rounds + 40, "many rounds have passed")
    assert phase(rig, ref) == "Running"
    fail(rig, ref)
    await rig.until(run.id, lambda r: "and then failed" in r.steps[0].note)


async def _message_is(query: object, text: str) -> bool:
    return (await _snapshot(query)).steps[0].message == text


async def _step_ended(query: object) -> bool:
    return (await _snapshot(query)).steps[0].state.ended


async def _snapshot(query: object) -> RunSnapshot:
    assert asyncio.iscoroutine(query)
    found: object = await query
    assert isinstance(found, RunSnapshot)
    return found
