"""A compiled pipeline: reading it, and refusing what this server cannot run, by name.

The rules that the real server has (kubeflow/pipelines, template/v2_template.go) come with its own words; the rest is
`unsupported`.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import yaml
from google.protobuf import json_format

from meta.sandbox.images import ImageTable
from meta.sandbox.kfp.errors import ApiError, invalid_input, unsupported
from meta.sandbox.kfp.executors import Executor, check_placeholders, check_uri, read_executors
from meta.sandbox.kfp.parameters import check_parameters
from meta.sandbox.kfp.platform import Platform, read_platform
from meta.sandbox.kubernetes_objects import KubernetesObjects

Json: TypeAlias = dict[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@functools.cache
def _messages() -> Any:
    """The generated messages of the IR, without `import kfp`, which takes seconds for a client of Kubernetes."""
    kfp = importlib.util.find_spec("kfp")
    assert kfp is not None and kfp.submodule_search_locations is not None, "kfp is a dependency"
    file = Path(kfp.submodule_search_locations[0]) / "pipeline_spec" / "pipeline_spec_pb2.py"
    found = importlib.util.spec_from_file_location("meta_sandbox_pipeline_spec_pb2", file)
    assert found is not None and found.loader is not None, f"kfp has no {file}"
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class CompiledPipeline:
    """A checked pipeline.

    Attributes:
        spec: the IR as JSON (`PipelineSpec`), with protobuf's JSON names however it was written.
        document: what the API gives back as `pipeline_spec`: the IR, or both documents when there is a platform spec.
        name: `pipelineInfo.name`.
        executors: the containers, by their order in the IR.
        platform: the Kubernetes settings, and what of them is only noted on the run.
    """

    spec: Json
    document: Json
    name: str
    executors: tuple[Executor, ...]
    platform: Platform

    @property
    def parameters(self) -> Mapping[str, Json]:
        inputs: Json = self.spec.get("root", {}).get("inputDefinitions", {})
        return cast("Mapping[str, Json]", inputs.get("parameters", {}))

    def check_parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Check run parameters against the declared ones and give integers their type.

        Raises:
            ApiError: a missing, unknown or wrongly typed parameter.
        """
        checked = check_parameters(self.parameters, given)
        for place, given_uri in _import_uris(self.spec):
            name = given_uri.get("componentInputParameter", "")
            if place.startswith("root.") and name in self.parameters:
                check_uri(place, checked.get(name, self.parameters[name].get("defaultValue")))
        return checked


def _import_uris(ir: Json) -> Iterator[tuple[str, Json]]:
    """Where each importer task gets its URI from, when its executor does not name it; with the place of it."""
    components: dict[str, Json] = ir.get("components", {})
    executors: dict[str, Json] = ir.get("deploymentSpec", {}).get("executors", {})
    for place, component in {"root": ir["root"], **{f"components.{key}": it for key, it in components.items()}}.items():
        for name, task in cast("dict[str, Json]", component.get("dag", {}).get("tasks", {})).items():
            label = components.get(task.get("componentRef", {}).get("name", ""), {}).get("executorLabel", "")
            parameter = executors.get(label, {}).get("importer", {}).get("artifactUri", {}).get("runtimeParameter", "")
            given = task.get("inputs", {}).get("parameters", {}).get(parameter)
            if given is not None:
                yield f"{place}.dag.tasks.{name}.inputs.parameters.{parameter}", given


def read_package(text: str) -> Json:
    """Read an uploaded package, as one or two YAML documents, into the form that `pipeline_spec` has.

    Raises:
        ApiError: it is no YAML, or no compiled pipeline.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise _bad_spec(f"unable to decode yaml document: {error}") from error
    spec: Json | None = None
    platform: Json | None = None
    for document in documents:
        if not isinstance(document, dict):
            continue
        if "platforms" in document:
            platform = cast("Json", document)
        elif spec is not None:
            raise _bad_spec("multiple pipeline specs provided")
        else:
            spec = cast("Json", document)
    if spec is None:
        raise _bad_spec("no pipeline spec is provided")
    return spec if platform is None else {"pipeline_spec": spec, "platform_spec": platform}


def parse(document: Json, images: ImageTable, objects: KubernetesObjects) -> CompiledPipeline:
    """Check a `pipeline_spec` and say what it needs.

    Args:
        document: the IR, or `{"pipeline_spec": IR, "platform_spec": ...}` as the SDK sends it with a platform spec.
        images: the images table.
        objects: ConfigMaps and Secrets that components may read.

    Raises:
        ApiError: it is not valid, or the sandbox cannot run it; the message names the field.
    """
    spec: Json = document
    platform: Json = {}
    if "pipeline_spec" in document:
        unknown = sorted(set(document) - {"pipeline_spec", "platform_spec"})
        if unknown:
            raise _bad_spec(f'unknown field "{unknown[0]}" beside pipeline_spec')
        spec = document["pipeline_spec"]
        platform = document.get("platform_spec") or {}
    try:
        ir = json_format.MessageToDict(json_format.ParseDict(spec, _messages().PipelineSpec()))
    except json_format.ParseError as error:
        raise _bad_spec(str(error)) from error
    version = str(ir.get("schemaVersion", ""))
    root: Json = ir.get("root", {})
    if version != "2.1.0":
        raise _bad_spec(f"KFP only supports schema version 2.1.0, but the pipeline spec has version {version}")
    name = str(ir.get("pipelineInfo", {}).get("name", ""))
    if not name:
        raise _bad_spec("name is empty")
    if not _NAME.fullmatch(name):
        raise _bad_spec(
            "name should consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
            "alphanumeric character"
        )
    if "dag" not in root:
        raise _bad_spec("root component is empty")
    for artifact in root.get("inputDefinitions", {}).get("artifacts", {}):
        raise unsupported(
            f"root.inputDefinitions.artifacts.{artifact}", "pass a URI parameter and import it with dsl.importer"
        )
    _check_dags(ir)
    for place, given in _import_uris(ir):
        check_uri(place, given.get("runtimeValue", {}).get("constant"))
    executors = read_executors(cast("Json", ir.get("deploymentSpec", {})), images)
    settings = read_platform(ir, platform, objects)
    return CompiledPipeline(spec=ir, document=document, name=name, executors=executors, platform=settings)


def _check_dags(ir: Json) -> None:
    """Refuse placeholders that nothing replaces."""
    components = cast("dict[str, Json]", ir.get("components", {}))
    for place, component in {
        "root": ir["root"],
        **{f"components.{key}": value for key, value in components.items()},
    }.items():
        for task, task_spec in cast("dict[str, Json]", component.get("dag", {}).get("tasks", {})).items():
            for name, one in cast("dict[str, Json]", task_spec.get("inputs", {}).get("parameters", {})).items():
                constant = one.get("runtimeValue", {}).get("constant")
                check_placeholders(f"{place}.dag.tasks.{task}.inputs.parameters.{name}", constant)
        for name, one in cast("dict[str, Json]", component.get("inputDefinitions", {}).get("parameters", {})).items():
            check_placeholders(f"{place}.inputDefinitions.parameters.{name}", one.get("defaultValue"))


def _bad_spec(message: str) -> ApiError:
    return invalid_input(f"Failed to create a new v2 pipeline spec: invalid v2 pipeline spec: {message}")


def canonical(document: Json) -> str:
    """The document as text for the store."""
    return json.dumps(document, separators=(",", ":"))
