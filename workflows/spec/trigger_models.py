"""What starts runs of a published definition, as data."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, model_validator

from workflows.spec.base import Duration, Label, Model, Name
from workflows.spec.durations import format_duration, parse_time
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


Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"]


def _point_in_time(value: str) -> str:
    parse_time(value)
    return value


PointInTime = Annotated[str, AfterValidator(_point_in_time)]
"""RFC 3339 with a time zone."""


class ScheduleTrigger(Model):
    """Time starts runs: a Temporal Schedule that follows the published definition.

    Expressions of `inputs` read `event`: `time` (the planned time, RFC 3339 in UTC), `date` (its day in the schedule's
    time zone), `timestamp` (seconds since 1970), `workflow`, `trigger`; in a backfill `end` too.
    """

    cron: str | list[str] | None = Field(
        default=None,
        description="Five fields (minute, hour, day, month, weekday) or @daily and the like; several in a list.",
        examples=["0 3 * * *"],
    )
    every: Duration | None = Field(default=None, description="One run in each such stretch of time since 1970.")
    offset: Duration | None = Field(default=None, description="How long after the begin of a stretch; with 'every'.")
    timezone: str = Field(default="UTC", description="IANA name of the time zone that 'cron' is read in.")
    name: Label | None = Field(
        default=None, description="Tells schedules of a workflow apart; by default made from the times."
    )
    inputs: dict[Name, JsonValue] = Field(
        default_factory=dict, description="Inputs of the run; values may hold ${{ expressions }} over 'event'."
    )
    overlap: Overlap = Field(
        default="skip",
        description="When the run before goes on: leave this one out; begin it afterwards, one or all of them; cancel"
        " the other, begin when that has ended; run beside it.",
    )
    catchup: Duration = Field(
        default=timedelta(days=1), description="Times that passed while Temporal was down run, if no older than this."
    )
    jitter: Duration | None = Field(default=None, description="A random delay of at most this.")
    start: PointInTime | None = Field(default=None, description="No run before this point in time (RFC 3339).")
    end: PointInTime | None = Field(default=None, description="No run after it.")
    paused: StrictBool | None = Field(
        default=None,
        description="How it stands when this version is published; left out: as it was, at first not paused.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.cron is None) == (self.every is None) or self.cron == []:
            raise ValueError("give exactly one of 'cron', 'every'")
        if self.offset is not None and self.every is None:
            raise ValueError("'offset' goes with 'every'")
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError("'every' is at least 1s")
        if self.every is not None and self.offset is not None and self.offset >= self.every:
            raise ValueError("'offset' is shorter than 'every'")
        if self.catchup < timedelta(seconds=10):
            raise ValueError("'catchup' is at least 10s")
        if self.start is not None and self.end is not None and parse_time(self.start) >= parse_time(self.end):
            raise ValueError("'start' is before 'end'")
        return self

    @property
    def crons(self) -> list[str]:
        return [self.cron] if isinstance(self.cron, str) else list(self.cron or [])

    @property
    def times(self) -> str:
        """The times in words, as people wrote them."""
        if self.every is not None:
            offset = f" + {format_duration(self.offset)}" if self.offset else ""
            return f"every {format_duration(self.every)}{offset}"
        zone = "" if self.timezone == "UTC" else f" {self.timezone}"
        return "; ".join(self.crons) + zone

    @property
    def key(self) -> str:
        """Tells the schedules of a workflow apart; part of the schedule's id."""
        return self.name or "t" + hashlib.sha256(self.times.encode()).hexdigest()[:8]


class Trigger(Model):
    """One way to start runs of the definition by itself."""

    nats: NatsTrigger | None = Field(default=None, description="A message on a NATS subject.")
    schedule: ScheduleTrigger | None = Field(default=None, description="Times.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.nats is None) == (self.schedule is None):
            raise ValueError("a trigger has exactly one of 'nats', 'schedule'")
        return self
