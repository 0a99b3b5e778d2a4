"""What `meta doctor` says of a bridge: whether requests are kept, and whether their answers reach who asked."""

from __future__ import annotations

import asyncio

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from meta.bridge.stream import acknowledging, stream_of
from meta.config import MetaConfig
from meta.nats import connect
from meta.stack.checks import Finding, Verdict

_TIMEOUT_S = 5.0


async def bridge(config: MetaConfig) -> list[Finding]:
    """Look at the stream that has the bridge's subject; nothing to say without a bridge."""
    where = config.triggers.bridge
    if where is None:
        return []
    names = f"{len(where.pipelines)} pipelines on {where.subject}"
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            client = await connect(config.nats, "meta-doctor", _no_word)
            try:
                stream = await stream_of(client.jetstream(), where.subject)
            finally:
                await client.close()
    except (NatsError, JetStreamError, OSError, TimeoutError) as error:
        return [
            Finding(
                "bridge",
                Verdict.WARN if where.catch_up else Verdict.SKIP,
                f"{names}: cannot see which stream keeps requests: {error or type(error).__name__}",
                "start nats-server with --jetstream, or set catch_up = false in [triggers.bridge]",
            )
        ]
    if stream is not None and not stream.config.no_ack:
        problem, mend = acknowledging(stream.config.name or "", where.subject)
        return [Finding("bridge", Verdict.WARN, f"{names}: {problem}", mend)]
    kept = f"stream {stream.config.name} keeps requests" if stream is not None else "no stream keeps requests"
    if stream is None and where.catch_up:
        return [Finding("bridge", Verdict.WARN, f"{names}: {kept} yet", "the service makes it when it starts")]
    return [Finding("bridge", Verdict.OK, f"{names}; {kept}")]


async def _no_word(_error: Exception) -> None:
    """The finding says what is wrong; the client would log it as well."""
