"""Sends events with OpenLineage's own client, which blocks: a thread does it."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

import requests
from openlineage.client.client import OpenLineageClient
from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

from meta.config import LineageConfig
from workflows.errors import ServiceUnavailable

TIMEOUT = 5.0
"""Seconds to connect, and again to wait for an answer."""

_NEVER = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


class EventRefused(Exception):
    """The receiver will never take this event."""


class Sender:
    """One receiver. What keeps events from it is tried again by whoever calls, with patience; not in here."""

    def __init__(self, config: LineageConfig) -> None:
        key = config.api_key.get_secret_value() if config.api_key is not None else ""
        http = HttpConfig(
            url=f"{config.url.rstrip('/')}/",  # else a path in it would be dropped
            endpoint=config.endpoint.lstrip("/"),
            timeout=TIMEOUT,
            auth=ApiKeyTokenProvider({"api_key": key}) if key else TokenProvider({}),
            retry={"total": 0},
        )
        self._client = OpenLineageClient(transport=HttpTransport(http))

    async def send(self, event: RunEvent) -> None:
        """Return when the receiver has it. A cancellation waits for the answer, so that no thread is left behind.

        Raises:
            EventRefused: it never takes this one.
            ServiceUnavailable: it does not take it now.
        """
        sending = asyncio.create_task(asyncio.to_thread(self._client.emit, event), name="lineage-send")
        cancelled: asyncio.CancelledError | None = None
        while not sending.done():
            try:
                await asyncio.wait({sending})
            except asyncio.CancelledError as error:
                cancelled = error
        error = sending.exception()
        if cancelled is not None:
            raise cancelled
        if error is not None:
            raise _meaning(error) from error

    def close(self) -> None:
        with contextlib.suppress(requests.RequestException):
            self._client.close()


def _meaning(error: BaseException) -> Exception:
    if isinstance(error, requests.HTTPError):
        answer = error.response
        text = f"{answer.status_code} {answer.text[:200]}".strip()
        if answer.status_code in _NEVER:
            return EventRefused(text)
        return ServiceUnavailable(f"the lineage receiver answers {text}", hint="telemetry.lineage says where it is")
    if isinstance(error, requests.RequestException | OSError):
        return ServiceUnavailable(
            f"the lineage receiver does not answer: {error}", hint="telemetry.lineage says where it is"
        )
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
