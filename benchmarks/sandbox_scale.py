"""How many workflows the sandbox Argo server carries: `python -m benchmarks.sandbox_scale [--workflows 1000] [--json]`.

All workflows are in flight at once: the pods that run first wait at a gate, which opens when the last workflow has been
submitted. Watchers with both framings, a label selector and, half of them, a `fields` filter see every end. Server,
pods and watchers share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from benchmarks.watchers import LABEL, Seen, connect
from meta.processes import GuardedProcess, spawn
from tests.support.chain import environments_folder
from tests.support.ports import free_port

_SUBMITTERS = 4
_PROC = Path("/proc")


@dataclass(frozen=True)
class Server:
    """A sandbox Argo server of the benchmark's own."""

    process: GuardedProcess
    url: str


@asynccontextmanager
async def sandbox(folder: Path, pods: int) -> AsyncGenerator[Server]:
    """A server on a free port. Nothing here has artifacts, so that no S3 server is needed."""
    port = free_port()
    command = [
        sys.executable, "-m", "meta.sandbox.argo", "--port", str(port), "--data-dir", str(folder),
        "--s3-endpoint", "http://127.0.0.1:9", "--s3-bucket", "none", "--environments", str(environments_folder()),
        "--max-concurrent-pods", str(pods),
    ]  # fmt: skip
    keys = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    process = await spawn(command, env={**os.environ, **keys})
    url = f"http://127.0.0.1:{port}"
    try:
        await _answers(url, process)
        yield Server(process, url)
    finally:
        await process.stop()


async def _answers(url: str, process: GuardedProcess, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            await asyncio.to_thread(urllib3.request, "GET", f"{url}/api/v1/version", retries=False, timeout=5)
            return
        except urllib3.exceptions.HTTPError:
            if process.returncode is not None or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


def manifest(name: str, gate: Path, steps: int) -> dict[str, Any]:
    """A chain of steps that do nothing, once the gate is open."""
    tasks = [
        {"name": f"s{i}", "template": "pod", **({"dependencies": [f"s{i - 1}"]} if i else {})} for i in range(steps)
    ]
    command = {"image": "none:1", "command": ["sh", "-c"], "args": [f": < {gate}"]}
    return {
        "metadata": {"name": name, "labels": {LABEL: "yes"}},
        "spec": {
            "entrypoint": "main",
            "templates": [{"name": "main", "dag": {"tasks": tasks}}, {"name": "pod", "container": command}],
        },
    }


async def submit_all(url: str, workflows: int, gate: Path, steps: int) -> list[float]:
    """Submit; gives the seconds that each create took."""
    http = urllib3.PoolManager(retries=False, timeout=60, maxsize=_SUBMITTERS)
    numbers = iter(range(workflows))
    taken: list[float] = []

    async def submitter() -> None:
        for number in numbers:
            began = time.perf_counter()
            body = {"workflow": manifest(f"wf-{number}", gate, steps)}
            answer = await asyncio.to_thread(http.request, "POST", f"{url}/api/v1/workflows/argo", json=body)
            taken.append(time.perf_counter() - began)
            if answer.status != 200:
                raise RuntimeError(f"create was refused: HTTP {answer.status} {answer.data[:300]!r}")

    await asyncio.gather(*(submitter() for _ in range(_SUBMITTERS)))
    return taken


async def ask(url: str, path: str, times: int = 20) -> float:
    """The median seconds of a GET."""
    http = urllib3.PoolManager(retries=False, timeout=60)
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        answer = await asyncio.to_thread(http.request, "GET", f"{url}/api/v1{path}")
        taken.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"{path}: HTTP {answer.status} {answer.data[:300]!r}")
    return statistics.median(taken)


async def measure(workflows: int, watchers: int, pods: int, steps: int, seconds: float = 600) -> dict[str, float]:
    """Run all.

    Raises:
        RuntimeError: a watch was cut, or not every watcher saw every end in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        gate = Path(folder) / "gate"
        os.mkfifo(gate)
        async with sandbox(Path(folder) / "argo", pods) as server:
            seen = Seen()
            readers = await connect(server.url, watchers, seen)
            started = time.monotonic()
            taken = await submit_all(server.url, workflows, gate, steps)
            submitted = time.monotonic()
            held = {
                "get_ms": await ask(server.url, "/workflows/argo/wf-0") * 1000,
                "list_50_ms": await ask(server.url, "/workflows/argo?listOptions.limit=50") * 1000,
            }
            memory = _memory_of_pods(server.process.pid)
            opened = time.monotonic()
            handle = os.open(gate, os.O_RDWR)
            try:
                while len(seen.ends) < workflows or any(len(ends) < watchers for ends in seen.ends.values()):
                    if any(reader.lost for reader in readers) or time.monotonic() - opened > seconds:
                        known = sum(len(ends) for ends in seen.ends.values())
                        raise RuntimeError(
                            f"{sum(reader.lost for reader in readers)} watches were cut; "
                            f"{known} of {workflows * watchers} ends were seen"
                        )
                    await asyncio.sleep(0.1)
            finally:
                os.close(handle)
            ended = max(max(ends) for ends in seen.ends.values())
            spread = [max(ends) - min(ends) for ends in seen.ends.values()]
            peak = _status(server.process.pid, "VmHWM")
            for reader in readers:
                reader.transport.close()
    return {
        "peak_rss_mb": peak,
        "pod_pss_mb": memory,
        "submit_p50_ms": statistics.median(taken) * 1000,
        "submit_p95_ms": statistics.quantiles(taken, n=20)[-1] * 1000,
        "submit_per_s": workflows / (submitted - started),
        "workflows_per_s": workflows / (ended - opened),
        "pods_per_s": workflows * steps / (ended - opened),
        "watch_spread_p50_ms": statistics.median(spread) * 1000,
        "watch_spread_p95_ms": statistics.quantiles(spread, n=20)[-1] * 1000,
        "watched_mb": seen.bytes / 1e6,
        **held,
    }


def _status(pid: int, key: str) -> float:
    """A line of /proc/PID/status in MB; 0 where the system has none."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), 0.0)


def _memory_of_pods(server: int) -> float:
    """Mean MB (proportional set size) of one pod: its guard and its process. 0 where the system does not say."""
    groups: dict[int, float] = {}
    for entry in sorted(_PROC.glob("[0-9]*"), key=lambda entry: int(entry.name)):  # a guard before its child
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parent, group = int(fields[1]), int(fields[2])
            if parent == server or parent in groups:
                rollup = (entry / "smaps_rollup").read_text()
                pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
                groups[group] = groups.get(group, 0.0) + pss / 1024
        except (OSError, StopIteration):
            continue  # it ended while we looked
    return statistics.mean(groups.values()) if groups else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sandbox_scale", description=__doc__)
    parser.add_argument("--workflows", type=int, default=1000, help="in flight at once (default 1000)")
    parser.add_argument("--watchers", type=int, default=100, help="watches open (default 100)")
    parser.add_argument("--pods", type=int, default=20, help="pods that run at once (default 20)")
    parser.add_argument("--steps", type=int, default=2, help="pods of each workflow, one after another (default 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.workflows, arguments.watchers, arguments.pods, arguments.steps))
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.workflows} workflows of {arguments.steps} pods, {arguments.pods} pods at once, ", end="")
    print(f"{arguments.watchers} watchers")
    for name, value in result.items():
        print(f"{name:22s} {value:10.1f}")


if __name__ == "__main__":
    main()
