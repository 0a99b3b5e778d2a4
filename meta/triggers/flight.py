"""A message between its delivery and its last word to the server."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from meta.nats import describe

log = logging.getLogger(__name__)

ACK_TIMEOUT_S = 2.0
ACK_TRIES = 3


@dataclass
class Flight:
    """One message of a stream, however often it is delivered while it is worked on.

    Attributes:
        message: its newest delivery: older ones can no longer be acknowledged for sure.
        started: its run has started, so it must not be given to another service.
        told: the server has had our last word.
    """

    message: Msg
    started: bool = False
    told: bool = False

    @property
    def deliveries(self) -> int:
        return self.message.metadata.num_delivered

    async def keep(self) -> None:
        """Say that it is still worked on, so that it is not delivered elsewhere."""
        if not self.told:
            await self.message.in_progress()

    async def ack(self) -> None:
        """Acknowledge, and wait until the server has it. When it never answers, a redelivery finds the run."""
        for _ in range(ACK_TRIES):
            message = self.message
            try:
                await message.ack_sync(timeout=ACK_TIMEOUT_S)
            except (NatsError, TimeoutError, OSError) as error:
                log.warning("message %s: its acknowledgement is unsure: %s", self, describe(error))
            else:
                self.told = True
                return

    async def nak(self, delay_s: float = 0.0) -> None:
        """Give it back, to be delivered again after so long."""
        self.told = True
        await self.message.nak(delay=delay_s or None)

    async def term(self) -> None:
        """Take it out of the way for good."""
        self.told = True
        await self.message.term()

    def __str__(self) -> str:
        place = self.message.metadata
        return f"{place.sequence.stream} of {place.stream}"
