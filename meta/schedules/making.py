"""From a schedule in a definition to a Temporal Schedule, and back from its id: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ValidationError
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)

from meta.store.bundles import PublishedVersion
from workflows.child_messages import TICK_TYPE, Tick
from workflows.messages import TASK_QUEUE
from workflows.naming import request_run_id
from workflows.planned import schedule_request
from workflows.spec.durations import parse_time
from workflows.spec.trigger_models import ScheduleTrigger

PREFIX = "meta-schedule/"
"""What the ids of our schedules begin with; labels, of which the rest is made, have no slash."""

_OVERLAP = {
    "skip": ScheduleOverlapPolicy.SKIP,
    "buffer_one": ScheduleOverlapPolicy.BUFFER_ONE,
    "buffer_all": ScheduleOverlapPolicy.BUFFER_ALL,
    "cancel_other": ScheduleOverlapPolicy.CANCEL_OTHER,
    "allow_all": ScheduleOverlapPolicy.ALLOW_ALL,
}


@dataclass(frozen=True, slots=True)
class WantedSchedule:
    """A schedule of a published definition.

    Attributes:
        version: of the definition; with its digest it marks what a Temporal Schedule was made from.
    """

    workflow: str
    trigger: ScheduleTrigger
    version: PublishedVersion

    @property
    def id(self) -> str:
        return schedule_id(self.workflow, self.trigger.key)

    @property
    def mark(self) -> str:
        return f"{self.version.version}/{self.version.bundle_digest}"

    @property
    def tick(self) -> Tick:
        return Tick(workflow=self.workflow, trigger=self.trigger.key, mark=self.mark)


def schedule_id(workflow: str, trigger: str) -> str:
    return f"{PREFIX}{workflow}/{trigger}"


def make_schedule(wanted: WantedSchedule, state: ScheduleState | None = None) -> Schedule:
    """What Temporal is to have.

    Args:
        wanted: of the definition.
        state: as the schedule stands now; None for a new one. Where the definition says whether it is paused, it wins:
            this is called once for each published version.
    """
    trigger = wanted.trigger
    state = state or ScheduleState()
    if trigger.paused is not None and trigger.paused != state.paused:
        words = "paused" if trigger.paused else "resumed"
        state = ScheduleState(paused=trigger.paused, note=f"{words} by version {wanted.version.version}")
    every = trigger.every
    return Schedule(
        action=ScheduleActionStartWorkflow(
            TICK_TYPE,
            wanted.tick,
            id=wanted.id,
            task_queue=TASK_QUEUE,
            static_summary=f"A planned time of {wanted.workflow}, schedule {trigger.key}",
        ),
        spec=ScheduleSpec(
            cron_expressions=trigger.crons,
            intervals=[ScheduleIntervalSpec(every=every, offset=trigger.offset)] if every is not None else [],
            start_at=_time(trigger.start),
            end_at=_time(trigger.end),
            jitter=trigger.jitter,
            time_zone_name=trigger.timezone,
        ),
        policy=SchedulePolicy(overlap=_OVERLAP[trigger.overlap], catchup_window=trigger.catchup),
        state=state,
    )


class _Marked(BaseModel):
    mark: str = ""


def mark_of(description: ScheduleDescription) -> str:
    """Which version of its definition a schedule was made from; empty when nobody can tell."""
    action = description.schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow) or not action.args:
        return ""
    data: bytes = getattr(action.args[0], "data", b"")  # a payload, as the converter wrote it: JSON
    try:
        return _Marked.model_validate_json(data).mark
    except ValidationError:
        return ""


def is_newer(mark: str, known: str) -> bool:
    """Whether a mark is of a later version, or of another bundle of the same one."""
    return _version(mark) > _version(known) or (_version(mark) == _version(known) and mark != known)


def run_of(workflow: str, trigger: str, tick_id: str) -> str:
    """Id of the run that a tick runs, from the tick's id, which ends with the planned time; empty when it does not."""
    text = tick_id.removeprefix(schedule_id(workflow, trigger) + "-")
    try:
        planned = parse_time(text)
    except ValueError:
        return ""
    return request_run_id(workflow, schedule_request(trigger, planned))


def _version(mark: str) -> int:
    number = mark.partition("/")[0]
    return int(number) if number.isdecimal() else 0


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text is not None else None
