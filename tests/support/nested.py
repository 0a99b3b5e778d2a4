"""Definitions of one step and meta-workflows inside one another, for a `World`."""

from __future__ import annotations

from tests.support.world import World
from workflows.bundle import Bundle
from workflows.spec.models import MetaWorkflow

ARGO = {"argo": {"manifest": "m.yaml"}}


def publish(
    world: World,
    name: str,
    steps: dict[str, object],
    *,
    declared: dict[str, object] | None = None,
    outputs: dict[str, str] | None = None,
    triggers: list[object] | None = None,
) -> MetaWorkflow:
    """Publish a definition whose manifests say nothing."""
    parsed = MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": name},
            "inputs": declared or {},
            "steps": steps,
            "outputs": outputs or {},
            "triggers": triggers or [],
        }
    )
    files = {step.file: "manifest" for step in parsed.steps.values() if step.file}
    world.store.publish(Bundle(definition=parsed, files=files))
    return parsed
