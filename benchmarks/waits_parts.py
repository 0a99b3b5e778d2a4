"""The processes of `benchmarks.waits` beside Temporal and the worker: a stub of an engine, and a plain worker.

Each prints a line of JSON when it is ready, then answers a line of JSON on its standard input with another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.chain import PlainActivities
from benchmarks.waits_flows import PLAIN_QUEUE
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from workflows.naming import LABEL_MANAGED, MANAGED_BY
from workflows.values import JsonObject

Answer = dict[str, Any]


class Stub:
    """An engine whose runs end on a timetable; one request a command.

    Args:
        kind: argo or kfp.
        duration: seconds that runs take which are created over REST.
    """

    def __init__(self, kind: str, duration: float) -> None:
        self.stub = ArgoStub(duration=duration) if kind == "argo" else KfpStub(duration=duration)
        self._ends: dict[str, float] = {}
        self._timetable: asyncio.Task[None] | None = None

    async def answer(self, command: JsonObject) -> Answer:
        if names := command.get("add"):
            assert isinstance(names, list)
            return {"uids": [self._add(str(name)) for name in names]}
        if runs := command.get("finish"):
            assert isinstance(runs, list)
            self._timetable = asyncio.create_task(
                self._finish([str(run) for run in runs], float(str(command["spread"])))
            )
            return {}
        return {"requests": dict(self.stub.requests), "ends": self._ends}

    def _add(self, name: str) -> str:
        if isinstance(self.stub, ArgoStub):
            return self.stub.add_workflow(name, {LABEL_MANAGED: MANAGED_BY})
        return self.stub.add_run({"display_name": name, "pipeline_spec": {}})

    async def _finish(self, runs: list[str], spread: float) -> None:
        """End one after another, evenly over `spread` seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, run in enumerate(runs):
            await asyncio.sleep(max(began + spread * number / len(runs) - loop.time(), 0))
            self._ends[run] = time.time()
            self.stub.finish(run)


async def serve_stub(kind: str, duration: float) -> None:
    stub = Stub(kind, duration)
    async with stub.stub:
        _say({"url": stub.stub.url})
        while line := await asyncio.to_thread(sys.stdin.readline):
            _say(await stub.answer(json.loads(line)))


async def serve_plain(temporal: str, argo: str, kfp: str) -> None:
    plain = PlainActivities(argo, kfp)
    if kfp:
        await plain.make_experiment()
    client = await Client.connect(temporal)
    async with Worker(client, task_queue=PLAIN_QUEUE, activities=[plain.create, plain.see]):
        _say({})
        await asyncio.to_thread(sys.stdin.read)


def _say(value: Answer) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waits_parts", description=__doc__)
    parser.add_argument("part", choices=["stub", "plain"])
    parser.add_argument("--kind", default="argo")
    parser.add_argument("--duration", type=float, default=0.0)
    parser.add_argument("--temporal", default="")
    parser.add_argument("--argo", default="")
    parser.add_argument("--kfp", default="")
    arguments = parser.parse_args()
    if arguments.part == "stub":
        asyncio.run(serve_stub(arguments.kind, arguments.duration))
    else:
        asyncio.run(serve_plain(arguments.temporal, arguments.argo, arguments.kfp))


if __name__ == "__main__":
    main()
