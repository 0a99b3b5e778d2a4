"""What workers need from outside; `meta` implements it with its store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from workflows.bundle import Bundle
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, Outcome


class BundleStore(Protocol):
    async def get(self, digest: str) -> Bundle:
        """Load a bundle.

        Raises:
            NotFound: no bundle has this digest.
        """
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


class Recorder(OtherRuns, Protocol):
    """Writes lineage. Every call is idempotent: it may be repeated after a crash, and come late or out of order."""

    async def attempt_submitted(self, workflow: str, key: RunKey, ref: EngineRunRef, at: datetime) -> None:
        """An engine run was adopted for this attempt; the step is running."""
        ...

    async def noted(self, key: RunKey, note: str) -> None:
        """Say something about the engine run of this attempt beside its state, for whoever looks at the step."""
        ...

    async def attempt_ended(
        self, workflow: str, key: RunKey, ref: EngineRunRef, outcome: Outcome, at: datetime
    ) -> None:
        """The engine run ended: its outcome, nodes and artifacts."""
        ...

    async def snapshot(self, snapshot: RunSnapshot) -> None:
        """The whole state of a meta-run, as its workflow sees it; it wins over what attempts wrote."""
        ...
