"""The one way to connect to NATS: triggers, the outbox, the bridge and `meta doctor` come through here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import nats
from nats.aio.client import Client

from meta.config import NatsConfig

RECONNECT_WAIT_S = 1.0


async def connect(config: NatsConfig, name: str, on_error: Callable[[Exception], Awaitable[None]]) -> Client:
    """Connect; the connection comes back by itself for ever.

    Args:
        config: where, and who we are there.
        name: shown in the server's monitoring.
        on_error: told of what happens to the connection later.

    Raises:
        nats.errors.Error, OSError, TimeoutError: nobody answers, or we are not let in.
    """
    token = config.token.get_secret_value() if config.token else None
    return await nats.connect(
        config.url,
        name=name,
        token=token,
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_S,
        error_cb=on_error,
    )
