"""`globalName`: outputs of nodes that become the workflow's (addOutputsToGlobalScope)."""

from __future__ import annotations

from hera.workflows import models as m

from meta.sandbox.argo.operator.context import Context


def export_outputs(context: Context, outputs: m.Outputs | None) -> None:
    """Put outputs with a `globalName` into `status.outputs` and into the values of `workflow.outputs.*`."""
    if outputs is None:
        return
    status = context.workflow.status
    for parameter in outputs.parameters or []:
        if parameter.global_name and parameter.value is not None:
            status.outputs = status.outputs or m.Outputs()
            fresh = m.Parameter(name=parameter.global_name, value=parameter.value)
            status.outputs.parameters = [
                *(p for p in status.outputs.parameters or [] if p.name != fresh.name),
                fresh,
            ]
            context.values[f"workflow.outputs.parameters.{fresh.name}"] = fresh.value
    for artifact in outputs.artifacts or []:
        if artifact.global_name:
            status.outputs = status.outputs or m.Outputs()
            update = {"name": artifact.global_name, "global_name": None, "path": None}
            shared = artifact.model_copy(update=update)
            status.outputs.artifacts = [
                *(a for a in status.outputs.artifacts or [] if a.name != shared.name),
                shared,
            ]
