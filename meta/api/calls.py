"""What a call of the API was as the cause of a run, and which trace it belongs to."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.message import Message
from grpc import aio

from meta.api.server import SERVICE
from meta.trace.context import trace_of
from workflows.messages import Cause


def call_of(context: aio.ServicerContext[Message, Message], method: str) -> tuple[dict[str, str], Cause]:
    """The trace context of a call that has just come, and the cause that it is.

    Names and attributes are OpenTelemetry's for RPC (https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/).

    Args:
        context: of the call; of a name that its metadata has twice the last counts, which was put in nearest to the
            wire, as an instrumented client's interceptor does.
        method: its name.
    """
    at = datetime.now(UTC)
    metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
    attributes = {"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": method}
    return trace_of(metadata), Cause(kind="grpc", name=f"{SERVICE}/{method}", at=at, attributes=attributes)
