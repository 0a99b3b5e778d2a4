"""What `inside/kfp_run` tells the server, one JSON line each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArtifactValue(_Event):
    """An artifact that a task reads or has made."""

    uri: str
    type: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class DagStarted(_Event):
    event: Literal["dag_started"]
    path: str
    parent: str
    task: str
    display_name: str
    component: str
    inputs: dict[str, Any]
    iteration: int | None = None
    iterations: int | None = None


class DagFinished(_Event):
    event: Literal["dag_finished"]
    path: str
    state: Literal["SUCCEEDED", "FAILED"]
    error: str


class TaskStarted(_Event):
    event: Literal["task_started"]
    path: str
    parent: str
    task: str
    display_name: str
    component: str
    kind: Literal["container", "importer"]
    image: str
    inputs: dict[str, Any]
    artifacts: dict[str, list[ArtifactValue]]
    iteration: int | None = None


class TaskAttempt(_Event):
    """One attempt of a task with a retry policy has ended. Times are whole seconds since the epoch."""

    event: Literal["task_attempt"]
    path: str
    state: Literal["SUCCEEDED", "FAILED"]
    error: str
    started_at: int
    finished_at: int


class TaskFinished(_Event):
    event: Literal["task_finished"]
    path: str
    state: Literal["SUCCEEDED", "CACHED", "FAILED"]
    error: str
    cache_key: str
    outputs: dict[str, Any] = Field(default_factory=dict)
    artifacts: dict[str, list[ArtifactValue]] = Field(default_factory=dict)
    kept: dict[str, Any] = Field(default_factory=dict)


class TaskSkipped(_Event):
    event: Literal["task_skipped"]
    path: str
    parent: str
    task: str
    display_name: str
    component: str
    reason: Literal["SKIPPED", "OMITTED"]


class Stage(_Event):
    """A question: bring these objects to the run's folder."""

    event: Literal["stage"]
    reply: int
    task: str
    artifact: str
    uris: list[str]


class Publish(_Event):
    """A question: store these files or folders of the run's folder as objects."""

    event: Literal["publish"]
    reply: int
    task: str
    uris: list[str]


class Finished(_Event):
    event: Literal["finished"]
    state: Literal["SUCCEEDED", "FAILED"]
    error: str


RunnerEvent = (
    DagStarted | DagFinished | TaskStarted | TaskAttempt | TaskFinished | TaskSkipped | Stage | Publish | Finished
)
_ADAPTER: TypeAdapter[RunnerEvent] = TypeAdapter(Annotated[RunnerEvent, Field(discriminator="event")])


def parse_event(line: bytes) -> RunnerEvent:
    """Read one line; raises pydantic's ValidationError when the runner is not ours."""
    return _ADAPTER.validate_json(line)
