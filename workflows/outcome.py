"""What an engine run came to, in one form for both engines."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from workflows.values import JsonObject


class EngineKind(StrEnum):
    ARGO = "argo"
    KFP = "kfp"


class FailureClass(StrEnum):
    """Why an attempt did not succeed; decides what happens next (`workflows.retry`).

    `UNAVAILABLE` never reaches a policy: the activity tries again by itself.
    """

    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"
    FAILED = "failed"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    """States of a step, as expressions read them (`steps.train.state`)."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def ended(self) -> bool:
        return self not in (StepState.PENDING, StepState.RUNNING)


class RunState(StrEnum):
    """States of a meta-run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"

    @property
    def ended(self) -> bool:
        return self is not RunState.RUNNING


class Artifact(BaseModel):
    """One object, or a prefix of objects, that an engine run wrote.

    Attributes:
        uri: where it is, as `s3://bucket/key`.
        sha256: hex digest of the bytes; of a prefix the digest over its sorted objects (`workers.artifacts.facts`);
            None when it could not be read.
        size: bytes; of a prefix the sum over its objects; None when unknown.
        type: the engine's own type (`system.Model`), empty for Argo.
        producer: `<step>` of this meta-run, empty for what came from outside.
        metadata: what the engine recorded with it (KFP's metrics and model metadata); `archive` when Argo packed it.
        etag: the store's own mark of this version of the object; None when it was not asked or gives none.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    uri: str
    sha256: str | None = None
    size: int | None = None
    type: str = ""
    producer: str = ""
    metadata: JsonObject = Field(default_factory=dict)
    etag: str | None = None


class Node(BaseModel):
    """A pod or task inside an engine run.

    Attributes:
        id: the engine's id of it.
        name: as people know it.
        type: the engine's word (Pod, DAG, Retry; for KFP the executor's kind).
        phase: the engine's word.
        parent: id of the node that holds it; empty at the root.
        cached: served from the engine's cache.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    type: str = ""
    phase: str = ""
    message: str = ""
    parent: str = ""
    exit_code: int | None = None
    cached: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None


class EngineRunRef(BaseModel):
    """Which engine run; enough to find it again from any process.

    Attributes:
        engine: the engine's name in the configuration.
        name: `workflows.naming.engine_run_name`; KFP's display name.
        uid: Argo's metadata.uid; KFP's run_id.
        url: page of the run in the engine's own UI; empty when none is configured.
    """

    model_config = ConfigDict(frozen=True)

    engine: str
    kind: EngineKind
    name: str
    uid: str
    namespace: str = ""
    url: str = ""


class Outcome(BaseModel):
    """A finished engine run.

    Attributes:
        failure: None when it succeeded.
        message: the engine's own message, with the failed nodes' when it failed.
        outputs: workflow-level outputs (Argo) or the pipeline's declared outputs (KFP), as the engine gave them.
        nodes: every node; large, so it goes to the store and not into histories.
    """

    failure: FailureClass | None = None
    message: str = ""
    outputs: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    nodes: list[Node] = Field(default_factory=list[Node])
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def succeeded(self) -> bool:
        return self.failure is None

    @property
    def failed_nodes(self) -> list[Node]:
        return [n for n in self.nodes if n.phase.upper() in ("FAILED", "ERROR")]

    @property
    def cached_nodes(self) -> int:
        return sum(n.cached for n in self.nodes)
