"""The client's connection to the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from grpc import aio

from meta.api.v1.meta_pb2_grpc import MetaServiceStub

if TYPE_CHECKING:
    from meta.api.v1.meta_pb2_grpc import MetaServiceAsyncStub  # stands in the stubs only

CALL_TIMEOUT_S = 30.0
CHECKS_TIMEOUT_S = 600.0  # of calls in which the service may read artifacts, to see that they are what they were
MAX_MESSAGE = 32 * 1024 * 1024  # bytes


class Connection:
    """One channel, made at the first call.

    Args:
        address: host:port of the service's gRPC.
        patience_s: seconds to go on trying while the service, or Temporal behind it, does not answer.
    """

    def __init__(self, address: str, patience_s: float) -> None:
        self.address = address
        self._patience_s = patience_s
        self._channel: aio.Channel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; streams end."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    @property
    def _stub(self) -> MetaServiceAsyncStub:
        if self._channel is None:  # here and not in __init__: a channel belongs to the running loop
            self._channel = aio.insecure_channel(
                self.address,
                options=[
                    ("grpc.max_receive_message_length", MAX_MESSAGE),
                    ("grpc.max_send_message_length", MAX_MESSAGE),
                    ("grpc.keepalive_time_ms", 20_000),
                    ("grpc.keepalive_timeout_ms", 10_000),
                    ("grpc.initial_reconnect_backoff_ms", 200),
                    ("grpc.max_reconnect_backoff_ms", 2_000),
                ],
            )
        return MetaServiceStub(self._channel)
