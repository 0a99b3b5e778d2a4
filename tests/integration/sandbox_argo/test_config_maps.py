"""Parameters whose values come from ConfigMaps."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import cast

import pytest

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import Argo, nodes_of, serve, shell, workflow

_LABEL = "workflows.argoproj.io/configmap-type"
_GLOBAL = "failed to set global parameters: failed to set global parameter p from configmap with name {} and key {}: "
_INPUT = "unable to retrieve inputs.parameters.p from ConfigMap: "
_ABSENT = (
    "ConfigMap '{}' does not exist. Please make sure it has the label workflows.argoproj.io/configmap-type: Parameter "
    "to be detectable by the controller"
)


@pytest.fixture(scope="module")
def argo(module_settings: ArgoSandboxSettings) -> Generator[Argo]:
    folder = module_settings.data_dir.parent / "objects"
    folder.mkdir()
    for name, labels in (("words", {_LABEL: "Parameter"}), ("cache", {_LABEL: "Cache"}), ("plain", {})):
        body = {"kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"word": f"of {name}"}}
        (folder / f"{name}.yaml").write_text(json.dumps(body))
    with serve(module_settings.model_copy(update={"objects": (folder,)})) as client:
        yield client


def source(name: str, key: str = "word", **more: object) -> JsonObject:
    reference: JsonObject = {"name": name, "key": key}
    return cast("JsonObject", {"name": "p", "valueFrom": {"configMapKeyRef": reference, **more}})


def values(node: JsonObject) -> list[object]:
    return [p.get("value") for p in cast("list[JsonObject]", cast("JsonObject", node["inputs"])["parameters"])]


def test_arguments_inputs_and_calls_take_their_values_from_config_maps(argo: Argo) -> None:
    say = shell("say", "echo {{inputs.parameters.p}}, {{workflow.parameters.p}}", inputs={"parameters": [source(
        "{{workflow.parameters.name}}")]})  # fmt: skip
    plain = shell("plain", "true", inputs={"parameters": [{"name": "p"}]})
    item = source("{{item}}")
    main = {"name": "main", "inputs": {"parameters": [{"name": "p"}]}, "steps": [[
        {"name": "own", "template": "say"},
        {"name": "given", "template": "say", "arguments": {"parameters": [{"name": "p", "value": "given"}]}},
        {"name": "each", "template": "plain", "withItems": ["words"], "arguments": {"parameters": [item]}},
    ]]}  # fmt: skip
    arguments = {"parameters": [source("words"), {"name": "name", "value": "words"}]}
    ended = argo.run(workflow("reads", "main", main, say, plain, arguments=arguments))
    nodes = nodes_of(ended)
    assert {name: values(nodes[name]) for name in ("reads", "own", "given", "each(0:words)")} == {
        "reads": ["of words"], "own": ["of words"], "given": ["given"], "each(0:words)": ["of words"],
    }  # fmt: skip
    assert sorted(argo.logs("reads")) == ["given, of words", "of words, of words"]


@pytest.mark.parametrize(
    ("place", "reference", "ending"),
    [
        ("arguments", source("nothing"), ("Failed", _GLOBAL.format("nothing", "word") + _ABSENT.format("nothing"))),
        ("arguments", source("cache", default="d"), ("Succeeded", None)),  # any failure has the default
        ("inputs", source("plain"), ("Error", _INPUT + _ABSENT.format("plain"))),
        ("inputs", source("words", "x"), ("Error", f"{_INPUT}ConfigMap 'words' does not have the key 'x'")),
        ("inputs", source("words", "x", default="d"), ("Succeeded", None)),
        ("inputs", source("cache", default="d"), ("Error",
         f"{_INPUT}ConfigMap 'cache' needs to have the label {_LABEL}: Parameter to load parameters")),
    ],
)  # fmt: skip
def test_what_a_config_map_does_not_give_has_its_default_or_fails_in_the_controllers_words(
    argo: Argo, place: str, reference: JsonObject, ending: tuple[str, str | None], request: pytest.FixtureRequest
) -> None:
    phase, message = ending
    name = f"gives-{request.node.callspec.indices['place']}"
    given: JsonObject = {"parameters": [reference]}
    say = shell("say", "echo p={{workflow.parameters.p}}") if place == "arguments" else shell(
        "say", "echo p={{inputs.parameters.p}}", inputs=given)  # fmt: skip
    ended = argo.run(workflow(name, "say", say, **({"arguments": given} if place == "arguments" else {})), phase)
    found = str(cast("JsonObject", ended["status"]).get("message"))
    if message is None:
        assert argo.logs(name) == ["p=d"]
    else:
        assert found == (f"error in entry template execution: {message}" if place == "inputs" else message)


def test_other_sources_of_arguments_are_refused_at_create(argo: Argo) -> None:
    say = shell(
        "say", "true", inputs={"parameters": [{"name": "p", "default": "a", "valueFrom": {"expression": "'a'"}}]}
    )
    assert "templates.say.inputs.parameters.p.valueFrom" in argo.refuse(workflow("refused", "say", say))
    supplied: JsonObject = {"supplied": {}}
    arguments: JsonObject = {"parameters": [{"name": "p", "valueFrom": supplied}]}
    refused = argo.refuse(workflow("refused", "say", shell("say", "true"), arguments=arguments))
    assert "spec.arguments.p.valueFrom" in refused
