"""What an Argo Workflow declares.

Source: Argo's Workflow specification (`spec.arguments`, `spec.entrypoint`, `templates[].outputs`, `globalName`).
"""

from __future__ import annotations

from workflows.manifests.info import ManifestInfo, Parameter
from workflows.manifests.view import obj, objects, text
from workflows.outcome import EngineKind
from workflows.values import JsonObject, JsonValue, ValueType, canonical_json

ARGO_KINDS = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow")

_LOCATIONS = ("s3", "gcs", "oss", "azure", "http", "git", "hdfs", "raw", "artifactory", "from", "fromExpression")


def inspect_argo(document: JsonObject) -> ManifestInfo:
    """Read the declarations of a Workflow, or of the Workflow that a template or CronWorkflow would make."""
    spec = obj(document, "spec", "workflowSpec") if document.get("kind") == "CronWorkflow" else obj(document, "spec")
    metadata = obj(document, "metadata")
    name = text(metadata, "name") or text(metadata, "generateName").rstrip("-")
    if obj(spec, "workflowTemplateRef"):
        return ManifestInfo(EngineKind.ARGO, name, parameters=None, artifacts=None)
    outputs, artifacts = _outputs(spec)
    return ManifestInfo(
        EngineKind.ARGO,
        name,
        parameters={
            text(p, "name"): Parameter(
                required=not any(p.get(k) is not None for k in ("value", "default", "valueFrom")), choices=_choices(p)
            )
            for p in objects(spec, "arguments", "parameters")
        },
        artifacts={
            text(a, "name"): not (a.get("optional") is True or any(key in a for key in _LOCATIONS))
            for a in objects(spec, "arguments", "artifacts")
        },
        outputs=outputs,
        output_artifacts=artifacts,
    )


def _choices(parameter: JsonObject) -> tuple[JsonValue, ...]:
    """`enum`: strings, as all of Argo's values are; numbers and booleans in YAML stand for their text."""
    allowed = parameter.get("enum")
    return tuple(argo_text(value) for value in allowed) if isinstance(allowed, list) else ()


def argo_text(value: JsonValue) -> str:
    """A value as Argo's parameters carry it: strings as they are, whatever is none as JSON."""
    return value if isinstance(value, str) else canonical_json(value).decode()


def _outputs(spec: JsonObject) -> tuple[dict[str, ValueType | None] | None, frozenset[str] | None]:
    """Global outputs of all templates and the entrypoint's own; None where a template elsewhere may add some."""
    templates = objects(spec, "templates")
    entrypoint = next((t for t in templates if text(t, "name") == spec.get("entrypoint")), None)
    if entrypoint is None or any(_refers_elsewhere(t) for t in templates):
        return None, None
    names: dict[str, ValueType | None] = {}
    artifacts: set[str] = set()
    for template in templates:
        own = template is entrypoint
        for parameter in objects(template, "outputs", "parameters"):
            names |= dict.fromkeys(_names(parameter, own))
        for artifact in objects(template, "outputs", "artifacts"):
            artifacts.update(_names(artifact, own))
    if "script" in entrypoint or "container" in entrypoint:
        names["result"] = ValueType.STRING
    return names, frozenset(artifacts)


def _names(output: JsonObject, own: bool) -> list[str]:
    return [n for n in (text(output, "globalName"), text(output, "name") if own else "") if n]


def _refers_elsewhere(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return "templateRef" in value or any(_refers_elsewhere(v) for v in value.values())
    return isinstance(value, list) and any(_refers_elsewhere(v) for v in value)
