"""The tables. A change here needs a migration in `meta/store/migrations/versions`; a test compares the two.

What a person searches by is a column; what is only shown stays JSON, in the form of `workflows.messages`.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import JSON, BigInteger, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from meta.store.types import UtcDateTime
from workflows.values import JsonObject, JsonValue

_RUN = "meta_runs.id"


class BundleRow(SQLModel, table=True):
    """A definition with its files, once for each digest."""

    __tablename__: ClassVar[str] = "bundles"  # pyright: ignore[reportIncompatibleVariableOverride] -- SQLModel's own way

    digest: str = Field(primary_key=True)
    workflow: str = Field(index=True)
    definition: JsonObject = Field(sa_type=JSON)
    files: dict[str, str] = Field(sa_type=JSON)
    source: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)


class DefinitionRow(SQLModel, table=True):
    """A published version of a meta-workflow. The newest version of a name is what starts by name run.

    A removed name keeps its rows, so that versions count on when it comes again.
    """

    __tablename__: ClassVar[str] = "definitions"  # pyright: ignore[reportIncompatibleVariableOverride]

    name: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    description: str = Field(sa_type=Text)
    bundle_digest: str = Field(foreign_key="bundles.digest")
    published_at: datetime = Field(sa_type=UtcDateTime)
    removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RunRow(SQLModel, table=True):
    """A meta-run. `revision` rises with every change to it or its steps; `snapshot` is a RunSnapshot without steps."""

    __tablename__: ClassVar[str] = "meta_runs"  # pyright: ignore[reportIncompatibleVariableOverride]
    __table_args__ = (
        UniqueConstraint("workflow", "request_id", name="uq_meta_runs_request"),
        Index("ix_meta_runs_newest", "created_at", "id"),
        Index("ix_meta_runs_state", "state", "created_at"),
        Index("ix_meta_runs_workflow", "workflow", "created_at"),
    )

    id: str = Field(primary_key=True)
    workflow: str
    request_id: str | None = None
    inputs_digest: str = ""
    bundle_digest: str = ""
    state: str
    revision: int = 1
    snapshot: JsonObject = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class StepRow(SQLModel, table=True):
    """A step of a meta-run; `snapshot` is a StepSnapshot. `position` keeps the definition's order."""

    __tablename__: ClassVar[str] = "steps"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True, foreign_key=_RUN)
    name: str = Field(primary_key=True)
    position: int
    engine: str
    state: str = Field(index=True)
    attempt: int
    snapshot: JsonObject = Field(sa_type=JSON)


class EngineRunRow(SQLModel, table=True):
    """The engine run that was adopted for one attempt, and what it came to.

    Times in their order: `asked_at`, the workflow wanted it; `submitted_at`, it was adopted; `engine_started_at` and
    `ended_at`, by the engine's clock; `seen_at`, its end was read. `tries` is how many calls the submit took.
    """

    __tablename__: ClassVar[str] = "engine_runs"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True, foreign_key=_RUN)
    step: str = Field(primary_key=True)
    index: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    engine: str
    kind: str
    name: str = Field(index=True)
    uid: str = Field(index=True)
    ref: JsonObject = Field(sa_type=JSON)
    asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    tries: int = 1
    submitted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    engine_started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    own_trace: str = ""
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    succeeded: bool | None = None
    failure: str | None = None
    message: str = Field(default="", sa_type=Text)
    outputs: JsonObject = Field(default_factory=dict, sa_type=JSON)


class OtherRunRow(SQLModel, table=True):
    """An engine run that came to be beside the adopted one of its key (`stays`, a uid), and was ended."""

    __tablename__: ClassVar[str] = "other_runs"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True, foreign_key=_RUN)
    step: str = Field(primary_key=True)
    index: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    uid: str = Field(primary_key=True)
    ref: JsonObject = Field(sa_type=JSON)
    stays: str
    ended_at: datetime = Field(sa_type=UtcDateTime)


class LeaseRow(SQLModel, table=True):
    """Who may create the engine run of a key (`token`, empty for nobody), and until when.

    The row outlives the lease: `tried` says that a create was begun under it.
    """

    __tablename__: ClassVar[str] = "leases"  # pyright: ignore[reportIncompatibleVariableOverride]

    key: str = Field(primary_key=True)
    token: str
    holder: str
    tried: bool
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)


class SeenEndRow(SQLModel, table=True):
    """The end of an engine run that an attempt was asked to retry in place; a later end is the retry's own."""

    __tablename__: ClassVar[str] = "seen_ends"  # pyright: ignore[reportIncompatibleVariableOverride]

    key: str = Field(primary_key=True)
    uid: str = Field(primary_key=True)
    end: str


class NodeRow(SQLModel, table=True):
    """A pod or task inside an engine run, with the engine's own words and times."""

    __tablename__: ClassVar[str] = "nodes"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True, foreign_key=_RUN)
    step: str = Field(primary_key=True)
    index: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    id: str = Field(primary_key=True)
    name: str
    type: str
    phase: str
    cached: bool
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    node: JsonObject = Field(sa_type=JSON)


class ArtifactRow(SQLModel, table=True):
    """An object that an attempt wrote."""

    __tablename__: ClassVar[str] = "artifacts"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True, foreign_key=_RUN)
    step: str = Field(primary_key=True)
    index: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    uri: str = Field(sa_type=Text)
    sha256: str | None = Field(default=None, index=True)
    size: int | None = Field(default=None, sa_type=BigInteger)
    type: str
    details: JsonObject = Field(sa_type=JSON)


class ArtifactEdgeRow(SQLModel, table=True):
    """A step reads an artifact of another: what the definition says, known before anything has run."""

    __tablename__: ClassVar[str] = "artifact_edges"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True, foreign_key=_RUN)
    consumer: str = Field(primary_key=True)
    input: str = Field(primary_key=True)
    producer: str
    artifact: str


class EngineSlotRow(SQLModel, table=True):
    """An engine run that counts against its engine's limits; `due_at` is its turn under a rate of submits."""

    __tablename__: ClassVar[str] = "engine_slots"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    index: int = Field(primary_key=True)
    attempt: int
    engine: str = Field(index=True)
    due_at: datetime = Field(sa_type=UtcDateTime)


class EngineGateRow(SQLModel, table=True):
    """What those who want a slot of an engine lock; `next_at` is when the next submit may come."""

    __tablename__: ClassVar[str] = "engine_gates"  # pyright: ignore[reportIncompatibleVariableOverride]

    engine: str = Field(primary_key=True)
    next_at: datetime = Field(sa_type=UtcDateTime)


class EngineCircuitRow(SQLModel, table=True):
    """A worker's circuit breaker in front of an engine, as it was at `seen_at`."""

    __tablename__: ClassVar[str] = "engine_circuits"  # pyright: ignore[reportIncompatibleVariableOverride]

    worker: str = Field(primary_key=True)
    engine: str = Field(primary_key=True)
    state: str
    since: datetime = Field(sa_type=UtcDateTime)
    failures: int
    reason: str = Field(sa_type=Text)
    retry_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    awaited_runs: int
    seen_at: datetime = Field(sa_type=UtcDateTime)


class ItemRow(SQLModel, table=True):
    """What one item of a fan-out came to; `position` from 1, as in run keys. `item` is what it ran over."""

    __tablename__: ClassVar[str] = "items"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    state: str
    attempt: int = 0
    message: str = Field(default="", sa_type=Text)
    item: JsonValue = Field(default=None, sa_type=JSON)
    outputs: JsonObject = Field(default_factory=dict, sa_type=JSON)
    artifacts: JsonObject = Field(default_factory=dict, sa_type=JSON)


class CachedStepRow(SQLModel, table=True):
    """A success that can stand for the same work: `key` is the digest of all that decides what runs."""

    __tablename__: ClassVar[str] = "cached_steps"  # pyright: ignore[reportIncompatibleVariableOverride]

    key: str = Field(primary_key=True)
    run_id: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    index: int = Field(primary_key=True)
    outcome: JsonObject = Field(sa_type=JSON)
    ended_at: datetime = Field(sa_type=UtcDateTime, index=True)


class WorkRow(SQLModel, table=True):
    """A try of an activity that is worth a place in the trace: one that failed, or that has no row of its own.

    `what` is the activity's name; `code` and `message` are empty when it succeeded.
    """

    __tablename__: ClassVar[str] = "work"  # pyright: ignore[reportIncompatibleVariableOverride]

    run_id: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    index: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    what: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    worker: str = ""
    started_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime = Field(sa_type=UtcDateTime)
    code: str = ""
    message: str = Field(default="", sa_type=Text)


class ExportRow(SQLModel, table=True):
    """A run that a sink (`otlp`, `openlineage`) is to hear of, or has heard of in part.

    `due` says that it has changed since; `told` is what the sink has already; the row goes when the run has ended and
    all is told. `claimed_until` keeps other services away while one tells. `over` names steps that the workflow has
    called ended; `sending` is what is about to be told, so that whoever repeats it says the same.
    """

    __tablename__: ClassVar[str] = "exports"  # pyright: ignore[reportIncompatibleVariableOverride]
    __table_args__ = (Index("ix_exports_due", "sink", "due"),)

    sink: str = Field(primary_key=True)
    run_id: str = Field(primary_key=True)
    due: bool = True
    revision: int = 0
    told: list[str] = Field(default_factory=list, sa_type=JSON)
    over: list[str] = Field(default_factory=list, sa_type=JSON)
    sending: bytes | None = Field(default=None, sa_type=LargeBinary)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
