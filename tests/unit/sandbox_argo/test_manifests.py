"""What refuses a manifest before anything runs: tags that stand for nothing, names, loops."""

from __future__ import annotations

import json

import pytest
from hera.workflows import models as m
from pydantic import JsonValue

from meta.sandbox.argo.manifest.read import ManifestError
from meta.sandbox.argo.operator.arguments import process_arguments
from meta.sandbox.argo.operator.operation import operate
from meta.sandbox.argo.state.status import NodeStatus, Phase
from meta.sandbox.kubernetes_objects import KubernetesObjects
from tests.support.argo import Simulation, dag, pod, step, steps, task

Template = dict[str, object]


def arguments(value: str) -> Template:
    return {"arguments": {"parameters": [{"name": "v", "value": value}]}}


def use(name: str, value: str, **more: object) -> Template:
    return step(name, "use", **arguments(value), **more)


def task_using(name: str, value: str, *needs: str) -> Template:
    return task(name, *needs, template="use", **arguments(value))


def looped(value: str, *items: object, **more: object) -> Template:
    return steps([use("a", value, withItems=list(items), **more)])


def inputs(**values: object) -> Template:
    return pod("main", inputs=values)


OUTPUT = {"outputs": {"parameters": [{"name": "o", "valueFrom": {"path": "/o"}}]}}
REFUSED: dict[str, tuple[Template, str]] = {
    "a part that no item has": (looped("{{item.b}}", {"a": 1}), "templates.main.steps failed to resolve {{item.b}}"),
    "an output that the template does not declare": (
        steps([step("a")], [use("b", "{{steps.a.outputs.parameters.no}}")]),
        "templates.main.steps failed to resolve {{steps.a.outputs.parameters.no}}",
    ),
    "an output of a later step": (
        steps([use("a", "{{steps.b.outputs.result}}")], [step("b")]),
        "templates.main.steps failed to resolve {{steps.b.outputs.result}}",
    ),
    "an output of a task that need not have run": (
        dag(task("a"), task_using("b", "{{tasks.a.outputs.result}}")),
        "templates.main.tasks.b missing dependency 'a' for parameter 'v'",
    ),
    "the phase of a task that need not have run": (
        dag(task("a"), task("b", when="{{tasks.a.status}} == Failed")),
        "templates.main.tasks.b failed to resolve {{tasks.a.status}}",
    ),
    "outputs that are no step's": (
        steps([step("a")]) | {"outputs": {"parameters": [
            {"name": "x", "valueFrom": {"parameter": "{{steps.no.outputs.result}}"}}]}},
        "templates.main.outputs failed to resolve {{steps.no.outputs.result}}",
    ),
    "a condition on items where there are none": (
        dag(task("a"), task("b", depends="a.AnySucceeded")),
        "templates.main.tasks.b dependency 'a' uses an items-based condition",
    ),
    "a sequence with a count and an end": (
        steps([step("a", withSequence={"count": 2, "end": 3})]),
        "only one of count or end can be defined in withSequence",
    ),
    "two inputs of a name": (
        inputs(parameters=[{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]),
        "templates.main.inputs.parameters[1].name 'a' is not unique",
    ),
    "a name with a blank": (
        inputs(parameters=[{"name": "a b", "value": "1"}]),
        "templates.main.inputs.parameters[0].name: 'a b' is invalid",
    ),
    "two artifacts at a place": (
        inputs(artifacts=[{"name": name, "path": "/x", "raw": {"data": name}} for name in ("a", "b")]),
        "templates.main.inputs.artifacts[1].path '/x' already mounted in inputs.artifacts.a",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_manifest_is_refused_for(what: str) -> None:
    template, message = REFUSED[what]
    with pytest.raises(ManifestError) as caught:
        Simulation(template, pod(), pod("use", "v"))
    assert message in str(caught.value)


ACCEPTED: dict[str, Template] = {
    "tags of somebody else": steps([use("a", "{{user.name}} {{ .Names }} {{foo}}")]),
    "what follows its declaration": steps([step("a", "out")], [use("b", "{{steps.a.outputs.parameters.o}}")]),
    "results of a loop": steps(
        [step("a", "out", withItems=["x"])],
        [use("b", "{{steps.a.outputs.parameters}}{{steps.a.outputs.parameters.o}}{{steps.a.outputs.result}}")],
    ),
    "a step's own phase in its hook": steps(
        [step("a", hooks={"exit": {"template": "use"} | arguments("{{steps.a.status}}")})]
    ),
    "an ancestor's ancestor": dag(
        task("a", template="out"), task("b", "a"), task_using("c", "{{tasks.a.outputs.parameters.o}}", "b")
    ),
    "parts of an item that only shows at run time": steps([use("a", "{{item.b}}", withParam='[{"b": 1}]')]),
}  # fmt: skip


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_manifest_is_taken_with(what: str) -> None:
    def ending(node: NodeStatus, _: object) -> tuple[Phase, dict[str, str]]:
        return Phase.SUCCEEDED, {"o": "1"} if node.template_of_pod == "out" else {}

    sim = Simulation(ACCEPTED[what], pod(), pod("use", "v"), pod("out", **OUTPUT))
    assert sim.run(ending) is Phase.SUCCEEDED


def test_a_part_of_an_item_that_it_lacks_at_run_time_is_an_error() -> None:
    sim = Simulation(steps([use("a", "{{item.b}}", withParam='[{"b": 1}, {"c": 2}]')]), pod("use", "v"))
    assert sim.run() is Phase.FAILED
    assert sim.workflow.status.message == "failed to resolve references: failed to resolve {{item.b}}"
    assert sim.order == []


def test_items_become_text_as_the_controller_writes_them() -> None:
    items: list[JsonValue] = [{"b": [{"d": 1, "c": "é<"}], "a": True}, ["é", "<"]]
    param = json.dumps([{"z": {"y": 1, "x": 2}}])
    sim = Simulation(
        steps([use("i", "{{item}}", withItems=items[1:]), use("m", "{{item.b}} {{item.a}}", withItems=items[:1])],
              [use("p", "{{item}} {{item.z}}", withParam=param)]),
        pod("use", "v"),
    )  # fmt: skip
    assert sim.run() is Phase.SUCCEEDED
    assert sim.arguments == {
        "i(0:[é <])": '["é","\\u003c"]',
        'm(0:a:true,b:[{"c":"é<","d":1}])': '[{"c":"é<","d":1}] true',
        'p(0:z:{"y":1,"x":2})': '{"z":{"y":1,"x":2}} {"y":1,"x":2}',
    }


def test_a_sequence_without_an_end_is_an_error() -> None:
    sim = Simulation(steps([step("a", withSequence={"start": 3})]), pod())
    operate(sim.workflow, sim.now)
    assert sim.workflow.status.message == (
        "failed to resolve references: neither end nor count was specified in withSequence"
    )


def test_an_enum_binds_arguments_and_not_inputs() -> None:
    choice: Template = {"name": "v", "enum": ["a", "b"]}
    sim = Simulation(steps([use("s", "c")]), pod("use", inputs={"parameters": [choice]}))
    assert sim.run() is Phase.SUCCEEDED
    wrong: list[tuple[Template, str]] = [({"value": "c"}, "enum list"), ({"value": "a", "enum": []}, "at least one")]
    for values, message in wrong:
        with pytest.raises(ManifestError, match=message):
            Simulation(steps([step("s", "use", arguments={"parameters": [choice | values]})]), pod("use", "v"))


def test_tags_in_a_workflows_argument_are_replaced_where_it_is_used() -> None:
    spec = {"arguments": {"parameters": [{"name": "path", "value": "runs/{{workflow.name}}/x"}]}}
    sim = Simulation(steps([use("a", "{{workflow.parameters.path}}")]), pod("use", "v"), **spec)
    assert sim.run() is Phase.SUCCEEDED
    assert sim.arguments == {"a": "runs/wf/x"}


def test_all_inputs_together_are_a_list() -> None:
    main = steps([use("a", "{{inputs.parameters}}")]) | {
        "inputs": {"parameters": [{"name": "x", "default": "1", "description": "an <input>"}]}
    }
    sim = Simulation(main, pod("use", "v"))
    assert sim.run() is Phase.SUCCEEDED
    assert sim.arguments == {"a": '[{"name":"x","default":"1","value":"1","description":"an \\u003cinput\\u003e"}]'}


def test_how_an_artifact_is_packed_is_its_producers_word() -> None:
    """An argument displaces all of an input but its place and mode (ProcessArgs): it is opened if it is a tarball."""
    wanted = m.Inputs(artifacts=[m.Artifact(name="a", path="/a", archive=m.ArchiveStrategy(none=m.NoneStrategy()))])
    given = m.Arguments(artifacts=[m.Artifact(name="a", s3=m.S3Artifact(key="k"))])
    processed = process_arguments(m.Template(name="t", inputs=wanted), given, {}, KubernetesObjects())
    assert processed.inputs is not None and processed.inputs.artifacts is not None
    assert (processed.inputs.artifacts[0].path, processed.inputs.artifacts[0].archive) == ("/a", None)
