"""The tables of events: what came in and what became of it, what is to go out. See `meta.store.tables`."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import JSON, BigInteger, Index, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel

from meta.store.types import UtcDateTime
from workflows.values import JsonObject


class TriggerEventRow(SQLModel, table=True):
    """A message that asked for a run, by workflow and identity; kept beyond Temporal's retention.

    `id` is short, made of both. `outcome`: started, held (for others of its batch), dead, discarded. `data` is the
    message as it came, kept while it is held or dead.
    """

    __tablename__: ClassVar[str] = "trigger_events"  # pyright: ignore[reportIncompatibleVariableOverride]
    __table_args__ = (
        Index("ix_trigger_events_outcome", "outcome", "received_at"),
        Index("ix_trigger_events_trigger", "workflow", "trigger", "outcome"),
    )

    id: str = Field(primary_key=True)
    source: str
    subject: str
    workflow: str = Field(index=True)
    trigger: str = ""
    identity: str = ""
    run_id: str | None = Field(default=None, index=True)
    outcome: str
    reason: str = Field(default="", sa_type=Text)
    code: str = ""
    hint: str = Field(default="", sa_type=Text)
    deliveries: int = 1
    digest: str = ""
    headers: JsonObject = Field(default_factory=dict, sa_type=JSON)
    data: bytes | None = Field(default=None, sa_type=LargeBinary)
    batch: str | None = Field(default=None, index=True)
    event_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    received_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class TriggerRow(SQLModel, table=True):
    """A trigger of a published definition and its durable consumer. `since`: messages stored before it start nothing.

    `state`: active, failing; `message` says why. `pending` and `unacknowledged` are messages, as NATS last said.
    """

    __tablename__: ClassVar[str] = "triggers"  # pyright: ignore[reportIncompatibleVariableOverride]

    workflow: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    subject: str
    stream: str = ""
    consumer: str = ""
    spec: JsonObject = Field(sa_type=JSON)
    since: datetime = Field(sa_type=UtcDateTime)
    state: str = ""
    message: str = Field(default="", sa_type=Text)
    hint: str = Field(default="", sa_type=Text)
    pending: int | None = Field(default=None, sa_type=BigInteger)
    unacknowledged: int | None = None
    updated_at: datetime = Field(sa_type=UtcDateTime)


class TriggerGateRow(SQLModel, table=True):
    """What those who want to start a run of a trigger lock; `next_at` is when its rate allows the next start."""

    __tablename__: ClassVar[str] = "trigger_gates"  # pyright: ignore[reportIncompatibleVariableOverride]

    workflow: str = Field(primary_key=True)
    trigger: str = Field(primary_key=True)
    next_at: datetime = Field(sa_type=UtcDateTime)


class ReplyRow(SQLModel, table=True):
    """Where else the events of a run go. `format`: cloudevents, bridge; `context` is what the format needs."""

    __tablename__: ClassVar[str] = "replies"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    format: str
    context: JsonObject = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)


class OutboxRow(SQLModel, table=True):
    """A life-cycle event, in the order in which those of its run came to be; `sent_at` once NATS has it."""

    __tablename__: ClassVar[str] = "outbox"  # pyright: ignore[reportIncompatibleVariableOverride]
    __table_args__ = (Index("ix_outbox_unsent", "sent_at", "seq"),)

    seq: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))  # pyright: ignore[reportArgumentType] -- SQLAlchemy takes an instance here
    event_id: str = Field(unique=True)
    run_id: str = Field(index=True)
    workflow: str
    what: str
    subject: str
    event: JsonObject = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
