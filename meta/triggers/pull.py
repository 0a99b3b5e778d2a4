"""Pull requests on one durable consumer, always open, so that a message comes the moment it is stored.

A request asks for a number of messages; the server sends them as they come, to one inbox, and ends the request with a
status. Between messages it sends heartbeats, whose absence tells that it, or the consumer, is gone.
Source: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-37.md
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

EXPIRES_S = 30.0
HEARTBEAT_S = 2.0
SILENCE_S = 5.0
_NANO = 1_000_000_000
_HEARTBEAT, _OVER = "100", ("404", "408")
_HARMLESS = ("batch completed", "message size exceeds", "server shutdown", "leadership change")
"""Ends of a request after which another one can be made; after others the consumer must be looked at."""


class Pull:
    """Messages of a consumer, as many as were asked for.

    Args:
        client: connected.
        stream: name.
        consumer: durable name.
        on_message: takes a message; must not block.
        on_change: told that a request ended or something broke.

    Attributes:
        outstanding: messages asked for that have not come.
        broken: why no more come; empty while all is well.
    """

    def __init__(
        self, client: Client, stream: str, consumer: str, on_message: Callable[[Msg], None],
        on_change: Callable[[], None],
    ) -> None:  # fmt: skip
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._on_message = on_message
        self._on_change = on_change
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._reconnects = 0
        self._heard = 0.0
        self.outstanding = 0
        self.broken = ""

    async def open(self) -> None:
        """Listen for what the server sends."""
        self._reconnects = self._client.stats["reconnects"]
        self._subscription = await self._client.subscribe(self._inbox, cb=self._on)

    async def request(self, count: int) -> None:
        """Ask for so many messages more."""
        body = {
            "batch": count,
            "expires": int(EXPIRES_S * _NANO),
            "idle_heartbeat": int(HEARTBEAT_S * _NANO),
        }
        self.outstanding += count
        self._heard = time.monotonic()
        await self._client.publish(self._subject, json.dumps(body).encode(), self._inbox)

    def check(self) -> None:
        """Take requests that a new connection or a silent server has made void out of the count."""
        if self._client.stats["reconnects"] != self._reconnects:
            self._reconnects = self._client.stats["reconnects"]
            self.outstanding = 0
        elif self.outstanding and time.monotonic() - self._heard > SILENCE_S:
            self.outstanding = 0

    async def close(self) -> None:
        """Listen no more. What is on its way still comes to `on_message`, and nothing after this returns."""
        if self._subscription is not None and not self._client.is_closed:
            if self._client.is_connected:
                await self._subscription.drain()
            else:
                await self._subscription.unsubscribe()

    async def _on(self, message: Msg) -> None:
        self._heard = time.monotonic()
        headers = message.headers or {}
        status = "" if message.data or message.reply.startswith("$JS.ACK.") else headers.get("Status", "")
        if not status:
            self.outstanding = max(0, self.outstanding - 1)
            self._on_message(message)
            return
        if status == _HEARTBEAT:
            return
        left = headers.get("Nats-Pending-Messages", "")
        self.outstanding = max(0, self.outstanding - int(left)) if left.isdigit() else 0
        words = headers.get("Description", "")
        if status not in _OVER and not words.lower().startswith(_HARMLESS):
            self.broken = words or status
        self._on_change()
