"""What an engine run that goes on is to its meta-run: one pure function, from which the sweep and `meta orphans` act.

| meta-run                                   | the engine run                                  | verdict      | swept |
|--------------------------------------------|-------------------------------------------------|--------------|-------|
| runs; the step goes on                     | is the one that the step waits for              | none         |       |
| runs; the step is choosing its run         | any                                             | none         |       |
| runs; the step goes on                     | bears the name of the one waited for            | duplicate    | yes   |
| runs; the step goes on                     | is of an earlier attempt                        | superseded   | yes   |
| runs; the step has ended                   | was never adopted                               | step ended   | yes   |
| ended by itself                            | was never adopted                               | run ended    | yes   |
| terminated, timed out or deleted           | had not ended                                   | run ended    | yes   |
| any of these                               | had ended before, so somebody retried it        | by hand      | no    |
| ended                                      | was made long before or after it                | not its time | no    |
| not known here, now or ever                | any                                             | unknown      | no    |

Swept: ended without asking. The rest is shown, and ended when a person says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from meta.api.temporal import Existence
from workers.engines.base import OurRun
from workflows.messages import StepSnapshot
from workflows.naming import RunKey

SLACK = timedelta(minutes=10)
"""Between the clocks of Temporal and an engine, and from a meta-run's end to the end of a submit that was under way."""


class Reason(StrEnum):
    """Why an engine run belongs to no live meta-run."""

    RUN_ENDED = "meta-run ended"
    STEP_ENDED = "step ended"
    SUPERSEDED = "superseded"
    DUPLICATE = "duplicate"
    BY_HAND = "retried by hand"
    NOT_ITS_TIME = "not of its meta-run's time"
    UNKNOWN = "unknown meta-run"
    UNREADABLE = "unreadable key"


SWEPT = frozenset({Reason.RUN_ENDED, Reason.STEP_ENDED, Reason.SUPERSEDED, Reason.DUPLICATE})
"""What the service ends by itself. A run that a person has started again, or that may be another installation's, is
never among it."""

HASTY = frozenset({Reason.RUN_ENDED})
"""What is certain at the first look; of a live meta-run a second look must say the same."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What is known of the meta-run that an engine run names.

    Attributes:
        existence: None: neither Temporal nor the store knows it.
        step: as the workflow itself sees it; None when it cannot be asked, or has no such step.
        adopted: this very engine run (by its uid) was adopted for an attempt.
        ended_before: it was, and had ended.
    """

    existence: Existence | None
    step: StepSnapshot | None = None
    adopted: bool = False
    ended_before: bool = False


def judge(run: OurRun, owner: Owner) -> Reason | None:
    """Say why an engine run that goes on belongs to no live meta-run; None when it may well belong to one."""
    key = RunKey.parse(run.key)
    if key is None:
        return Reason.UNREADABLE
    if owner.existence is None:
        return Reason.UNKNOWN
    if not owner.adopted and not _in_its_time(run, owner.existence):
        return Reason.NOT_ITS_TIME
    if owner.existence.state.ended:
        confirmed = owner.ended_before or (owner.adopted and not owner.existence.abrupt)
        return Reason.BY_HAND if confirmed else Reason.RUN_ENDED
    return _in_live_run(run, key, owner)


def _in_live_run(run: OurRun, key: RunKey, owner: Owner) -> Reason | None:
    step = owner.step
    if step is None:
        return None
    current = step.run
    if step.state.ended:
        return Reason.BY_HAND if owner.adopted else Reason.STEP_ENDED
    if current is None or current.uid == run.ref.uid:
        return None
    if current.name == run.ref.name:
        return Reason.DUPLICATE
    if key.attempt < step.attempt:
        return Reason.BY_HAND if owner.ended_before else Reason.SUPERSEDED
    return None


def _in_its_time(run: OurRun, existence: Existence) -> bool:
    """Whether it was made while its meta-run ran. Ids that were given (request ids) can come again elsewhere."""
    made, began, ended = run.created_at, existence.started_at, existence.ended_at
    if made is None:
        return True
    return not (began is not None and made < began - SLACK) and not (ended is not None and made > ended + SLACK)
