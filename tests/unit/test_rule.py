"""Skipped and failed states propagate by the written rule, whatever the graph: planning and resolving alone."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import Graph, Node, random_graph
from workflows.messages import ResolveStep, StepView
from workflows.outcome import StepState
from workflows.plan import make_plan
from workflows.resolve import resolve_step
from workflows.spec.models import MetaWorkflow

COUNTS = [40, pytest.param(500, marks=pytest.mark.prove)]
GRAPHS = st.randoms(use_true_random=False).map(lambda draw: random_graph(draw, 12, 4))


def definition(graph: Graph) -> MetaWorkflow:
    return MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "x"},
            "steps": {name: node.step() for name, node in graph.steps.items()},
            "finally": {name: node.step() for name, node in graph.last.items()},
        }
    )


def planned_states(graph: Graph) -> dict[str, StepState]:
    """What becomes of the steps when they run one after the other in the plan's order."""
    made = definition(graph)
    plan = make_plan(made)
    views: dict[str, StepView] = {}
    for planned in (*plan.steps, *plan.finally_):
        node = graph.steps.get(planned.name) or graph.last[planned.name]
        assert set(planned.dependencies) <= set(views), "it comes after all that it depends on"
        message = ResolveStep(
            meta_run="r", definition=made, step=planned.name, inputs={}, steps=views, outcome={"state": "failed"}
        )
        skipped = bool(resolve_step(message).skip_reason)
        state = StepState.SKIPPED if skipped else StepState(node.comes_to)
        views[planned.name] = StepView(state=state, continued=made.step(planned.name).goes_on_after(state))
    return {name: view.state for name, view in views.items()}


@pytest.mark.parametrize("examples", COUNTS)
def test_each_step_comes_once_after_all_it_needs_and_those_of_finally_come_last(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(GRAPHS)
    def check(graph: Graph) -> None:
        plan = make_plan(definition(graph))
        assert sorted(step.name for step in plan.steps) == sorted(graph.steps)
        assert sorted(step.name for step in plan.finally_) == sorted(graph.last)
        order = [step.name for step in (*plan.steps, *plan.finally_)]
        for name, node in {**graph.steps, **graph.last}.items():
            assert all(order.index(other) < order.index(name) for other in node.after)

    check()


@pytest.mark.parametrize("examples", COUNTS)
def test_skipped_and_failed_states_propagate_by_the_written_rule(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(GRAPHS)
    def check(graph: Graph) -> None:
        assert planned_states(graph) == graph.states()

    check()


def test_the_graphs_have_every_way_of_the_rule() -> None:
    """Else the tests above would show little."""
    seen: Counter[str] = Counter()
    for seed in range(300):
        graph = random_graph(random.Random(seed), 12, 4)
        states = graph.states()
        for node in (*graph.steps.values(), *graph.last.values()):
            for other in node.after:
                before = graph.steps.get(other) or graph.last[other]
                way = "asks" if other in node.asks else "needs" if other in node.needs else "mentions"
                went_on = ", continued" if states[other] in before.continues else ""
                runs = "runs" if states[node.name] is not StepState.SKIPPED else "skipped"
                seen[f"{'finally ' if node.name in graph.last else ''}{way} {states[other]}{went_on}: {runs}"] += 1
    for state in ("succeeded", "failed, continued", "lost, continued", "timed_out, continued", "cancelled, continued"):
        assert seen[f"needs {state}: runs"], state
    for state in ("failed", "lost", "timed_out", "cancelled", "skipped"):
        assert seen[f"needs {state}: skipped"], state
        assert not seen[f"needs {state}: runs"], state
        assert seen[f"asks {state}: runs"], state
        assert seen[f"finally needs {state}: skipped"], state
        assert seen[f"finally mentions {state}: runs"], state


def test_a_step_of_finally_that_needs_a_step_is_skipped_when_that_did_not_succeed() -> None:
    graph = Graph(
        {"a": Node("a", comes_to="failed")},
        {"b": Node("b", needs=("a",)), "c": Node("c", mentions=("a",)), "d": Node("d", needs=("b",))},
    )
    assert planned_states(graph) == {
        "a": StepState.FAILED,
        "b": StepState.SKIPPED,
        "c": StepState.SUCCEEDED,
        "d": StepState.SKIPPED,
    }
