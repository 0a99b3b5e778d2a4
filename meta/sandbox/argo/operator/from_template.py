"""What a workflow takes from its template when it begins: the spec, and the metadata that the spec gives it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from meta.sandbox.argo.expressions import ExpressionError, compile_expression, environment
from meta.sandbox.argo.manifest.merge import join_specs
from meta.sandbox.argo.operator.templates import Find
from meta.sandbox.argo.state.objects import Kind
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.argo.state.workflow import Workflow

Values = Callable[[Workflow], Mapping[str, str | None]]
_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LONGEST_LABEL = 63


def take_template(workflow: Workflow, find: Find, values: Values) -> str | None:
    """Keep the template's spec, so that later changes of the template do not change this run.

    Args:
        workflow: one that has not begun.
        find: reads WorkflowTemplates and ClusterWorkflowTemplates.
        values: what the tags `workflow.*` of a workflow stand for.

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
    if metadata is None:
        return None
    workflow.metadata.labels |= metadata.labels or {}
    workflow.metadata.annotations |= metadata.annotations or {}
    for label, source in (metadata.labels_from or {}).items():
        try:
            value = compile_expression(source.expression).evaluate(environment(values(workflow)))
        except ExpressionError as error:
            return f'failed to evaluate label "{label}" expression "{source.expression}": {error}'
        if not isinstance(value, str):
            return (
                f'failed to evaluate label "{label}" expression "{source.expression}" evaluted to {value!r}, no string'
            )
        workflow.metadata.labels[label] = value
    return next((wrong for key, value in workflow.metadata.labels.items() if (wrong := _not_a_label(key, value))), None)


def _not_a_label(key: str, value: str) -> str | None:
    if len(value) <= _LONGEST_LABEL and _LABEL.fullmatch(value):
        return None
    return f'invalid label value "{value}" for label "{key}"'


def template_named(spec: JsonObject) -> tuple[Kind, str]:
    """What `spec.workflowTemplateRef` names."""
    reference = spec["workflowTemplateRef"]
    assert isinstance(reference, dict)  # the manifest was parsed
    kind = Kind.CLUSTER_WORKFLOW_TEMPLATE if reference.get("clusterScope") else Kind.WORKFLOW_TEMPLATE
    return kind, str(reference.get("name") or "")
