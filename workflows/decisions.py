"""Decisions of people: what is asked and waits, what was decided, and which decisions are refused. No Temporal.

Who somebody is, is what the caller says: authentication is the business of whatever lets callers through.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from workflows.errors import Conflict, InvalidInput, MetaError, NotAllowed, NotFound
from workflows.messages import Asked, Decision, Message
from workflows.outcome import Artifact
from workflows.suggest import did_you_mean
from workflows.values import JsonObject, canonical_json, digest_of

MAX_WORDS = 2_000
"""Most characters of a reason, and of a name."""


class Decide(Message):
    """Argument of the update and of the signal `decide`.

    Attributes:
        step: may be left out when one approval waits.
        approve: False rejects.
        by: who decides.
        digest: of what was seen; empty: not compared.
    """

    step: str = ""
    approve: bool
    by: str = ""
    reason: str = ""
    digest: str = ""


class Decided(Message):
    """What the update answers with; `decided` is False when the same had been decided before."""

    step: str
    decision: Decision
    decided: bool


def asked_digest(prompt: str, parameters: JsonObject, artifacts: Mapping[str, Artifact]) -> str:
    """Digest of what a person sees: the same text about another object is another thing to approve."""
    seen: JsonObject = {name: [one.uri, one.sha256] for name, one in artifacts.items()}
    return digest_of(canonical_json({"prompt": prompt, "parameters": parameters, "artifacts": seen}))


class Inbox:
    """The approvals of one workflow.

    Args:
        approvals: names of the steps that ask, whether they do so yet or not.
    """

    def __init__(self, approvals: Mapping[str, object]) -> None:
        self._approvals = list(approvals)
        self._waiting: dict[str, Asked] = {}
        self._decided: dict[str, Decision] = {}

    @property
    def waiting(self) -> list[str]:
        """Steps that wait for a decision."""
        return [step for step in self._waiting if step not in self._decided]

    def ask(self, step: str, asked: Asked) -> None:
        """A step waits for a decision from now on."""
        self._waiting[step] = asked

    def close(self, step: str) -> None:
        """The step waits no more."""
        self._waiting.pop(step, None)

    def decision(self, step: str) -> Decision | None:
        """What somebody has decided."""
        return self._decided.get(step)

    def decided_by_time(self, step: str, decision: Decision) -> None:
        """The time-out has decided."""
        self._decided.setdefault(step, decision)

    def check(self, message: Decide) -> str:
        """Whether a decision can be taken.

        Returns:
            The step that it is about.

        Raises:
            InvalidInput: nobody decides, or a text is too long.
            NotFound: there is no such approval.
            Conflict: the step does not wait, asks for something else, or is decided otherwise.
            NotAllowed: the approvers are others.
        """
        if not message.by.strip():
            raise InvalidInput("nobody decides: 'by' is empty", hint="say who approves or rejects")
        for what, text in (("by", message.by), ("reason", message.reason)):
            if len(text) > MAX_WORDS:
                raise InvalidInput(f"'{what}' has {len(text):,} characters, {MAX_WORDS:,} at most")
        step = message.step or self._only(message)
        if step not in self._approvals:
            raise NotFound(f"no approval '{step}'", hint=did_you_mean(step, self._approvals, what="approvals"))
        if (before := self._decided.get(step)) is not None:
            if not same(before, message):
                raise decided_otherwise(step, before)
            return step
        asked = self._waiting.get(step)
        if asked is None:
            raise Conflict(
                f"step '{step}' does not wait for a decision",
                hint="`meta get` shows whether it has begun or ended",
            )
        if asked.approvers and message.by not in asked.approvers:
            raise NotAllowed(
                f"{message.by} may not decide step '{step}'",
                hint=f"its approvers are {', '.join(asked.approvers)}; give your name with --by NAME",
            )
        if message.digest and message.digest != asked.digest:
            raise Conflict(
                f"step '{step}' asks for {asked.digest}, not for {message.digest}",
                hint="look at what it asks for now, and decide that",
            )
        return step

    def take(self, message: Decide, now: datetime) -> Decided:
        """Take a decision; the same again changes nothing.

        Raises:
            MetaError: see `check`.
        """
        step = self.check(message)
        if (before := self._decided.get(step)) is not None:
            return Decided(step=step, decision=before, decided=False)
        digest = self._waiting[step].digest
        decision = Decision(approved=message.approve, by=message.by, at=now, reason=message.reason, digest=digest)
        self._decided[step] = decision
        return Decided(step=step, decision=decision, decided=True)

    def _only(self, message: Decide) -> str:
        """The step that a decision without a step is about."""
        waiting = self.waiting
        if len(waiting) == 1:
            return waiting[0]
        if waiting:
            raise InvalidInput(f"{len(waiting)} approvals wait: {', '.join(waiting)}", hint="name the step")
        again = [step for step, decision in self._decided.items() if same(decision, message)]
        if len(again) == 1:
            return again[0]
        if not self._approvals:
            raise NotFound("the run has no approval", hint="`meta get` shows its steps")
        raise Conflict("no approval waits", hint="`meta get` shows which have not begun, and which are decided")


def same(decision: Decision, message: Decide) -> bool:
    """Whether somebody says again what was decided."""
    return (decision.approved, decision.by) == (message.approve, message.by) and (
        not message.digest or message.digest == decision.digest
    )


def decided_otherwise(step: str, decision: Decision) -> MetaError:
    """The error of a decision that comes too late."""
    word = "approved" if decision.approved else "rejected"
    return Conflict(
        f"step '{step}' was {word} by {decision.by or 'its time-out'} at {decision.at:%Y-%m-%d %H:%M:%S} UTC",
        hint="a decision stands; cancel the run, or start another",
    )
