"""Questions to the parts: do you answer? Each raises `NotReady` with the reason when the answer is no.

Blocking clients run in threads; every question has a time-out of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, cast

import grpc
import obstore
import urllib3
from grpc_health.v1 import health_pb2, health_pb2_grpc
from obstore.exceptions import BaseError
from obstore.store import S3Store

from meta.nats_login import shown
from meta.stack import temporal_api

if TYPE_CHECKING:
    from obstore.store import S3Config  # exists for type checkers alone

    from meta.config import NatsConfig

Probe = Callable[[], Awaitable[None]]

TIMEOUT_S = 5.0
_WORKFLOW_SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class _Check(Protocol):
    def __call__(self, request: health_pb2.HealthCheckRequest, *, timeout: float) -> health_pb2.HealthCheckResponse: ...


class NotReady(Exception):
    """The part does not answer yet, or not as it should."""


def tcp(address: str) -> Probe:
    """Something listens at host:port."""

    async def probe() -> None:
        host, _, port = address.rpartition(":")
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            raise NotReady(f"{address}: {str(error) or 'no answer in time'}") from error
        writer.close()
        with contextlib.suppress(OSError):  # it answered: how it hangs up is its own affair
            await writer.wait_closed()

    return probe


def http(
    url: str,
    headers: dict[str, str] | None = None,
    *,
    ca_file: str | None = None,
    verify: bool = True,
    accept: frozenset[int] = frozenset({200}),
) -> Probe:
    """GET answers with one of these statuses."""

    def ask() -> None:
        options: dict[str, object] = {"cert_reqs": "CERT_REQUIRED" if verify else "CERT_NONE", "ca_certs": ca_file}
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT_S, **options) as pool:  # pyright: ignore[reportArgumentType] -- keyword arguments of the pools
            try:
                response = pool.request("GET", url, headers=headers)
            except urllib3.exceptions.HTTPError as error:
                raise NotReady(f"{url}: {error}") from error
            if response.status not in accept:
                raise NotReady(f"{url}: {response.status} {response.data[:200].decode(errors='replace')}")

    return lambda: asyncio.to_thread(ask)


def grpc_health(address: str, service: str = "") -> Probe:
    """The gRPC health service at host:port says SERVING."""

    def ask() -> None:
        with channel(address) as connection:
            check = cast("_Check", getattr(health_pb2_grpc.HealthStub(connection), "Check"))  # noqa: B009 -- it has no types
            try:
                reply = check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                raise NotReady(f"{address}: {describe(error)}") from error
            if reply.status != health_pb2.HealthCheckResponse.SERVING:
                raise NotReady(f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)}")

    return lambda: asyncio.to_thread(ask)


def temporal(address: str, namespace: str = "default") -> Probe:
    """Temporal's front end serves, and knows the namespace."""
    health = grpc_health(address, _WORKFLOW_SERVICE)

    def ask() -> None:
        with channel(address) as connection:
            try:
                temporal_api.describe_namespace(connection, namespace, TIMEOUT_S)
            except grpc.RpcError as error:
                raise NotReady(f"{address}: namespace {namespace}: {describe(error)}") from error

    async def probe() -> None:
        await health()
        await asyncio.to_thread(ask)

    return probe


def poller(address: str, namespace: str, task_queue: str, since: float) -> Probe:
    """A worker has asked Temporal for work on the task queue after `since` (seconds of the epoch)."""

    def ask() -> None:
        with channel(address) as connection:
            try:
                last = temporal_api.last_poll(connection, namespace, task_queue, TIMEOUT_S)
            except grpc.RpcError as error:
                raise NotReady(f"{address}: task queue {task_queue}: {describe(error)}") from error
        if last < since:
            raise NotReady(f"no worker polls the task queue {task_queue} at {address}")

    return lambda: asyncio.to_thread(ask)


def s3_store(
    endpoint: str | None, bucket: str, access_key: str | None, secret_key: str | None, region: str = "us-east-1"
) -> S3Store:
    """A store whose questions end within the probes' time-out, without tries of its own.

    Args:
        endpoint: URL; None is AWS itself.
        bucket: its name.
        access_key: with `secret_key`; None takes the environment's credentials.
        secret_key: see access_key.
        region: of the bucket.
    """
    config: S3Config = {"region": region, "virtual_hosted_style_request": False}
    if endpoint:
        config["endpoint"] = endpoint
    if access_key and secret_key:
        config["access_key_id"], config["secret_access_key"] = access_key, secret_key
    limit = timedelta(seconds=TIMEOUT_S)
    return S3Store(
        bucket,
        config=config,
        client_options={"allow_http": True, "timeout": limit},
        retry_config={"max_retries": 0, "retry_timeout": limit},
    )


def s3(store: S3Store, key: str = ".meta/probe") -> Probe:
    """An object can be put, read and removed."""

    async def probe() -> None:
        try:
            await obstore.put_async(store, key, b"probe")
            found = await obstore.get_async(store, key)
            content = bytes(await found.bytes_async())
            await obstore.delete_async(store, key)
        except (BaseError, OSError) as error:
            raise NotReady(f"put and get: {error}") from error
        if content != b"probe":
            raise NotReady(f"put and get: read {content!r} back")

    return probe


def nats(config: NatsConfig) -> Probe:
    """NATS accepts us, and its JetStream answers."""

    async def probe() -> None:
        from nats.errors import Error

        from meta.nats import connect, describe

        said = list[Exception]()  # a request that we have no right to is never answered; the connection says why

        async def hear(error: Exception) -> None:
            said.append(error)

        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await connect(config, "meta-doctor", hear)
                try:
                    await connection.jetstream(timeout=TIMEOUT_S / 2).account_info()
                finally:
                    await connection.close()
        except (Error, OSError, TimeoutError) as error:
            reason = said[0] if said and isinstance(error, TimeoutError) else error
            raise NotReady(f"{shown(config)}: {describe(reason)}") from error

    return probe


def both(*probes: Probe) -> Probe:
    """One after the other; the first no is the answer."""

    async def probe() -> None:
        for one in probes:
            await one()

    return probe


def channel(address: str) -> grpc.Channel:
    """A channel that no proxy of the environment comes between, when the address is this machine's."""
    options = [("grpc.enable_http_proxy", 0)] if address.startswith(_LOOPBACK) else []
    return grpc.insecure_channel(address, options=options)


def describe(error: grpc.RpcError) -> str:
    """A gRPC error in a few words."""
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)
