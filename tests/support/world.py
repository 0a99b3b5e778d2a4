"""A real Temporal with our workers and a scripted engine, for tests of the workflow alone."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client, WorkflowHandle

from tests.support.engine import ScriptedEngine
from tests.support.memory import MemoryStore
from tests.support.temporal import temporal_server
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.engines.base import Engine
from workers.ports import EventReader
from workers.runtime import Sizes, register_search_attributes, run_workers
from workers.settings import StoreSettings
from workflows.bundle import Bundle
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, Reused, RunSnapshot, StartRun
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject


@dataclass
class World:
    """A real Temporal with our workers, and an engine that does what the test says."""

    client: Client
    engine: ScriptedEngine
    store: MemoryStore

    async def start(
        self,
        steps: dict[str, object],
        inputs: JsonObject | None = None,
        declared: dict[str, object] | None = None,
        outputs: dict[str, str] | None = None,
        files: dict[str, str] | None = None,
        *,
        trigger: str = "api",
        last: dict[str, object] | None = None,
        timeout: str | None = None,
        retry_of: str = "",
        reuse: dict[str, Reused] | None = None,
    ) -> WorkflowHandle[object, RunSnapshot]:
        """Start a run of these steps; `last` are those of `finally`."""
        parsed = MetaWorkflow.model_validate(
            {
                "apiVersion": "meta/v1",
                "kind": "MetaWorkflow",
                "metadata": {"name": "chain"},
                "inputs": declared or {},
                "steps": steps,
                "outputs": outputs or {},
                "finally": last or {},
                "timeout": timeout,
            }
        )
        texts = {step.file: "manifest" for step in parsed.everything().values() if step.file} | (files or {})
        digest = self.store.put(Bundle(definition=parsed, files=texts))
        return await self.client.start_workflow(
            WORKFLOW_TYPE,
            StartRun(
                definition=parsed,
                bundle_digest=digest,
                inputs=inputs or {},
                trigger=trigger,
                named_timers=True,
                retry_of=retry_of,
                reuse=reuse or {},
            ),
            id=f"chain-{uuid.uuid4().hex[:8]}",
            task_queue=TASK_QUEUE,
            result_type=RunSnapshot,
        )


@asynccontextmanager
async def world(
    engines: Mapping[str, Engine] | None = None,
    objects: ArtifactStore | None = None,
    events: EventReader | None = None,
) -> AsyncGenerator[World]:
    """A world of a test's own.

    Args:
        engines: in place of the scripted one.
        objects: the artifact stores; None for one that does not answer.
        events: where steps wait for messages.
    """
    async with temporal_server() as client:
        await register_search_attributes(client)
        engine, store = ScriptedEngine(), MemoryStore()
        activities = Activities(
            engines=engines or {"argo": engine},
            objects=objects or ArtifactStore(StoreSettings(endpoint="http://127.0.0.1:1")),
            bundles=store,
            recorder=store,
            events=events,
        )
        async with run_workers(client, activities, Sizes(shutdown_grace_s=0.1)):
            yield World(client, engine, store)
        await engine.close()
