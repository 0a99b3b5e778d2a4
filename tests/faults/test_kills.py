"""The chain finishes once, whatever is killed in the middle of `train`."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from meta.client import MetaClient
from meta.trace.model import Part
from tests.faults.conftest import RunningChain
from tests.integration.metrics.processes import scrape
from tests.support.chain import Chain, step_of
from tests.support.otlp import grpc_collector
from tests.support.processes import no_process_with, processes_with
from tests.support.stack import StackCommand
from tests.support.traces import check_tree
from workflows.outcome import RunState, StepState
from workflows.trace import trace_id

LONG = 100_000  # epochs that outlast every test: the run is cancelled
MEDIUM = 150  # some ten seconds


async def test_the_chain_survives_the_death_of_worker_service_and_temporal_in_turn_and_its_trace_is_one_tree(
    running_chain: RunningChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as servers:
        collector = await servers.enter_async_context(grpc_collector())
        monkeypatch.setenv("META_TELEMETRY__OTLP_ENDPOINT", collector.endpoint)
        stack, chain = await servers.enter_async_context(running_chain())
        run = await chain.start_training(epochs=MEDIUM, seed=11)
        for part in ("worker", "service", "temporal"):
            await stack.kill(part, signal.SIGKILL)
            await stack.wait_healthy(part)
        ended = await chain.ended(run.id)
        assert ended.state is RunState.SUCCEEDED, ended.message
        assert [step.attempt for step in ended.steps] == [1, 1, 1, 1]
        assert ended.outputs["accuracy"] > 0.9  # pyright: ignore[reportOperatorIssue] -- a number
        await chain.assert_one_engine_run_per_attempt(ended)
        for part in ("worker", "service", "temporal"):
            assert stack.part(part).restarts >= 1
        trace = trace_id(run.id, {})
        await collector.until(lambda: any(span.part is Part.RUN for span in collector.trace(trace)))
        await collector.until(lambda: len({s.name for s in collector.trace(trace) if s.part is Part.STEP}) == 4)
        check_tree(collector.trace(trace))
        assert collector.faults == []
        await chain.assert_engine_times(ended, collector.trace(trace))
        for address in (stack.addresses.service_metrics, stack.addresses.worker_metrics):
            assert "meta_engine_circuit" in await scrape(address), "at the same address as before"


@pytest.mark.prove
async def test_cancelling_ends_the_engine_run_its_processes_and_then_the_meta_run(running_chain: RunningChain) -> None:
    async with running_chain() as (stack, chain):
        # a SIGTERM to the worker cancels nothing
        run = await chain.start_training(epochs=LONG, seed=12)
        train = step_of(run, "train").run
        assert train is not None
        await stack.restart("worker")
        assert processes_with(train.uid)
        assert not (await chain.client.get(run.id)).state.ended
        assert await chain.client.cancel(run.id)
        ended = await chain.ended(run.id)
        assert ended.state is RunState.CANCELED
        assert step_of(ended, "train").state is StepState.CANCELLED
        await no_process_with(train.uid)
        await chain.assert_one_engine_run_per_attempt(ended)

        # with the worker dead when the cancel comes: the same
        run = await chain.start_training(epochs=LONG, seed=13)
        train = step_of(run, "train").run
        assert train is not None
        await stack.kill("worker", signal.SIGKILL)
        assert await chain.client.cancel(run.id)
        ended = await chain.ended(run.id)
        assert ended.state is RunState.CANCELED
        await no_process_with(train.uid)
        await chain.assert_one_engine_run_per_attempt(ended)


async def test_the_whole_stack_killed_in_mid_train_finishes_the_chain_when_it_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    with StackCommand(folder) as command:
        addresses = command.up()
        async with MetaClient(addresses.grpc) as client:
            run = await Chain(client, addresses).start_training(epochs=MEDIUM, seed=14)
        command.kill()
        await no_process_with(str(folder))

        addresses = command.up()
        async with MetaClient(addresses.grpc) as client:
            chain = Chain(client, addresses)
            ended = await chain.ended(run.id)
            assert ended.state is RunState.SUCCEEDED, ended.message
            # the sandbox died with its run, so KFP says truthfully that the first attempt failed
            assert [step.attempt for step in ended.steps] == [1, 2, 1, 1]
            await chain.assert_one_engine_run_per_attempt(ended)
    await no_process_with(str(folder))
