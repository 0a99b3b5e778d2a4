from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from google.protobuf.message import Message
from grpc import aio

from meta.api.server import ApiServer
from meta.api.v1 import meta_pb2 as pb
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer
from meta.client import MetaClient, sync
from meta.client import client as client_module
from meta.trace.model import Span
from meta.trace.otlp import to_traces_data
from workflows.errors import Conflict, InputsInvalid, ServiceUnavailable

_Context = aio.ServicerContext[Message, Message]
SPAN = Span(
    "a" * 32, "b" * 16, "", "run chain", datetime(2026, 1, 2, tzinfo=UTC), None, attributes={"meta.part": "run"}
)


class Flaky(MetaServiceServicer):
    """A service that fails a while, and remembers what it was asked."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ServiceUnavailable("Temporal does not answer")
        self.starts: list[pb.StartRequest] = []
        self.watches = 0

    async def Start(self, request: pb.StartRequest, context: _Context) -> pb.StartResponse:
        self.starts.append(request)
        if len(self.starts) <= self.failures:
            raise self.error
        return pb.StartResponse(run_id="r", created=True)

    async def Watch(self, request: pb.WatchRequest, context: _Context) -> AsyncGenerator[pb.Run]:
        self.watches += 1
        yield pb.Run(id="r", state=pb.RUN_STATE_RUNNING, message="one")
        if self.watches == 1:
            raise ServiceUnavailable("the service is stopping")
        yield pb.Run(id="r", state=pb.RUN_STATE_SUCCEEDED, outputs_json=b'{"a": 1}')

    async def Trace(self, request: pb.TraceRequest, context: _Context) -> pb.TraceResponse:
        spans = to_traces_data([SPAN], {"service.name": "meta"})
        return pb.TraceResponse(
            trace_id=SPAN.trace_id, otlp=spans.SerializeToString(), url=f"http://t/{request.run_id}"
        )


# The generated base is abstract; a call that a test does not make need not be there.
Flaky.__abstractmethods__ = frozenset()


def flaky_service(failures: int = 0, error: Exception | None = None) -> Flaky:
    return Flaky(failures, error)  # pyright: ignore[reportAbstractUsage]


@asynccontextmanager
async def serving(servicer: Flaky) -> AsyncGenerator[str]:
    server = ApiServer(servicer)
    address = await server.start("127.0.0.1:0")
    try:
        yield address
    finally:
        await server.stop(0)


async def test_a_start_is_repeated_with_the_same_request_id_until_it_is_answered() -> None:
    flaky = flaky_service(failures=2)
    async with serving(flaky) as address, MetaClient(address) as client:
        assert (await client.start("chain")).id == "r"
    assert len(flaky.starts) == 3
    assert len({start.request_id for start in flaky.starts}) == 1
    assert flaky.starts[0].request_id, "made up, so that repeating is safe"


async def test_patience_ends_with_the_services_own_error() -> None:
    flaky = flaky_service(failures=1000)
    async with serving(flaky) as address, MetaClient(address, patience_s=0.4) as client:
        with pytest.raises(ServiceUnavailable, match="Temporal does not answer"):
            await client.start("chain")
    assert len(flaky.starts) >= 2


async def test_what_trying_again_cannot_mend_is_raised_at_once() -> None:
    flaky = flaky_service(failures=1000, error=Conflict("other inputs", hint="another id"))
    async with serving(flaky) as address, MetaClient(address) as client:
        with pytest.raises(Conflict, match="other inputs") as refused:
            await client.start("chain")
    assert refused.value.hint == "another id"
    assert len(flaky.starts) == 1


async def test_an_unforeseen_fault_of_the_service_is_said_and_not_repeated() -> None:
    flaky = flaky_service(failures=1000, error=ZeroDivisionError("oops"))
    async with serving(flaky) as address, MetaClient(address) as client:
        with pytest.raises(Exception, match="internal error: ZeroDivisionError: oops"):
            await client.start("chain")
    assert len(flaky.starts) == 1


async def test_a_watch_that_breaks_is_taken_up_again_without_telling_twice() -> None:
    flaky = flaky_service()
    async with serving(flaky) as address, MetaClient(address) as client:
        seen = [(run.state.value, run.message) async for run in client.watch("r")]
    assert seen == [("running", "one"), ("succeeded", "")]
    assert flaky.watches == 2


async def test_large_inputs_are_refused_before_they_are_sent() -> None:
    flaky = flaky_service()
    async with serving(flaky) as address, MetaClient(address) as client:
        with pytest.raises(InputsInvalid, match="input 'text' is 70,002 bytes; at most 65,536"):
            await client.start("chain", {"text": "x" * 70_000, "small": 1})
        with pytest.raises(InputsInvalid, match="together"):
            await client.start("chain", {f"text{i}": "x" * 60_000 for i in range(5)})
    assert flaky.starts == []


async def test_the_blocking_client_makes_the_same_calls() -> None:
    import asyncio

    flaky = flaky_service()

    def blocking(address: str) -> tuple[str, list[str], object]:
        with sync.MetaClient(address) as client:
            started = client.start("chain", {"a": 1}, request_id="q")
            states = [run.state.value for run in client.watch(started.id)]
            return started.id, states, client.result(started.id)

    async with serving(flaky) as address:
        assert await asyncio.to_thread(blocking, address) == ("r", ["running", "succeeded"], {"a": 1})
    assert flaky.starts[0].request_id == "q"


async def test_a_trace_comes_as_spans_and_one_that_goes_on_has_no_end() -> None:
    async with serving(flaky_service()) as address, MetaClient(address) as client:
        trace = await client.trace("r")
    assert (trace.trace_id, trace.url, trace.spans) == ("a" * 32, "http://t/r", [SPAN])


def test_the_blocking_client_has_every_call_of_the_asynchronous_one() -> None:
    def calls(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert calls(MetaClient) <= calls(sync.MetaClient)
    assert sync.MetaClient.start.__doc__ == MetaClient.start.__doc__


def test_a_blocking_stream_that_is_left_early_leaves_nothing_behind() -> None:
    import threading

    before = threading.active_count()
    client = sync.MetaClient("127.0.0.1:1", patience_s=0, watch_patience_s=0)
    with pytest.raises(ServiceUnavailable):
        list(client.watch("r"))
    client.close()
    client.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("module", ["meta.client", "meta.client.sync", "meta.cli.app"])
def test_neither_temporal_nor_the_engines_clients_are_imported(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in ('temporalio', 'kfp', 'kfp_server_api', 'argo_workflows', 'sqlmodel')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_client_imports_opentelemetry_only_for_a_trace() -> None:
    code = "import sys, meta.client; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_public_is_sorted_and_there() -> None:
    import meta.client as package

    assert package.__all__ == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)
    assert client_module.MetaClient is package.MetaClient
