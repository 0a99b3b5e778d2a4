"""`globalName`: outputs of nodes that become the workflow's (addOutputsToGlobalScope)."""

from __future__ import annotations

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import Context
from meta.sandbox.argo.state.status import WorkflowStatus


def export_outputs(context: Context, outputs: m.Outputs | None) -> None:
    """Put outputs with a `globalName` into `status.outputs` and into the values of `workflow.outputs.*`."""
    if outputs is None:
        return
    export_to(context.workflow.status, outputs)
    for parameter in outputs.parameters or []:
        if parameter.global_name and parameter.value is not None:
            context.values[f"workflow.outputs.parameters.{parameter.global_name}"] = parameter.value


def export_to(status: WorkflowStatus, outputs: m.Outputs) -> None:
    """Put outputs with a `globalName` into `status.outputs`."""
    for parameter in outputs.parameters or []:
        if parameter.global_name and parameter.value is not None:
            status.outputs = status.outputs or m.Outputs()
            fresh = m.Parameter(name=parameter.global_name, value=parameter.value)
            status.outputs.parameters = [
                *(p for p in status.outputs.parameters or [] if p.name != fresh.name),
                fresh,
            ]
    for artifact in outputs.artifacts or []:
        if artifact.global_name:
            status.outputs = status.outputs or m.Outputs()
            update = {"name": artifact.global_name, "global_name": None, "path": None}
            shared = artifact.model_copy(update=update)
            status.outputs.artifacts = [
                *(a for a in status.outputs.artifacts or [] if a.name != shared.name),
                shared,
            ]
