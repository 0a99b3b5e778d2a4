"""The gRPC server: our service, health (grpc.health.v1) and reflection."""

from __future__ import annotations

from typing import Protocol, cast

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from meta.api.interceptor import ErrorInterceptor
from meta.api.v1 import meta_pb2
from meta.api.v1.meta_pb2_grpc import MetaServiceServicer, add_MetaServiceServicer_to_server
from workflows.errors import PortTaken

SERVICE = meta_pb2.DESCRIPTOR.services_by_name["MetaService"].full_name
MAX_MESSAGE = 32 * 1024 * 1024  # bytes: above every limit of ours, so that what is too large is refused by name
MAX_METADATA = 32 * 1024  # bytes: gRPC takes 8 KB by itself, which is what baggage alone may have


class _Health(Protocol):
    """What we use of grpc_health's asynchronous servicer, which its stubs leave out."""

    async def set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None: ...

    async def enter_graceful_shutdown(self) -> None: ...


class ApiServer:
    """Serves until stopped."""

    def __init__(self, servicer: MetaServiceServicer) -> None:
        self._server = aio.server(
            interceptors=[ErrorInterceptor()],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_send_message_length", MAX_MESSAGE),
                ("grpc.max_metadata_size", MAX_METADATA),
                ("grpc.so_reuseport", 0),  # else two services share a port and split the calls between them
                # clients ping quiet streams, so that a half-open connection shows
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
        )
        # its stubs know only the blocking servicer
        made = cast(object, health.aio.HealthServicer())  # pyright: ignore[reportAttributeAccessIssue]
        self._health = cast(_Health, made)
        add_MetaServiceServicer_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(cast(health.HealthServicer, made), self._server)
        reflection.enable_server_reflection(
            (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME), self._server
        )

    async def start(self, address: str) -> str:
        """Listen, and say that we serve.

        Args:
            address: host:port; port 0 takes a free one.

        Returns:
            host:port with the real port.

        Raises:
            PortTaken: something else listens there, or the host is not ours.
        """
        host = address.rpartition(":")[0]
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortTaken(
                f"cannot listen on {address}: {error}", hint="stop what uses it, or set grpc.address in meta.toml"
            ) from error
        await self._server.start()
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return f"{host}:{port}"

    async def stop(self, grace_s: float) -> None:
        """Stop listening, and give calls in flight some seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
