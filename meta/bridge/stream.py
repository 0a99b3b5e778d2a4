"""The stream behind a bridge: which one it is, and whether it answers requesters in our place."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError


def acknowledging(stream: str, subject: str) -> tuple[str, str]:
    """What clients find amiss where a stream acknowledges what is published on the subject, and the mend."""
    return (
        f"stream {stream} acknowledges what is published on {subject}, so who makes a request gets JetStream's"
        " acknowledgement in place of our answer; who only publishes is served",
        f"set no_ack on it (nats stream edit {stream} --no-ack), or take {subject} out of it, and the service makes a"
        " stream of its own",
    )


async def stream_of(js: JetStreamContext, subject: str) -> StreamInfo | None:
    """The stream that has a subject, if one has."""
    try:
        return await js.stream_info(await js.find_stream_name_by_subject(subject))
    except NotFoundError:
        return None
