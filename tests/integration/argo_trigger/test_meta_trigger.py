"""A DAG of Argo that contains a meta-run, by the WorkflowTemplate `meta-trigger`, on the embedded stack."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import yaml
from hera.workflows import models as m

from meta.client import MetaClient, RunView
from meta.stack import Addresses, PartName
from tests.integration.sandbox_argo.conftest import NAMESPACE, Argo, nodes_of, shell, workflow
from tests.support.stack import StackCommand
from tests.support.starting import starts_runs
from workflows.bundle import build_bundle
from workflows.outcome import RunState
from workflows.values import JsonObject, JsonValue

TEMPLATE = Path(__file__).parents[3] / "deploy" / "argo" / "meta-trigger.yaml"
IMAGE = "meta-workflows:0.1.0"

MANIFEST = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: say-}
spec:
  entrypoint: main
  arguments: {parameters: [{name: word, value: nothing}]}
  templates:
    - name: main
      container:
        image: alpine:3
        command: [sh, -c]
        args: ["case {{workflow.parameters.word}} in bad) exit 3;; slow) sleep 60;; esac; echo -n said {{workflow.parameters.word}} > /tmp/said"]
      outputs: {parameters: [{name: said, valueFrom: {path: /tmp/said}}]}
"""  # noqa: E501
DEFINITION = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: saying}
inputs: {word: {type: string}, times: {type: integer, default: 1}}
steps:
  say: {argo: {manifest: say.yaml}, parameters: {word: "${{ inputs.word }}"}}
outputs: {said: "${{ steps.say.outputs.said }}", times: "${{ inputs.times }}"}
"""


@dataclass
class Stack:
    addresses: Addresses
    argo: Argo

    def client(self) -> MetaClient:
        return MetaClient(self.addresses.grpc)

    def dag(self, name: str, template: str, **arguments: str) -> JsonObject:
        """First, then the meta-run, then a node that has its outputs."""
        parameters: list[JsonValue] = [
            {"name": key.replace("_", "-"), "value": text} for key, text in arguments.items()
        ]
        said = "{{=jsonpath(tasks['middle'].outputs.parameters.outputs, '$.said')}}"
        state = "{{tasks.middle.outputs.parameters.state}}"
        tasks: list[JsonValue] = [
            {"name": "first", "template": "first"},
            {"name": "middle", "depends": "first", "templateRef": {"name": "meta-trigger", "template": template},
             "arguments": {"parameters": parameters}},
            {"name": "last", "depends": "middle", "template": "last", "arguments": {"parameters": [
                {"name": "said", "value": said}, {"name": "state", "value": state},
            ]}},
        ]  # fmt: skip
        takes = {"parameters": [{"name": "said"}, {"name": "state"}]}
        last = shell("last", "echo last has {{inputs.parameters.said}} {{inputs.parameters.state}}", inputs=takes)
        return workflow(name, "main", {"name": "main", "dag": {"tasks": tasks}}, shell("first", "true"), last)

    async def running(self, name: str) -> RunView:
        """The run that a workflow's node waits for, once its step is at its engine."""
        async with self.client() as client, asyncio.timeout(60):
            while True:
                for run in (await client.list(workflow="saying", state=RunState.RUNNING)).runs:
                    found = await client.get(run.id)
                    if f":{name}.middle:" in found.request_id and found.steps[0].run is not None:
                        return found
                await asyncio.sleep(0.1)

    async def runs(self) -> list[RunView]:
        async with self.client() as client:
            return (await client.list(workflow="saying")).runs


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    folder = tmp_path_factory.mktemp("meta-trigger")
    program = folder / "programs" / "meta"
    program.parent.mkdir()
    meta = Path(sys.executable).parent / "meta"
    config = folder / "stack" / "meta.toml"
    program.write_text(f'#!/bin/sh\nMETA_CONFIG={shlex.quote(str(config))} exec {shlex.quote(str(meta))} "$@"\n')
    program.chmod(0o755)
    images = folder / "images.toml"
    images.write_text(f'[images."{IMAGE}"]\npath = "programs"\n')
    with StackCommand(folder / "stack", images) as command:
        addresses = command.up(PartName.ARGO, PartName.NATS, PartName.SERVICE, PartName.WORKER)
        made = Stack(addresses, Argo(addresses.argo))
        (folder / "say.yaml").write_text(MANIFEST)
        (folder / "workflow.yaml").write_text(DEFINITION)
        asyncio.run(_publish(made, folder / "workflow.yaml"))
        body = cast("JsonObject", yaml.safe_load(TEMPLATE.read_text()))
        status, answer = made.argo.call("POST", f"/workflow-templates/{NAMESPACE}", {"template": body})
        assert status == 200, answer
        yield made


async def _publish(stack: Stack, file: Path) -> None:
    async with stack.client() as client:
        await client.publish(build_bundle(file))


def say(word: str) -> str:
    return json.dumps({"word": word, "times": 2})


def output(node: JsonObject, name: str) -> str:
    given = cast("list[JsonObject]", cast("JsonObject", node["outputs"])["parameters"])
    return next(str(one["value"]) for one in given if one["name"] == name)


async def test_the_outputs_of_the_meta_run_arrive_in_the_next_node(stack: Stack) -> None:
    made = stack.dag("good", "run", workflow="saying", inputs=say("hello"), address=stack.addresses.grpc)
    ended = await asyncio.to_thread(stack.argo.run, made)
    assert "last has said hello succeeded" in stack.argo.logs("good")
    middle = nodes_of(ended)["middle"]
    assert json.loads(output(middle, "outputs")) == {"said": "said hello", "times": 2}
    assert output(middle, "run") in [run.id for run in await stack.runs()]


async def test_a_meta_run_that_fails_fails_the_node_with_its_message_and_is_not_tried_again(stack: Stack) -> None:
    made = stack.dag("bad", "run", workflow="saying", inputs=say("bad"), address=stack.addresses.grpc)
    ended = await asyncio.to_thread(stack.argo.run, made, "Failed")
    middle = nodes_of(ended)["middle"]
    assert (output(middle, "state"), len(cast("list[str]", middle["children"]))) == ("failed", 1)
    assert "step say failed" in output(middle, "message")
    assert any("step say failed" in line for line in stack.argo.logs("bad"))


@pytest.mark.parametrize(("on_stop", "state"), [("cancel", RunState.CANCELED), ("leave", RunState.RUNNING)])
async def test_stopping_the_workflow_cancels_the_meta_run_or_leaves_it(
    stack: Stack, on_stop: str, state: RunState
) -> None:
    name = f"stopped-{on_stop}"
    address = stack.addresses.grpc
    stack.argo.create(stack.dag(name, "run", workflow="saying", inputs=say("slow"), address=address, on_stop=on_stop))
    run = await stack.running(name)
    assert stack.argo.put(name, "stop")[0] == 200
    await asyncio.to_thread(stack.argo.finished, name, "Failed")
    async with stack.client() as client:
        if state is RunState.CANCELED:
            assert (await client.wait(run.id)).state is state
        else:
            assert (await client.get(run.id)).state is state
            await client.cancel(run.id)
            await client.wait(run.id)


async def test_a_node_publishes_an_event_and_waits_for_the_run_that_it_starts(stack: Stack) -> None:
    addresses = stack.addresses
    arguments = {"subject": "lake.arrived", "workflow": "saying", "data": say("hi"), "timeout": "60s"}
    async with starts_runs(addresses.nats, addresses.grpc, "lake.arrived", "saying"):
        ended = await asyncio.to_thread(stack.argo.run, stack.dag("by-event", "event", **arguments))
    assert "last has said hi succeeded" in stack.argo.logs("by-event")
    assert output(nodes_of(ended)["middle"], "run") in [run.id for run in await stack.runs()]


def test_the_template_names_the_image_of_the_compose_file_and_this_version() -> None:
    compose = yaml.safe_load((TEMPLATE.parents[2] / "docker-compose.yml").read_text())
    image = compose["x-image"]["image"].replace("${META_VERSION:-", "").replace("}", "")
    templates = yaml.safe_load(TEMPLATE.read_text())["spec"]["templates"]
    assert {one["container"]["image"] for one in templates} == {image} == {IMAGE}


def test_the_template_is_a_workflow_template_of_argo_to_the_last_key() -> None:
    document = yaml.safe_load(TEMPLATE.read_text())
    parsed = m.WorkflowTemplate.model_validate(document)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True) == document
