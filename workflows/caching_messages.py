"""Argument and result of the activity that looks for an earlier success of the same work; see `workflows.messages`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from workflows.messages import EngineChoice, Message, ResolvedStep, StepOutcome
from workflows.naming import RunKey
from workflows.values import ValueType


class FindCached(Message):
    """Which work is about to be done.

    Attributes:
        key: of the execution; its attempt is 0.
        resolved: parameters and artifacts.
        choice: what the step's use case was settled to.
        outputs: declared types, which a success's outputs are converted to.
        ttl: how old a success may be; None: any age.
        look: False: only its digest is worked out.
    """

    bundle_digest: str
    key: RunKey
    resolved: ResolvedStep
    choice: EngineChoice | None = None
    outputs: dict[str, ValueType] = Field(default_factory=dict)
    ttl: timedelta | None = None
    look: bool = True


class FoundCached(Message):
    """What is known of the work.

    Attributes:
        key: its digest; empty when it has none.
        outcome: of the success that stands for it, with `taken_from`; None: it has to be done.
        note: why a success was not taken, or why there is no digest; for people.
    """

    key: str = ""
    outcome: StepOutcome | None = None
    note: str = ""
