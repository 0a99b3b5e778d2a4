"""The stream that keeps life-cycle events."""

from __future__ import annotations

import logging

from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import APIError

from meta.config import NatsConfig
from workflows.spec.subjects import EVENTS, covers

log = logging.getLogger(__name__)

STREAM = "META_EVENTS"
DUPLICATE_WINDOW_S = 600.0
"""How long JetStream knows the ids of events: an acknowledgement can be lost, and NATS be away for a while after."""


async def ensure_stream(js: JetStreamContext, config: NatsConfig) -> None:
    """Make the stream where there is none for all events; what an administrator has set up stays as it is.

    Raises:
        nats.errors.Error, TimeoutError: JetStream does not answer, or refuses.
    """
    for info in await _streams(js):
        if any(covers(subject, f"{EVENTS}>") for subject in info.subjects or []):
            return
    age = config.stream_max_age or None
    window = DUPLICATE_WINDOW_S if age is None else min(DUPLICATE_WINDOW_S, age)  # the server wants it within the age
    stream = StreamConfig(
        name=STREAM,
        subjects=[f"{EVENTS}>"],
        max_age=age,
        duplicate_window=window,
        num_replicas=config.stream_replicas,
        description="Life-cycle events of meta-runs",
    )
    await js.add_stream(stream)
    log.info("made the stream %s for %s>", STREAM, EVENTS)


async def _streams(js: JetStreamContext) -> list[StreamConfig]:
    found: list[StreamConfig] = []
    while True:
        page = await js.streams_info(offset=len(found))
        found += [info.config for info in page]
        if not page:
            return found


def is_forever(error: APIError) -> bool:
    """Whether JetStream will say the same of this message however often it is asked.

    400 is its word for what is wrong with the message itself: larger than the stream takes, a header that it does not
    know (https://github.com/nats-io/nats-server/blob/main/server/errors.json).
    """
    return error.code == 400
