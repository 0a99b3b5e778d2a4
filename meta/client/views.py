"""What the SDK gives back."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from workflows.errors import MetaError
from workflows.messages import RunSnapshot
from workflows.spec.models import MetaWorkflow


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunView(RunSnapshot):
    """A meta-run with its steps; `temporal_url` is its page in Temporal's Web UI, empty when none is configured."""

    temporal_url: str = ""


class StartedRun(View):
    """A run that was started; `created` is False when the request id had started it before."""

    id: str
    created: bool
    temporal_url: str = ""


class RunsPage(View):
    """Runs without steps, newest first; `next_token` is empty on the last page."""

    runs: list[RunView]
    next_token: str = ""


class PublishedInfo(View):
    """The newest version of a published workflow."""

    name: str
    version: int
    description: str
    bundle_digest: str
    published_at: datetime
    definition: MetaWorkflow


class EngineCheckInfo(View):
    """One question to an engine; `verdict` is ok, warn, fail or skip, `hint` says what to do."""

    name: str
    verdict: str
    detail: str = ""
    hint: str = ""


class EngineInfo(View):
    """A configured engine, and whether it answers; `hint` says what to do when it does not."""

    name: str
    kind: str
    url: str
    ok: bool
    version: str = ""
    message: str = ""
    hint: str = ""
    checks: tuple[EngineCheckInfo, ...] = ()


class LogEntry(View):
    step: str
    node: str
    text: str
    at: datetime | None = None


class RunFailed(MetaError):
    """`result` of a run that did not succeed; `run` says all about it."""

    code = "RUN_FAILED"

    def __init__(self, run: RunView) -> None:
        super().__init__(
            f"run {run.id} {run.state.value}: {run.message or 'no message'}",
            hint=f"`meta get {run.id}` shows its steps",
        )
        self.run = run
