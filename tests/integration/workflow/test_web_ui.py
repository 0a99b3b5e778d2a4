"""What a run puts into Temporal's Web UI, asked of a real Temporal."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from temporalio.api.enums.v1 import EventType, IndexedValueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from tests.support.engine import ScriptedEngine
from tests.support.temporal import temporal_server
from tests.support.world import World
from tests.support.world import world as make_world
from workers.runtime import register_search_attributes
from workflows.errors import SettingsInvalid
from workflows.markdown import SUMMARY_LIMIT
from workflows.messages import RunSnapshot
from workflows.outcome import EngineKind, FailureClass, Outcome
from workflows.queries import PlanView, TraceView
from workflows.search import ENGINE_KEY, KEYS, TRIGGER_KEY

ARGO = {"argo": {"manifest": "m.yaml"}}
KFP = {"kfp": {"package": "p.yaml"}}
FAILED = Outcome(failure=FailureClass.FAILED, message="Error (exit code 1)")
PAGE = Path(__file__).parents[3] / "docs" / "temporal-web-ui.md"

Handle = WorkflowHandle[object, RunSnapshot]


@asynccontextmanager
async def both_engines() -> AsyncGenerator[tuple[World, ScriptedEngine]]:
    kfp = ScriptedEngine(name="kfp", kind=EngineKind.KFP)
    argo = ScriptedEngine()
    async with make_world({"argo": argo, "kfp": kfp}) as w:
        w.engine = argo
        yield w, kfp
        await kfp.close()


async def until_found(client: Client, query: str, wanted: set[str]) -> None:
    """The list lags behind the workflows."""
    async with asyncio.timeout(20):
        while {run.id async for run in client.list_workflows(query)} != wanted:
            await asyncio.sleep(0.05)


async def fails(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError):
        await handle.result()


def documented() -> set[str]:
    rows = re.findall(r"^\| (?:that|of) .+ \| `(.+)` \|$", PAGE.read_text(), re.MULTILINE)
    return set(rows)


async def test_every_query_of_the_docs_finds_the_runs_that_it_is_for() -> None:
    async with both_engines() as (w, kfp):
        kfp.script["train"] = [FAILED]
        w.engine.script["held"] = [None]
        failed = await w.start({"train": KFP, "deploy": {**ARGO, "needs": ["train"]}}, trigger="nats")
        await fails(failed)
        good = await w.start({"a": ARGO})
        await good.result()
        running, killed = await w.start({"held": ARGO}), await w.start({"held": ARGO})
        await w.engine.until(lambda: w.engine.steps().count("held") == 2)
        await killed.terminate()
        expected: Mapping[str, set[Handle]] = {
            "MetaStatus = 'failed' AND MetaEngine = 'kfp'": {failed},
            "MetaStatus = 'running' AND MetaEngine IN ('argo')": {running, killed},
            "MetaWorkflow = 'chain' AND MetaFailedStep = 'train'": {failed},
            "MetaTrigger = 'nats' AND StartTime > '2026-01-01T00:00:00Z'": {failed},
            "MetaStatus = 'failed' AND CloseTime > '2026-01-01T00:00:00Z'": {failed},
            "MetaWorkflow = 'chain' AND (ExecutionDuration > '1m' OR ExecutionStatus = 'Running')": {running},
            "MetaStatus = 'running' AND ExecutionStatus = 'Terminated'": {killed},
            "MetaWorkflow STARTS_WITH 'ch'": {failed, good, running, killed},
        }
        assert documented() == set(expected)
        for query, handles in expected.items():
            await until_found(w.client, query, {handle.id for handle in handles})
        found = (await failed.describe()).typed_search_attributes
        assert (found.get(ENGINE_KEY), found.get(TRIGGER_KEY)) == (["kfp", "argo"], "nats")


async def test_attributes_are_registered_with_their_types_and_another_type_is_refused_by_name() -> None:
    async with temporal_server() as client:
        wrong = {"MetaEngine": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
        add = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wrong)
        await client.operator_service.add_search_attributes(add)
        with pytest.raises(SettingsInvalid, match="MetaEngine is of type KEYWORD, not KEYWORD_LIST") as caught:
            await register_search_attributes(client)
        assert "search-attribute remove --name MetaEngine" in caught.value.hint


async def test_a_temporal_that_has_no_operators_service_is_worked_for_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = grpc.aio.server()  # which knows no calls at all, and says so
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await register_search_attributes(await Client.connect(f"127.0.0.1:{port}"))
    finally:
        await server.stop(None)
    assert "runs need these: MetaWorkflow, MetaStatus, MetaEngine" in caplog.text


async def test_queries_answer_with_the_plan_and_the_trace_in_json_that_people_can_read(world: World) -> None:
    world.engine.script["train"] = [FAILED, Outcome()]
    when = "steps.train.state == 'succeeded' && inputs.deploy"
    handle = await world.start(
        {
            "train": {**ARGO, "retry": {"attempts": 2, "backoff": "10ms"}, "timeout": "2h"},
            "deploy": {**ARGO, "when": when},
        },
        {"deploy": True},
        declared={"deploy": {"type": "boolean"}},
    )
    await handle.result()
    known = await world.client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=world.client.namespace)
    )
    assert {key.name: int(key.indexed_value_type) for key in KEYS}.items() <= dict(known.custom_attributes).items()
    plan = await handle.query("plan")
    train, deploy = json.loads(json.dumps(plan))["steps"]
    assert (train["runs"], train["attempts"], train["timeout"], train["after"]) == ("m.yaml", 2, "2h", [])
    assert (deploy["when"], deploy["after"]) == (when, ["train"])
    assert deploy["reads"] == ["inputs.deploy", "steps.train.state"]
    assert PlanView.model_validate(plan).workflow == "chain"
    trace = TraceView.model_validate(await handle.query("trace"))
    assert [len(step.attempts) for step in trace.steps] == [2, 1]
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    queries = {query.name: query.description for query in metadata.definition.query_definitions}
    assert all(queries[name] for name in ("state", "plan", "trace"))
    assert metadata.current_details.startswith("**chain** has succeeded: 2 of 2 steps have ended")
    assert trace.trace_id in metadata.current_details


async def test_every_activity_and_timer_has_a_sentence_within_temporals_limit(world: World) -> None:
    world.engine.script["train"] = [FAILED, Outcome()]
    handle = await world.start(
        {"train": {**ARGO, "retry": {"attempts": 2, "backoff": "20ms"}, "timeout": "2h", "attemptTimeout": "1h"}}
    )
    await handle.result()
    sentences = [words async for event in handle.fetch_history_events() if (words := sentence_of(event)) is not None]
    name = re.compile(r"chain-train-[0-9a-f]+")
    told = [re.sub(r"Pause for [0-9.]+ s", "Pause", name.sub("NAME", words)) for words in sentences]
    assert told == [
        "Work out whether train runs, and with which parameters and artifacts",
        "Time-out of train",
        "Time-out of attempt 1 of train",
        "Submit train to argo",
        "Wait until argo has ended train (NAME)",
        "Pause before attempt 2 of train",
        "Time-out of attempt 2 of train",
        "Submit attempt 2 of train to argo",
        "Wait until argo has ended attempt 2 of train (NAME)",
        "Record that the run has succeeded",
    ]
    assert all(len(json.dumps(words).encode()) <= SUMMARY_LIMIT for words in sentences)


def sentence_of(event: HistoryEvent) -> str | None:
    """What an event's activity or timer is called; None for events of anything else."""
    named = (
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_TIMER_STARTED,
        EventType.EVENT_TYPE_MARKER_RECORDED,
    )
    if event.event_type not in named or event.marker_recorded_event_attributes.marker_name == "core_patch":
        return None
    return str(json.loads(event.user_metadata.summary.data or b'""'))
