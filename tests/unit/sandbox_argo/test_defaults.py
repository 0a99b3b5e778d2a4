"""`templateDefaults`, names to show, and caches of templates that are no pods."""

from __future__ import annotations

from typing import Any

from meta.sandbox.argo.state.status import Phase
from tests.support.argo import Simulation, dag, failing, pod, step, steps, task


def test_defaults_reach_every_template_and_a_templates_own_settings_win() -> None:
    fast: dict[str, Any] = {"retryStrategy": {"limit": 1}}
    chain = steps([step("often", "often")], [step("once", "once")])
    sim = Simulation(chain, pod("often"), pod("once", **fast), templateDefaults={"retryStrategy": {"limit": 2}})
    assert sim.run(failing("often(0)", "often(1)", "once(0)")) is Phase.SUCCEEDED
    assert sim.order == ["often(0)", "often(1)", "often(2)", "once(0)", "once(1)"]


def test_defaults_of_another_kind_of_template_stay_out() -> None:
    defaults: dict[str, Any] = {"container": {"image": "other", "env": [{"name": "A", "value": "1"}]}}
    sim = Simulation(dag(task("only")), pod(), templateDefaults=defaults)
    (request,) = sim.step().pods.values()
    container = request.template.container
    assert container is not None
    assert container.image == "i"
    assert [variable.name for variable in container.env or []] == ["A"]


def test_a_template_can_name_its_nodes() -> None:
    named = pod("shown", "who", annotations={"workflows.argoproj.io/display-name": "hello-{{inputs.parameters.who}}"})
    argument = {"parameters": [{"name": "who", "value": "you"}]}
    sim = Simulation(steps([step("greet", "shown", arguments=argument)]), named)
    assert sim.run() is Phase.SUCCEEDED
    assert sim.node("hello-you").template_name == "shown"


def test_a_dag_that_is_memoized_runs_once() -> None:
    cached = {"memoize": {"key": "k", "maxAge": "1h", "cache": {"configMap": {"name": "c"}}}}
    made: dict[str, Any] = {
        "outputs": {"parameters": [{"name": "x", "valueFrom": {"parameter": "{{tasks.pod.outputs.parameters.x}}"}}]}
    }
    leaf = pod("pod", outputs={"parameters": [{"name": "x", "valueFrom": {"path": "/tmp/x"}}]})
    sim = Simulation(
        steps([step("first", "inner")], [step("second", "inner")]),
        {**dag(task("pod"), name="inner"), **cached, **made}, leaf,
    )  # fmt: skip
    assert sim.run(lambda node, template: (Phase.SUCCEEDED, {"x": "7"})) is Phase.SUCCEEDED
    assert sim.order == ["pod"]
    second = sim.node("second").render()
    assert second["memoizationStatus"] == {"hit": True, "key": "k", "cacheName": "c"}
    assert second["outputs"] == sim.node("first").render()["outputs"]
