"""What a workflow takes from its template when it begins: the spec, and the metadata that the spec gives it."""

from __future__ import annotations

from meta.sandbox.argo.manifest.merge import join_specs
from meta.sandbox.argo.operator.templates import Find
from meta.sandbox.argo.state.objects import Kind
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.argo.state.workflow import Workflow


def take_template(workflow: Workflow, find: Find) -> str | None:
    """Keep the template's spec, so that later changes of the template do not change this run.

    Returns:
        Why the workflow cannot begin, in the controller's words; None when it can.
    """
    if workflow.raw_spec.get("workflowTemplateRef") and workflow.status.stored_workflow_template_spec is None:
        kind, name = template_named(workflow.raw_spec)
        found = find(kind, name)
        if found is None:
            return f'{kind.title.lower()}.argoproj.io "{name}" not found'
        workflow.store_spec(join_specs(workflow.raw_spec, found.raw_spec))
    metadata = workflow.spec.workflow_metadata
    if metadata is not None:
        workflow.metadata.labels |= metadata.labels or {}
        workflow.metadata.annotations |= metadata.annotations or {}
    return None


def template_named(spec: JsonObject) -> tuple[Kind, str]:
    """What `spec.workflowTemplateRef` names."""
    reference = spec["workflowTemplateRef"]
    assert isinstance(reference, dict)  # the manifest was parsed
    kind = Kind.CLUSTER_WORKFLOW_TEMPLATE if reference.get("clusterScope") else Kind.WORKFLOW_TEMPLATE
    return kind, str(reference.get("name") or "")
