"""Where messages go that can never start a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from nats.aio.client import Client
from nats.js import JetStreamContext

from meta.triggers.event import Event, other_identity
from meta.triggers.intake import Intake
from meta.triggers.jetstream import refusals
from workflows.errors import Conflict, MetaError
from workflows.spec.subjects import DEAD

MAX_REASON = 2000  # characters
_SPARE = 512  # bytes of the protocol line and of what JetStream adds


class DeadLetters:
    """Writes a message down with the reason, then publishes it on `meta.dead.<workflow>`.

    The store comes first. A message is taken out of its stream only after both, so a crash in between brings it again
    either way; but then it may start a run after all (somebody has mended the definition), and a row changes with it,
    while a letter that somebody has read cannot be taken back.
    """

    def __init__(self, client: Client, js: JetStreamContext, intake: Intake) -> None:
        self._client = client
        self._js = js
        self._intake = intake

    async def bury(self, event: Event, workflow: str, trigger: str, error: MetaError) -> None:
        """Put a message aside, with the reason.

        Args:
            event: the message.
            workflow: whose trigger it met.
            trigger: the trigger's key; empty for the service's own subject.
            error: why.

        Raises:
            ServiceUnavailable: the store or JetStream does not answer; the message must be kept.
            MetaError: NATS refuses the letter; the message must be kept.
        """
        other = other_identity(event.identity, event.digest)
        # The row of its identity is another message's where that is why: it tells something else than the first did.
        kept = replace(event, identity=other) if isinstance(error, Conflict) else event
        await self._intake.bury(kept, workflow, trigger, error)
        headers = {
            **{k: v for k, v in event.headers.items() if not k.lower().startswith(("nats-", "meta-"))},
            "Meta-Reason-Code": error.code,
            "Meta-Reason": json.dumps(str(error)[:MAX_REASON]),  # a header is one line
            "Meta-Subject": event.subject,
            "Meta-Trigger": trigger,
            "Meta-Event-Id": event.identity,
            "Nats-Msg-Id": f"dead:{workflow}:{trigger}:{other}",
        }
        data, headers = _fitting(event.raw, headers, self._client.max_payload)
        with refusals("publishing a dead letter"):
            await self._js.publish(f"{DEAD}{workflow}", data, headers=headers)


def _fitting(data: bytes, headers: dict[str, str], limit: int) -> tuple[bytes, dict[str, str]]:
    """What the server takes: without the publisher's headers, or without the data, when it is too much with ours."""
    if len(data) + _size(headers) + _SPARE <= limit:
        return data, headers
    own = {k: v for k, v in headers.items() if k.startswith("Meta-") or k == "Nats-Msg-Id"}
    own["Meta-Left-Out"] = "headers"
    if len(data) + _size(own) + _SPARE <= limit:
        return data, own
    return b"", own | {"Meta-Left-Out": "headers, data"}


def _size(headers: Mapping[str, str]) -> int:
    return sum(len(k.encode()) + len(v.encode(errors="surrogatepass")) + 4 for k, v in headers.items())
