"""What starts runs of a published definition, as data."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator

from workflows.spec.base import Duration, Label, Model, Name
from workflows.spec.subjects import subject_fault
from workflows.values import JsonValue

STREAM = r"^[A-Za-z0-9_-]+$"
"""Names of streams that every tool takes; nats-server itself allows more."""

_RATE = re.compile(r"^([1-9]\d{0,5})/([smhd])$")
_PERIOD = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _subject(value: str) -> str:
    if fault := subject_fault(value, wildcards=True):
        raise ValueError(fault)
    return value


def _rate(value: str) -> str:
    if not _RATE.match(value):
        raise ValueError("a rate is a number and a period, as 10/s, 100/m, 5/h, 1/d")
    return value


def seconds_between(rate: str) -> float:
    """Seconds from one start to the next under a rate: `30/m` is 2."""
    match = _RATE.match(rate)
    assert match is not None  # _rate
    return _PERIOD[match.group(2)] / int(match.group(1))


class Batch(Model):
    """Many messages, one run: it starts with `max` of them, or `within` after the first came."""

    max: StrictInt = Field(ge=1, le=1000, description="Most messages of one run.")
    within: Duration = Field(description="Longest that a message waits for others.")


class NatsTrigger(Model):
    """A message on a JetStream subject starts a run, once.

    Expressions read `event`, the message: the fields of its data, and over them `data`, `headers`, `subject`, `tokens`,
    `time` and, where the message has one, `id`. `events` has all messages of a batch or burst, `event` is the last.
    """

    subject: Annotated[str, AfterValidator(_subject)] = Field(
        description="Where messages come; * stands for one part, > for the rest.", examples=["ml.datasets.*.ready"]
    )
    name: Label | None = Field(
        default=None, description="Names the durable consumer; by default made from the subject, so it changes with it."
    )
    stream: str | None = Field(
        default=None,
        pattern=STREAM,
        max_length=100,
        description="Stream to read; by default the one that has the subject, or a new one.",
    )
    when: str | None = Field(default=None, description="CEL over 'event'; false: the message starts nothing.")
    id: str | None = Field(
        default=None,
        description="Identity of what the message tells, with ${{ expressions }}: the same again starts nothing. By"
        " default the CloudEvents source and id, the Nats-Msg-Id, or the message's place in its stream.",
    )
    inputs: dict[Name, JsonValue] = Field(
        default_factory=dict, description="Inputs of the run; values may hold ${{ expressions }} over 'event'."
    )
    reply: str | None = Field(
        default=None, description="Subject that gets the run's life-cycle events too; may hold ${{ expressions }}."
    )
    max_deliver: StrictInt = Field(
        default=20, ge=1, le=1000, description="Deliveries after which a message that starts nothing is put aside."
    )
    ack_wait: Duration = Field(
        default=timedelta(seconds=30), description="Silence after which the server delivers again."
    )
    backoff: list[Duration] = Field(
        default_factory=lambda: [timedelta(seconds=s) for s in (1, 5, 30, 120, 600)],
        min_length=1,
        max_length=20,
        description="Before each next delivery of a message that failed; the last one stays.",
    )
    concurrency: StrictInt | None = Field(
        default=None, ge=1, le=10_000, description="Most runs of this trigger at a time; further messages wait."
    )
    rate: Annotated[str, AfterValidator(_rate)] | None = Field(
        default=None, description="Most starts in a period, evenly spaced; further messages wait.", examples=["30/m"]
    )
    debounce: Duration | None = Field(
        default=None, description="A burst starts one run, when no message has come for so long."
    )
    batch: Batch | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.debounce is not None and self.batch is not None:
            raise ValueError("give one of 'debounce', 'batch'")
        if self.ack_wait < timedelta(seconds=1):
            raise ValueError("'ackWait' is at least 1s")
        for key, pause in (("debounce", self.debounce), ("within", self.batch.within if self.batch else None)):
            if pause is not None and not timedelta(0) < pause <= timedelta(days=1):
                raise ValueError(f"'{key}' is more than nothing, and a day at most")
        return self

    @property
    def key(self) -> str:
        """Tells the triggers of a workflow apart; part of the durable consumer's name."""
        return self.name or "s" + hashlib.sha256(self.subject.encode()).hexdigest()[:8]

    @property
    def gathers(self) -> bool:
        """Whether several messages become one run."""
        return self.debounce is not None or self.batch is not None


class Trigger(Model):
    """One way to start runs of the definition by itself."""

    nats: NatsTrigger | None = Field(default=None, description="A message on a NATS subject.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.nats is None:
            raise ValueError("a trigger has 'nats'")
        return self
