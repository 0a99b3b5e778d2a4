"""The trace of whoever starts a run goes on in it: by a call's metadata, the SDK's span, the command's environment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from grpc import aio
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import TracerProvider
from typer.testing import CliRunner

from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceStub
from meta.cli.app import app
from meta.client import sync
from meta.trace.context import MAX_BAGGAGE
from tests.integration.service.servers import Rig
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.trace import engine_span_id, trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def tracing() -> Iterator[TracerProvider]:
    """What the caller's program has; its baggage is put back."""
    provider = TracerProvider()
    token = context.attach(baggage.set_baggage("team", "ml & co"))
    yield provider
    context.detach(token)
    provider.shutdown()


async def only_run(rig: Rig) -> RunSnapshot:
    [run] = (await rig.store.runs.list()).runs
    async with rig.client() as client:
        await client.wait(run.id)
    return await rig.store.runs.get(run.id)


async def test_the_metadata_of_a_call_goes_with_the_run_to_its_engine_runs(rig: Rig) -> None:
    async with rig.client() as client:
        digest = (await client.publish(rig.chain())).bundle_digest
    before = datetime.now(UTC)
    async with aio.insecure_channel(rig.address) as channel:
        await MetaServiceStub(channel).Start(
            pb.StartRequest(bundle_digest=digest, inputs_json=b"{}"),
            metadata=(("traceparent", PARENT), ("tracestate", "a=b"), ("baggage", "team=ml")),
        )
    run = await only_run(rig)
    assert run.trace == {"traceparent": PARENT, "tracestate": "a=b", "baggage": "team=ml"}
    assert run.cause is not None and run.cause.at is not None and run.started_at is not None
    assert (run.cause.kind, run.cause.name) == ("grpc", "meta.v1.MetaService/Start")
    assert run.cause.attributes == {"rpc.system": "grpc", "rpc.service": "meta.v1.MetaService", "rpc.method": "Start"}
    assert before <= run.cause.at <= run.started_at
    first = rig.engine.submitted[0]
    assert first.trace == {
        "traceparent": f"00-{TRACE}-{engine_span_id(RunKey(meta_run=run.id, step='prepare'))}-01",
        "tracestate": "a=b",
        "baggage": "team=ml",
    }


async def test_a_call_without_a_trace_begins_one_and_what_is_malformed_counts_for_nothing(rig: Rig) -> None:
    async with rig.client() as client:
        for trace in (None, {"traceparent": "00-1-2-01", "tracestate": "a=b"}):
            started = await client.start(rig.chain(), trace=trace)
            await client.wait(started.id)
            run = await rig.store.runs.get(started.id)
            assert run.trace == {}
            assert run.cause is not None
            passed = rig.engine.submitted[-1].trace["traceparent"]
            assert passed.split("-")[1] == trace_id(started.id, {})
        largest = {"traceparent": PARENT, "baggage": "k=" + "x" * (MAX_BAGGAGE - 2)}
        started = await client.start(rig.chain(), trace=largest)
        assert (await rig.store.runs.get(started.id)).trace == largest


async def test_both_faces_of_the_sdk_continue_their_callers_span(rig: Rig, tracing: TracerProvider) -> None:
    async with rig.client() as client:
        with tracing.get_tracer("caller").start_as_current_span("order") as span:
            started = await client.start(rig.chain())
            other = await client.start(rig.chain(), trace={"traceparent": PARENT})
            none = await client.start(rig.chain(), trace={})
    here = span.get_span_context()
    run = await rig.store.runs.get(started.id)
    assert run.trace["traceparent"] == f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"
    assert run.trace["baggage"].startswith("team=ml")
    assert (await rig.store.runs.get(other.id)).trace == {"traceparent": PARENT}
    assert (await rig.store.runs.get(none.id)).trace == {}

    def call() -> tuple[str, str]:
        with (
            sync.MetaClient(rig.address) as client,
            tracing.get_tracer("caller").start_as_current_span("order") as span,
        ):
            return client.start(rig.chain()).id, f"{span.get_span_context().span_id:016x}"

    run_id, span_id = await asyncio.to_thread(call)
    assert (await rig.store.runs.get(run_id)).trace["traceparent"].split("-")[2] == span_id


async def test_the_command_continues_the_trace_of_its_environment(rig: Rig) -> None:
    environment = {"TRACEPARENT": PARENT, "TRACESTATE": "a=b", "BAGGAGE": "team=ml"}
    arguments = ["--address", rig.address, "run", str(rig.chain()), "--no-follow"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    assert result.exit_code == 0, result.output
    run = await only_run(rig)
    assert run.trace == {"traceparent": PARENT, "tracestate": "a=b", "baggage": "team=ml"}
