"""What the SDK says of schedules and backfills."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from meta.client.views import View


class ScheduleInfo(View):
    """A schedule of a published workflow, and how it stands at Temporal.

    Attributes:
        trigger: its key in the definition.
        times: in words, as the definition has them.
        note: who paused or resumed it, and why.
        next: next times; none while it is paused.
        last: when it last started something; `last_run_id` is the run.
        state: ok; missing, before the service has made it; unknown, before the service has taken a change up.
        message: why it is not ok.
    """

    workflow: str
    trigger: str
    times: str
    paused: bool = False
    note: str = ""
    next: list[datetime] = Field(default_factory=list[datetime])
    last: datetime | None = None
    last_run_id: str = ""
    state: str = "ok"
    message: str = ""


class BackfillInfo(View):
    """A backfill and how far it is.

    Attributes:
        state: running, paused, succeeded, failed, canceled.
        end: itself left out.
        done: partitions that have succeeded; `skipped` of them had before.
        failed_runs: at most 20, and why partitions had no run.
    """

    id: str
    workflow: str
    state: str
    start: datetime
    end: datetime
    step: timedelta
    parallelism: int
    total: int
    done: int = 0
    skipped: int = 0
    failed: int = 0
    running: int = 0
    failed_runs: list[str] = Field(default_factory=list[str])
    temporal_url: str = ""

    @property
    def ended(self) -> bool:
        return self.state not in ("running", "paused")
