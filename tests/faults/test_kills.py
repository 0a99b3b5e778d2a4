"""The chain finishes once, whatever is killed in the middle of `train`."""

from __future__ import annotations

import signal
from pathlib import Path

from meta.client import MetaClient
from tests.faults.conftest import RunningChain
from tests.integration.metrics.processes import scrape
from tests.support.chain import Chain, step_of
from tests.support.processes import no_process_with, processes_with
from tests.support.stack import StackCommand
from workflows.outcome import RunState, StepState

LONG = 100_000  # epochs that outlast every test: the run is cancelled
MEDIUM = 150  # some ten seconds


async def test_the_chain_survives_the_death_of_worker_service_and_temporal_in_turn(running_chain: RunningChain) -> None:
    async with running_chain() as (stack, chain):
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
        for address in (stack.addresses.service_metrics, stack.addresses.worker_metrics):
            assert "meta_engine_circuit" in await scrape(address), "at the same address as before"


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
