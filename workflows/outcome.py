"""What an engine run came to, in one form for both engines."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from workflows.values import JsonObject

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

MAX_FAILED_NODES = 20
"""Failed nodes that an outcome names: a loop of thousands can fail in every item."""

MAX_NODE_MESSAGE = 500
"""Characters of a failed node's message."""

MAX_LOG_LINES = 20
"""Last lines of a failed node's log."""

MAX_LOG_CHARACTERS = 4096
"""Characters of those lines together."""


class EngineKind(StrEnum):
    ARGO = "argo"
    KFP = "kfp"


class StepKind(StrEnum):
    """What a step runs: a run of an engine of that kind, or what is no engine's job."""

    ARGO = "argo"
    KFP = "kfp"
    APPROVAL = "approval"
    WAIT = "wait"
    WORKFLOW = "workflow"
    ACTIVITY = "activity"


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
        pod: name of the pod that it runs in; empty where it has none, or the engine does not tell.
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
    pod: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class FailedNode(BaseModel):
    """A node that an engine run failed by, in the form that histories keep.

    Attributes:
        phase: the engine's word.
        message: the engine's, cut to `MAX_NODE_MESSAGE` characters.
        exit_code: of its main process; None when the engine does not tell it (KFP's API never does).
        log: the last lines that it wrote, at most `MAX_LOG_LINES`; empty where the engine has none any more.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    phase: str = ""
    message: str = ""
    exit_code: int | None = None
    log: list[str] = Field(default_factory=list[str])


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
        phase: the engine's word for it; empty when the run is gone.
        message: the engine's own message, with the failed nodes' when it failed.
        failed_nodes: what it failed by, the cause first; at most `MAX_FAILED_NODES`.
        url: page of the run in the engine's own UI; empty when none is configured.
        outputs: workflow-level outputs (Argo) or the pipeline's declared outputs (KFP), as the engine gave them.
        own_trace: id of the trace that the engine itself makes of the run; empty where it makes none.
        nodes: every node; large, so it goes to the store and not into histories.
    """

    failure: FailureClass | None = None
    phase: str = ""
    message: str = ""
    failed_nodes: list[FailedNode] = Field(default_factory=list[FailedNode])
    outputs: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    nodes: list[Node] = Field(default_factory=list[Node])
    url: str = ""
    own_trace: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def succeeded(self) -> bool:
        return self.failure is None

    @property
    def cached_nodes(self) -> int:
        return sum(n.cached for n in self.nodes)


def failed_node(node: Node, log: list[str] | None = None) -> FailedNode:
    """A node as an outcome keeps it, within its limits."""
    return FailedNode(
        name=node.name,
        phase=node.phase,
        message=node.message[:MAX_NODE_MESSAGE],
        exit_code=node.exit_code,
        log=last_lines(log or []),
    )


def last_lines(lines: list[str]) -> list[str]:
    """The last lines that fit into `MAX_LOG_LINES` and `MAX_LOG_CHARACTERS`; one that is longer alone is cut."""
    kept: list[str] = []
    left = MAX_LOG_CHARACTERS
    for line in map(_plain, reversed(lines[-MAX_LOG_LINES:])):
        if len(line) > left and kept:
            break
        kept.append(line[-left:])
        left -= len(kept[-1]) + 1
    return kept[::-1]


def _plain(line: str) -> str:
    """A line without colours, control characters and what no encoding takes: programs print anything."""
    shown = _ESCAPE.sub("", line)
    return "".join(c for c in shown if c.isprintable() or c == "\t")
