"""Publishes a message to JetStream as any producer does, and hears how the run ends that it starts.

The run's id follows from the workflow's name and the message's identity, so that nobody has to ask for it; and its
life-cycle events stay in their stream, so that they are heard also by one who begins to listen after the run's end.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError
from nats.js.errors import Error as JetStreamError

from meta.config import NatsConfig
from meta.nats import connect, describe
from meta.nats_login import shown
from workflows.errors import InvalidInput, ServiceUnavailable, SettingsInvalid
from workflows.outcome import RunState
from workflows.spec.subjects import DEAD, EVENTS
from workflows.values import JsonObject

log = logging.getLogger(__name__)

CONNECT_S = 10.0
PUBLISH_S = 10.0
STREAM_LOOK_S = 0.5
"""Between looks for the stream of events, which the service makes with the first of them."""

_ENDS = {
    "run.succeeded": RunState.SUCCEEDED,
    "run.failed": RunState.FAILED,
    "run.cancelled": RunState.CANCELED,
    "run.terminated": RunState.TERMINATED,
}


@dataclass(frozen=True, slots=True)
class Message:
    """What is published. `id` is its Nats-Msg-Id."""

    subject: str
    data: bytes
    id: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a message is. `duplicate`: the stream had one of this id, and has not taken another."""

    stream: str
    sequence: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Told:
    """How a run has ended; of a message that can never start one, FAILED with the reason and without a run."""

    run: str
    state: RunState
    message: str
    outputs: JsonObject


class Sender:
    """A connection to NATS that publishes and listens."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._js = client.jetstream(timeout=PUBLISH_S)

    async def publish(self, message: Message) -> Sent:
        """Publish, and wait until a stream has it.

        Raises:
            InvalidInput: no stream has the subject, or the stream refuses the message.
            ServiceUnavailable: NATS does not answer.
        """
        headers = {"Content-Type": "application/json", **message.headers, "Nats-Msg-Id": message.id}
        try:
            ack = await self._js.publish(message.subject, message.data, headers=headers)
        except NoStreamResponseError:
            raise InvalidInput(
                f"no stream has the subject '{message.subject}'",
                hint="publish the definition whose trigger reads it: its stream is made then",
            ) from None
        except APIError as error:
            raise InvalidInput(f"the stream refuses the message: {error.description}") from error
        except (NatsError, JetStreamError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error
        return Sent(ack.stream, ack.seq, bool(ack.duplicate))

    @asynccontextmanager
    async def listening(self, workflow: str, run_id: str, identity: str) -> AsyncGenerator[Listener]:
        """Hear of a run, and of a message that can start none, from now on; of the run's past too.

        Args:
            workflow: whose run it is.
            run_id: the run's.
            identity: of the message, by which its dead letter is known.

        Raises:
            ServiceUnavailable: NATS does not answer.
        """
        listener = Listener(self._js, workflow, run_id, identity)
        try:
            dead = await self._client.subscribe(f"{DEAD}{workflow}", cb=listener.buried)
        except (NatsError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error
        try:
            yield listener
        finally:
            await listener.close()
            await dead.unsubscribe()


class Listener:
    """Hears how one run ends."""

    def __init__(self, js: JetStreamContext, workflow: str, run_id: str, identity: str) -> None:
        self._js = js
        self._subject = f"{EVENTS}{workflow}.{run_id}.run.*"
        self._run_id = run_id
        self._identity = identity
        self._told: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._subscription: JetStreamContext.PushSubscription | None = None

    async def end(self, timeout_s: float) -> Told | None:
        """Wait for the end; None when the time is up.

        Raises:
            ServiceUnavailable: NATS does not answer.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._subscribe()
                return await asyncio.shield(self._told)
        except TimeoutError:
            return None
        except (NatsError, JetStreamError, OSError) as error:
            raise _unavailable(error) from error

    async def close(self) -> None:
        """Hear nothing more."""
        self._told.cancel()
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def buried(self, message: Msg) -> None:
        """A dead letter of the workflow: ours when it has the message's identity."""
        headers = cast("Mapping[str, str]", message.headers or {})
        if headers.get("Meta-Event-Id") == self._identity:
            reason = headers.get("Meta-Reason", "")
            self._tell(Told("", RunState.FAILED, f"the message can start no run: {_unquoted(reason)}", {}))

    async def _subscribe(self) -> None:
        while not self._told.done():
            try:
                self._subscription = await self._js.subscribe(
                    self._subject, cb=self._heard, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL
                )
            except NotFoundError:
                await asyncio.wait((self._told,), timeout=STREAM_LOOK_S)
            else:
                return

    async def _heard(self, message: Msg) -> None:
        what = message.subject.rpartition(f".{self._run_id}.")[2]
        state = _ENDS.get(what)
        if state is None:
            return
        event = cast("JsonObject", json.loads(message.data))
        data = cast("JsonObject", event.get("data") or {})
        outputs = data.get("outputs")
        self._tell(
            Told(self._run_id, state, str(data.get("message") or ""), outputs if isinstance(outputs, dict) else {})
        )

    def _tell(self, told: Told) -> None:
        if not self._told.done():
            self._told.set_result(told)


@asynccontextmanager
async def sending(config: NatsConfig) -> AsyncGenerator[Sender]:
    """A sender, connected.

    Raises:
        SettingsInvalid: no NATS is configured.
        ServiceUnavailable: it does not answer, or does not let us in.
    """
    if not config.url:
        raise SettingsInvalid("no NATS is configured", hint="set [nats] url in meta.toml, or META_NATS__URL")

    async def heard(error: Exception) -> None:
        log.warning("NATS at %s: %s", shown(config), describe(error))

    try:
        async with asyncio.timeout(CONNECT_S):
            client = await connect(config, "meta send", heard)
    except (NatsError, OSError, TimeoutError) as error:
        raise _unavailable(error, shown(config)) from error
    try:
        yield Sender(client)
    finally:
        await client.close()


def _unavailable(error: Exception, where: str = "") -> ServiceUnavailable:
    at = f" at {where}" if where else ""
    return ServiceUnavailable(f"NATS{at}: {describe(error)}", hint="`meta doctor` looks at what is configured")


def _unquoted(reason: str) -> str:
    """The reason stands in the header as JSON, because a header is one line."""
    try:
        found: object = json.loads(reason)
    except ValueError:
        return reason
    return found if isinstance(found, str) else reason
