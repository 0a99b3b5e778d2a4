"""Messages of runs that other workflows start: a step's, a schedule's, a backfill's.

They live in histories, so they change by addition only.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from workflows.messages import Message, Origin, ResolvedStep, StartRun
from workflows.starts import RunMemo
from workflows.values import JsonObject

TICK_TYPE = "MetaTick"
BACKFILL_TYPE = "MetaBackfill"

MAX_DEPTH = 10
"""How many meta-runs can be below one another; one that contains itself ends by it."""


class PrepareChild(Message):
    """A step asks for a run of another meta-workflow.

    Attributes:
        workflow: its published name.
        step: whose run it is; with index and attempt it makes the child's id.
    """

    origin: Origin
    workflow: str
    step: str
    index: int = 0
    attempt: int = 1
    resolved: ResolvedStep


class PreparedChild(Message):
    """A run that is ready to be started.

    Attributes:
        id: of the run, the same however often it is prepared.
    """

    id: str
    start: StartRun
    memo: RunMemo


class RecordStart(Message):
    """Temporal has accepted a run that another workflow has started; the store is to know of it."""

    child: PreparedChild
    at: datetime


class Tick(Message):
    """Argument of the workflow that a schedule starts; it finds the rest in what is published then.

    Attributes:
        mark: which version of the definition the schedule was made from, as `<version>/<digest>`.
    """

    workflow: str
    trigger: str
    mark: str = ""


class PrepareTick(Message):
    """A schedule asks for its run. `at` is the planned time."""

    tick: Tick
    at: datetime


class PreparedTick(Message):
    """The run to start, or why there is none."""

    child: PreparedChild | None = None
    reason: str = ""


class TickEnd(Message):
    """Result of the workflow that a schedule starts."""

    run_id: str = ""
    reason: str = ""


class Partition(Message):
    """A stretch of time, `end` itself left out."""

    start: datetime
    end: datetime


class BackfillPlan(Message):
    """What a backfill runs; stands in its memo too.

    Attributes:
        bundle_digest: the version that was newest when it was asked for; all partitions run it.
        inputs: may hold expressions over `event`.
        again: partitions that are done run again.
    """

    workflow: str
    bundle_digest: str
    start: datetime
    end: datetime
    step: timedelta
    parallelism: int = 4
    inputs: JsonObject = Field(default_factory=dict)
    again: bool = False

    @property
    def total(self) -> int:
        """How many partitions there are; the last one may be shorter."""
        return -((self.start - self.end) // self.step)

    def partition(self, index: int) -> Partition:
        """One of them; they count from 0."""
        start = self.start + index * self.step
        return Partition(start=start, end=min(start + self.step, self.end))


class BackfillProgress(Message):
    """How far a backfill is: answer of its query, detail of its failure, and what goes on with its next execution.

    Attributes:
        next: index of the partition that begins next.
        done: partitions that have succeeded, now or before.
        skipped: of those, the ones that had been done before.
        failed_runs: at most 20.
    """

    next: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    running: int = 0
    failed_runs: list[str] = Field(default_factory=list[str])
    messages: list[str] = Field(default_factory=list[str], description="Why partitions had no run; at most 20.")
    paused: bool = False
    note: str = ""


class StartBackfill(Message):
    """Argument of a backfill's workflow."""

    plan: BackfillPlan
    progress: BackfillProgress = BackfillProgress()


class PreparePartition(Message):
    """A backfill asks for the run of a partition.

    Attributes:
        beyond: attempts up to this one are taken, whatever the store knows.
    """

    plan: BackfillPlan
    partition: Partition
    beyond: int = 0


class PreparedPartition(Message):
    """The run to start; or the run that has done the partition; or the one that is at it.

    Attributes:
        attempt: of the partition, from 1.
    """

    child: PreparedChild | None = None
    attempt: int = 0
    done_by: str = ""
    busy: str = ""
