"""A request's manifest becomes a workflow or a template object, or is refused."""

from __future__ import annotations

from functools import partial
from typing import cast

from meta.sandbox.argo.manifest.check import STRICT, TEMPLATE, Rules, check_spec
from meta.sandbox.argo.manifest.merge import join_specs
from meta.sandbox.argo.manifest.metadata import read_metadata
from meta.sandbox.argo.manifest.read import ManifestError, MissingTemplateError, parse_spec, with_any_strings
from meta.sandbox.argo.manifest.schedule import check_cron
from meta.sandbox.argo.manifest.supported import check_fields
from meta.sandbox.argo.operator.from_template import template_named
from meta.sandbox.argo.operator.templates import Find, nowhere
from meta.sandbox.argo.pods.command import Images, why_not_runnable
from meta.sandbox.argo.state.objects import Kind, TemplateObject
from meta.sandbox.argo.state.status import JsonObject, WorkflowStatus
from meta.sandbox.argo.state.workflow import Workflow


def create_workflow(
    manifest: JsonObject, namespace: str, images: Images, repository: JsonObject, *,
    find: Find = nowhere, rules: Rules = STRICT,
) -> Workflow:  # fmt: skip
    """Check a manifest and make the workflow, not yet kept.

    Args:
        manifest: `workflow` of the request.
        namespace: of the request's path.
        images: for images whose entrypoint is their own.
        repository: `status.artifactRepositoryRef`.
        find: reads WorkflowTemplates and ClusterWorkflowTemplates.
        rules: STRICT, or LINT.

    Raises:
        ManifestError: it is refused.
    """
    without_effect = check_fields(manifest)
    _check_type(manifest, "Workflow")
    metadata = read_metadata(_object(manifest, "metadata"), namespace)
    raw_spec = _spec(_object(manifest, "spec"))
    _check_spec(raw_spec, images, find, rules)
    status = WorkflowStatus(artifact_repository_ref=repository)
    if without_effect:
        status.set_condition("SpecWarning", "True", f"no effect in the sandbox: {', '.join(without_effect)}")
    return Workflow(metadata, raw_spec, status)


def create_object(kind: Kind, manifest: JsonObject, namespace: str, images: Images, find: Find) -> TemplateObject:
    """Check a template object's manifest and make it, not yet kept.

    Raises:
        ManifestError: it is refused.
    """
    without_effect = check_fields(manifest, kind.title)
    _check_type(manifest, kind.title)
    metadata = read_metadata(
        _object(manifest, "metadata"), namespace if kind.namespaced else "", kind.title, kind.longest
    )
    raw_spec = _spec(_object(manifest, "spec"))
    if kind is not Kind.CRON_WORKFLOW:
        _check_spec(raw_spec, images, find, TEMPLATE)
        return TemplateObject(kind, metadata, raw_spec)
    check_cron(raw_spec)
    try:
        _check_spec(_object(raw_spec, "workflowSpec"), images, find, STRICT)
    except ManifestError as error:
        raise type(error)(f"cannot validate Workflow: {error}") from error
    note = "the sandbox does not fire schedules: submit from it (resourceKind CronWorkflow)"
    if without_effect:
        note += f"; no effect in the sandbox: {', '.join(without_effect)}"
    status: JsonObject = {
        "active": None, "lastScheduledTime": None, "succeeded": 0, "failed": 0, "phase": "Active",
        "conditions": [{"type": "SpecWarning", "status": "True", "message": note}],
    }  # fmt: skip
    return TemplateObject(kind, metadata, raw_spec, status)


def _check_spec(raw_spec: JsonObject, images: Images, find: Find, rules: Rules) -> None:
    cannot_run = partial(why_not_runnable, images)

    to_run = raw_spec
    if raw_spec.get("workflowTemplateRef"):
        parse_spec(raw_spec)
        if raw_spec.get("templates"):
            raise ManifestError("Templates is invalid field in spec if workflow referred WorkflowTemplate reference")
        kind, name = template_named(raw_spec)
        found = find(kind, name)
        if found is None:
            raise MissingTemplateError(f'{kind.resource} "{name}" not found')
        to_run = join_specs(raw_spec, found.raw_spec)
    check_spec(parse_spec(to_run), cannot_run, find, rules)


def _check_type(manifest: JsonObject, kind: str) -> None:
    for key, wanted in (("apiVersion", "argoproj.io/v1alpha1"), ("kind", kind)):
        if manifest.get(key) not in (None, "", wanted):
            raise ManifestError(f"{key} must be {wanted}, not {manifest[key]}")


def _spec(raw: JsonObject) -> JsonObject:
    """As Go writes it down again: without what is empty."""
    return cast("JsonObject", with_any_strings({k: value for k, value in raw.items() if value not in (None, "", [])}))


def _object(manifest: JsonObject, key: str) -> JsonObject:
    value = manifest.get(key)
    if not isinstance(value, dict):
        raise ManifestError(f"{key} is required and must be an object")
    return value
