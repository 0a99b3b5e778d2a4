"""docs/trace-context.md on a whole stack: what a caller sends is what code in pods and components finds."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from typer.testing import CliRunner

from meta.cli.app import app
from meta.client import MetaClient, RunView
from meta.config import load_config
from meta.stack.embedded import EmbeddedStack
from meta.stack.options import StackOptions
from meta.store import Store
from tests.docs.pages import snippets
from tests.support.chain import environments_folder
from workers.engines.trace_context import MAX_BAGGAGE
from workflows.naming import RunKey
from workflows.outcome import RunState
from workflows.trace import engine_span_id

PAGE = "docs/trace-context.md"
CALLER, PUBLISHER, POD, PIPELINE = (one.text for one in snippets("python", pages=(PAGE,)))
[MANIFEST] = [one.text for one in snippets("yaml", pages=(PAGE,))]
[COMMAND] = [command for one in snippets("console", pages=(PAGE,)) for command in one.commands]
OWN_TRACE = "0bf7651916cd43dd8448eb211c80319d"
DEFINITION = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: traced}
steps:
  count: {argo: {manifest: count.yaml}, outputs: {seen: string}}
  train: {kfp: {package: pipelines.py}, outputs: {seen: string, passed: string}}
outputs:
  count: "${{ steps.count.outputs.seen }}"
  seen: "${{ steps.train.outputs.seen }}"
  passed: "${{ steps.train.outputs.passed }}"
"""


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncGenerator[EmbeddedStack]:
    async with EmbeddedStack(StackOptions(data_dir=tmp_path / "stack", environments=environments_folder())) as stack:
        yield stack


def main_of(block: str) -> Callable[[str], Awaitable[str]]:
    names: dict[str, object] = {}
    exec(compile(block, PAGE, "exec"), names)
    return cast("Callable[[str], Awaitable[str]]", names["main"])


def parent_of(run: RunView, step: str, trace_id: str) -> str:
    return f"00-{trace_id}-{engine_span_id(RunKey(meta_run=run.id, step=step))}-01"


def cached(run: RunView) -> int:
    return next(step.cached_nodes for step in run.steps if step.name == "train")


async def the_run(client: MetaClient, known: set[str]) -> RunView:
    """The run that is not known yet, once it has ended."""
    async with asyncio.timeout(60):
        while not (new := [run.id for run in (await client.list()).runs if run.id not in known]):
            await asyncio.sleep(0.05)
    known.add(new[0])
    ended = await client.wait(new[0])
    assert ended.state is RunState.SUCCEEDED, ended.message
    return ended


async def test_code_in_both_engines_finds_the_trace_of_whoever_starts_the_run(
    stack: EmbeddedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotated = f"{{generateName: count-, annotations: {{workflows.argoproj.io/trace-id: {OWN_TRACE}}}}}"
    (tmp_path / "count.yaml").write_text(MANIFEST.replace("{generateName: count-}", annotated))
    (tmp_path / "pipelines.py").write_text(PIPELINE)
    (tmp_path / "chain.yaml").write_text(DEFINITION)
    known: set[str] = set()
    async with MetaClient(stack.addresses.grpc) as client:
        await client.publish(tmp_path / "chain.yaml")

        words = COMMAND.split()
        given = dict(word.split("=", 1) for word in words[: words.index("meta")])
        arguments = ["--address", stack.addresses.grpc, *words[words.index("meta") + 1 :], "--no-follow"]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=given)
        assert result.exit_code == 0, result.output
        first = await the_run(client, known)
        trace_id = given["TRACEPARENT"].split("-")[1]
        in_pod, in_component = (parent_of(first, step, trace_id) for step in ("count", "train"))
        assert str(first.outputs["count"]).splitlines() == [f"{in_pod} team=ml", in_pod, in_pod]
        assert first.outputs["seen"] == f"{in_component} team=ml"
        assert first.outputs["passed"] == in_component
        assert cached(first) == 0

        provider = TracerProvider()
        monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
        await main_of(CALLER)(stack.addresses.grpc)
        second = await the_run(client, known)
        traceparent = str(second.outputs["passed"])
        assert traceparent.split("-")[1] not in (trace_id, "")
        assert traceparent.split("-")[2] == engine_span_id(RunKey(meta_run=second.id, step="train"))
        assert cached(second) == 1, "another environment is no reason to run a task again"
        assert second.outputs["seen"] == first.outputs["seen"]

        await main_of(PUBLISHER)(stack.addresses.nats)
        third = await the_run(client, known)
        provider.shutdown()
        assert third.trigger == "nats"
        assert len({str(run.outputs["passed"]).split("-")[1] for run in (first, second, third)}) == 3

    async with await Store.open(load_config(stack.config_file).store.url) as store:
        records = {run_id: await store.traces.record(run_id) for run_id in known}
    assert {one.run.cause.kind if one.run.cause else "" for one in records.values()} == {"grpc", "nats"}
    assert "traceparent" in records[third.id].run.trace
    owns = {attempt.key.step: attempt.own_trace for attempt in records[first.id].attempts}
    assert owns == {"count": OWN_TRACE, "train": ""}


def test_the_code_for_pods_makes_spans_below_the_engine_run() -> None:
    told = """
span = trace.get_current_span(parent).get_span_context()
print(f"{span.trace_id:032x}", f"{span.span_id:016x}")
"""
    parent = COMMAND.split()[0].removeprefix("TRACEPARENT=")
    ended = subprocess.run(
        [sys.executable, "-c", POD + told], env={"TRACEPARENT": parent, "BAGGAGE": "team=ml"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert ended.stdout.split() == parent.split("-")[1:3]


def test_the_limit_on_the_page_is_the_real_one() -> None:
    [text] = [line for line in Path(PAGE).read_text().splitlines() if "would come to more than" in line]
    assert f"{MAX_BAGGAGE // 1024} KB" in text
