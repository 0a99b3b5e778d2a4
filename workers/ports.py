"""What workers need from outside; `meta` implements it with its store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from workers.circuit import CircuitView
from workflows.bundle import Bundle
from workflows.fanout_messages import ItemLists, ItemRecord
from workflows.kind_messages import AwaitEvent, EventArrived
from workflows.messages import RunSnapshot, StepOutcome
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Outcome, RunState
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject


@dataclass(frozen=True, slots=True)
class NewestBundle:
    """What a published name stands for now."""

    digest: str
    definition: MetaWorkflow


class BundleStore(Protocol):
    async def get(self, digest: str) -> Bundle:
        """Load a bundle.

        Raises:
            NotFound: no bundle has this digest.
        """
        ...

    async def newest(self, workflow: str) -> NewestBundle:
        """The newest published version of a name.

        Raises:
            NotFound: nothing is published under the name.
        """
        ...


@dataclass(frozen=True, slots=True)
class AskedRun:
    """A run and the request that it was started by."""

    id: str
    request_id: str
    state: RunState


class Requests(Protocol):
    async def asked_runs(self, workflow: str, prefix: str) -> list[AskedRun]:
        """Runs of a workflow whose request ids begin with a text."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may create the engine run of a key, or retry it in place, and until when.

    Attributes:
        token: of the try that holds it.
        holder: the same in words for people: host and process.
        expires_at: by the clock that all tries share.
        seconds_left: until then.
        tried: an earlier try of this key came as far as the engine's create, or may have.
    """

    token: str
    holder: str
    expires_at: datetime
    seconds_left: float
    tried: bool


class Leases(Protocol):
    """One lease for each run key, over all worker processes. Every call is atomic."""

    async def take_lease(self, key: RunKey, token: str, holder: str, seconds: float) -> Lease:
        """Take the lease if nobody holds it, or its holder let it expire.

        Returns:
            The lease in force now: ours if it has our token.
        """
        ...

    async def renew_lease(self, key: RunKey, token: str, seconds: float) -> bool:
        """Hold it for so many seconds from now, and note that the create follows.

        Returns:
            False when another try has taken it since: then nothing may be created. An expired lease that nobody took
            is still ours.
        """
        ...

    async def release_lease(self, key: RunKey, token: str) -> None:
        """Let it go, if it is still ours."""
        ...


class SeenEnds(Protocol):
    """Which end of an engine run a resume was asked for, kept for good."""

    async def first_end(self, key: RunKey, uid: str, end: str) -> str:
        """Write down the end that this key saw, once.

        Returns:
            The end that was written first, by whichever try.
        """
        ...


class OtherRuns(Protocol):
    async def other_run_ended(self, key: RunKey, stays: EngineRunRef, ended: EngineRunRef, at: datetime) -> None:
        """An engine run that came to be beside the adopted one of its key was told to end. May be repeated."""
        ...


class Keeper(Leases, SeenEnds, OtherRuns, Protocol):
    """What keeps one adopted engine run for each key, whatever happens to worker processes."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a stream was read.

    Attributes:
        stream: its name.
        created: its creation time, the server's text: sequences begin again when it is made anew.
        sequence: of the last message that was looked at; 0: none.
    """

    stream: str
    created: str
    sequence: int


class EventReader(Protocol):
    """Reads messages for steps that wait for one."""

    async def first(
        self,
        wanted: AwaitEvent,
        fits: Callable[[JsonObject], bool],
        *,
        after: Place | None,
        read: Callable[[Place], None],
    ) -> EventArrived:
        """The first message that fits, from `wanted.since` on. What cannot be read is skipped and logged.

        Args:
            wanted: where.
            fits: raises ExpressionFailed on a message for which it cannot tell.
            after: how far an earlier try came.
            read: hears how far this one is.

        Raises:
            ServiceUnavailable: NATS does not answer: worth another try.
            Conflict: there is no stream to read.
        """
        ...


KEPT_TRIES = 20
"""Tries of one activity that are kept, beside the last one: an API can be down for days."""


@dataclass(frozen=True, slots=True)
class Work:
    """A try of an activity that failed, or that leaves no other record.

    Attributes:
        key: of the step; attempt 0 for what comes before the first.
        what: the activity's name.
        number: of the try, from 1.
        worker: who tried, as host and process.
        code: of the error; empty when it succeeded.
        message: of the error.
    """

    key: RunKey
    what: str
    number: int
    worker: str
    started_at: datetime
    ended_at: datetime
    code: str = ""
    message: str = ""


class Items(Protocol):
    """What the items of fan-outs came to."""

    async def record_items(self, run: str, step: str, items: Sequence[ItemRecord]) -> None:
        """Write down what items came to. May be repeated; the last telling counts."""
        ...

    async def item_lists(self, run: str, step: str, total: int) -> ItemLists:
        """Outputs and artifacts of a fan-out, `total` long each; None where an item did not succeed or gave none."""
        ...


@dataclass(frozen=True, slots=True)
class CachedSuccess:
    """A success that can stand for the same work.

    Attributes:
        key: digest of the work.
        by: who did it.
        outcome: with the outputs as the engine gave them, by its own names and without declared types.
        ended_at: when it ended.
    """

    key: str
    by: RunKey
    outcome: StepOutcome
    ended_at: datetime


class StepCache(Protocol):
    async def cached(self, key: str) -> CachedSuccess | None:
        """The newest success of this work.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        ...


class Recorder(OtherRuns, Requests, Items, StepCache, Protocol):
    """Writes lineage. Every call is idempotent: it may be repeated after a crash, and come late or out of order."""

    async def attempt_submitted(
        self,
        workflow: str,
        key: RunKey,
        ref: EngineRunRef,
        at: datetime,
        *,
        asked_at: datetime | None = None,
        tries: int = 1,
    ) -> None:
        """An engine run was adopted for this attempt; the step is running.

        Args:
            workflow: the meta-workflow's name.
            key: of the attempt.
            ref: the engine run.
            at: now.
            asked_at: when the workflow wanted it.
            tries: how many calls it took.
        """
        ...

    async def worked(self, work: Work) -> None:
        """A try of an activity that the trace of the run is to show. May be repeated.

        Of one activity the first `KEPT_TRIES` are kept, and the last.
        """
        ...

    async def noted(self, key: RunKey, note: str) -> None:
        """Say something about the engine run of this attempt beside its state, for whoever looks at the step."""
        ...

    async def attempt_ended(
        self,
        workflow: str,
        key: RunKey,
        ref: EngineRunRef,
        outcome: Outcome,
        at: datetime,
        *,
        success: CachedSuccess | None = None,
    ) -> None:
        """The engine run ended: its outcome, nodes and artifacts.

        Args:
            workflow: the meta-workflow's name.
            key: of the attempt.
            ref: the engine run.
            outcome: what it came to.
            at: now.
            success: is kept with it, to stand for the same work; None: nothing is.
        """
        ...

    async def attempt_cut(self, key: RunKey, failure: FailureClass, message: str) -> None:
        """The workflow ended this attempt: cancelled or timed out, whatever the engine calls it, before or after.

        Does nothing when no engine run was adopted for it, or when it had succeeded.
        """
        ...

    async def snapshot(self, snapshot: RunSnapshot) -> None:
        """The whole state of a meta-run, as its workflow sees it; it wins over what attempts wrote."""
        ...

    async def run_started(self, snapshot: RunSnapshot, inputs_digest: str, definition: MetaWorkflow) -> None:
        """Temporal has accepted a run that another workflow started.

        Args:
            snapshot: as it stands before anything has happened.
            inputs_digest: of the inputs as they were asked for.
            definition: of its bundle.
        """
        ...


@dataclass(frozen=True, slots=True)
class SlotAnswer:
    """Whether an engine may have another run.

    Attributes:
        granted: it may, now.
        taken: how many runs are under way, when there are too many.
        wait: seconds until it is this run's turn, when only that is missing; its slot is kept for it.
    """

    granted: bool
    taken: int = 0
    wait: float | None = None


class Slots(Protocol):
    """Counts the runs of each engine that are under way, over all workers."""

    async def take(self, engine: str, key: RunKey, limit: int | None, rate: float | None) -> SlotAnswer:
        """Take a slot, once for each step of a meta-run and place in a fan-out: a later attempt takes it over.

        Args:
            engine: the engine's name.
            key: whom the slot is for.
            limit: slots that there are; None: no end of them.
            rate: slots given out per second; None: as they are wanted.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        ...

    async def free(self, key: RunKey, *, any_attempt: bool = False) -> None:
        """Give a slot back, unless a later attempt has it; with `any_attempt` even then.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What a worker makes of one engine: its circuit breaker, and how many runs it waits for."""

    circuit: CircuitView
    awaited_runs: int


class CircuitRecorder(Protocol):
    async def record_circuits(self, worker: str, loads: Mapping[str, EngineLoad]) -> None:
        """Write down a worker's circuits by engine, in place of what it wrote before.

        Raises:
            ServiceUnavailable: the store does not answer.
        """
        ...
