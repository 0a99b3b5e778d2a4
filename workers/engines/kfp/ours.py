"""Our runs on a KFP server: those that have not ended, and how one of them stands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from workers.engines.base import OurRun, RunPhase
from workers.engines.json_view import moment, text
from workers.engines.kfp import outcome as reading
from workers.engines.kfp.client import KfpClient, equals
from workers.engines.kfp.identity import identity_of
from workflows.outcome import EngineRunRef
from workflows.values import JsonObject

UNENDED = ("PENDING", "RUNNING", "CANCELING", "PAUSED")
"""States of a run that goes on (`backend/api/v2beta1/run.proto`, RuntimeState)."""


async def list_unended(client: KfpClient, ref: Callable[[JsonObject], EngineRunRef]) -> AsyncGenerator[OurRun]:
    """See `Engine.list_ours`: one list for each state, since runs have no labels to select by.

    A run that changes its state between two of the lists can show twice or not at all; the next look has it.

    Args:
        client: of the server.
        ref: makes the reference of a run.
    """
    seen = set[str]()
    for state in UNENDED:
        async for run in client.runs(filter=equals("state", state)):
            identity, run_id = identity_of(run), text(run, "run_id")
            if identity.key and run_id not in seen:
                seen.add(run_id)
                created = moment(run.get("created_at"))
                yield OurRun(key=identity.key, ref=ref(run), state=reading.state(run), created_at=created)


async def phase_of(client: KfpClient, run: EngineRunRef) -> RunPhase:
    """See `Engine.phase_of`."""
    found = await client.run(run.uid)
    if found is None:
        return RunPhase.GONE
    if not reading.has_ended(found):
        return RunPhase.RUNNING
    good = reading.state(found) in (reading.State.SUCCEEDED, reading.State.SKIPPED)
    return RunPhase.SUCCEEDED if good else RunPhase.FAILED
