"""Random graphs as real runs: what becomes of their steps is what the written rule says (`tests.support.graphs`)."""

from __future__ import annotations

import asyncio
import random

import pytest
from temporalio.client import WorkflowFailureError

from tests.support.graphs import Graph, random_graph
from tests.support.world import World
from workflows.outcome import FailureClass, Outcome, RunState, StepState


def script_of(graph: Graph) -> dict[str, list[Outcome | None]]:
    """How the engine runs end; each step's own, so that graphs can run beside each other."""
    nodes = [*graph.steps.values(), *graph.last.values()]
    failing = [node for node in nodes if node.comes_to != "succeeded"]
    return {node.name: [Outcome(failure=FailureClass(node.comes_to), message="why")] for node in failing}


async def check(world: World, graph: Graph) -> None:
    world.engine.script |= script_of(graph)
    handle = await world.start(
        {name: node.step() for name, node in graph.steps.items()},
        last={name: node.step() for name, node in graph.last.items()},
    )
    try:
        await handle.result()
    except WorkflowFailureError:
        pass
    run = world.store.snapshots[handle.id]
    expected = graph.states()
    assert {step.name: step.state for step in run.steps} == expected
    order = [one.key.step for one in world.engine.submitted if one.key.meta_run == handle.id]
    assert sorted(order) == sorted(name for name, state in expected.items() if state is not StepState.SKIPPED)
    for name in order:
        node = graph.steps.get(name) or graph.last[name]
        before = order[: order.index(name)]
        assert all(other in before or expected[other] is StepState.SKIPPED for other in node.after), (name, order)
    good = (StepState.SUCCEEDED, StepState.SKIPPED)
    last_fails = any(expected[n.name] not in good and expected[n.name] not in n.continues for n in graph.last.values())
    assert run.state is (RunState.FAILED if graph.fails() or last_fails else RunState.SUCCEEDED)
    if graph.fails():
        assert run.message.startswith(f"step {graph.fails()} ")


@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(10, 100), marks=pytest.mark.prove)])
async def test_a_run_of_any_graph_goes_as_the_rule_says(world: World, seeds: range) -> None:
    graphs = [random_graph(random.Random(seed), 8, 3, prefix=f"g{seed}_") for seed in seeds]
    async with asyncio.timeout(250):
        for at in range(0, len(graphs), 10):
            await asyncio.gather(*(check(world, graph) for graph in graphs[at : at + 10]))
