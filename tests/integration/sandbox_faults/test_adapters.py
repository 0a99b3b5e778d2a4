"""What the adapters promise, kept while the engines go wrong."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import yaml

from meta.sandbox.argo.faults import MARK
from tests.integration.engines.submissions import Pulse, argo_submission, key, kfp_submission
from tests.integration.sandbox_faults.conftest import Client, Json, until
from tests.integration.sandbox_faults.support import runs_named, workflow
from tests.integration.sandbox_kfp import pipelines
from tests.stubs.pipelines import package
from workers.artifacts import ArtifactStore
from workers.engines.argo.engine import ArgoEngine
from workers.engines.base import Submission
from workers.engines.kfp.engine import KfpEngine
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.errors import EngineUnavailable
from workflows.outcome import EngineRunRef, FailureClass, Outcome

PACKAGE = package(pipelines.spec("holding"))
OPENED = "slow:delay=0,verb=watch"
"""Counts the watches that clients open."""


def argo_step(name: str, command: str = "true", **metadata: object) -> Submission:
    return argo_submission(run_key=key(name), manifest=yaml.safe_dump(workflow(command, "x", **metadata)["workflow"]))


def kfp_step(name: str) -> Submission:
    return kfp_submission(PACKAGE, run_key=key(name), parameters={"folder": "/tmp/none"})


def ours(argo: Client, submission: Submission) -> list[str]:
    items: list[Json] = argo.call("GET", "/workflows/argo")[1]["items"] or []
    return [str(w["metadata"]["name"]) for w in items if w["metadata"]["name"] == submission.name]


def running(kfp: Client, submission: Submission) -> list[str]:
    return [str(one["run_id"]) for one in runs_named(kfp, submission.name) if one["state"] == "PENDING"]


async def outcome_of(engine: ArgoEngine | KfpEngine, ref: EngineRunRef, seconds: float = 20) -> Outcome:
    return await asyncio.wait_for(engine.wait(ref, Pulse()), seconds)


async def waiting(engine: ArgoEngine, argo: Client, submission: Submission) -> asyncio.Task[Outcome]:
    """Wait for a run; the watch is open. The first rule is `OPENED`."""
    ref = await engine.submit(submission)
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await asyncio.to_thread(until, lambda: argo.fired()[0] > 0, "the watch is open")
    return task


# -- submitting


async def test_a_workflow_whose_creation_was_not_answered_is_adopted(argo: Client, argo_engine: ArgoEngine) -> None:
    argo.faults("lost-response:times=1")
    submission = argo_step("lost")
    ref = await argo_engine.submit(submission)
    assert ours(argo, submission) == [ref.name]
    assert await argo_engine.submit(submission) == ref
    assert argo.fired() == [1]


async def test_a_run_whose_creation_was_not_answered_is_adopted(kfp: Client, kfp_engine: KfpEngine) -> None:
    kfp.faults("lost-response:times=1")
    submission = kfp_step("lost")
    ref = await kfp_engine.submit(submission)
    assert [one["run_id"] for one in runs_named(kfp, submission.name)] == [ref.uid]
    assert await kfp_engine.submit(submission) == ref


async def test_a_run_that_lists_late_after_a_lost_answer_is_adopted_after_the_settle_delay(
    kfp: Client, kfp_engine: KfpEngine
) -> None:
    kfp.faults("late-list:delay=0.4,times=1", "lost-response:times=1")
    submission = kfp_step("late")
    began = time.monotonic()
    ref = await kfp_engine.submit(submission)
    assert time.monotonic() - began >= 0.6  # the settle delay
    assert [one["run_id"] for one in runs_named(kfp, submission.name)] == [ref.uid]


async def test_of_two_runs_that_one_create_made_one_goes_on(kfp: Client, kfp_engine: KfpEngine) -> None:
    kfp.faults("second-run:times=1")
    submission = kfp_step("twice")
    ref = await kfp_engine.submit(submission)
    assert len(runs_named(kfp, submission.name)) == 2
    assert running(kfp, submission) == [ref.uid]
    assert await kfp_engine.submit(submission) == ref


async def test_a_request_that_was_lost_is_unavailable_and_the_next_try_creates(
    argo: Client, argo_engine: ArgoEngine, kfp: Client, kfp_engine: KfpEngine
) -> None:
    for client in (argo, kfp):
        client.faults("lost-request:times=1")
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await argo_engine.submit(argo_step("never"))
    assert ours(argo, argo_step("never")) == []
    await argo_engine.submit(argo_step("never"))
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await kfp_engine.submit(kfp_step("never"))
    assert running(kfp, kfp_step("never")) == []
    ref = await kfp_engine.submit(kfp_step("never"))
    assert running(kfp, kfp_step("never")) == [ref.uid]


async def test_a_quota_conflict_is_unavailable_not_a_run_of_somebody_else(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    argo.faults("quota-conflict:times=1")
    with pytest.raises(EngineUnavailable, match="resourcequotas"):
        await argo_engine.submit(argo_step("quota"))
    assert (await argo_engine.submit(argo_step("quota"))).name == argo_step("quota").name


@pytest.mark.parametrize("fault", ["unavailable", "too-many-requests", "server-error"])
async def test_a_burst_of_errors_at_the_create_is_unavailable_and_makes_one_run_in_the_end(
    argo: Client, argo_engine: ArgoEngine, kfp: Client, kfp_engine: KfpEngine, fault: str
) -> None:
    for client in (argo, kfp):
        client.faults(f"{fault}:times=1,verb=create")
    with pytest.raises(EngineUnavailable) as caught:
        await argo_engine.submit(argo_step(fault))
    assert ours(argo, argo_step(fault)) == []
    await asyncio.sleep(caught.value.retry_after or 0)  # as its next try does
    ref = await argo_engine.submit(argo_step(fault))
    assert ours(argo, argo_step(fault)) == [ref.name]
    with pytest.raises(EngineUnavailable) as caught:
        await kfp_engine.submit(kfp_step(fault))
    await asyncio.sleep(caught.value.retry_after or 0)
    ref = await kfp_engine.submit(kfp_step(fault))
    assert running(kfp, kfp_step(fault)) == [ref.uid]


async def test_a_create_slower_than_the_time_out_is_adopted(argo: Client, kfp: Client) -> None:
    for client in (argo, kfp):
        client.faults("slow:delay=3,verb=create,times=1")
    times = {"request_timeout": 2.0, "settle_delay": 2.5}
    objects = ArtifactStore(StoreSettings())
    argo_engine = ArgoEngine("argo", ArgoSettings.model_validate({"url": argo.url, **times}), objects)
    kfp_engine = KfpEngine("kfp", KfpSettings.model_validate({"url": kfp.url, **times}), objects)
    try:
        ref, run = await asyncio.gather(argo_engine.submit(argo_step("slow")), kfp_engine.submit(kfp_step("slow")))
    finally:
        await argo_engine.close()
        await kfp_engine.close()
    assert ours(argo, argo_step("slow")) == [ref.name]
    assert [one["run_id"] for one in runs_named(kfp, kfp_step("slow").name)] == [run.uid]


async def test_a_look_that_fails_after_a_lost_answer_is_made_again_after_the_settle_delay(
    argo: Client, argo_engine: ArgoEngine, kfp: Client, kfp_engine: KfpEngine
) -> None:
    argo.faults("lost-response:times=1", "unavailable:verb=get,after=1,times=1")
    ref = await argo_engine.submit(argo_step("blind"))
    assert ours(argo, argo_step("blind")) == [ref.name]
    assert argo.fired() == [1, 1]
    kfp.faults("lost-response:times=1", "unavailable:verb=list,after=1,times=1")
    run = await kfp_engine.submit(kfp_step("blind"))
    assert [one["run_id"] for one in runs_named(kfp, kfp_step("blind").name)] == [run.uid]
    assert kfp.fired() == [1, 1]


async def test_a_run_that_lists_only_after_the_next_try_has_created_is_ended_while_that_one_is_waited_for(
    kfp: Client, kfp_engine: KfpEngine
) -> None:
    kfp.faults("late-list:delay=4,times=1", "lost-response:times=1")
    submission = kfp_step("later")
    with pytest.raises(EngineUnavailable):
        await kfp_engine.submit(submission)
    ref = await kfp_engine.submit(submission)
    await asyncio.to_thread(until, lambda: len(running(kfp, submission)) == 2, "both are listed")
    task = asyncio.create_task(kfp_engine.wait(ref, Pulse()))
    await asyncio.to_thread(until, lambda: running(kfp, submission) == [ref.uid], "the first one is ended")
    kfp.call("POST", f"/runs/{ref.uid}:terminate")
    await asyncio.wait_for(task, 20)


async def test_a_workflow_that_ran_and_was_deleted_while_its_create_was_not_answered_is_adopted_from_the_archive(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    argo.faults("lost-response:times=1", "early-deletion", "unavailable:verb=get,after=1,times=2")
    submission = argo_step("brief")
    with pytest.raises(EngineUnavailable):
        await argo_engine.submit(submission)
    await asyncio.to_thread(until, lambda: argo.fired()[1] == 1, "it is over and deleted")
    ref = await argo_engine.submit(submission)
    assert (await outcome_of(argo_engine, ref)).succeeded
    archived = argo.call("GET", "/archived-workflows")[1]["items"]
    assert [one["metadata"]["uid"] for one in archived if one["metadata"]["name"] == submission.name] == [ref.uid]


async def test_a_label_in_the_manifest_of_a_step_makes_its_own_run_go_wrong(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    ref = await argo_engine.submit(argo_step("marked", labels={MARK: "lost-response"}))
    shown = argo.http.request("GET", f"{argo.url}/sandbox/faults").json()["on_runs"]
    assert shown[f"{ref.name} 0 lost-response:times=1"] == 1


# -- waiting


@pytest.mark.parametrize(
    "fault",
    ["watch-cut:times=1", "watch-cut:partial,times=1", "watch-error:times=1", "watch-cut:every=2"],
)
async def test_a_wait_survives_a_watch_that_breaks(argo: Client, argo_engine: ArgoEngine, fault: str) -> None:
    argo.faults(OPENED, fault)
    task = await waiting(argo_engine, argo, argo_step(f"break{abs(hash(fault)) % 9999}", "sleep 0.3"))
    assert (await asyncio.wait_for(task, 20)).succeeded
    assert argo.fired()[1] >= 1


@pytest.mark.parametrize("fault", ["watch-too-old:times=1", "watch-too-old:stream,times=1"])
async def test_a_wait_survives_a_version_that_is_too_old(argo: Client, argo_engine: ArgoEngine, fault: str) -> None:
    argo.faults(OPENED, fault)
    task = await waiting(argo_engine, argo, argo_step(f"old{len(fault)}", "sleep 1"))
    assert (await asyncio.wait_for(task, 20)).succeeded
    assert argo.fired()[1] == 1


async def test_a_wait_on_a_watch_that_fell_silent_ends_by_the_resync(argo: Client) -> None:
    argo.faults(OPENED, "watch-silent")
    settings = ArgoSettings(url=argo.url, request_timeout=2.0, settle_delay=0.3, resync=0.7)
    engine = ArgoEngine("argo", settings, ArtifactStore(StoreSettings()))
    try:
        task = await waiting(engine, argo, argo_step("silent", "sleep 0.3"))
        assert (await asyncio.wait_for(task, 20)).succeeded
    finally:
        await engine.close()
    assert argo.fired()[1] >= 1


async def test_a_wait_survives_lists_that_lag_and_an_api_that_fails_half_the_time(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    argo.faults(OPENED, "stale-list:delay=2", "unavailable:verb=get,every=2", "server-error:verb=list,every=2")
    task = await waiting(argo_engine, argo, argo_step("lag", "sleep 0.3"))
    assert (await asyncio.wait_for(task, 30)).succeeded


async def test_a_kfp_wait_survives_an_api_that_fails_half_the_time(kfp: Client, kfp_engine: KfpEngine) -> None:
    ref = await kfp_engine.submit(kfp_step("half"))
    kfp.faults("unavailable:verb=list,every=2", "server-error:verb=get,every=2", "lost-response:verb=get,every=3")
    task = asyncio.create_task(kfp_engine.wait(ref, Pulse()))
    await asyncio.to_thread(until, lambda: kfp.fired()[0] > 1, "some lists have failed")
    kfp.call("POST", f"/runs/{ref.uid}:terminate")
    assert (await asyncio.wait_for(task, 20)).failure is FailureClass.FAILED


async def test_a_workflow_that_is_gone_before_it_is_read_is_lost_not_failed(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    argo.faults(OPENED, "record-gone")
    task = await waiting(argo_engine, argo, argo_step("gone", "sleep 0.3"))
    outcome = await asyncio.wait_for(task, 20)
    assert outcome.failure is FailureClass.LOST
    assert "was deleted before its result was read" in outcome.message


async def test_a_workflow_that_is_deleted_before_it_is_read_is_lost_unless_an_archive_has_it(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    argo.faults(OPENED, "early-deletion")
    submission = argo_step("early", "sleep 0.3")
    outcome = await asyncio.wait_for(await waiting(argo_engine, argo, submission), 20)
    archived: list[Json] = argo.call("GET", "/archived-workflows")[1]["items"] or []
    kept = any(one["metadata"]["name"] == submission.name for one in archived)
    assert outcome.failure is (None if kept else FailureClass.LOST)


async def test_a_workflow_that_is_deleted_a_moment_after_its_end_has_been_read(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    argo.faults(OPENED, "early-deletion:delay=2")
    task = await waiting(argo_engine, argo, argo_step("moment", "sleep 0.3"))
    assert (await asyncio.wait_for(task, 20)).succeeded


async def test_a_kfp_run_whose_row_is_gone_is_lost_not_failed(kfp: Client, kfp_engine: KfpEngine) -> None:
    kfp.faults("record-gone")
    ref = await kfp_engine.submit(kfp_step("row"))
    kfp.call("POST", f"/runs/{ref.uid}:terminate")
    outcome = await outcome_of(kfp_engine, ref)
    assert outcome.failure is FailureClass.LOST


# -- ending and resuming


@pytest.mark.parametrize("fault", ["lost-response", "lost-request", "unavailable"])
async def test_terminate_ends_the_run_whatever_becomes_of_the_answer(
    argo: Client, argo_engine: ArgoEngine, kfp: Client, kfp_engine: KfpEngine, fault: str
) -> None:
    for client in (argo, kfp):
        client.faults(f"{fault}:verb=terminate,times=1")
    step = f"end{fault}".replace("-", "")
    for engine, submission in ((argo_engine, argo_step(step, "sleep 60")), (kfp_engine, kfp_step(step))):
        ref = await engine.submit(submission)
        assert await engine.terminate(submission.key, submission.name, ref)
        assert (await outcome_of(engine, ref)).failure is FailureClass.CANCELLED
    assert (argo.fired(), kfp.fired()) == ([1], [1])


@pytest.mark.parametrize("fault", ["lost-response", "lost-request", "unavailable"])
async def test_a_stop_ends_the_run_whatever_becomes_of_the_answer(
    argo: Client, argo_engine: ArgoEngine, fault: str
) -> None:
    argo.faults(f"{fault}:verb=stop,times=1", "slow:verb=terminate,delay=0")
    submission = argo_step(f"stop{fault}".replace("-", ""), "sleep 60")
    ref = await argo_engine.submit(submission)
    assert await argo_engine.terminate(submission.key, submission.name, ref, grace=60)
    assert (await outcome_of(argo_engine, ref)).failure is FailureClass.CANCELLED
    assert argo.fired() == [1, 0], "the stop was told again, and nothing was terminated"


async def test_an_outcome_does_without_a_log_that_the_server_does_not_give(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    argo.faults("unavailable:verb=log")
    outcome = await outcome_of(argo_engine, await argo_engine.submit(argo_step("speechless", "echo x; exit 3")))
    assert [(node.exit_code, node.log) for node in outcome.failed_nodes] == [(3, [])]
    assert argo.fired() == [1]


@pytest.mark.parametrize("rules", [(), ("canceled-after-terminate",)])
async def test_a_terminated_kfp_run_is_cancelled_whichever_state_it_ends_in(
    kfp: Client, kfp_engine: KfpEngine, rules: tuple[str, ...]
) -> None:
    kfp.faults(*rules)
    submission = kfp_step(f"cancel{len(rules)}")
    ref = await kfp_engine.submit(submission)
    assert await kfp_engine.terminate(submission.key, submission.name, ref)
    assert (await outcome_of(kfp_engine, ref)).failure is FailureClass.CANCELLED


async def test_a_retry_in_place_whose_answer_is_lost_is_not_sent_twice(
    argo: Client, argo_engine: ArgoEngine, kfp: Client, kfp_engine: KfpEngine
) -> None:
    ref = await argo_engine.submit(argo_step("again", "sleep 0.5; false"))
    assert (await outcome_of(argo_engine, ref)).failure is FailureClass.FAILED
    argo.faults("lost-response:verb=retry", "slow:verb=retry,delay=0")
    assert await argo_engine.resume(ref, key("again", 2)) == ref
    assert argo.fired() == [1, 1]
    ref = await kfp_engine.submit(kfp_step("again"))
    kfp.call("POST", f"/runs/{ref.uid}:terminate")
    kfp.faults("lost-response:verb=retry")
    assert await kfp_engine.resume(ref, key("again", 2)) == ref
    assert (kfp.fired(), running(kfp, kfp_step("again"))) == ([1], [ref.uid])


async def test_a_retry_in_place_that_meets_another_write_is_unavailable_and_goes_on_at_the_next_try(
    argo: Client, argo_engine: ArgoEngine, kfp: Client, kfp_engine: KfpEngine
) -> None:
    ref = await argo_engine.submit(argo_step("race", "sleep 0.5; false"))
    await outcome_of(argo_engine, ref)
    argo.faults("retry-conflict:times=1")
    with pytest.raises(EngineUnavailable, match="has been modified"):
        await argo_engine.resume(ref, key("race", 2))
    assert await argo_engine.resume(ref, key("race", 2)) == ref
    assert argo.call("GET", f"/workflows/argo/{ref.name}")[1]["status"].get("finishedAt") is None
    ref = await kfp_engine.submit(kfp_step("race"))
    kfp.call("POST", f"/runs/{ref.uid}:terminate")
    kfp.faults("retry-conflict:times=1")
    with pytest.raises(EngineUnavailable, match="has been modified"):
        await kfp_engine.resume(ref, key("race", 2))
    assert await kfp_engine.resume(ref, key("race", 2)) == ref
    assert running(kfp, kfp_step("race")) == [ref.uid]


async def test_a_workflow_that_somebody_opened_again_is_waited_for_to_its_new_end(
    argo: Client, argo_engine: ArgoEngine, tmp_path: Path
) -> None:
    argo.faults(OPENED, "reopened:times=1")
    flag = tmp_path / "flag"
    submission = argo_step("reopen", f"sleep 0.3; test -e {flag} && exit; touch {flag}; false")
    task = await waiting(argo_engine, argo, submission)
    assert (await asyncio.wait_for(task, 20)).succeeded


async def test_ml_metadata_that_is_down_makes_the_engine_unhealthy_and_comes_back(
    kfp: Client, kfp_engine: KfpEngine
) -> None:
    assert (await kfp_engine.health()).ok
    kfp.faults("metadata-unavailable:times=1")
    health = await kfp_engine.health()
    assert (health.ok, "ML Metadata" in health.message) == (False, True)
    assert (await kfp_engine.health()).ok


# -- many at once


async def test_of_many_runs_that_go_wrong_by_chance_each_is_adopted_once_and_read_truthfully(
    argo: Client, argo_engine: ArgoEngine
) -> None:
    argo.faults(
        "lost-response:probability=0.4", "lost-request:probability=0.2", "quota-conflict:probability=0.2",
        "unavailable:verb=get,probability=0.2", "watch-cut:partial,probability=0.1", "watch-error:probability=0.05",
        seed=11,
    )  # fmt: skip
    submissions = [argo_step(f"many{number}", "true" if number % 2 else "false") for number in range(10)]

    async def one(submission: Submission) -> Outcome:
        async with asyncio.timeout(60):
            while True:
                try:
                    return await argo_engine.wait(await argo_engine.submit(submission), Pulse())
                except EngineUnavailable:  # the activity around it is tried again
                    await asyncio.sleep(0.05)

    outcomes = await asyncio.gather(*map(one, submissions))
    assert [outcome.failure for outcome in outcomes] == [FailureClass.FAILED, None] * 5
    assert sum(argo.fired()) > 5
    argo.faults()
    assert sorted(name for one in submissions for name in ours(argo, one)) == sorted(one.name for one in submissions)


async def test_of_many_kfp_runs_that_go_wrong_by_chance_one_of_each_goes_on(kfp: Client) -> None:
    patient = KfpSettings(url=kfp.url, request_timeout=2.0, settle_delay=2.5, poll=0.1, metadata_address=kfp.metadata)
    kfp_engine = KfpEngine("kfp", patient, ArtifactStore(StoreSettings()))  # a busy server creates late, too
    kfp.faults(
        "lost-response:probability=0.4", "lost-request:probability=0.2", "unavailable:verb=list,probability=0.1",
        "second-run:name=chain-many[0-3]-*,probability=0.5", "late-list:name=chain-many[4-7]-*,delay=0.1,every=2",
        seed=5,
    )  # fmt: skip
    submissions = [kfp_step(f"many{number}") for number in range(8)]

    async def one(submission: Submission) -> EngineRunRef:
        async with asyncio.timeout(120):
            while True:
                try:
                    return await kfp_engine.submit(submission)
                except EngineUnavailable:  # the activity around it is tried again
                    await asyncio.sleep(0.05)

    refs = await asyncio.gather(*map(one, submissions))
    assert sum(kfp.fired()) > 5
    await asyncio.sleep(0.4)  # all that exists is listed now
    kfp.faults()
    found = [len(runs_named(kfp, one.name)) for one in submissions]
    assert max(found) > 1, "some creates made two runs"
    again = await asyncio.gather(*map(one, submissions))
    assert again == refs
    assert [running(kfp, one) for one in submissions] == [[ref.uid] for ref in refs]
    await kfp_engine.close()
