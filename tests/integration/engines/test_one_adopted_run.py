"""What keeps one engine run for each key: the lease, late looks, the archive, and ends that resumes have seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlmodel import select

from meta.store import Store
from meta.store.tables import LeaseRow, OtherRunRow
from tests.integration.engines.adoption import Kill, KilledError, MortalKeeper
from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import SETTLE, TIMEOUT, Pulse, argo_submission, key, kfp_submission
from tests.stubs.argo import ENDED, ArgoStub
from tests.stubs.creates import Creating
from tests.stubs.kfp import KfpStub
from tests.stubs.pipelines import package, pipeline_spec
from workers.artifacts import ArtifactStore
from workers.engines import fencing
from workers.engines.argo.engine import ArgoEngine
from workers.engines.json_view import text
from workers.engines.kfp.engine import KfpEngine
from workers.ports import Keeper
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.errors import EngineUnavailable
from workflows.outcome import EngineRunRef, FailureClass

PACKAGE = package(pipeline_spec())
OBJECTS = ArtifactStore(StoreSettings())
TIMES = {"connect_timeout": 1.0, "request_timeout": TIMEOUT, "settle_delay": SETTLE}


class Processes:
    """Worker processes: adapters on one store and one stub of each engine."""

    def __init__(self, store: Store, argo: ArgoStub, kfp: KfpStub) -> None:
        self.store, self._argo, self._kfp = store, argo, kfp
        self._built: list[ArgoEngine | KfpEngine] = []

    def argo(self, keeper: Keeper | None = None) -> ArgoEngine:
        settings = ArgoSettings.model_validate({"url": self._argo.url, **TIMES})
        engine = ArgoEngine("argo", settings, OBJECTS, keeper or self.store)
        self._built.append(engine)
        return engine

    def kfp(self, keeper: Keeper | None = None) -> KfpEngine:
        settings = KfpSettings.model_validate({"url": self._kfp.url, "poll": 0.05, **TIMES})
        engine = KfpEngine("kfp", settings, OBJECTS, keeper or self.store)
        self._built.append(engine)
        return engine

    async def expire_leases(self) -> None:
        """Let the time of every lease go by."""
        async with self.store.database.write() as session:
            for row in (await session.exec(select(LeaseRow))).all():
                row.expires_at = row.expires_at.replace(year=2000)

    async def recorded(self) -> list[tuple[str, str]]:
        """What was ended beside which adopted run."""
        async with self.store.database.read() as session:
            return [(row.uid, row.stays) for row in (await session.exec(select(OtherRunRow))).all()]

    async def close(self) -> None:
        for engine in self._built:
            await engine.close()


@pytest_asyncio.fixture
async def argo() -> AsyncIterator[ArgoStub]:
    async with ArgoStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def kfp() -> AsyncIterator[KfpStub]:
    async with KfpStub(duration=None) as stub:
        yield stub


@pytest_asyncio.fixture
async def processes(tmp_path: Path, argo: ArgoStub, kfp: KfpStub) -> AsyncIterator[Processes]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/store.db") as store:
        processes = Processes(store, argo, kfp)
        yield processes
        await processes.close()


async def gone(argo: ArgoStub, name: str) -> None:
    """The workflow succeeds, and its time to live is over."""
    argo.finish(name)
    await eventually(lambda: argo.phase(name) in ENDED, "it has ended")
    argo.delete(name)
    await eventually(lambda: name not in argo.workflows, "it is deleted")


# -- the lease


async def test_a_try_that_finds_the_key_leased_creates_nothing_and_says_who_has_it_and_until_when(
    processes: Processes, argo: ArgoStub, kfp: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fencing, "PATIENCE", 0.3)
    for submission in (argo_submission(), kfp_submission(PACKAGE)):
        await processes.store.take_lease(submission.key, "other", "host-7, process 11", 60)
    expected = r"by another try \(host-7, process 11\), which has time until \d\d:\d\d:\d\d UTC, (60|59|58) s from now"
    with pytest.raises(EngineUnavailable, match=expected):
        await processes.argo().submit(argo_submission())
    with pytest.raises(EngineUnavailable, match=expected):
        await processes.kfp().submit(kfp_submission(PACKAGE))
    assert argo.requests["create"] + kfp.requests["create"] == 0


async def test_a_try_waits_a_little_for_the_lease_of_another(processes: Processes, kfp: KfpStub) -> None:
    submission = kfp_submission(PACKAGE)
    await processes.store.take_lease(submission.key, "other", "elsewhere", 60)
    task = asyncio.create_task(processes.kfp().submit(submission))
    assert not (await asyncio.wait({task}, timeout=0.3))[0], "it waits"
    await processes.store.release_lease(submission.key, "other")
    ref = await task
    assert list(kfp.runs) == [ref.uid]


async def test_a_worker_that_wakes_up_after_its_time_creates_nothing(
    processes: Processes, argo: ArgoStub, kfp: KfpStub
) -> None:
    for build, submission in ((processes.argo, argo_submission()), (processes.kfp, kfp_submission(PACKAGE))):
        asleep = MortalKeeper(processes.store, Kill.STOPPED)
        first = asyncio.create_task(build(asleep).submit(submission))
        await asleep.stopped.wait()
        await processes.expire_leases()
        await build().submit(submission)
        asleep.woken.set()
        with pytest.raises(EngineUnavailable, match="has taken over; this one creates nothing"):
            await first
    assert (argo.requests["create"], kfp.requests["create"]) == (1, 1)


async def test_a_worker_that_dies_with_the_lease_holds_the_next_up_only_until_it_expires(
    processes: Processes, kfp: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fencing, "PATIENCE", 0.3)
    with pytest.raises(KilledError):
        await processes.kfp(MortalKeeper(processes.store, Kill.TAKEN)).submit(kfp_submission(PACKAGE))
    with pytest.raises(EngineUnavailable, match="by another try"):
        await processes.kfp().submit(kfp_submission(PACKAGE))
    await processes.expire_leases()
    ref = await processes.kfp().submit(kfp_submission(PACKAGE))
    assert list(kfp.runs) == [ref.uid]


async def test_a_cancelled_submit_keeps_the_lease_while_its_create_may_be_on_its_way(
    processes: Processes, kfp: KfpStub
) -> None:
    submission = kfp_submission(PACKAGE)
    kfp.creates.planned[submission.name] = [Creating(applied=0.5)]
    task = asyncio.create_task(processes.kfp().submit(submission))
    await eventually(lambda: kfp.creates.received[submission.name] == 1, "the create is on its way")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    lease = await processes.store.take_lease(submission.key, "next", "next", 1)
    assert lease.token != "next"
    assert lease.tried


async def test_a_submit_that_has_returned_leaves_no_lease(processes: Processes, kfp: KfpStub) -> None:
    submission = kfp_submission(PACKAGE)
    await processes.kfp().submit(submission)
    assert (await processes.store.take_lease(submission.key, "next", "next", 1)).token == "next"


# -- the archive


@pytest.mark.parametrize("by_name", [False, True])
async def test_a_workflow_whose_name_is_free_again_is_adopted_from_the_archive(
    processes: Processes, argo: ArgoStub, by_name: bool
) -> None:
    argo.faults.archive, argo.faults.archive_by_name = True, by_name
    first = await processes.argo().submit(argo_submission())
    await gone(argo, first.name)
    engine = processes.argo()
    assert await engine.submit(argo_submission()) == first
    assert (await asyncio.wait_for(engine.wait(first, Pulse()), 20)).succeeded
    assert argo.requests["create"] == 1


async def test_without_an_archive_a_name_that_is_free_is_taken(processes: Processes, argo: ArgoStub) -> None:
    first = await processes.argo().submit(argo_submission())
    await gone(argo, first.name)
    assert (await processes.argo().submit(argo_submission())).uid != first.uid


async def test_a_repeated_try_adopts_what_runs_without_creating_again(processes: Processes, argo: ArgoStub) -> None:
    first = await processes.argo().submit(argo_submission())
    for archive in (False, True):
        argo.faults.archive = archive
        assert await processes.argo().submit(argo_submission()) == first
    assert argo.requests["create"] == 1


async def test_the_first_try_of_a_key_does_not_ask_the_archive(processes: Processes, argo: ArgoStub) -> None:
    await processes.argo().submit(argo_submission())
    assert argo.requests["list_archived"] == 0


async def test_a_workflow_that_took_the_freed_name_late_gives_way_to_the_archived_one(
    processes: Processes, argo: ArgoStub
) -> None:
    argo.faults.archive = True
    first = await processes.argo().submit(argo_submission())
    await gone(argo, first.name)
    alone = ArgoEngine("argo", ArgoSettings(url=argo.url), OBJECTS)
    argo.faults.archive = False
    late = await alone.submit(argo_submission())  # as a create that was on its way all the time
    argo.faults.archive = True
    await alone.close()
    assert await processes.argo().submit(argo_submission()) == first
    assert argo.phase(first.name) == "Failed"
    assert await processes.recorded() == [(late.uid, first.uid)]


# -- what comes late


async def test_a_workflow_that_takes_the_name_after_its_adopted_one_was_deleted_is_ended_by_the_wait(
    processes: Processes, argo: ArgoStub
) -> None:
    argo.faults.archive = True
    argo.faults.hang = 0.1
    submission = argo_submission()
    argo.creates.planned[submission.name] = [Creating(applied=60, status=503)]
    engine = processes.argo()
    with pytest.raises(EngineUnavailable):
        await engine.submit(submission)
    ref = await engine.submit(submission)
    await gone(argo, ref.name)
    argo.land(ref.name)
    await eventually(lambda: ref.name in argo.workflows, "the late create has landed")
    assert (await asyncio.wait_for(engine.wait(ref, Pulse()), 20)).succeeded
    late = argo.workflows[ref.name]
    assert (text(late, "status", "phase"), text(late, "spec", "shutdown")) == ("Failed", "Terminate")
    assert await processes.recorded() == [(text(late, "metadata", "uid"), ref.uid)]


async def late_run(kfp: KfpStub, engine: KfpEngine) -> EngineRunRef:
    """Submit, with a first try whose create is held back."""
    submission = kfp_submission(PACKAGE)
    kfp.creates.planned[submission.name] = [Creating(applied=60, status=503)]
    with pytest.raises(EngineUnavailable):
        await engine.submit(submission)
    return await engine.submit(submission)


async def test_a_kfp_run_that_lands_before_the_settle_delay_is_over_is_ended_while_the_adopted_one_goes_on(
    processes: Processes, kfp: KfpStub
) -> None:
    engine = processes.kfp()
    ref = await late_run(kfp, engine)
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    kfp.land(ref.name)
    await eventually(lambda: "FAILED" in map(kfp.state, kfp.runs), "the late run is ended")
    assert kfp.state(ref.uid) == "RUNNING"
    (late,) = set(kfp.runs) - {ref.uid}
    assert await processes.recorded() == [(late, ref.uid)]
    kfp.finish(ref.uid)
    assert (await asyncio.wait_for(task, 20)).succeeded


async def test_a_kfp_run_that_lands_later_is_ended_before_the_wait_of_the_adopted_one_returns(
    processes: Processes, kfp: KfpStub
) -> None:
    engine = processes.kfp()
    kfp.ending = 0.5
    ref = await late_run(kfp, engine)
    before = kfp.requests["list"]
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await eventually(lambda: kfp.requests["list"] > before + 2 + 2 * SETTLE / 0.05, "it has looked after the delay")
    kfp.land(ref.name)
    await eventually(lambda: len(kfp.runs) == 2, "the late create has landed")
    kfp.finish(ref.uid)
    assert (await asyncio.wait_for(task, 20)).succeeded
    (late,) = set(kfp.runs) - {ref.uid}
    assert kfp.state(late) == "FAILED"
    assert await processes.recorded() == [(late, ref.uid)]


async def test_a_run_of_our_name_that_is_somebody_elses_is_left_alone_by_the_wait(
    processes: Processes, kfp: KfpStub
) -> None:
    engine = processes.kfp()
    ref = await engine.submit(kfp_submission(PACKAGE))
    foreign = kfp.add_run({"display_name": ref.name, "description": "my own"})
    kfp.finish(ref.uid)
    await eventually(lambda: kfp.state(ref.uid) == "SUCCEEDED", "it has ended")
    await engine.wait(ref, Pulse())
    assert kfp.state(foreign) == "RUNNING"


async def test_what_a_terminate_ends_beside_the_adopted_run_is_counted(processes: Processes, kfp: KfpStub) -> None:
    engine = processes.kfp()
    ref = await engine.submit(kfp_submission(PACKAGE))
    late = kfp.add_run(dict(kfp.runs[ref.uid]))
    assert await engine.terminate(key("train"), ref.name, ref)
    assert (kfp.state(ref.uid), kfp.state(late)) == ("FAILED", "FAILED")
    assert await processes.recorded() == [(late, ref.uid)]


# -- resuming


async def test_a_resume_repeated_in_another_process_does_not_retry_again(
    processes: Processes, argo: ArgoStub, kfp: KfpStub
) -> None:
    argo.duration = kfp.duration = 0.0
    for build, submission, failed in (
        (processes.argo, argo_submission(), "Failed"),
        (processes.kfp, kfp_submission(PACKAGE), "FAILED"),
    ):
        for stub in (argo, kfp):
            stub.plans[submission.name] = [failed] * 3
        ref = await build().submit(submission)
        again = submission.key.model_copy(update={"attempt": 2})
        assert await build().resume(ref, again) == ref  # and the answer was lost with the worker
        assert await build().resume(ref, again) == ref
        assert (await build().wait(ref, Pulse())).failure is FailureClass.FAILED
        assert await build().resume(ref, again.model_copy(update={"attempt": 3})) == ref
    assert (argo.requests["retry"], kfp.requests["retry"]) == (2, 2)


async def test_a_resume_that_died_before_it_asked_the_engine_is_made_good_by_the_next(
    processes: Processes, kfp: KfpStub
) -> None:
    kfp.duration = 0.0
    submission = kfp_submission(PACKAGE)
    kfp.plans[submission.name] = ["FAILED", "SUCCEEDED"]
    ref = await processes.kfp().submit(submission)
    with pytest.raises(KilledError):
        await processes.kfp(MortalKeeper(processes.store, Kill.CHECKED)).resume(ref, key("train", 2))
    await processes.expire_leases()
    await processes.kfp().resume(ref, key("train", 2))
    assert (kfp.state(ref.uid), kfp.requests["retry"]) == ("SUCCEEDED", 1)


async def test_two_resumes_of_one_key_at_the_same_time_retry_once(processes: Processes, argo: ArgoStub) -> None:
    submission = argo_submission()
    ref = await processes.argo().submit(submission)
    argo.finish(ref.name, "Failed")
    await eventually(lambda: argo.phase(ref.name) == "Failed", "it has failed")
    again = key(attempt=2)
    await asyncio.gather(*(processes.argo().resume(ref, again) for _ in range(3)))
    assert argo.requests["retry"] == 1
