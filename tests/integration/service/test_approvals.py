"""Approvals over gRPC, the SDK, the command, events and traces."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from typer.testing import CliRunner

from meta.api import temporal as temporal_module
from meta.cli.app import app
from meta.client import MetaClient, RunView, WaitingApproval
from meta.trace.model import Part
from tests.integration.service.servers import NatsServer, Rig
from tests.integration.service.servers import rig as make_rig
from tests.support.approvals import step_of
from tests.support.events import data_of, event_reader, whats
from workflows.errors import Conflict, InvalidInput, NotAllowed, NotFound, ServiceUnavailable
from workflows.outcome import StepState

CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
inputs:
  rows: {type: integer, default: 3}
steps:
  approve:
    approval: {prompt: "Load ${{ inputs.rows }} rows?", approvers: [ann, bob]}
    parameters: {rows: "${{ inputs.rows }}"}
  load: {needs: [approve], argo: {manifest: step.yaml}}
"""


@pytest.fixture
async def rig(temporal: Client, tmp_path: Path, nats: NatsServer) -> AsyncGenerator[Rig]:
    async with make_rig(temporal, tmp_path, nats.url) as made:
        yield made


async def asking(client: MetaClient, run_id: str) -> RunView:
    """The run, when it asks and the service knows it."""
    async with asyncio.timeout(30):
        async for run in client.watch(run_id):
            if run.steps and run.steps[0].asked is not None and run.steps[0].message:
                return run
    raise AssertionError("it has ended")


async def meta(rig: Rig, *words: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", rig.address, *words])
    return result.exit_code, result.output


async def test_an_approval_is_seen_listed_decided_and_told_everywhere(rig: Rig, nats: NatsServer) -> None:
    await rig.work()
    async with rig.client() as client, event_reader(nats.url) as reader:
        await client.publish(rig.chain(CHAIN))
        run = await asking(client, (await client.start("chain")).id)
        asked = run.steps[0].asked
        assert asked is not None
        assert (asked.prompt, asked.parameters, asked.approvers) == ("Load 3 rows?", {"rows": 3}, ["ann", "bob"])
        waiting = [one async for one in client.approvals()]
        assert waiting == [
            WaitingApproval(run=run.id, workflow="chain", step="approve", asked=asked, since=run.steps[0].started_at)
        ]
        command = f"meta approve {run.id} --step approve --digest {asked.digest}"
        for words in (("get", run.id), ("approvals",)):
            code, shown = await meta(rig, *words)
            assert code == 0
            assert all(text in shown for text in ("Load 3 rows?", "rows = 3", "may decide: ann, bob", command)), shown
        with pytest.raises(NotAllowed, match="eve may not decide"):
            await client.decide(run.id, True, by="eve")
        with pytest.raises(NotFound, match="no approval 'aprove'"):
            await client.decide(run.id, True, by="ann", step="aprove")
        with pytest.raises(InvalidInput, match="nobody decides"):
            await client.decide(run.id, True, by="")
        with pytest.raises(NotFound, match="no run"):
            await client.decide("nothing-0", True, by="ann")
        code, shown = await meta(rig, "approve", run.id, "--by", "ann", "--reason", "counted", "--digest", "sha256:0")
        assert (code, "asks for" in shown) == (2, True)
        code, shown = await meta(rig, "approve", run.id, "--by", "ann", "--reason", "counted", "-o", "json")
        answer = json.loads(shown)
        assert (code, answer["decided"], answer["decision"]["digest"]) == (0, True, asked.digest)
        ended = await client.wait(run.id)
        decision = step_of(ended, "approve").decision
        assert decision is not None
        assert (decision.by, decision.reason) == ("ann", "counted")
        assert not (await client.decide(run.id, True, by="ann")).decided, "also after the end"
        with pytest.raises(Conflict, match="was approved by ann"):
            await client.decide(run.id, False, by="bob", step="approve")
        with pytest.raises(Conflict, match="has ended"):
            await client.decide(run.id, False, by="bob")
        assert [one async for one in client.approvals()] == []
        _, shown = await meta(rig, "get", run.id)
        assert "approve: approved by ann at" in shown
        events = await reader.until(run.id, "run.succeeded")
        assert [what for what in whats(events) if "approve" in what] == [
            "step.approve.started/1",
            "approval.approve.asked",
            "approval.approve.decided",
            "step.approve.succeeded/1",
        ]
        told = {kind: data_of(events, f"approval.approve.{kind}") for kind in ("asked", "decided")}
        assert told["asked"]["prompt"] == "Load 3 rows?"
        assert told["asked"]["digest"] == told["decided"]["digest"] == asked.digest
        assert (told["decided"]["by"], told["decided"]["approved"]) == ("ann", True)
        (span,) = [one for one in (await client.trace(run.id)).spans if one.name == "step approve"]
        assert [event.name for event in span.events] == ["asked", "decided"]
        assert span.events[1].attributes["meta.approval.by"] == "ann"
        assert span.part is Part.STEP


async def test_without_a_worker_a_decision_is_refused_in_time_and_can_be_made_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporal_module, "UPDATE_TIMEOUT", timedelta(milliseconds=500))
    async with MetaClient(rig.address, patience_s=0) as client:
        await client.publish(rig.chain(CHAIN.replace(", approvers: [ann, bob]", "")))
        run = await client.start("chain")
        async with asyncio.timeout(20):
            with pytest.raises(ServiceUnavailable, match="no worker has taken the decision within") as caught:
                await client.decide(run.id, True, by="ann")
        assert "is a worker running?" in caught.value.hint
        await rig.work()
        await asking(client, run.id)
        monkeypatch.undo()
        code, shown = await meta(rig, "reject", run.id, "--reason", "late")
        assert code == 0, shown
        ended = await client.wait(run.id)
        assert ended.steps[0].state is StepState.FAILED
        words = f"rejected by {getpass.getuser()}: late"
        assert ended.steps[0].message == words, "decided as the user of the machine"
