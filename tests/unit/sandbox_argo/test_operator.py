"""The controller's logic without pods: passes over a workflow, with the pods' ends made up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.operator.operation import finish_pod, operate
from meta.sandbox.argo.operator.rerun import NotRetryableError, rerun
from meta.sandbox.argo.state.status import NodeType, Phase
from meta.sandbox.argo.state.workflow import Workflow
from tests.support.argo import Simulation, dag, failing, pod, step, steps, task


def test_continue_on_lets_what_follows_run() -> None:
    sim = Simulation(steps([step("a", continueOn={"failed": True})], [step("b")]), pod())
    assert sim.run(failing("a")) is Phase.SUCCEEDED
    assert sim.order == ["a", "b"]
    sim = Simulation(dag(task("a", continueOn={"failed": True}), task("b", "a")), pod())
    assert sim.run(failing("a")) is Phase.SUCCEEDED
    assert sim.order == ["a", "b"]


def test_a_failed_step_ends_its_group_after_its_neighbours() -> None:
    sim = Simulation(steps([step("a"), step("b")], [step("c")]), pod())
    assert sim.run(failing("a")) is Phase.FAILED
    assert sim.order == ["a", "b"]


def test_a_dag_with_a_target_runs_what_the_target_needs() -> None:
    sim = Simulation(dag(task("a"), task("b", "a"), task("c"), target="b"), pod())
    assert sim.run() is Phase.SUCCEEDED
    assert sim.order == ["a", "b"]


def test_other_branches_of_a_failed_dag_come_to_their_end() -> None:
    for fail_fast in (True, False):
        sim = Simulation(dag(task("a"), task("b"), task("c", "b"), failFast=fail_fast), pod())
        assert sim.run(failing("a")) is Phase.FAILED
        assert sim.order == ["a", "b", "c"]


def test_templates_nest_and_their_outputs_come_up() -> None:
    outputs = {
        "outputs": {"parameters": [{"name": "x", "valueFrom": {"parameter": "{{steps.s.outputs.parameters.y}}"}}]}
    }
    inner = {**steps([step("s")], name="inner"), **outputs}
    leaf = pod(outputs={"parameters": [{"name": "y", "valueFrom": {"path": "/y"}}]})
    use = step("u", "use", arguments={"parameters": [{"name": "v", "value": "{{tasks.n.outputs.parameters.x}}"}]})
    sim = Simulation(dag(task("n", template="inner"), {**use, "dependencies": ["n"]}), inner, leaf, pod("use", "v"))
    assert (
        sim.run(lambda node, _: (Phase.SUCCEEDED, {"y": "42"} if node.display_name == "s" else {})) is Phase.SUCCEEDED
    )
    assert sim.arguments["u"] == "42"
    nodes = {n.display_name: n for n in sim.workflow.status.nodes.values()}
    assert nodes["n"].boundary_id == "wf"
    assert nodes["s"].boundary_id == nodes["n"].id
    assert nodes["s"].children == [nodes["u"].id]  # the nested template's last node leads on


def test_an_output_of_a_skipped_task_leaves_the_inputs_default() -> None:
    maybe = task("maybe", when="1 == 2")
    arguments = {"parameters": [{"name": "v", "value": "{{tasks.maybe.outputs.parameters.y}}"}]}
    leaf = pod(outputs={"parameters": [{"name": "y", "valueFrom": {"path": "/y"}}]})
    use = pod("use", "v")
    use["inputs"] = {"parameters": [{"name": "v", "default": "fallback"}]}
    sim = Simulation(dag(maybe, task("u", "maybe", template="use", arguments=arguments)), leaf, use)
    assert sim.run() is Phase.SUCCEEDED
    assert sim.arguments == {"u": "fallback"}
    sim = Simulation(dag(maybe, task("u", "maybe", template="use", arguments=arguments)), leaf, pod("use", "v"))
    assert sim.run() is Phase.ERROR


def test_an_unresolved_output_ends_in_error_instead_of_waiting_for_ever() -> None:
    arguments = {"parameters": [{"name": "v", "value": "{{tasks.a.outputs.result}}"}]}
    sim = Simulation(dag(task("a"), task("b", "a", template="use", arguments=arguments)), pod(), pod("use", "v"))
    assert sim.run() is Phase.ERROR
    (message,) = [n.message for n in sim.workflow.status.nodes.values() if n.display_name == "b"]
    assert message == "failed to resolve {{tasks.a.outputs.result}}"


def test_a_sequence_counts_as_asked() -> None:
    def items(**sequence: object) -> list[str]:
        arguments = {"parameters": [{"name": "v", "value": "{{item}}"}]}
        sim = Simulation(dag(task("a", template="use", withSequence=sequence, arguments=arguments)), pod("use", "v"))
        sim.run()
        return list(sim.arguments.values())

    assert items(count="3") == ["0", "1", "2"]
    assert items(start=9, end="7") == ["9", "8", "7"]
    assert items(start=1, end=2, format="n%02X") == ["n01", "n02"]
    assert items(count=0) == []


def test_backoff_waits_longer_each_time_and_ends_with_its_maximum() -> None:
    backoff = {"duration": "10s", "factor": 2, "maxDuration": "2m"}
    sim = Simulation(pod("main", retryStrategy={"limit": 10, "backoff": backoff}))
    operate(sim.workflow, sim.now)
    waits: list[float] = []
    while True:
        (running,) = [n for n in sim.workflow.status.nodes.values() if n.phase is Phase.PENDING]
        finish_pod(sim.workflow, running, sim.now, phase=Phase.FAILED, message="no", outputs=None)
        outcome = operate(sim.workflow, sim.now)
        if sim.workflow.status.phase.completed:
            break
        assert outcome.wake_at is not None
        waits.append((outcome.wake_at - sim.now).total_seconds())
        sim.now = outcome.wake_at
        operate(sim.workflow, sim.now)
    assert waits == [10, 20, 40]
    assert sim.workflow.status.message == "Backoff would exceed max duration limit"


@pytest.mark.parametrize(
    ("policy", "phase", "again"),
    [
        ("OnFailure", Phase.FAILED, True), ("OnFailure", Phase.ERROR, False), ("OnError", Phase.ERROR, True),
        ("OnError", Phase.FAILED, False), ("Always", Phase.ERROR, True), (None, Phase.FAILED, True),
    ],
)  # fmt: skip
def test_a_retry_policy_decides_what_is_tried_again(policy: str | None, phase: Phase, again: bool) -> None:
    sim = Simulation(pod("main", retryStrategy={"limit": 1, "retryPolicy": policy}))
    assert sim.run(lambda node, template: (phase, {})) is phase
    assert len(sim.order) == (2 if again else 1)


def test_a_workflow_survives_its_own_json_at_every_pass() -> None:
    sim = Simulation(steps([step("a")], [step("b")]), pod())
    operate(sim.workflow, sim.now)
    again = Workflow.from_json(sim.workflow.to_json())
    assert again.render() == sim.workflow.render()
    assert again.to_json() == sim.workflow.to_json()
    sim.workflow = again
    assert sim.run() is Phase.SUCCEEDED


def test_a_retry_of_a_nested_failure_keeps_the_finished_parts() -> None:
    inner = steps([step("x"), step("y")], [step("z")], name="inner")
    sim = Simulation(dag(task("a"), task("n", "a", template="inner"), task("b", "n")), inner, pod(), onExit="pod")
    assert sim.run(failing("y")) is Phase.FAILED
    assert sim.phases()["wf.onExit"] == "Succeeded"
    sim.order.clear()
    rerun(sim.workflow, sim.now)
    assert sim.workflow.status.phase is Phase.UNKNOWN
    assert sim.workflow.status.finished_at is None
    assert sim.run() is Phase.SUCCEEDED
    assert sim.order == ["y", "z", "b", "wf.onExit"]
    with pytest.raises(NotRetryableError):
        rerun(sim.workflow, sim.now)


@st.composite
def dags(draw: st.DrawFn) -> dict[str, list[str]]:
    """Tasks with what they need, each from those before it."""
    size = draw(st.integers(1, 8))
    names = [f"t{i}" for i in range(size)]
    return {n: draw(st.lists(st.sampled_from(names[:i]), unique=True, max_size=3)) if i else []
            for i, n in enumerate(names)}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(needs=dags(), data=st.data())
def test_any_dag_ends_and_a_retry_runs_only_what_had_not_succeeded(
    needs: dict[str, list[str]], data: st.DataObject
) -> None:
    failed = data.draw(st.sets(st.sampled_from(sorted(needs))))
    sim = Simulation(dag(*(task(name, *before) for name, before in needs.items())), pod())
    phase = sim.run(failing(*failed))
    ran = list(sim.order)
    for name in ran:
        assert all(before in ran and before not in failed for before in needs[name])
        assert all(ran.index(before) < ran.index(name) for before in needs[name])
    hit = failed & set(ran)
    assert phase is (Phase.FAILED if hit else Phase.SUCCEEDED)
    statuses = sim.phases()
    assert {n for n in needs if statuses[n] == "Omitted"} == set(needs) - set(ran)
    assert sim.workflow.status.progress == f"{len(ran) - len(hit)}/{len(ran)}"
    assert all(n.finished_at is not None for n in sim.workflow.status.nodes.values())
    if hit:
        sim.order.clear()
        rerun(sim.workflow, sim.now)
        assert sim.run() is Phase.SUCCEEDED
        assert set(sim.order) == set(needs) - (set(ran) - hit)


def test_templates_that_call_each_other_without_end_are_stopped() -> None:
    sim = Simulation(steps([step("again", "main")]))
    assert sim.run() in {Phase.ERROR, Phase.FAILED}
    assert any("max stack depth exceeded" in (n.message or "") for n in sim.workflow.status.nodes.values())
    assert not any(n.type is NodeType.POD for n in sim.workflow.status.nodes.values())


def test_only_one_way_to_expand_is_allowed() -> None:
    with pytest.raises(ManifestError, match="only one of withItems, withParam, withSequence"):
        Simulation(dag(task("a", withItems=["x"], withSequence={"count": 1})), pod())


def test_what_pods_took_is_added_up_and_their_results_are_complete() -> None:
    text = {"parameters": [{"name": "v", "value": "{{workflow.creationTimestamp.Y}}"}]}
    sim = Simulation(steps([step("a"), step("b", "use", arguments=text)]), pod(), pod("use", "v"))
    assert sim.run() is Phase.SUCCEEDED
    status = sim.workflow.render()["status"]
    assert isinstance(status, dict)
    assert status["resourcesDuration"] == {"cpu": 0, "memory": 2}
    assert status["taskResultsCompletionStatus"] == {sim.node(name).id: True for name in ("a", "b")}
    assert sim.node("wf").resources_duration == {"cpu": 0, "memory": 2}
    assert sim.arguments["b"] == f"{sim.workflow.metadata.created:%Y}"
