"""Suspend templates, limits and hooks in the operator, without pods."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from meta.sandbox.argo.operator.operation import operate
from meta.sandbox.argo.operator.suspend import SuspendError, node_selector, resume, update_nodes
from meta.sandbox.argo.state.status import NodeType, Phase
from tests.support.argo import Simulation, dag, failing, pod, step, steps, task

SUPPLIED: dict[str, object] = {"outputs": {"parameters": [{"name": "x", "valueFrom": {"supplied": {}}}]}}


def test_a_suspend_node_goes_on_after_its_duration() -> None:
    sim = Simulation(
        steps([step("wait", "wait")], [step("after")]), {"name": "wait", "suspend": {"duration": "1m"}}, pod()
    )
    outcome = sim.step()
    node = sim.node("wait")
    assert (node.type, node.phase) == (NodeType.SUSPEND, Phase.RUNNING)
    assert outcome.wake_at == sim.now + timedelta(minutes=1)
    assert sim.run() is Phase.SUCCEEDED
    assert sim.node("after").started_at == sim.node("wait").finished_at
    assert sim.workflow.status.progress == "1/1"  # a wait is no pod


def test_a_supplied_output_goes_on_to_the_next_step() -> None:
    use = step("use", "use", arguments={"parameters": [{"name": "v", "value": "{{steps.ask.outputs.parameters.x}}"}]})
    sim = Simulation(steps([step("ask", "ask")], [use]), {"name": "ask", "suspend": {}, **SUPPLIED}, pod("use", "v"))
    sim.step()
    assert sim.node("ask").render()["outputs"] == {"parameters": [{"name": "x", "valueFrom": {"supplied": {}}}]}
    with pytest.raises(SuspendError, match="has not been set and does not have a default value"):
        resume(sim.workflow, sim.now)
    with pytest.raises(SuspendError, match="node is not expecting output parameter 'y'"):
        update_nodes(sim.workflow, sim.now, "displayName=ask", phase=Phase.UNKNOWN, message="", outputs={"y": "1"})
    update_nodes(sim.workflow, sim.now, "displayName=ask", phase=Phase.UNKNOWN, message="asked", outputs={"x": "1"})
    with pytest.raises(SuspendError, match="or it was already set"):
        update_nodes(sim.workflow, sim.now, "displayName=ask", phase=Phase.UNKNOWN, message="", outputs={"x": "2"})
    assert sim.node("ask").message == "asked"
    resume(sim.workflow, sim.now)
    assert sim.run() is Phase.SUCCEEDED
    assert sim.arguments == {"use": "1"}


def test_a_suspend_node_can_be_failed_and_offers_choices() -> None:
    choice = json.dumps({"default": "NO", "enum": ["YES", "NO"]})
    ask: dict[str, object] = {
        "name": "ask",
        "suspend": {},
        "inputs": {"parameters": [{"name": "x", "value": choice}]},
        **SUPPLIED,
    }
    sim = Simulation(steps([step("ask", "ask")]), ask)
    sim.step()
    node = sim.node("ask")
    assert node.inputs and node.inputs.parameters
    assert node.inputs.parameters[0].enum == ["YES", "NO"]
    update_nodes(sim.workflow, sim.now, "phase=Running", phase=Phase.FAILED, message="no", outputs={})
    assert sim.run() is Phase.FAILED
    with pytest.raises(SuspendError, match="no suspend nodes matching nodeFieldSelector: phase=Running"):
        update_nodes(sim.workflow, sim.now, "phase=Running", phase=Phase.FAILED, message="", outputs={})


def test_node_selectors_read_fields_and_inputs() -> None:
    sim = Simulation(
        steps([step("a", "use", arguments={"parameters": [{"name": "v", "value": "1"}]})]), pod("use", "v")
    )
    sim.step()
    node = sim.node("a")
    for text, expected in {
        "displayName=a": True, "displayName!=a": False, "templateName==use,phase=Pending": True, "": True,
        "inputs.parameters.v.value=1": True, "inputs.parameters.v.value=2": False, "name=wf[0].a": True,
    }.items():  # fmt: skip
        assert node_selector(text)(node) is expected, text
    with pytest.raises(SuspendError, match="invalid selector"):
        node_selector("displayName")


def test_parallelism_holds_pods_back() -> None:
    items: Any = {"withItems": ["a", "b", "c", "d"]}
    for more in ({}, {"parallelism": 2}):
        sim = Simulation(dag(task("x", **items)) | more, pod())
        assert sim.run() is Phase.SUCCEEDED
        assert (sim.most, len(sim.order)) == (more.get("parallelism", 4), 4)
    inner = steps([step("p"), step("q")], name="inner")
    sim = Simulation(steps([step("x", "inner", **items), step("y")]), inner, pod(), parallelism=3)
    assert sim.run() is Phase.SUCCEEDED
    assert (sim.most, len(sim.order)) == (3, 9)


def test_a_template_that_fails_fast_starts_nothing_more() -> None:
    items: Any = {"withItems": ["a", "b", "c"]}
    sim = Simulation(steps([step("x", **items)]) | {"parallelism": 1, "failFast": True}, pod())
    assert sim.run(failing("x(0:a)")) is Phase.FAILED
    assert sim.order == ["x(0:a)"]
    assert sim.workflow.status.message == "template has failed or errored children and failFast enabled"
    sim = Simulation(steps([step("x", **items)]) | {"parallelism": 1}, pod())
    assert sim.run(failing("x(0:a)")) is Phase.FAILED
    assert len(sim.order) == 3


def test_a_pod_that_waits_too_long_times_out() -> None:
    sim = Simulation(pod("main", timeout="30s"))
    outcome = sim.step()
    (request,) = outcome.pods.values()
    assert request.template.active_deadline_seconds is not None
    assert request.template.active_deadline_seconds.root == 30
    live = frozenset(outcome.pods)
    sim.now += timedelta(seconds=29)
    assert operate(sim.workflow, sim.now, live).wake_at == sim.now + timedelta(seconds=1)
    sim.now += timedelta(seconds=1)
    operate(sim.workflow, sim.now, live)
    assert (sim.workflow.status.phase, sim.workflow.status.message) == (Phase.FAILED, "timeout")


@pytest.mark.parametrize(
    ("expression", "code", "attempts", "message"),
    [
        ("asInt(lastRetry.exitCode) > 1", "2", 3, "No more retries left"),
        ("asInt(lastRetry.exitCode) > 1", "1", 1, "retryStrategy.expression evaluated to false"),
        ("lastRetry.status != 'Failed' || asInt(retries) < 1", "1", 2, "retryStrategy.expression evaluated to false"),
    ],
)
def test_a_retry_expression_decides(expression: str, code: str, attempts: int, message: str) -> None:
    sim = Simulation(pod("main", retryStrategy={"limit": 2, "expression": expression}))
    sim.step()
    for attempt in range(attempts):
        sim.finish(f"wf({attempt})", Phase.FAILED, code=code)
    assert (sim.workflow.status.phase, sim.workflow.status.message) == (Phase.FAILED, message)


def test_exit_handlers_of_steps_and_tasks_see_their_outcome() -> None:
    told = {"parameters": [{"name": "v", "value": "{{steps.a.status}}"}]}
    hooks = {"exit": {"template": "tell", "arguments": told}}
    sim = Simulation(steps([step("a", hooks=hooks)], [step("b", onExit="pod")]), pod(), pod("tell", "v"))
    assert sim.run(failing("a")) is Phase.FAILED
    assert sim.order == ["a", "a.onExit"]
    assert sim.arguments["a.onExit"] == "Failed"
    told = {"parameters": [{"name": "v", "value": "{{tasks.a.status}}"}]}
    hooks = {"exit": {"template": "tell", "arguments": told}}
    sim = Simulation(dag(task("a", hooks=hooks), task("b", "a")), pod(), pod("tell", "v"))
    assert sim.run() is Phase.SUCCEEDED
    assert sim.order == ["a", "a.onExit", "b"]
    flag = sim.node("a.onExit").node_flag
    assert flag is not None
    assert flag.hooked


def test_hooks_run_when_their_expressions_hold() -> None:
    hooks = {
        "running": {"template": "pod", "expression": "steps.a.status == 'Running'"},
        "failed": {"template": "pod", "expression": "steps.a.status == 'Failed'"},
        "done": {"template": "pod", "expression": 'steps["a"].status == "Succeeded"'},
    }
    sim = Simulation(steps([step("a", hooks=hooks)], [step("b")]), pod())
    sim.step()
    sim.node("a").phase = Phase.RUNNING
    sim.step()
    assert "a.hooks.running" in sim.phases()
    sim.finish("a")
    assert "b" not in sim.phases()
    sim.finish("a.hooks.running")
    sim.finish("a.hooks.done")
    assert "a.hooks.failed" not in sim.phases()
    sim.finish("b")
    assert sim.workflow.status.phase is Phase.SUCCEEDED


def test_hooks_of_the_workflow_run_beside_it_and_hold_its_end() -> None:
    hooks = {
        "running": {"template": "pod", "expression": "workflow.status == 'Running'"},
        "exit": {"template": "tell", "arguments": {"parameters": [{"name": "v", "value": "{{workflow.status}}"}]}},
    }
    sim = Simulation(steps([step("a")]), pod(), pod("tell", "v"), hooks=hooks)
    sim.step()
    sim.finish("a")
    assert not sim.workflow.status.phase.completed
    sim.finish("wf.hooks.running")
    assert sim.run() is Phase.SUCCEEDED
    assert sim.arguments == {"wf.onExit": "Succeeded"}


def test_expressions_stand_in_arguments_conditions_and_outputs() -> None:
    flip = pod("flip", outputs={"parameters": [{"name": "side", "valueFrom": {"path": "/s"}}]})
    side = "steps['flip'].outputs.parameters.side"
    outputs = {"outputs": {"parameters": [{"name": "said", "valueFrom": {
        "expression": f"{side} == 'heads' ? 'won' : steps.tails.outputs.parameters.side"}}]}}  # fmt: skip
    arguments = {"parameters": [{"name": "v", "value": f"{{{{={side} + '!'}}}}"}]}
    inner = {
        **steps(
            [step("flip", "flip")],
            [
                step("heads", "use", when=f"{{{{={side} == 'heads'}}}}", arguments=arguments),
                step("tails", "flip", when=f"{{{{={side}}}}} == tails"),
            ],
        ),
        **outputs,
    }
    sim = Simulation(inner, flip, pod("use", "v"))
    assert sim.run(lambda node, _: (Phase.SUCCEEDED, {"side": "heads"})) is Phase.SUCCEEDED
    assert sim.arguments["heads"] == "heads!"
    assert sim.phases()["tails"] == "Skipped"
    root = sim.node("wf").outputs
    assert root is not None
    assert root.parameters is not None
    assert root.parameters[0].value == "won"


def test_an_expression_may_fall_back_where_an_output_is_absent() -> None:
    maybe = task("maybe", when="1 == 2", template="made")
    made = pod("made", outputs={"parameters": [{"name": "y", "valueFrom": {"path": "/y"}}]})
    text = "{{=tasks.maybe.outputs.parameters.y ?? 'none'}}"
    use = task("use", "maybe", template="use", arguments={"parameters": [{"name": "v", "value": text}]})
    sim = Simulation(dag(maybe, use), made, pod("use", "v"))
    assert sim.run() is Phase.SUCCEEDED
    assert sim.arguments == {"use": "none"}


def test_a_retry_expression_may_hold_tags_of_its_own() -> None:
    expression = "{{inputs.parameters.again}} == true && asInt(lastRetry.exitCode) > 1"
    for again, attempts in (("true", 2), ("false", 1)):
        given = {"parameters": [{"name": "again", "value": again}]}
        inner = pod("pod", "again", retryStrategy={"limit": 1, "expression": expression})
        sim = Simulation(steps([step("a", arguments=given)]), inner)
        sim.step()
        for attempt in range(attempts):
            sim.finish(f"a({attempt})", Phase.FAILED, code="2")
        assert sim.workflow.status.phase is Phase.FAILED


def test_parallelism_holds_in_nested_dags_too() -> None:
    inner = dag(task("p"), task("q"), task("r", "p", "q"), name="inner")
    for limits in ({"parallelism": 2}, {}):
        main = dag(task("a", template="inner"), task("b", template="inner"), task("c", "a", "b"))
        sim = Simulation({**main, "parallelism": 1}, {**inner, **limits}, pod())
        assert sim.run() is Phase.SUCCEEDED
        assert sim.most == 2
        assert len(sim.order) == 7
