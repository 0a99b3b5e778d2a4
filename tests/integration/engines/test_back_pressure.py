"""An engine that asks for a pause gets it; one that is down is left alone but for a probe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.integration.engines.eventually import eventually
from tests.integration.engines.submissions import Pulse, argo_submission
from tests.stubs.argo import ArgoStub
from tests.support.metrics import points, shared_reader
from workers.artifacts import ArtifactStore
from workers.circuit import FAILURES, CircuitState
from workers.engines.argo.engine import ArgoEngine
from workers.http import ApiUnavailable, retry_after
from workers.settings import ArgoSettings, StoreSettings
from workflows.errors import EngineUnavailable


@pytest.fixture(scope="module")
def reader() -> InMemoryMetricReader:
    return shared_reader()


def read(reader: InMemoryMetricReader, engine: str) -> dict[str, float]:
    """Values by instrument, and by instrument and outcome, of one engine."""
    found: dict[str, float] = {}
    for instrument, attributes, value in points(reader):
        if attributes.get("engine") == engine:
            for name in (instrument, f"{instrument}/{attributes.get('outcome', attributes.get('reason'))}"):
                found[name] = found.get(name, 0) + value
    return found


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[ArgoStub]:
    async with ArgoStub(duration=None, keepalive=0.1) as stub:
        yield stub


def engine_at(stub: ArgoStub, name: str = "argo") -> ArgoEngine:
    return ArgoEngine(name, ArgoSettings(url=stub.url, settle_delay=0.3), ArtifactStore(StoreSettings()))


@pytest_asyncio.fixture
async def engine(stub: ArgoStub) -> AsyncIterator[ArgoEngine]:
    engine = engine_at(stub)
    yield engine
    await engine.close()


async def unavailable(engine: ArgoEngine) -> ApiUnavailable:
    with pytest.raises(ApiUnavailable) as caught:
        await engine.submit(argo_submission())
    return caught.value


async def test_failures_in_a_row_open_the_circuit_and_calls_then_fail_unsent(
    engine: ArgoEngine, stub: ArgoStub
) -> None:
    stub.faults.bursts = 10_000
    for _ in range(FAILURES):
        assert (await unavailable(engine)).sent
    asked = stub.requests.total()
    error = await unavailable(engine)
    assert not error.sent
    assert error.retry_after
    for words in ("engine 'argo' is taken for down since", "is not asked again for", "answered 503"):
        assert words in error.message
    assert stub.requests.total() == asked
    assert engine.circuit.state is CircuitState.OPEN
    assert "503" in engine.circuit.reason


async def test_refusals_do_not_open_it(engine: ArgoEngine, stub: ArgoStub) -> None:
    stub.faults.bursts, stub.faults.burst_status = 2 * FAILURES, 403
    for _ in range(2 * FAILURES):
        with pytest.raises(Exception, match="answered 403"):
            await engine.submit(argo_submission())
    assert engine.circuit.state is CircuitState.CLOSED


async def test_many_callers_send_one_probe_and_go_on_when_it_is_answered(engine: ArgoEngine, stub: ArgoStub) -> None:
    ref = await engine.submit(argo_submission())
    stub.finish(ref.name)
    stub.faults.bursts = 10_000
    waits = [asyncio.create_task(engine.wait(ref, Pulse())) for _ in range(50)]
    await eventually(lambda: engine.circuit.state is CircuitState.OPEN, "the circuit is open")
    asked = stub.requests.total()
    await eventually(lambda: stub.requests.total() > asked + 1, "two probes were sent", timeout=20)
    # Without the circuit each of the fifty would have asked several times by now.
    assert stub.requests.total() <= asked + 25
    stub.faults.bursts = 0
    outcomes = await asyncio.wait_for(asyncio.gather(*waits), 40)
    assert all(outcome.succeeded for outcome in outcomes)
    assert engine.circuit.state is CircuitState.CLOSED


@pytest.mark.prove
async def test_terminate_comes_through_when_the_engine_is_back(engine: ArgoEngine, stub: ArgoStub) -> None:
    submission = argo_submission()
    ref = await engine.submit(submission)
    stub.faults.bursts = 2 * FAILURES
    for _ in range(200):  # as Temporal does: until it returns
        try:
            assert await engine.terminate(submission.key, submission.name, ref)
            break
        except EngineUnavailable as error:
            await asyncio.sleep(getattr(error, "retry_after", None) or 0.01)
    assert stub.phase(ref.name) == "Failed"


@pytest.mark.parametrize("status", [429, 503])
async def test_the_pause_that_an_engine_asks_for_is_kept(engine: ArgoEngine, stub: ArgoStub, status: int) -> None:
    ref = await engine.submit(argo_submission())
    stub.finish(ref.name)
    stub.faults.bursts, stub.faults.burst_status, stub.faults.retry_after = 1, status, "1"
    asked = stub.requests.total()
    began = asyncio.get_running_loop().time()
    outcomes = await asyncio.wait_for(asyncio.gather(*(engine.wait(ref, Pulse()) for _ in range(3))), 20)
    assert all(outcome.succeeded for outcome in outcomes)
    assert asyncio.get_running_loop().time() - began >= 1.0
    assert stub.requests.total() - asked <= 6  # the first three may have been under way at once
    assert engine.circuit.state is CircuitState.CLOSED


def test_a_pause_may_be_a_date() -> None:
    assert retry_after({"retry-after": "7"}) == 7.0
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None


async def test_requests_waits_circuit_and_restarts_are_counted(stub: ArgoStub, reader: InMemoryMetricReader) -> None:
    engine = engine_at(stub, "counted")
    ref = await engine.submit(argo_submission())
    task = asyncio.create_task(engine.wait(ref, Pulse()))
    await eventually(lambda: stub.watchers == 1, "the watch is open")
    found = read(reader, "counted")
    assert found["meta.engine.awaited_runs"] == engine.awaited_runs == 1
    assert found["meta.engine.circuit"] == 0
    assert found["meta.engine.requests/rejected"] == 1  # 404: there was none of this name
    assert found["meta.engine.requests/ok"] >= 3
    assert found["meta.engine.request.duration"] == found["meta.engine.requests"]
    stub.cut_watches()
    await eventually(lambda: stub.requests["watch"] >= 2 and stub.watchers == 1, "the watch is open again")
    stub.finish(ref.name)
    assert (await asyncio.wait_for(task, 10)).succeeded
    stub.faults.bursts = 10_000
    for _ in range(FAILURES + 1):
        await unavailable(engine)
    found = read(reader, "counted")
    assert found["meta.engine.awaited_runs"] == 0
    assert found["meta.engine.watcher.restarts/broken"] == 1
    assert found["meta.engine.circuit"] == 2
    assert found["meta.engine.requests/unavailable"] == FAILURES
    assert found["meta.engine.requests/kept_back"] == 1
    await engine.close()
