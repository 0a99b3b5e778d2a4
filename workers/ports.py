"""What workers need from outside; `meta` implements it with its store."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from workflows.bundle import Bundle
from workflows.messages import RunSnapshot
from workflows.naming import RunKey
from workflows.outcome import EngineRunRef, FailureClass, Outcome


class BundleStore(Protocol):
    async def get(self, digest: str) -> Bundle:
        """Load a bundle.

        Raises:
            NotFound: no bundle has this digest.
        """
        ...


class Recorder(Protocol):
    """Writes lineage. Every call is idempotent: it may be repeated after a crash, and come late or out of order."""

    async def attempt_submitted(self, workflow: str, key: RunKey, ref: EngineRunRef, at: datetime) -> None:
        """An engine run was adopted for this attempt; the step is running."""
        ...

    async def attempt_ended(
        self, workflow: str, key: RunKey, ref: EngineRunRef, outcome: Outcome, at: datetime
    ) -> None:
        """The engine run ended: its outcome, nodes and artifacts."""
        ...

    async def attempt_cut(self, key: RunKey, failure: FailureClass, message: str) -> None:
        """The workflow ended this attempt: cancelled or timed out, whatever the engine calls it, before or after.

        Does nothing when no engine run was adopted for it, or when it had succeeded.
        """
        ...

    async def snapshot(self, snapshot: RunSnapshot) -> None:
        """The whole state of a meta-run, as its workflow sees it; it wins over what attempts wrote."""
        ...
