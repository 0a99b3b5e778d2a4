"""The stream that has a trigger's messages: found, bound or made. Streams and their messages are never deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import APIError

from meta.config import NatsConfig
from meta.triggers.jetstream import find_stream, stream_names
from meta.triggers.names import stream_name
from workflows.errors import Conflict
from workflows.spec.subjects import covers, overlaps
from workflows.spec.trigger_models import NatsTrigger
from workflows.values import JsonObject

OURS = {"made-by": "meta-workflows"}
_NAME_IN_USE, _SUBJECTS_OVERLAP = 10058, 10065


@dataclass(frozen=True, slots=True)
class Bound:
    """A stream as it was found.

    Attributes:
        created: its creation time as text; another one is another stream, whose sequences begin again.
    """

    stream: str
    created: str


def bound(info: StreamInfo) -> Bound:
    """What identities of messages need to know of a stream."""
    return Bound(str(info.config.name), str(info.created))


class Streams:
    """Streams of triggers. Looked at once for all triggers of a round: make a new one for the next."""

    def __init__(self, client: Client, js: JetStreamContext, config: NatsConfig) -> None:
        self._client = client
        self._js = js
        self._config = config
        self._seen: dict[str, StreamInfo | None] = {}

    async def find(self, workflow: str, trigger: NatsTrigger, known: str = "") -> Bound:
        """The stream of a trigger, made when there is none.

        Args:
            workflow: whose trigger it is.
            trigger: says the subject, and may name the stream.
            known: stream that had the subject when last looked at.

        Raises:
            Conflict: streams have a part of the subject only, or the named one has nothing of it.
            nats.errors.Error: NATS refuses or does not answer.
        """
        if trigger.stream is not None:
            return await self._named(trigger.stream, trigger.subject)
        if known and (info := await self._info(known)) is not None and _has(info, trigger.subject):
            return bound(info)
        if (found := await self.covering(trigger.subject)) is not None:
            return found
        plain = stream_name(workflow, trigger.key)
        if await self._info(plain) is not None:
            plain = stream_name(workflow, trigger.key, taken=trigger.subject)
        return await self._make(plain, [trigger.subject], lambda: self.covering(trigger.subject))

    async def may_have(self, subject: str, spec: JsonObject) -> list[str]:
        """Streams that may have the consumer of a trigger, of which only the store's row is left."""
        named = spec.get("stream")
        return [named] if isinstance(named, str) else await stream_names(self._client, subject)

    async def ensure(self, name: str, subjects: list[str], max_age_s: float | None = None) -> Bound:
        """A stream of the service's own; what an administrator has set up under the name stays as it is."""
        if (info := await self._info(name)) is not None:
            return bound(info)

        async def again() -> Bound | None:
            info = await self._info(name, fresh=True)
            return bound(info) if info is not None else None

        return await self._make(name, subjects, again, max_age_s)

    async def _named(self, name: str, subject: str) -> Bound:
        info = await self._info(name)
        if info is None:

            async def again() -> Bound | None:
                info = await self._info(name, fresh=True)
                return bound(info) if info is not None else None

            return await self._make(name, [subject], again)
        elsewhere = info.config.mirror is not None or bool(info.config.sources)
        if not elsewhere and not any(overlaps(one, subject) for one in info.config.subjects or []):
            raise Conflict(
                f"stream {name} has {_list(info.config.subjects)}, nothing of {subject}",
                hint=f"add the subject to it, or leave 'stream' out: `nats stream edit {name} --subjects ...`",
            )
        return bound(info)

    async def covering(self, subject: str) -> Bound | None:
        """The stream that has all of a subject; None when none has any of it.

        Raises:
            Conflict: streams have a part of it only.
        """
        parts: list[str] = []
        for name in await stream_names(self._client, subject):
            info = await self._info(name)
            if info is None:
                continue
            if _has(info, subject):
                return bound(info)
            parts.append(f"{name} ({_list([s for s in info.config.subjects or [] if overlaps(s, subject)])})")
        if parts:
            raise Conflict(
                f"no stream has all of {subject}, and these have a part of it, so that none can be made for it:"
                f" {', '.join(parts)}",
                hint="let one of them have the whole subject, or narrow the trigger's to what one has,"
                " or name the 'stream' to read",
            )
        return None

    async def _make(
        self,
        name: str,
        subjects: list[str],
        again: Callable[[], Awaitable[Bound | None]],
        max_age_s: float | None = None,
    ) -> Bound:
        config = StreamConfig(
            name=name,
            description="Messages that start runs; made by meta-workflows, which never deletes it",
            subjects=subjects,
            max_age=self._config.stream_max_age if max_age_s is None else max_age_s,
            num_replicas=self._config.stream_replicas,
            metadata=dict(OURS),
        )
        try:
            info = await self._js.add_stream(config)
        except APIError as error:
            # another service may have made it at this moment
            if error.err_code in (_NAME_IN_USE, _SUBJECTS_OVERLAP) and (found := await again()) is not None:
                return found
            raise
        self._seen[name] = info
        return bound(info)

    async def _info(self, name: str, *, fresh: bool = False) -> StreamInfo | None:
        if fresh or self._seen.get(name) is None:
            self._seen[name] = await find_stream(self._js, name)
        return self._seen[name]


def _has(info: StreamInfo, subject: str) -> bool:
    return any(covers(one, subject) for one in info.config.subjects or [])


def _list(subjects: list[str] | None) -> str:
    return ", ".join(subjects or []) or "no subjects"
