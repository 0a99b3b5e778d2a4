"""What waiting costs: `python -m benchmarks.waits --runs N --engine argo|kfp [--throughput] [--json]`.

N engine runs are awaited at once by one worker process (`python -m meta.worker`). They end on a timetable at a stub of
the engine's REST API; Temporal, the stub and the worker are processes of their own. Measured are the worker's memory,
the requests to the engine while nothing ends, and the delay from each run's end at the engine to the completion of its
wait activity as Temporal's history has it. Everything shares one machine, so the delays hold Temporal's share too.

With `--throughput`, N no-op runs are submitted at once instead, through the worker's submit and wait activities, and
through plain activities that make the same requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import urllib3
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from benchmarks.chain import PIPELINE, WORKFLOW
from benchmarks.waits_flows import PlainRun, SubmitAndWait, WaitForMany
from meta.store import Store
from workers.runtime import workflow_runner
from workflows.bundle import Bundle
from workflows.messages import ResolvedStep, SubmitStep, WaitStep
from workflows.naming import RunKey, engine_run_name
from workflows.outcome import EngineKind, EngineRunRef
from workflows.spec.models import MetaWorkflow

QUEUE = "benchmark-waits"
BATCH = 20
"""Waits of one workflow; thousands in one would measure the length of its history."""

_HEARTBEATS = re.compile(
    r'^service_requests\{.*operation="RecordActivityTaskHeartbeat".*service_name="frontend".*\} (\S+)$', re.MULTILINE
)


class Part:
    """A child process that talks in lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError("a part of the benchmark has ended; its error is above")
        return json.loads(line)

    async def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.process.stdin.drain()
        return await self.read()

    async def requests(self) -> dict[str, int]:
        return (await self.ask({}))["requests"]


@asynccontextmanager
async def part(*words: str) -> AsyncGenerator[Part]:
    """Run `python -m WORDS` until the block ends."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *words, stdin=pipe, stdout=pipe, limit=64 * 1024 * 1024
    )
    try:
        yield Part(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@asynccontextmanager
async def temporal(folder: Path, metrics: int) -> AsyncGenerator[Client]:
    """The dev server with the settings of the embedded stack."""
    settings = ["--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000", "--log-level", "never"]
    settings += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]
    async with await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(Path(sys.executable).parent / "temporal"),
        dev_server_database_filename=str(folder / "temporal.db"),
        dev_server_extra_args=[*settings, "--metrics-port", str(metrics)],
    ) as environment:
        yield environment.client


@asynccontextmanager
async def meta_worker(folder: Path, temporal: str, kind: str, url: str, slots: int) -> AsyncGenerator[Part]:
    """The worker as it is in production, on a store of its own."""
    config = folder / "meta.toml"
    config.write_text(
        f'[temporal]\naddress = "{temporal}"\n[store]\nurl = "sqlite+aiosqlite:///{folder}/store.db"\n'
        f'[worker]\nwait_slots = {slots}\n[engines.{kind}]\nkind = "{kind}"\nurl = "{url}"\n'
    )
    async with part("meta.worker", "--config", str(config)) as worker:
        yield worker


async def measure_waits(runs: int, kind: str, hold: float, spread: float) -> dict[str, float]:
    """Await runs, hold for a while, then let them end evenly over `spread` seconds."""
    metrics = free_port()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = await stack.enter_async_context(temporal(folder, metrics))
        stub = await stack.enter_async_context(part("benchmarks.waits_parts", "stub", "--kind", kind))
        url = (await stub.read())["url"]
        keys = [RunKey(meta_run=f"bench-{number}", step="train") for number in range(runs)]
        names = [engine_run_name("bench", key) for key in keys]
        uids = (await stub.ask({"add": names}))["uids"]
        worker = await stack.enter_async_context(
            meta_worker(folder, client.service_client.config.target_host, kind, url, runs + 10)
        )
        messages = [
            WaitStep(
                definition_name="bench",
                key=key,
                ref=EngineRunRef(engine=kind, kind=EngineKind(kind), name=name, uid=uid),
            )
            for key, name, uid in zip(keys, names, uids, strict=True)
        ]
        await stack.enter_async_context(
            Worker(client, task_queue=QUEUE, workflows=[WaitForMany], workflow_runner=workflow_runner())
        )
        began = time.monotonic()
        handles = [
            await client.start_workflow(WaitForMany.run, messages[at : at + BATCH], id=f"wait-{at}", task_queue=QUEUE)
            for at in range(0, runs, BATCH)
        ]
        await _until(lambda: _all_looked(stub, kind, runs), "all runs are waited for")
        attached = time.monotonic() - began
        # The last ones have just asked; the first resync of those that begin lies behind, the next is far.
        await asyncio.sleep(1.0)
        before, heartbeats, cpu = await stub.requests(), _heartbeats(metrics), _cpu(worker.process.pid)
        held_from = time.monotonic()
        await asyncio.sleep(hold)
        held = time.monotonic() - held_from
        quiet, beats = await stub.requests(), _heartbeats(metrics)
        busy = _cpu(worker.process.pid) - cpu
        rss_waiting = status(worker.process.pid, "VmRSS")
        await stub.ask({"finish": names if kind == "argo" else uids, "spread": spread})
        await asyncio.wait_for(asyncio.gather(*map(_ended, handles)), spread + 300)
        done = await stub.requests()
        ends: dict[str, float] = (await stub.ask({}))["ends"]
        rss = status(worker.process.pid, "VmHWM")
        delays: list[float] = []
        for handle, at in zip(handles, range(0, runs, BATCH), strict=True):
            batch = (names if kind == "argo" else uids)[at : at + BATCH]
            delays += [completed - ends[run] for run, completed in zip(batch, await _completions(handle), strict=True)]
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    return {
        "runs": runs,
        "rss_mb": rss,
        "rss_waiting_mb": rss_waiting,
        "requests_per_s": (sum(quiet.values()) - sum(before.values())) / held,
        "requests_per_end": (sum(done.values()) - sum(quiet.values())) / runs,
        "detect_p50_s": cuts[49],
        "detect_p99_s": cuts[98],
        "detect_max_s": max(delays),
        "heartbeats_per_s": (beats - heartbeats) / held,
        "worker_cpu_percent": 100 * busy / held,
        "attach_s": attached,
        "ends_per_s": runs / spread,
    }


async def measure_throughput(runs: int, kind: str) -> dict[str, float]:
    """Submit no-op runs at once, through our activities and through plain ones, after a few to warm up."""
    source = {"argo": {"manifest": "noop.yaml"}} if kind == "argo" else {"kfp": {"package": "noop.yaml"}}
    document = {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "bench"}}
    definition = MetaWorkflow.model_validate({**document, "steps": {"train": source}})
    bundle = Bundle(definition=definition, files={"noop.yaml": WORKFLOW if kind == "argo" else PIPELINE})
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = await stack.enter_async_context(temporal(folder, free_port()))
        address = client.service_client.config.target_host
        stub = await stack.enter_async_context(part("benchmarks.waits_parts", "stub", "--kind", kind))
        url = (await stub.read())["url"]
        async with await Store.open(f"sqlite+aiosqlite:///{folder}/store.db") as store:
            await store.bundles.put(bundle)
        await stack.enter_async_context(meta_worker(folder, address, kind, url, runs + 10))
        words = ("benchmarks.waits_parts", "plain", "--temporal", address, f"--{kind}", url)
        plain_worker = await stack.enter_async_context(part(*words))
        await plain_worker.read()
        await stack.enter_async_context(
            Worker(client, task_queue=QUEUE, workflows=[SubmitAndWait, PlainRun], workflow_runner=workflow_runner())
        )

        async def ours(number: int, turn: int) -> None:
            key = RunKey(meta_run=f"bench-{turn}-{number}", step="train")
            message = SubmitStep(
                definition_name="bench",
                bundle_digest=bundle.digest,
                key=key,
                name=engine_run_name("bench", key),
                resolved=ResolvedStep(),
            )
            await client.execute_workflow(SubmitAndWait.run, message, id=str(key), task_queue=QUEUE)

        async def plain(number: int, turn: int) -> None:
            await client.execute_workflow(PlainRun.run, kind, id=f"plain-{turn}-{number}", task_queue=QUEUE)

        for work in (ours, plain):
            await _all(work, 10, 0)
        taken = {work.__name__: await _all(work, runs, 1) for work in (plain, ours)}
    return {
        "runs": runs,
        "ours_per_s": runs / taken["ours"],
        "plain_per_s": runs / taken["plain"],
        "ratio": taken["ours"] / taken["plain"],
    }


async def _all(work: Callable[[int, int], Coroutine[Any, Any, None]], runs: int, turn: int) -> float:
    began = time.monotonic()
    await asyncio.gather(*(work(number, turn) for number in range(runs)))
    return time.monotonic() - began


async def _all_looked(stub: Part, kind: str, runs: int) -> bool:
    requests = await stub.requests()
    return requests.get("get", 0) >= runs and requests.get("watch" if kind == "argo" else "list", 0) > 0


async def _until(condition: Callable[[], Awaitable[bool]], what: str, timeout: float = 300.0) -> None:
    deadline = time.monotonic() + timeout
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:.0f} s: {what}")
        await asyncio.sleep(0.1)


async def _ended(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait for a workflow; a busy machine lets the SDK's own long poll run out."""
    while True:
        try:
            await handle.result()
            return
        except RPCError as error:
            if error.status is not RPCStatusCode.DEADLINE_EXCEEDED:
                raise


async def _completions(handle: WorkflowHandle[Any, Any]) -> list[float]:
    """When each activity of a workflow completed, seconds of the epoch, in the order in which they were scheduled."""
    completed: dict[int, float] = {}
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            completed[event.event_id] = 0.0
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            scheduled = event.activity_task_completed_event_attributes.scheduled_event_id
            completed[scheduled] = event.event_time.ToNanoseconds() / 1e9
    return [at for _, at in sorted(completed.items())]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _heartbeats(port: int) -> float:
    """Heartbeats that the server's front end has taken so far."""
    text = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics").data.decode()
    return sum(float(found) for found in _HEARTBEATS.findall(text))


def status(pid: int, key: str) -> float:
    """A line of /proc/PID/status in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waits", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs at once (default 200)")
    parser.add_argument("--engine", choices=["argo", "kfp"], default="argo")
    parser.add_argument("--hold", type=float, default=15.0, help="seconds during which nothing ends (default 15)")
    parser.add_argument("--spread", type=float, help="seconds over which the runs end (default: 20 a second)")
    parser.add_argument("--throughput", action="store_true", help="submit no-op runs at once instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    runs, kind = arguments.runs, arguments.engine
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the dev server prints its addresses
    if arguments.throughput:
        result = asyncio.run(measure_throughput(runs, kind))
    else:
        spread = arguments.spread if arguments.spread is not None else max(runs / 20, 2.0)
        result = asyncio.run(measure_waits(runs, kind, arguments.hold, spread))
    with out:
        if arguments.json:
            out.write(json.dumps(result) + "\n")
            return
        out.write(f"{runs} runs of {kind}, {'submitted' if arguments.throughput else 'awaited'} at once\n")
        for name, value in result.items():
            out.write(f"{name:20s} {value:10.3f}\n")


if __name__ == "__main__":
    main()
