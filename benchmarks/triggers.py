"""What a trigger costs: `python -m benchmarks.triggers [--messages N] [--burst N] [--json]`.

A message is published, and a meta-run starts. Against it stand the same calls by hand: pull, `start_workflow`,
`ack_sync`, with the same workflow, arguments and memo. The service and the plain loop are processes of their own
(`benchmarks.triggers_parts`) on one nats-server with files and one Temporal; no worker runs, so that nobody shares the
machine with what the runs do. The two take turns, message by message, so that the ratio means something on a noisy one.

A run has started when Temporal has accepted it: when `start_workflow` returns, in both processes. `start_*` and
`plain_*` are the seconds from before the publish until then: publish, pull, start. `acked_*` and `plain_acked_*` go on
until the acknowledgement comes by on NATS, so they hold also what the service writes down between the two.

`starts_per_s` is for messages published at once, from the first publish to the last acknowledgement;
`plain_starts_per_s` is the same by hand, with as many messages in work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError

from benchmarks.chain import WORKFLOW
from benchmarks.waits import temporal
from meta.api.starter import request_run_id
from meta.client import MetaClient
from meta.triggers.event import identity_of
from tests.integration.service.servers import nats_server
from tests.support.ports import free_port
from workers.runtime import register_search_attributes

DEFINITION = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: bench, description: One step}
inputs:
  number: {type: integer, default: 0}
steps:
  work:
    argo: {manifest: noop.yaml}
triggers:
  - nats: {subject: bench.ours.>, name: all, inputs: {number: "${{ event.n }}"}}
"""
AT_ONCE = 64
"""Messages in work in the plain loop."""

WARM = 5
"""Messages of each kind before anything is measured."""

LONGEST_S = 120.0
"""Until a start that does not come ends the benchmark."""


@dataclass(frozen=True, slots=True)
class Way:
    """One of the two ways from a message to a run."""

    stream: str
    subjects: str
    consumer: str

    @property
    def subject(self) -> str:
        return self.subjects.replace(">", "message")

    def identity(self, number: int) -> str:
        return f"{self.stream}-{number}"

    def run_id(self, number: int) -> str:
        identity = self.identity(number)
        return request_run_id("bench", identity if self is PLAIN else identity_of("nats:id", identity))


OURS = Way("BENCH_OURS", "bench.ours.>", "meta-bench-all")
PLAIN = Way("BENCH_PLAIN", "bench.plain.>", "plain")


@dataclass
class Seen:
    """What has come to be, and when on the monotonic clock: run ids, and acknowledged messages."""

    _at: dict[object, float] = field(default_factory=dict[object, float])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, lines: asyncio.StreamReader) -> None:
        """Note the starts that a part tells of."""
        while line := await lines.readline():
            run_id, at = line.decode().split()
            self._note(run_id, float(at))

    async def acknowledged(self, message: Msg) -> None:
        """Note an acknowledgement, which any subscriber can see."""
        now = time.monotonic()
        if message.data in (b"", b"+ACK"):
            parts = message.subject.split(".")
            stream, sequence = (parts[2], parts[5]) if len(parts) < 11 else (parts[4], parts[7])
            self._note((stream, int(sequence)), now)

    async def when(self, *things: object) -> list[float]:
        """When each came to be, waiting for the last."""
        async with asyncio.timeout(LONGEST_S):
            while not all(thing in self._at for thing in things):
                self._changed.clear()
                await self._changed.wait()
        return [self._at[thing] for thing in things]

    def _note(self, thing: object, at: float) -> None:
        self._at.setdefault(thing, at)
        self._changed.set()


@dataclass
class Stage:
    """The servers and the two ways, all ready."""

    js: JetStreamContext
    seen: Seen

    async def one(self, way: Way, number: int) -> tuple[float, float]:
        """Publish a message. Seconds until its run had started, and until it was acknowledged."""
        began = time.monotonic()
        ack = await self.js.publish(way.subject, _body(number), headers={"Nats-Msg-Id": way.identity(number)})
        started, acknowledged = await self.seen.when(way.run_id(number), (way.stream, ack.seq))
        return started - began, acknowledged - began

    async def burst(self, way: Way, numbers: range) -> float:
        """Publish many at once. Starts a second."""
        began = time.monotonic()
        futures = [
            await self.js.publish_async(way.subject, _body(number), headers={"Nats-Msg-Id": way.identity(number)})
            for number in numbers
        ]
        stored = [(way.stream, (await future).seq) for future in futures]
        return len(numbers) / (max(await self.seen.when(*stored)) - began)


def _body(number: int) -> bytes:
    return json.dumps({"n": number}).encode()


async def measure(messages: int, burst: int) -> dict[str, float]:
    """Messages one at a time, ours and plain in turn, then two bursts of each."""
    times: dict[Way, list[tuple[float, float]]] = {OURS: [], PLAIN: []}
    rates: dict[Way, list[float]] = {OURS: [], PLAIN: []}
    async with stage() as it:
        for number in range(WARM + messages):
            for way in (OURS, PLAIN) if number % 2 else (PLAIN, OURS):
                times[way].append(await it.one(way, number))
        for turn in range(2):
            first = WARM + messages + turn * burst
            for way in (OURS, PLAIN):
                rates[way].append(await it.burst(way, range(first, first + burst)))
    ours, plain = ([one[0] for one in times[way][WARM:]] for way in (OURS, PLAIN))
    acked, plain_acked = ([one[1] for one in times[way][WARM:]] for way in (OURS, PLAIN))
    return {
        "messages": messages,
        "burst": burst,
        "start_p50_s": _cut(ours, 50),
        "start_p99_s": _cut(ours, 99),
        "plain_p50_s": _cut(plain, 50),
        "plain_p99_s": _cut(plain, 99),
        "ratio_p50": _cut(ours, 50) / _cut(plain, 50),
        "acked_p50_s": _cut(acked, 50),
        "plain_acked_p50_s": _cut(plain_acked, 50),
        "starts_per_s": max(rates[OURS]),
        "plain_starts_per_s": max(rates[PLAIN]),
    }


def _cut(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@asynccontextmanager
async def stage() -> AsyncGenerator[Stage]:
    """Start Temporal, NATS, the service and the plain loop."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = await stack.enter_async_context(temporal(folder, free_port()))
        target = client.service_client.config.target_host
        await register_search_attributes(client)  # else by the first worker, and there is none
        server = await stack.enter_async_context(nats_server(folder / "nats"))
        connection = await nats.connect(server.url)
        stack.push_async_callback(connection.close)
        js, seen = connection.jetstream(), Seen()
        await connection.subscribe("$JS.ACK.>", cb=seen.acknowledged)
        for way in (OURS, PLAIN):
            await js.add_stream(StreamConfig(name=way.stream, subjects=[way.subjects]))
        await js.add_consumer(PLAIN.stream, ConsumerConfig(durable_name=PLAIN.consumer, ack_policy=AckPolicy.EXPLICIT))
        (folder / "noop.yaml").write_text(WORKFLOW)
        definition = folder / "bench.yaml"
        definition.write_text(DEFINITION)
        address = f"127.0.0.1:{free_port()}"
        config = folder / "meta.toml"
        config.write_text(
            f'[grpc]\naddress = "{address}"\n[store]\nurl = "sqlite+aiosqlite:///{folder}/store.db"\n'
            f'[temporal]\naddress = "{target}"\n[nats]\nurl = "{server.url}"\n'
        )
        await _part(stack, seen, "service", "--config", str(config))
        words = ("--nats", server.url, "--temporal", target, "--file", str(definition))
        await _part(stack, seen, "plain", *words, "--stream", PLAIN.stream, "--at-once", str(AT_ONCE))
        async with MetaClient(address, patience_s=60) as service:
            await service.publish(definition)
        for way in (OURS, PLAIN):
            await _pulled(js, way)
        yield Stage(js, seen)


async def _part(stack: AsyncExitStack, seen: Seen, *words: str) -> None:
    """Run a part of the benchmark until its end, and note what it tells."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.triggers_parts", *words, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    reading = asyncio.create_task(seen.read(process.stdout))

    async def end() -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading

    stack.push_async_callback(end)


async def _pulled(js: JetStreamContext, way: Way) -> None:
    """Wait until somebody asks for messages."""
    async with asyncio.timeout(LONGEST_S):
        while True:
            with contextlib.suppress(NotFoundError):
                if (await js.consumer_info(way.stream, way.consumer)).num_waiting:
                    return
            await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.triggers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--messages", type=int, default=200, help="messages of each kind, one at a time (default 200)")
    parser.add_argument("--burst", type=int, default=500, help="messages published at once (default 500)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the dev server prints its addresses
    result = asyncio.run(measure(arguments.messages, arguments.burst))
    with out:
        if arguments.json:
            out.write(json.dumps(result) + "\n")
            return
        out.write(f"{arguments.messages} messages one at a time, then {arguments.burst} at once\n")
        for name, value in result.items():
            out.write(f"{name:20s} {value:10.4f}\n")


if __name__ == "__main__":
    main()
