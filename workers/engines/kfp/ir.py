"""Compiled pipelines (KFP's intermediate representation): what they declare, and what a run of them is given."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import yaml

from workers.engines.json_view import child, text
from workers.engines.trace_context import objects_in, set_variables, variables
from workflows.errors import BundleInvalid, InputsInvalid
from workflows.manifests import engine_name, inspect_kfp, kfp_artifact_parameter
from workflows.outcome import Artifact
from workflows.trace import TRACEPARENT
from workflows.values import JsonObject, JsonValue, canonical_json

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "STRING": ((str,), "a string"),
    "NUMBER_INTEGER": ((int, float), "an integer"),
    "NUMBER_DOUBLE": ((int, float), "a number"),
    "BOOLEAN": ((bool,), "true or false"),
    "LIST": ((list,), "a list"),
    "STRUCT": ((dict,), "an object"),
}
"""What a value of each parameterType is in JSON, and in words."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A compiled pipeline.

    Attributes:
        spec: the pipeline spec (`pipelineInfo`, `root`, `components`, `deploymentSpec`).
        platform: the platform spec, the second document of a package; empty when it has none.
    """

    spec: JsonObject
    platform: JsonObject

    @property
    def name(self) -> str:
        return text(self.spec, "pipelineInfo", "name")

    @property
    def parameters(self) -> dict[str, str]:
        """Declared parameters and their types, as NUMBER_INTEGER."""
        return _types(child(self.spec, "root", "inputDefinitions", "parameters"))

    @property
    def outputs(self) -> dict[str, str]:
        """Declared output parameters and their types."""
        return _types(child(self.spec, "root", "outputDefinitions", "parameters"))

    @property
    def output_artifacts(self) -> dict[str, str]:
        """Declared output artifacts and their types, as system.Model."""
        declared = child(self.spec, "root", "outputDefinitions", "artifacts")
        return {name: text(declared, name, "artifactType", "schemaTitle") for name in declared}

    @property
    def declares_outputs(self) -> bool:
        return bool(self.outputs or self.output_artifacts)

    def for_api(self) -> JsonObject:
        """The value of a run's `pipeline_spec`: both specs in one object when there is a platform spec."""
        if self.platform:
            return {"pipeline_spec": self.spec, "platform_spec": self.platform}
        return self.spec

    def without_cache(self) -> Pipeline:
        """The same pipeline, all of whose tasks run anew: `cachingOptions.enableCache` is false."""
        spec = copy.deepcopy(self.spec)
        for component in (
            child(spec, "root"),
            *(child(spec, "components", name) for name in child(spec, "components")),
        ):
            for task in child(component, "dag", "tasks").values():
                if isinstance(task, dict):
                    task["cachingOptions"] = {"enableCache": False}
        return Pipeline(spec, self.platform)

    def with_variables(self, trace: Mapping[str, str]) -> Pipeline:
        """The same pipeline, all of whose containers have the trace context in their environment.

        The environment is no part of what KFP's cache compares (`GenerateCacheKey`, backend/src/v2/cacheutils).
        """
        spec = copy.deepcopy(self.spec)
        deployment = spec.get("deploymentSpec")
        executors = objects_in(deployment.get("executors") if isinstance(deployment, dict) else None)
        containers = [one for executor in executors if isinstance(one := executor.get("container"), dict)]
        values = variables(trace, len(containers))
        for container in containers:
            set_variables(container, values)
        return Pipeline(spec, self.platform)


def parse_package(package: str, file: str) -> Pipeline:
    """Read a compiled pipeline: one YAML document, or two with a platform spec.

    Raises:
        BundleInvalid: no YAML, or no pipeline in it.
    """
    try:
        documents = [document for document in yaml.safe_load_all(package) if document is not None]
    except yaml.YAMLError as error:
        raise BundleInvalid(f"{file}: not YAML: {error}", hint="compile the pipeline again") from error
    specs = [cast("JsonObject", document) for document in cast("list[object]", documents) if isinstance(document, dict)]
    spec = next((found for found in specs if "pipelineInfo" in found and "root" in found), None)
    if spec is None:
        raise BundleInvalid(
            f"{file}: there is no compiled pipeline in it (pipelineInfo and root are missing)",
            hint="compile it with kfp.compiler.Compiler().compile(pipeline, 'pipeline.yaml')",
        )
    platforms = [found for found in specs if "platforms" in found]
    return Pipeline(spec, platforms[0] if platforms else {})


def pipeline_of_api(pipeline_spec: JsonObject) -> Pipeline:
    """Read the `pipeline_spec` of a run or a pipeline version, in either of its forms."""
    if "pipeline_spec" in pipeline_spec:
        return Pipeline(child(pipeline_spec, "pipeline_spec"), child(pipeline_spec, "platform_spec"))
    return Pipeline(pipeline_spec, {})


def runtime_parameters(
    pipeline: Pipeline,
    parameters: Mapping[str, JsonValue],
    artifacts: Mapping[str, Artifact],
    trace: Mapping[str, str] | None = None,
) -> JsonObject:
    """A run's parameters, typed as the pipeline declares them.

    KFP takes no artifacts as inputs of a run. An artifact is passed as its URI, in a STRING parameter that the
    pipeline gives to `dsl.importer`: `<artifact>_uri` if the pipeline declares that, else `<artifact>`. A STRING
    parameter `traceparent` that nothing else is passed in gets that of the trace context.

    Raises:
        InputsInvalid: a name that the pipeline does not declare, or a value that does not fit.
    """
    declared = pipeline.parameters
    values: JsonObject = {}
    for name, value in parameters.items():
        known = _declared(pipeline, engine_name(name, declared), f"parameter '{name}'")
        values[known] = _typed(known, value, declared[known])
    for name, artifact in artifacts.items():
        known = kfp_artifact_parameter(name, declared)
        values[_declared(pipeline, known, f"artifact '{name}' ('{name}_uri' or '{name}')")] = artifact.uri
    if declared.get(TRACEPARENT) == "STRING" and trace and TRACEPARENT in trace:
        values.setdefault(TRACEPARENT, trace[TRACEPARENT])
    return values


def check_complete(pipeline: Pipeline, values: JsonObject) -> None:
    """Check a run's parameters, as `runtime_parameters` gives them, as a whole.

    Raises:
        InputsInvalid: one without a default is missing, or one is none of its declared literals.
    """
    known = inspect_kfp(pipeline.spec).parameters or {}
    missing = [name for name, parameter in known.items() if parameter.required and name not in values]
    if missing:
        raise InputsInvalid(
            f"pipeline '{pipeline.name}' needs {', '.join(map(repr, missing))}, without a default",
            hint="pass it under 'parameters' of the step" + _as_artifacts(missing),
        )
    for name, value in values.items():
        choices = known[name].choices
        if value is not None and choices and value not in choices:
            allowed = ", ".join(canonical_json(choice).decode() for choice in choices)
            raise InputsInvalid(
                f"parameter '{name}' of pipeline '{pipeline.name}' cannot be {canonical_json(value).decode()[:200]}",
                hint=f"it takes: {allowed}",
            )


def _as_artifacts(parameters: list[str]) -> str:
    uris = [name.removesuffix("_uri") for name in parameters if name.endswith("_uri")]
    return f", or {', '.join(map(repr, uris))} under 'artifacts'" if uris else ""


def _declared(pipeline: Pipeline, name: str, what: str) -> str:
    declared = pipeline.parameters
    if name in declared:
        return name
    close = difflib.get_close_matches(name, declared, n=1)
    raise InputsInvalid(
        f"pipeline '{pipeline.name}' declares no parameter for {what}",
        hint=f"did you mean '{close[0]}'?" if close else f"it declares: {', '.join(declared) or 'none'}",
    )


def _types(declared: JsonObject) -> dict[str, str]:
    return {name: text(declared, name, "parameterType") or "STRING" for name in declared}


def _typed(name: str, value: JsonValue, kind: str) -> JsonValue:
    """A value in the type that a parameter declares; text is read, other things are written as JSON for STRING."""
    if value is None or kind not in _KINDS:
        return value
    if kind == "STRING":
        return value if isinstance(value, str) else canonical_json(value).decode()
    accepted, words = _KINDS[kind]
    found = _read(value)
    if not isinstance(found, accepted) or (isinstance(found, bool) and kind != "BOOLEAN"):
        raise _unfit(name, value, words)
    if isinstance(found, int | float) and kind == "NUMBER_DOUBLE":
        return float(found)
    if isinstance(found, float):
        if not found.is_integer():
            raise _unfit(name, value, words)
        return int(found)
    return found


def _read(value: JsonValue) -> JsonValue:
    if not isinstance(value, str):
        return value
    try:
        return cast("JsonValue", json.loads(value))
    except ValueError:
        return value


def _unfit(name: str, value: JsonValue, words: str) -> InputsInvalid:
    return InputsInvalid(
        f"parameter '{name}' of the pipeline is {words}, but the value is {canonical_json(value).decode()[:200]}",
        hint="correct the step's parameters in the definition",
    )
