"""The body of a request that starts a KFP run, as a step.

Source: kubeflow/pipelines, `backend/api/v2beta1/run.proto` (CreateRun: POST /apis/v2beta1/runs with a Run).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from meta.importing.documents import At
from meta.importing.draft import StepDraft
from meta.importing.paths import NotCarried
from meta.importing.report import Report
from workflows.expressions.templates import walk_strings
from workflows.manifests.kfp import is_pipeline
from workflows.manifests.view import obj, text
from workflows.values import JsonObject
from workflows.yaml_text import yaml_text

_RUNS = re.compile(r"/apis/v2beta1/runs/?$")
_BODY = frozenset(
    {"display_name", "name", "description", "experiment_id", "pipeline_version_reference", "pipeline_version_id",
     "pipeline_id", "pipeline_spec", "runtime_config", "service_account", "namespace", "run_id"}
)  # fmt: skip
_NAMED = "the service names each run, by the meta-run and the step"


@dataclass(frozen=True)
class Pipelines:
    """Names of uploaded pipelines and their versions by id: requests have ids, definitions names."""

    names: Mapping[str, str] = field(default_factory=dict[str, str])


def is_start(method: str, url: str) -> bool:
    """Whether a request starts a KFP run."""
    return method.upper() == "POST" and bool(_RUNS.search(urlsplit(url).path))


def kfp_step(body: JsonObject, at: At, name: str, pipelines: Pipelines, report: Report) -> StepDraft:
    """The step that starts the same run.

    Args:
        body: of the request; strings may be templates over `inputs`.
        at: where it stands, for remarks.
        name: of the step.
        pipelines: names by id.
        report: told what is not carried over.

    Raises:
        NotCarried: what it runs is not in it, or an event chooses it.
    """
    body = {_snake(key): value for key, value in body.items()}
    config = {_snake(key): value for key, value in obj(body, "runtime_config").items()}
    for key in body:
        if key not in _BODY:
            report.left_out(at, f"the request has '{key}', which a KFP run does not have")
    for key in ("display_name", "name", "description"):
        if key in body:
            report.differs(at, f"the request has '{key}'", _NAMED)
    if text(body, "experiment_id"):
        words = "name the experiment in the step, as experiment: NAME; by default it is the workflow's"
        report.left_out(at, f"experiment_id: '{text(body, 'experiment_id')}'", words)
    source, files = _source(body, at, name, pipelines, report)
    for key, word in (("service_account", "serviceAccount"), ("pipeline_root", "pipelineRoot")):
        value = text(config if key == "pipeline_root" else body, key)
        if value and _constant(value):
            source[word] = value
        elif value:
            report.left_out(at, f"{key} depends on the event", "it is fixed in a step")
    parameters = config.get("parameters")
    if isinstance(parameters, str):
        report.left_out(at, f"all parameters of the run are one value, {parameters}",
                        "name each under the step's 'parameters', as ${{ inputs.<name> }}")  # fmt: skip
    return StepDraft(name, {"kfp": source}, obj(config, "parameters"), files)


def _source(
    body: JsonObject, at: At, name: str, pipelines: Pipelines, report: Report
) -> tuple[JsonObject, dict[str, str]]:
    if isinstance(spec := body.get("pipeline_spec"), dict):
        return _package(spec, name)
    reference = {_snake(key): value for key, value in obj(body, "pipeline_version_reference").items()}
    pipeline = text(reference, "pipeline_id") or text(body, "pipeline_id")
    version = text(reference, "pipeline_version_id") or text(body, "pipeline_version_id")
    if not pipeline:
        raise NotCarried("the request names no pipeline_id and has no pipeline_spec")
    if not _constant(pipeline) or not _constant(version):
        raise NotCarried("the event chooses the pipeline; it chooses inputs only, never what runs")
    source: JsonObject = {"pipeline": pipelines.names.get(pipeline, pipeline)}
    if version:
        source["version"] = pipelines.names.get(version, version)
    unknown = [one for one in (pipeline, version) if one and one not in pipelines.names]
    if unknown:
        report.fill_in(
            at, f"the request has the pipeline by its id: {', '.join(unknown)}",
            "put the names into the step, or give --pipeline ID=NAME for each",
        )  # fmt: skip
    return source, {}


def _package(spec: JsonObject, name: str) -> tuple[JsonObject, dict[str, str]]:
    documents = [spec]
    if isinstance(inner := spec.get("pipeline_spec"), dict):  # with the platform's beside it
        documents = [inner, *(one for one in [obj(spec, "platform_spec")] if one)]
    if not is_pipeline(documents[0]):
        raise NotCarried("the request's pipeline_spec is no compiled pipeline")
    if not all(_constant(string) for _, string in walk_strings(documents[0])):
        raise NotCarried("parts of the pipeline_spec depend on the event; it chooses inputs only, never what runs")
    file = f"{name.replace('_', '-')}.yaml"
    return {"package": file}, {file: yaml_text(*documents)}


def _constant(value: str) -> bool:
    return not re.search(r"(?<!\$)\$\{\{", value)


def _snake(key: str) -> str:
    """The API takes both spellings of a field, as all of protobuf's JSON does."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1].lower()}", key)
