"""What a run that the service starts shows in Temporal's Web UI from its first moment."""

from __future__ import annotations

import json

from temporalio.api.enums.v1 import EventType

from tests.integration.service.servers import Rig
from workflows.outcome import RunState

UPSERTED = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES


async def test_a_run_is_started_with_what_it_is_found_by_and_needs_no_event_for_that(rig: Rig) -> None:
    async with rig.client() as client:
        run = await client.start(rig.chain(), request_id="one")
        handle = rig.temporal.get_workflow_handle(run.id)
        description = await handle.describe()
        told = await description.static_details() or ""
        assert "- started by a call of the API: meta.v1.MetaService/Start, " in told
        assert "\n- request id: one\n" in told
        assert (await client.wait(run.id)).state is RunState.SUCCEEDED
    events = [event async for event in handle.fetch_history_events()]
    begun = events[0].workflow_execution_started_event_attributes.search_attributes.indexed_fields
    assert {name: json.loads(begun[name].data) for name in begun} == {
        "MetaWorkflow": "chain",
        "MetaStatus": "running",
        "MetaEngine": ["argo"],
        "MetaTrigger": "api",
    }
    assert [event.event_type for event in events].count(UPSERTED) == 1  # its end
