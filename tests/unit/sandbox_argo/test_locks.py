"""Mutexes and semaphores without pods: who holds them, who waits, what the statuses say."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, cast

import pytest
from hera.workflows import models as m
from hypothesis import given
from hypothesis import strategies as st

from meta.sandbox.argo.operator.locks import LockError, Locks
from meta.sandbox.argo.operator.operation import operate
from meta.sandbox.argo.operator.shared import Shared
from meta.sandbox.argo.state.metadata import Metadata
from meta.sandbox.argo.state.status import JsonObject, NodeStatus, Phase
from meta.sandbox.argo.state.workflow import Workflow
from tests.support.argo import START, Simulation, dag, pod, step, steps, task

MUTEX = m.Synchronization(mutexes=[m.Mutex(name="x")])


def limit_of(config_map: str, key: str) -> int:
    """The ConfigMap `limits`, whose keys are numbers."""
    if config_map != "limits":
        raise LockError(config_map)
    return int(key)


def semaphore(limit: int) -> m.Synchronization:
    reference = m.ConfigMapKeySelector(name="limits", key=str(limit))
    return m.Synchronization(semaphores=[m.SemaphoreRef(config_map_key_ref=reference)])


def make(name: str, age: int = 0, priority: int = 0) -> Workflow:
    created = START - timedelta(seconds=age)
    metadata = Metadata(name=name, namespace="argo", uid=name, created=created)
    return Workflow(metadata, {"entrypoint": "main", "priority": priority})


def ended(locks: Locks, workflow: Workflow) -> None:
    workflow.status.phase = Phase.SUCCEEDED
    locks.settle(workflow)


def test_a_mutex_has_one_holder_and_says_so() -> None:
    locks, a, b = Locks(), make("a", age=1), make("b")
    assert locks.acquire(a, MUTEX) is None
    refusal = locks.acquire(b, MUTEX)
    assert refusal is not None
    assert (refusal.lock, refusal.message) == (
        "argo/Mutex/x", "Waiting for argo/Mutex/x lock. Lock status: 0/1",
    )  # fmt: skip
    held, waits = a.status.render()["synchronization"], b.status.render()["synchronization"]
    assert held == {"mutex": {"holding": [{"mutex": "argo/Mutex/x", "holder": "argo/a"}]}}
    assert waits == {"mutex": {"waiting": [{"mutex": "argo/Mutex/x", "holder": "argo/a"}]}}
    ended(locks, a)
    assert a.status.synchronization is None
    assert locks.take_woken() == [("argo", "b")]
    assert locks.acquire(b, MUTEX) is None


def test_a_semaphore_names_all_its_holders_to_those_who_wait() -> None:
    locks = Locks(limit_of)
    a, b, c = (make(name, age) for name, age in (("a", 3), ("b", 2), ("c", 1)))
    assert locks.acquire(a, semaphore(2)) is None
    assert locks.acquire(b, semaphore(2)) is None
    refusal = locks.acquire(c, semaphore(2))
    assert refusal is not None
    assert refusal.message == "Waiting for argo/ConfigMap/limits/2 lock. Lock status: 0/2"
    name = "argo/ConfigMap/limits/2"
    assert c.status.render()["synchronization"] == {
        "semaphore": {"waiting": [{"semaphore": name, "holders": ["argo/a", "argo/b"]}]}
    }
    locks.forget(a)  # it was deleted
    assert locks.take_woken() == [("argo", "c")]
    assert locks.acquire(c, semaphore(2)) is None


def test_those_of_a_higher_priority_come_first_then_the_oldest() -> None:
    locks, holder = Locks(), make("holder")
    assert locks.acquire(holder, MUTEX) is None
    waiting = [make("young", age=1), make("old", age=9), make("urgent", priority=5), make("same", age=9)]
    for workflow in waiting:
        assert locks.acquire(workflow, MUTEX) is not None
    order: list[str] = []
    while waiting:
        ended(locks, holder)
        ((_, name),) = locks.take_woken()
        order.append(name)
        holder = next(workflow for workflow in waiting if workflow.name == name)
        waiting.remove(holder)
        for other in waiting:  # who asks out of turn gets nothing, and the first is told again
            assert locks.acquire(other, MUTEX) is not None
        assert locks.take_woken() == ([("argo", name)] if waiting else [])
        assert locks.acquire(holder, MUTEX) is None
        locks.take_woken()
    assert order == ["urgent", "old", "same", "young"]


def test_several_locks_are_had_together_or_not_at_all() -> None:
    locks, a, b, c = Locks(), make("a", age=3), make("b", age=2), make("c", age=1)
    both = m.Synchronization(mutexes=[m.Mutex(name="x"), m.Mutex(name="y", namespace="else")])
    assert locks.acquire(a, MUTEX) is None
    assert locks.acquire(b, both) is not None
    only = m.Synchronization(mutexes=[m.Mutex(name="y", namespace="else")])
    assert locks.acquire(c, only) is not None  # b is before it, though b holds nothing
    ended(locks, a)
    assert locks.acquire(b, both) is None
    ended(locks, b)
    assert locks.acquire(c, only) is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            m.Synchronization(
                semaphores=[m.SemaphoreRef(config_map_key_ref=m.ConfigMapKeySelector(name="n", key="k"))]
            ),
            "failed to initialize semaphore argo/ConfigMap/n/k with limit",
        ),
        (semaphore(0), "failed to initialize semaphore argo/ConfigMap/limits/0 with limit"),
        (
            m.Synchronization(mutexes=[m.Mutex(name="x"), m.Mutex(name="x")]),
            "requested configuration is invalid: duplicate synchronization item found",
        ),
        (
            m.Synchronization(semaphores=[m.SemaphoreRef()]),
            "requested configuration is invalid: "
            "cannot get LockName for a Semaphore without a ConfigMapRef or Database",
        ),
    ],
)  # fmt: skip
def test_a_lock_that_cannot_be_had_at_all_ends_what_wants_it(wanted: m.Synchronization, message: str) -> None:
    with pytest.raises(LockError, match=message):
        Locks(limit_of).acquire(make("a"), wanted)
    raw = cast("JsonObject", wanted.model_dump(by_alias=True, exclude_none=True))
    sim = Simulation(pod("main"), synchronization=raw)
    assert sim.run() is Phase.FAILED
    assert sim.workflow.status.message == f"Failed to acquire the synchronization lock. {message}"
    sim = Simulation(pod("main", synchronization=raw))
    assert sim.run() is Phase.ERROR
    assert sim.node("wf").message == message


Action = tuple[Literal["ask", "end", "restart"], int]
ACTIONS = st.lists(st.tuples(st.sampled_from(["ask", "ask", "end", "restart"]), st.integers(0, 7)), max_size=60)


@given(actions=ACTIONS, limit=st.integers(1, 3), wants=st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_never_more_holders_than_the_limit_and_no_lock_is_lost(
    actions: list[Action], limit: int, wants: list[int]
) -> None:
    """Workflows that want the mutex, a semaphore, or both ask and end in any order, over restarts too."""
    kinds = (MUTEX, semaphore(limit), m.Synchronization(mutexes=MUTEX.mutexes, semaphores=semaphore(limit).semaphores))
    locks, workflows = Locks(limit_of), [make(f"w{n}", age=n % 3, priority=n % 2) for n in range(8)]
    holding: set[int] = set()
    over: set[int] = set()

    def ask(number: int) -> None:
        if number not in over and locks.acquire(workflows[number], kinds[wants[number]]) is None:
            holding.add(number)

    for action, number in actions:
        if action == "ask":
            ask(number)
        elif action == "end":
            ended(locks, workflows[number])
            holding.discard(number)
            over.add(number)
        else:
            locks = Locks(limit_of)
            for workflow in workflows:
                locks.restore(workflow)
        assert sum(wants[n] != 1 for n in holding) <= 1
        assert sum(wants[n] != 0 for n in holding) <= limit
    for number in range(8):  # everybody is passed over once more, then only who is told to
        ask(number)
    for _ in range(200):
        if not (turns := locks.take_woken()):
            if not holding:
                break
            number = min(holding)
            ended(locks, workflows[number])
            holding.discard(number)
            over.add(number)
        for _, name in turns:
            ask(int(name[1:]))
        assert sum(wants[n] != 1 for n in holding) <= 1
        assert sum(wants[n] != 0 for n in holding) <= limit
    assert over == set(range(8)), "somebody waits for ever"


def test_steps_of_one_workflow_take_turns() -> None:
    lock = {"mutexes": [{"name": "x"}]}
    sim = Simulation(steps([step("a"), step("b"), step("c")]), pod(synchronization=lock))
    shared = Shared()
    outcome = operate(sim.workflow, sim.now, shared=shared)
    assert len(outcome.pods) == 1
    waiting = [n for n in sim.workflow.status.nodes.values() if n.waits_for_lock]
    assert [n.display_name for n in waiting] == ["b", "c"]
    assert waiting[0].render()["synchronizationStatus"] == {"waiting": "argo/Mutex/x"}
    assert waiting[0].message == "Waiting for argo/Mutex/x lock. Lock status: 0/1"
    assert Simulation(dag(task("a"), task("b")), pod(synchronization=lock)).run() is Phase.SUCCEEDED


def test_a_lock_is_held_over_all_attempts_of_a_retried_template() -> None:
    retried = pod(synchronization={"mutexes": [{"name": "x"}]}, retryStrategy={"limit": "1"})
    sim = Simulation(steps([step("a"), step("b")]), retried)
    seen: list[str] = []

    def fail(node: NodeStatus, template: m.Template) -> tuple[Phase, dict[str, str]]:
        del template
        seen.append(node.display_name)
        return Phase.FAILED, {}

    assert sim.run(fail) is Phase.FAILED
    assert seen == ["a(0)", "a(1)", "b(0)", "b(1)"]


def test_nodes_that_wait_for_a_lock_end_with_a_stop() -> None:
    sim = Simulation(steps([step("a"), step("b", "group")]), pod(synchronization={"mutexes": [{"name": "x"}]}),
                     steps([step("inner", "free")], name="group") | {"synchronization": {"mutexes": [{"name": "x"}]}},
                     pod("free"))  # fmt: skip
    operate(sim.workflow, sim.now, shared=sim.shared)
    assert sim.node("b").waits_for_lock
    sim.workflow.change_spec(shutdown="Stop")
    operate(sim.workflow, sim.now, shared=sim.shared)
    assert (sim.node("b").phase, sim.node("b").message) == (Phase.FAILED, "Stopped with strategy 'Stop'")


def test_a_workflow_that_waits_is_ended_by_a_terminate_and_not_by_a_stop() -> None:
    shared = Shared()
    first, second = (Simulation(pod("main"), synchronization={"mutexes": [{"name": "x"}]}) for _ in range(2))
    second.workflow.metadata.name = "second"
    operate(first.workflow, first.now, shared=shared)
    for verb, phase in (("Stop", Phase.PENDING), ("Terminate", Phase.FAILED)):
        second.workflow.change_spec(shutdown=verb)
        operate(second.workflow, second.now, shared=shared)
        assert second.workflow.status.phase is phase
    assert second.workflow.status.message == "Stopped with strategy 'Terminate'"
    assert second.workflow.status.synchronization is None
