"""Services that are killed while they gather: every message is in exactly one run, whenever it happens.

A killed service does nothing more from some place on where it waits: before and after each transaction and each call
of Temporal, and before a commit. What it was delivered is delivered to the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.triggers.support import Crash, RememberedRuns, message, process, trigger
from workflows.spec.trigger_models import NatsTrigger

NewStore = Callable[[], str]
BATCH = trigger(batch={"max": 3, "within": "0.05s"})
BURST = trigger(debounce="0.05s")
EXAMPLES = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def lives(url: str, spec: NatsTrigger, names: list[str], kills: list[int], services: int = 1) -> RememberedRuns:
    """Deliver messages to services that are killed after so many points, until all are acknowledged.

    Returns:
        Temporal, with all runs that were started.
    """
    temporal, waiting = RememberedRuns(), dict.fromkeys(names, 0)
    for n, kill in enumerate([*kills, 0]):
        async with AsyncExitStack() as stack, asyncio.timeout(20):
            crash = Crash(kill)
            specs = [None] * (services - 1) + [crash]  # the last is buried first: its locks on the file go with it
            all_ = [await stack.enter_async_context(process(url, temporal, spec, crash=one)) for one in specs]
            waiting = {name: deliveries + 1 for name, deliveries in waiting.items()}
            tasks = {
                name: all_[(i + n) % services].deliver(message(name, deliveries=deliveries))
                for i, (name, deliveries) in enumerate(waiting.items())
            }
            dead = asyncio.create_task(crash.dead.wait())
            answers = asyncio.gather(*tasks.values(), return_exceptions=True)
            await asyncio.wait([dead, answers], return_when=asyncio.FIRST_COMPLETED)
            dead.cancel()
        await asyncio.gather(dead, answers, return_exceptions=True)
        acknowledged = {name for name, task in tasks.items() if not task.cancelled() and task.exception() is None}
        for name in acknowledged:
            assert tasks[name].result().run_id in temporal.runs, "acknowledged, so it has started"
        waiting = {name: deliveries for name, deliveries in waiting.items() if name not in acknowledged}
    assert not waiting
    return temporal


def each_once(temporal: RememberedRuns, names: list[str], most: int) -> None:
    assert sorted(name for run in temporal.sets for name in run) == sorted(names)
    assert all(len(run) <= most for run in temporal.sets)


async def every(new_store: NewStore, spec: NatsTrigger, kills: range) -> None:
    for kill in kills:
        each_once(await lives(new_store(), spec, list("abcd"), [kill]), list("abcd"), 3 if spec is BATCH else 4)


@pytest.mark.parametrize("spec", [BATCH, BURST], ids=["batch", "debounce"])
async def test_a_kill_at_any_point_leaves_each_message_in_one_run(new_store: NewStore, spec: NatsTrigger) -> None:
    await every(new_store, spec, range(1, 40, 4))


@pytest.mark.prove
@pytest.mark.parametrize("spec", [BATCH, BURST], ids=["batch", "debounce"])
async def test_a_kill_at_every_point_leaves_each_message_in_one_run(new_store: NewStore, spec: NatsTrigger) -> None:
    await every(new_store, spec, range(1, 60))


@EXAMPLES
@given(
    spec=st.sampled_from([BATCH, BURST]),
    count=st.integers(1, 8),
    kills=st.lists(st.integers(1, 60), max_size=3),
    services=st.integers(1, 2),
)
def test_kills_one_after_the_other_beside_another_service_leave_each_message_in_one_run(
    new_store: NewStore, spec: NatsTrigger, count: int, kills: list[int], services: int
) -> None:
    names = [f"m{n}" for n in range(count)]
    temporal = asyncio.run(lives(new_store(), spec, names, kills, services))
    each_once(temporal, names, 3 if spec is BATCH else count)
