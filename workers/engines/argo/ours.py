"""Our workflows on an Argo server: those that have not ended, and how one of them stands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from workers.engines.argo import outcome as reading
from workers.engines.argo.client import ArgoClient
from workers.engines.argo.manifest import run_identity
from workers.engines.base import OurRun, RunPhase
from workers.engines.json_view import child, moment, text
from workflows.outcome import EngineRunRef
from workflows.values import JsonObject


async def list_unended(client: ArgoClient, ref: Callable[[JsonObject], EngineRunRef]) -> AsyncGenerator[OurRun]:
    """See `Engine.list_ours`.

    Args:
        client: of the server.
        ref: makes the reference of a workflow.
    """
    async for workflow in client.list_unended():
        if not reading.has_ended(workflow):  # the label that is selected by comes a moment after the phase
            yield OurRun(
                key=run_identity(workflow)[0],
                ref=ref(workflow),
                state=reading.phase(workflow) or "Pending",
                created_at=moment(child(workflow, "metadata").get("creationTimestamp")),
            )


async def phase_of(client: ArgoClient, run: EngineRunRef) -> RunPhase:
    """See `Engine.phase_of`: live, else from the archive by its uid."""
    workflow = await client.get(run.name, fields="metadata.uid,status.phase")
    if workflow is None or text(workflow, "metadata", "uid") != run.uid:
        workflow = await client.archived(run.uid)
    if workflow is None:
        return RunPhase.GONE
    if not reading.has_ended(workflow):
        return RunPhase.RUNNING
    return RunPhase.SUCCEEDED if reading.phase(workflow) == reading.Phase.SUCCEEDED else RunPhase.FAILED
