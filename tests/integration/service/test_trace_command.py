"""`meta trace` against the service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from meta.cli.app import app
from tests.integration.service.servers import CHAIN, Rig

Trace = Callable[..., Awaitable[tuple[int, str, str]]]
STEPS = f"""{CHAIN.partition("outputs:")[0]}
  alert:
    when: inputs.rate > 1 && steps.train.state == 'failed'
    argo: {{manifest: step.yaml}}
"""


@pytest.fixture
def trace(rig: Rig) -> Trace:
    """Runs `meta trace` beside the test's loop."""

    async def invoke(*arguments: str) -> tuple[int, str, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", rig.address, "trace", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


async def test_a_run_is_drawn_in_every_form(rig: Rig, trace: Trace, tmp_path: Path) -> None:
    async with rig.client() as client:
        run = (await client.start(rig.chain(STEPS))).id
        await client.wait(run)
        told = await client.trace(run)
    code, out, _ = await trace(run)
    assert code == 0
    assert out.startswith(f"{run} succeeded")
    steps = [
        line.split()[-1] for line in out.splitlines() if line[2:].startswith(("  prepare ", "  train ", "  alert "))
    ]
    assert steps == ["succeeded", "succeeded", "skipped"]
    assert "where the time went" in out
    code, out, _ = await trace(run, "--step", "train")
    assert (code, "prepare" in out) == (0, False)

    code, out, _ = await trace(run, "--step", "alert")
    assert (code, "skipped" in out, told.trace_id in out) == (0, True, True)
    named = tmp_path / "trace.svg"
    assert (await trace(run, "--file", str(named)))[0] == 0
    assert ElementTree.fromstring(named.read_text()).tag == "{http://www.w3.org/2000/svg}svg"

    code, out, _ = await trace(run, "--output", "svg")
    assert (code, ElementTree.fromstring(out).tag) == (0, "{http://www.w3.org/2000/svg}svg")
    code, out, _ = await trace(run, "--output", "html")
    assert (code, out.startswith("<!DOCTYPE html>")) == (0, True)

    file = tmp_path / "trace.json"
    file.write_text("old")
    code, out, _ = await trace(run, "-o", "json", "--file", str(file))
    assert (code, out) == (0, f"wrote {file} ({file.stat().st_size:,} bytes)\n")
    (resource,) = json.loads(file.read_text())["resourceSpans"]
    assert {"key": "service.name", "value": {"stringValue": "meta-workflows"}} in resource["resource"]["attributes"]
    spans = resource["scopeSpans"][0]["spans"]
    assert [one["spanId"] for one in spans] == [span.span_id for span in told.spans]
    assert {one["traceId"] for one in spans} == {told.trace_id}
    code, _, _ = await trace(run, "--file", str(tmp_path / "trace.txt"))
    assert "where the time went" in (tmp_path / "trace.txt").read_text()
    assert not list(tmp_path.glob(".trace*")), "nothing half-written stays"


async def test_a_run_that_goes_on_is_drawn_and_the_page_in_the_backend_is_named(rig: Rig, trace: Trace) -> None:
    telemetry = rig.config.telemetry.model_copy(update={"trace_url": "http://tempo.test/{trace_id}"})
    rig.config = rig.config.model_copy(update={"telemetry": telemetry})
    await rig.restart()
    rig.engine.script["prepare"] = [None]
    async with rig.client() as client, asyncio.timeout(30):
        run = (await client.start(rig.chain())).id
        async for seen in client.watch(run):
            if seen.steps[0].run is not None:
                break
        code, out, _ = await trace(run)
        assert code == 0
        assert out.startswith(f"{run} running")
        assert "drawn up to now" in out
        assert [line.split() for line in out.splitlines() if " train " in line] == [["train", "pending"]]
        assert f"trace http://tempo.test/{(await client.trace(run)).trace_id}\n" in out
        rig.engine.finish("prepare")
        await client.wait(run)


async def test_what_cannot_be_shown_or_written_leaves_with_2_and_a_hint(rig: Rig, trace: Trace, tmp_path: Path) -> None:
    code, _, errors = await trace("chain-x")
    assert (code, "meta list" in errors) == (2, True)
    async with rig.client() as client:
        run = (await client.start(rig.chain())).id
        await client.wait(run)
    code, out, errors = await trace(run, "--step", "trian", "-o", "json")
    assert (code, out) == (2, "")
    assert "did you mean 'train'?" in errors
    code, _, errors = await trace(run, "--file", str(tmp_path / "none" / "trace.txt"))
    assert code == 2
    assert "cannot be written" in errors
