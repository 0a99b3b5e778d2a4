"""What a fan-out costs: `python -m benchmarks.foreach --items N [--parallelism P] [--json]`.

A step of N items, each a no-op run at a stub of Argo's REST API, from the start of the meta-run to its end. Temporal,
the stub and the worker (`python -m meta.worker`) are processes of their own on one machine. Measured are the time, the
worker's memory, and the histories that the run and its chunks leave, beside Temporal's limits of 51,200 events and
50 MB each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path

from temporalio.client import Client, WorkflowHandle

from benchmarks.waits import free_port, meta_worker, part, status, temporal
from meta.store import Store
from workers.runtime import register_search_attributes
from workflows.bundle import Bundle
from workflows.fanout_messages import CHUNK_TYPE
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, RunSnapshot, StartRun
from workflows.search import search_attributes
from workflows.spec.models import MetaWorkflow

NOOP = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: noop-}
spec:
  entrypoint: main
  arguments: {parameters: [{name: number}]}
  templates: [{name: main, container: {image: "none:1", command: ["true"]}}]
"""


async def measure(items: int, parallelism: int) -> dict[str, float]:
    """Run one fan-out, after a small one to warm up.

    Raises:
        AssertionError: not every item has run, or not once.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = await stack.enter_async_context(temporal(folder, free_port()))
        await register_search_attributes(client)
        stub = await stack.enter_async_context(part("benchmarks.waits_parts", "stub", "--kind", "argo"))
        url = (await stub.read())["url"]
        bundles = [_bundle(count, parallelism) for count in (3, items)]
        store_url = f"sqlite+aiosqlite:///{folder}/store.db"
        async with await Store.open(store_url) as store:
            for bundle in bundles:
                await store.bundles.put(bundle)
        address = client.service_client.config.target_host
        worker = await stack.enter_async_context(meta_worker(folder, address, "argo", url, parallelism + 10))
        await (await _start(client, bundles[0])).result()
        idle, before = status(worker.process.pid, "VmRSS"), await stub.requests()
        began = time.monotonic()
        handle = await _start(client, bundles[1])
        run = await _ended(handle)
        seconds = time.monotonic() - began
        peak, after = status(worker.process.pid, "VmHWM"), await stub.requests()
        counts = run.steps[0].items
        assert counts is not None and counts.succeeded == items, counts
        async with await Store.open(store_url) as store:
            recorded = await store.items.page(run.id, "each", limit=items + 1)
        assert [one.position for one in recorded] == list(range(1, items + 1))
        assert after["create"] - before["create"] == items, "each item runs once"
        events, size = await _history(handle)
        chunks = [
            await _history(client.get_workflow_handle(found.id))
            async for found in client.list_workflows(f"WorkflowType = '{CHUNK_TYPE}'")
        ]
    return {
        "items": items,
        "parallelism": parallelism,
        "seconds": seconds,
        "items_per_s": items / seconds,
        "idle_worker_mb": idle,
        "peak_worker_mb": peak,
        "parent_history_events": events,
        "parent_history_bytes": size,
        "chunks": len(chunks),
        "chunk_history_events_max": max((found[0] for found in chunks), default=0),
        "chunk_history_bytes_max": max((found[1] for found in chunks), default=0),
    }


def _bundle(items: int, parallelism: int) -> Bundle:
    definition = MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": f"fan-out-{items}"},
            "steps": {
                "each": {
                    "argo": {"manifest": "noop.yaml"},
                    "foreach": {"range": items, "parallelism": parallelism},
                    "parameters": {"number": "${{ item }}"},
                }
            },
        }
    )
    return Bundle(definition=definition, files={"noop.yaml": NOOP})


async def _start(client: Client, bundle: Bundle) -> WorkflowHandle[object, RunSnapshot]:
    start = StartRun(definition=bundle.definition, bundle_digest=bundle.digest, named_timers=True)
    return await client.start_workflow(
        WORKFLOW_TYPE,
        start,
        id=f"{bundle.definition.name}-{uuid.uuid4().hex[:8]}",
        task_queue=TASK_QUEUE,
        result_type=RunSnapshot,
        search_attributes=search_attributes(start),
    )


async def _ended(handle: WorkflowHandle[object, RunSnapshot]) -> RunSnapshot:
    """Wait for the run; a busy machine lets the SDK's own long poll run out."""
    while (await handle.describe()).close_time is None:
        await asyncio.sleep(0.2)
    return await handle.result()


async def _history(handle: WorkflowHandle[object, object]) -> tuple[int, int]:
    """Events and bytes."""
    info = (await handle.describe()).raw_description.workflow_execution_info
    return info.history_length, info.history_size_bytes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.foreach", description=__doc__)
    parser.add_argument("--items", type=int, default=300, help="items of the fan-out (default 300)")
    parser.add_argument("--parallelism", type=int, default=50, help="most at a time (default 50)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the dev server prints its addresses
    result = asyncio.run(measure(arguments.items, arguments.parallelism))
    with out:
        if arguments.json:
            out.write(json.dumps(result) + "\n")
            return
        for name, value in result.items():
            out.write(f"{name:26s} {value:14.3f}\n")


if __name__ == "__main__":
    main()
