"""The two ways from a message to a run, as processes that say when Temporal has accepted each start.

`service` is the service itself. `plain` is the same three calls by hand: pull, start_workflow, ack_sync; it promises
nothing else. Its workflow, arguments, memo and search attributes are those of a meta-run, so that Temporal's own work
is the same. Each start is a line on standard output: the run's id and the time at which `start_workflow` returned, in
seconds of the system's monotonic clock, which all processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import nats
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCame
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter

from meta.api.starter import request_run_id
from meta.api.temporal import TemporalRuns
from meta.config import load_config
from meta.service import serve
from workflows.bundle import build_bundle
from workflows.details import static_details
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, StartRun
from workflows.search import search_attributes
from workflows.starts import RunMemo


def say(run_id: str) -> None:
    sys.stdout.write(f"{run_id} {time.monotonic()}\n")
    sys.stdout.flush()


async def serve_timed(config: Path) -> None:
    """Be the service, with a clock at the place where it calls Temporal."""
    original = TemporalRuns.start

    async def timed(self: TemporalRuns, run_id: str, start: StartRun, memo: RunMemo) -> bool:
        created = await original(self, run_id, start, memo)
        say(run_id)
        return created

    TemporalRuns.start = timed
    await serve(load_config(config), asyncio.Event())


async def consume(nats_url: str, temporal: str, file: Path, stream: str, at_once: int) -> None:
    """Consume a stream until the process is ended.

    Args:
        nats_url: of the server.
        temporal: host:port.
        file: the definition.
        stream: to read, with a consumer `plain`.
        at_once: most messages in work.
    """
    connection = await nats.connect(nats_url)
    subscription = await connection.jetstream().pull_subscribe_bind("plain", stream=stream)
    client = await Client.connect(temporal, data_converter=pydantic_data_converter)
    bundle = build_bundle(file)
    definition, digest = bundle.definition, bundle.digest

    async def start(message: Msg) -> None:
        identity = message.headers["Nats-Msg-Id"] if message.headers else ""
        inputs = {"number": json.loads(message.data)["n"]}
        run_id = request_run_id(definition.name, identity)
        argument = StartRun(
            definition=definition, bundle_digest=digest, inputs=inputs, request_id=identity, trigger="nats"
        )
        await client.start_workflow(
            WORKFLOW_TYPE,
            argument,
            id=run_id,
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            memo=RunMemo(
                workflow=definition.name,
                inputs_digest=digest,
                bundle_digest=digest,
                request_id=identity,
                trigger="nats",
            ).model_dump(),
            search_attributes=search_attributes(argument),
            static_summary=definition.metadata.description or None,
            static_details=static_details(argument),
        )
        say(run_id)
        await message.ack_sync()

    async def loop() -> None:
        while True:
            try:
                [message] = await subscription.fetch(1, timeout=5)
            except NothingCame:
                continue
            await start(message)

    await asyncio.gather(*(loop() for _ in range(at_once)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.triggers_parts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    service = commands.add_parser("service")
    service.add_argument("--config", type=Path, required=True)
    plain = commands.add_parser("plain")
    for name in ("--nats", "--temporal", "--file", "--stream"):
        plain.add_argument(name, required=True)
    plain.add_argument("--at-once", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.command == "service":
        asyncio.run(serve_timed(arguments.config))
    else:
        file = Path(arguments.file)
        asyncio.run(consume(arguments.nats, arguments.temporal, file, arguments.stream, arguments.at_once))


if __name__ == "__main__":
    main()
