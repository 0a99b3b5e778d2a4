"""How much a meta-run costs over plain Temporal: `python -m benchmarks.chain [--json]`.

A three-step chain of engine runs that take no time, against a plain Temporal workflow with the same number of
activities that make the same runs at the same stub of the engines' REST APIs and see that they have ended. Both run on
one Temporal server, turn by turn, so that the ratio means something on a noisy machine. Then the same chain with a
collector of traces, and without: `tracing_ratio`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import urllib3
import yaml
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from benchmarks.plain import Plain
from benchmarks.tracing import measure_tracing
from meta.stack import EmbeddedStack, PartName, StackOptions
from meta.store import Store
from meta.telemetry.sinks import OTLP
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from workers.activities import Activities
from workers.artifacts import ArtifactStore
from workers.engines.registry import build_engines
from workers.runtime import Sizes, connect, register_search_attributes, run_workers, workflow_runner
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.bundle import Bundle
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE, StartRun
from workflows.naming import LABEL_MANAGED, MANAGED_BY
from workflows.search import search_attributes
from workflows.spec.models import MetaWorkflow

STEPS = ("argo", "kfp", "argo")
PLAIN_QUEUE = "plain"
WORKFLOW = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: noop-}
spec: {entrypoint: main, templates: [{name: main, container: {image: "none:1", command: ["true"]}}]}
"""
PIPELINE = """
pipelineInfo: {name: noop}
root: {dag: {tasks: {}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


_ARGO_BODY: dict[str, Any] = yaml.safe_load(WORKFLOW)
_KFP_BODY: dict[str, Any] = {"pipeline_spec": yaml.safe_load(PIPELINE)}


class PlainActivities:
    """The same requests to the engines, with the same HTTP library."""

    def __init__(self, argo: str, kfp: str) -> None:
        self._argo = argo
        self._kfp = kfp
        self._http = urllib3.PoolManager()
        self._experiment = ""

    async def make_experiment(self) -> None:
        """KFP's runs need one; it is made once, as the adapter does."""
        made = await self._ask("POST", f"{self._kfp}/apis/v2beta1/experiments", {"display_name": "plain"})
        self._experiment = str(made["experiment_id"])

    @activity.defn
    async def create(self, kind: str) -> str:
        name = f"plain-{uuid.uuid4().hex[:12]}"
        if kind == "argo":
            metadata = {"name": name, "labels": {LABEL_MANAGED: MANAGED_BY}}
            body = {"workflow": {**_ARGO_BODY, "metadata": metadata}}
            await self._ask("POST", f"{self._argo}/api/v1/workflows/argo", body)
            return name
        body = {**_KFP_BODY, "display_name": name, "experiment_id": self._experiment}
        run = await self._ask("POST", f"{self._kfp}/apis/v2beta1/runs", body)
        return str(run["run_id"])

    @activity.defn
    async def see(self, words: list[str]) -> None:
        kind, run = words
        url = f"{self._argo}/api/v1/workflows/argo/{run}" if kind == "argo" else f"{self._kfp}/apis/v2beta1/runs/{run}"
        while True:
            run = await self._ask("GET", url)
            state = run.get("status", {}).get("phase") if kind == "argo" else run.get("state")
            if state in ("Succeeded", "SUCCEEDED"):
                return
            await asyncio.sleep(0.005)

    async def _ask(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        response = await asyncio.to_thread(self._http.request, method, url, json=body)
        if response.status != 200:
            raise ApplicationError(
                f"{method} {url}: HTTP {response.status} {response.data[:200]!r}", non_retryable=True
            )
        return cast(dict[str, Any], response.json())


def chain_bundle() -> Bundle:
    """The definition of the chain, with manifests that do nothing."""
    sources = {"argo": {"argo": {"manifest": "noop.yaml"}}, "kfp": {"kfp": {"package": "pipeline.yaml"}}}
    steps = {f"step_{i}": {**sources[kind], "needs": [f"step_{i - 1}"] if i else []} for i, kind in enumerate(STEPS)}
    document = {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "noop"}, "steps": steps}
    files = {"noop.yaml": WORKFLOW, "pipeline.yaml": PIPELINE}
    return Bundle(definition=MetaWorkflow.model_validate(document), files=files)


async def measure(runs: int, warm_up: int) -> dict[str, float]:
    """Run both, turn by turn.

    Returns:
        Seconds: p50 and p95 of each, and the ratio of the p50s; and what `measure_tracing` returns.
    """
    with tempfile.TemporaryDirectory() as folder:
        stack = EmbeddedStack(StackOptions(data_dir=Path(folder) / "stack", parts=[PartName.TEMPORAL]))
        async with ArgoStub() as argo, KfpStub() as kfp, stack:
            client = await connect(stack.addresses.temporal, "default")
            await register_search_attributes(client)
            store = await Store.open(f"sqlite+aiosqlite:///{Path(folder) / 'store.db'}", sinks=(OTLP,))
            store.exports.sinks = ()  # until traces are measured
            objects = ArtifactStore(StoreSettings())
            settings = {"argo": ArgoSettings(url=argo.url), "kfp": KfpSettings(url=kfp.url)}
            engines = build_engines(settings, objects)
            plain = PlainActivities(argo.url, kfp.url)
            await plain.make_experiment()
            bundle = chain_bundle()
            await store.bundles.put(bundle)
            activities = Activities(engines=engines, objects=objects, bundles=store, recorder=store)
            plain_worker = Worker(
                client,
                task_queue=PLAIN_QUEUE,
                workflows=[Plain],
                activities=[plain.create, plain.see],
                workflow_runner=workflow_runner(),
            )
            async with run_workers(client, activities, Sizes()), plain_worker:
                chains, plains = await _turns(client, bundle, runs, warm_up)
                traced = await measure_tracing(store, bundle, lambda run: _chain(client, bundle, run), runs, warm_up)
            for engine in engines.values():
                await engine.close()
            await store.close()
    return {
        "chain_p50_s": statistics.median(chains),
        "plain_p50_s": statistics.median(plains),
        "ratio_p50": statistics.median(chains) / statistics.median(plains),
        "chain_p95_s": statistics.quantiles(chains, n=20)[-1],
        "plain_p95_s": statistics.quantiles(plains, n=20)[-1],
        **traced,
    }


async def _chain(client: Client, bundle: Bundle, run_id: str) -> None:
    start = StartRun(definition=bundle.definition, bundle_digest=bundle.digest)
    await client.execute_workflow(
        WORKFLOW_TYPE, start, id=run_id, task_queue=TASK_QUEUE, search_attributes=search_attributes(start)
    )


async def _turns(client: Client, bundle: Bundle, runs: int, warm_up: int) -> tuple[list[float], list[float]]:
    async def chain() -> None:
        await _chain(client, bundle, f"noop-{uuid.uuid4().hex}")

    async def plain() -> None:
        await client.execute_workflow(Plain.run, list(STEPS), id=f"plain-{uuid.uuid4().hex}", task_queue=PLAIN_QUEUE)

    chains: list[float] = []
    plains: list[float] = []
    for turn in range(warm_up + runs):
        for work, times in ((chain, chains), (plain, plains)):
            taken = await _time(work)
            if turn >= warm_up:
                times.append(taken)
    return chains, plains


async def _time(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="measured runs of each (default 40)")
    parser.add_argument("--warm-up", type=int, default=5, help="runs of each before (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.runs, arguments.warm_up))
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{len(STEPS)} no-op engine runs ({', '.join(STEPS)}), {arguments.runs} runs of each, turn by turn")
    print(f"meta-run        p50 {result['chain_p50_s'] * 1000:7.1f} ms   p95 {result['chain_p95_s'] * 1000:7.1f} ms")
    print(f"plain Temporal  p50 {result['plain_p50_s'] * 1000:7.1f} ms   p95 {result['plain_p95_s'] * 1000:7.1f} ms")
    print(f"ratio of p50    {result['ratio_p50']:.2f}")
    print(
        f"traces exported p50 {result['traced_p50_s'] * 1000:7.1f} ms   not {result['untraced_p50_s'] * 1000:7.1f} ms"
    )
    print(f"tracing ratio   {result['tracing_ratio']:.3f}")


if __name__ == "__main__":
    main()
