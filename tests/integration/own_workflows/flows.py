"""A user's own workflows, his data converter, and his worker as a process that can be killed.

python -m tests.integration.own_workflows.flows TEMPORAL SERVICE FILES
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import CompositePayloadConverter, DataConverter, EncodingPayloadConverter, PayloadCodec
from temporalio.worker import Worker

from meta.temporal import META_RUN_FAILED, MetaPlugin, Retry, approval, argo, kfp, meta_workflow

TASK_QUEUE = "theirs"


@workflow.defn
class TrainAndDeploy:
    """What a team writes: an engine's run, another engine's with its artifact, a decision in Python."""

    @workflow.run
    async def run(self, rate: float) -> dict[str, Any]:
        made = await argo("prepare.yaml", parameters={"rate": rate}, outputs={"rows": int})
        trained = await kfp(
            pipeline="train", parameters={"rows": made.outputs["rows"], "note": "${{ no expression }}", "none": None},
            artifacts={"dataset": made.artifacts["dataset"], "labels": made.artifacts["dataset"].uri},
            outputs={"accuracy": float}, retry=Retry(attempts=2, backoff="1s"), timeout=timedelta(hours=2),
        )  # fmt: skip
        return {"accuracy": trained.outputs["accuracy"], "runs": [made.run_id, trained.run_id]}


@workflow.defn
class AskFirst:
    """An engine's run, a person, another engine's run."""

    @workflow.run
    async def run(self, rate: float) -> dict[str, Any]:
        from temporalio.exceptions import ApplicationError

        made = await argo("prepare.yaml", parameters={"rate": rate})
        try:
            said = await approval(
                f"Train on ${{{{ {rate} }}}}?", approvers=["ada"], timeout="24h",
                artifacts={"dataset": made.artifacts["dataset"]},
            )  # fmt: skip
        except ApplicationError as error:
            return {"type": error.type, **error.details[0]}
        await kfp(pipeline="train")
        assert said.decision is not None
        return {"by": said.decision.by, "approved": said.decision.approved}


@workflow.defn
class RunPublished:
    @workflow.run
    async def run(self, name: str) -> dict[str, Any]:
        done = await meta_workflow(name, {"rate": 3})
        return {"outputs": done.outputs, "run": done.run_id, "state": done.state.value}


@workflow.defn
class Fallback:
    """A failure is an exception like any other; a wrong file too."""

    @workflow.run
    async def run(self, manifest: str) -> dict[str, Any]:
        from temporalio.exceptions import ApplicationError

        try:
            await argo(manifest)
        except ApplicationError as error:
            detail: dict[str, Any] = error.details[0]
            if error.type == META_RUN_FAILED:
                await argo("prepare.yaml", step="restore")
            return {"type": error.type, **detail}
        return {}


class Converter(CompositePayloadConverter):
    """One that knows nothing of pydantic and marks what it wrote."""

    def __init__(self) -> None:
        super().__init__(Marked())


class Marked(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "json/theirs"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(metadata={"encoding": b"json/theirs"}, data=json.dumps(value).encode())

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        assert payload.metadata["encoding"] == b"json/theirs"
        return json.loads(payload.data)


class Scrambled(PayloadCodec):
    """As an encryption would: nothing of the text is left."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"binary/theirs"}, data=bytes(b ^ 0x5A for b in one.SerializeToString()))
            for one in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(bytes(b ^ 0x5A for b in one.data)) for one in payloads]


CONVERTER = DataConverter(payload_converter_class=Converter, payload_codec=Scrambled())
WORKFLOWS = [TrainAndDeploy, AskFirst, RunPublished, Fallback]


def quick() -> None:
    """Let the death of a worker be noticed in seconds."""
    from meta.temporal import activities, calls

    calls.HEARTBEAT_TIMEOUT = timedelta(seconds=2)
    activities.BEAT_S = 0.3


async def client_of(temporal: str, plugin: MetaPlugin) -> Client:
    return await Client.connect(temporal, data_converter=CONVERTER, plugins=[plugin])


async def main(temporal: str, service: str, files: str) -> None:
    quick()
    client = await client_of(temporal, MetaPlugin(service, files=Path(files)))
    async with Worker(client, task_queue=TASK_QUEUE, workflows=WORKFLOWS):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
