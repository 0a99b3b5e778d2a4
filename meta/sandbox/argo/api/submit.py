"""Workflows made from something else: `/submit` from a template object, `/resubmit` from a workflow; and `/lint`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from meta.sandbox.argo.api.errors import ApiError, Code, not_found
from meta.sandbox.argo.api.request import Server, json_body, namespace_of, server_of, workflow_of
from meta.sandbox.argo.api.starting import check, start
from meta.sandbox.argo.manifest.check import LINT
from meta.sandbox.argo.state.metadata import Metadata
from meta.sandbox.argo.state.objects import Kind, TemplateObject
from meta.sandbox.argo.state.status import JsonObject, k8s_time, now
from meta.sandbox.argo.state.workflow import (
    ANNOTATION_SCHEDULED,
    LABEL_ARCHIVING,
    LABEL_COMPLETED,
    LABEL_PHASE,
    Workflow,
)

_GROUP = "workflows.argoproj.io"
LABEL_CRON = f"{_GROUP}/cron-workflow"
LABEL_RESUBMITTED = f"{_GROUP}/resubmitted-from-workflow"
_LABEL_OF = {
    Kind.WORKFLOW_TEMPLATE: f"{_GROUP}/workflow-template",
    Kind.CLUSTER_WORKFLOW_TEMPLATE: f"{_GROUP}/cluster-workflow-template",
}
_SHORT = {
    Kind.WORKFLOW_TEMPLATE: "wftmpl",
    Kind.CLUSTER_WORKFLOW_TEMPLATE: "cwftmpl",
    Kind.CRON_WORKFLOW: "cwf",
}  # kubectl's short names, which the server takes too
_OPTIONS = frozenset(
    {"name", "generateName", "entryPoint", "parameters", "labels", "annotations", "serviceAccount", "dryRun",
     "serverDryRun", "podPriorityClassName", "priority"}
)  # fmt: skip
_OF_SPEC = {
    "entryPoint": "entrypoint", "serviceAccount": "serviceAccountName",
    "podPriorityClassName": "podPriorityClassName", "priority": "priority",
}  # fmt: skip


async def submit(request: Request) -> Response:
    """POST /api/v1/workflows/{namespace}/submit."""
    server, namespace = server_of(request), namespace_of(request, "create")
    body = await json_body(request, frozenset({"namespace", "resourceKind", "resourceName", "submitOptions"}))
    name, options = str(body.get("resourceName") or ""), body.get("submitOptions") or {}
    if not isinstance(options, dict):
        raise ApiError(Code.INVALID_ARGUMENT, "json: cannot unmarshal submitOptions: it must be an object")
    for key, value in options.items():
        if key not in _OPTIONS and value not in (None, "", False, [], {}):
            raise ApiError(Code.INVALID_ARGUMENT, f"submitOptions.{key} is not supported by the sandbox")
    kind = _kind(str(body.get("resourceKind") or ""))
    owners: list[JsonObject] = []
    manifest: JsonObject
    if kind is Kind.CRON_WORKFLOW:
        cron = server.store.objects.get(kind, namespace, name)
        if cron is None:
            raise not_found(name, kind.resource)
        manifest, owners = _from_cron(cron), [_owner(cron)]
    else:
        reference: JsonObject = {"name": name, "clusterScope": kind is Kind.CLUSTER_WORKFLOW_TEMPLATE}
        labels: JsonObject = {_LABEL_OF[kind]: name}
        manifest = {
            "metadata": {"generateName": f"{name}-", "labels": labels},
            "spec": {"workflowTemplateRef": {key: value for key, value in reference.items() if value}},
        }
    _apply(manifest, options)
    dry_run = bool(options.get("dryRun") or options.get("serverDryRun"))
    return JSONResponse(start(server, namespace, manifest, dry_run=dry_run, owners=owners).render())


def _kind(text: str) -> Kind:
    for kind in Kind:
        if text in {kind.title, kind.title.lower(), kind.plural, _SHORT[kind]}:
            return kind
    raise ApiError(Code.INVALID_ARGUMENT, f"Resource kind '{text}' is not supported for submitting")


def _from_cron(cron: TemplateObject) -> JsonObject:
    """ConvertCronWorkflowToWorkflow."""
    extra = cast("JsonObject", cron.raw_spec.get("workflowMetadata") or {})
    labels = {LABEL_CRON: cron.metadata.name, **cast("JsonObject", extra.get("labels") or {})}
    scheduled: JsonObject = {ANNOTATION_SCHEDULED: k8s_time(now())}
    annotations = scheduled | cast("JsonObject", extra.get("annotations") or {})
    metadata: JsonObject = {
        "generateName": f"{cron.metadata.name}-", "labels": labels, "annotations": annotations,
    }  # fmt: skip
    return {"metadata": metadata, "spec": dict(cron.workflow_spec)}


def _owner(cron: TemplateObject) -> JsonObject:
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": cron.kind.title, "name": cron.metadata.name,
        "uid": cron.metadata.uid, "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def _apply(manifest: JsonObject, options: Mapping[str, JsonValue]) -> None:
    """ApplySubmitOpts.

    Raises:
        ApiError: labels, annotations or parameters that are not `name=value`.
    """
    metadata, spec = cast("JsonObject", manifest["metadata"]), cast("JsonObject", manifest["spec"])
    for key, field in _OF_SPEC.items():
        if options.get(key):
            spec[field] = options[key]
    for key in ("labels", "annotations"):
        if text := options.get(key):
            pairs = _pairs(key.capitalize() if key == "annotations" else key, str(text))
            metadata[key] = {**cast("JsonObject", metadata.get(key) or {}), **pairs}
    for key in ("generateName", "name"):
        if options.get(key):
            metadata[key] = options[key]
    override(spec, options.get("parameters"))


def _pairs(what: str, text: str) -> dict[str, str]:
    result: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or "=" in value or not name:
            reason = f"unexpected label spec: {part}" if name else "unexpected empty label key"
            raise ApiError(
                Code.INTERNAL,
                f"expected {what} of the form: NAME1=VALUE2,NAME2=VALUE2. Received: {text}: {reason}",
            )
        result[name] = value
    return result


def override(spec: JsonObject, parameters: JsonValue) -> None:
    """Set arguments given as `name=value`; they come first, as the real server orders them (overrideParameters).

    Raises:
        ApiError: one is not of that form.
    """
    if not parameters:
        return
    given: dict[str, JsonValue] = {}
    for text in parameters if isinstance(parameters, list) else [parameters]:
        name, equals, value = str(text).partition("=")
        if not equals:
            raise ApiError(Code.INTERNAL, f"expected parameter of the form: NAME=VALUE. Received: {text}")
        given[name] = value
    arguments = cast("JsonObject", spec.get("arguments") or {})
    kept = [p for p in cast("list[JsonObject]", arguments.get("parameters") or []) if p.get("name") not in given]
    passed: list[JsonValue] = [{"name": name, "value": value} for name, value in given.items()]
    spec["arguments"] = {**arguments, "parameters": [*passed, *kept]}


async def lint(request: Request) -> Response:
    """POST /api/v1/workflows/{namespace}/lint: the manifest as it came, if it would be taken."""
    server, namespace = server_of(request), namespace_of(request, "create")
    body = await json_body(request, frozenset({"workflow", "namespace"}))
    manifest = body.get("workflow")
    if not isinstance(manifest, dict):
        raise ApiError(Code.INTERNAL, "unable to get a workflow")
    check(server, namespace, manifest, LINT)
    return JSONResponse(manifest)


async def resubmit(request: Request) -> Response:
    """PUT /api/v1/workflows/{namespace}/{name}/resubmit: a new workflow of the same spec, under a new name."""
    body = await json_body(request, frozenset({"name", "namespace", "memoized", "parameters"}))
    workflow = workflow_of(request, "get", archived=True)
    return JSONResponse(again(server_of(request), workflow, body).render())


def again(server: Server, workflow: Workflow, body: JsonObject) -> Workflow:
    """Begin a workflow anew (FormulateResubmitWorkflow).

    Raises:
        ApiError: it is refused, or `memoized` is asked for.
    """
    if body.get("memoized"):
        raise ApiError(Code.INVALID_ARGUMENT, "memoized is not supported by the sandbox: resubmit without it, or retry")
    meta: Metadata = workflow.metadata
    left_out = {LABEL_PHASE, LABEL_COMPLETED, LABEL_ARCHIVING}
    labels: JsonObject = {key: value for key, value in meta.labels.items() if key not in left_out}
    labels[LABEL_RESUBMITTED] = workflow.name
    spec = {key: value for key, value in workflow.raw_spec.items() if key != "shutdown"}
    override(spec, body.get("parameters"))
    manifest: JsonObject = {
        "metadata": {
            "generateName": meta.generate_name or f"{workflow.name}-",
            "labels": labels, "annotations": dict(meta.annotations),
        },
        "spec": spec,
    }  # fmt: skip
    return start(server, meta.namespace, manifest, owners=meta.owner_references)
