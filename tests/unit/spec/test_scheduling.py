"""Schedules in a definition: what is refused, where, and with which words."""

from __future__ import annotations

import pytest

from workflows.errors import DefinitionInvalid
from workflows.spec import load_definition
from workflows.spec.crons import cron_fault
from workflows.spec.models import MetaWorkflow

HEAD = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: report}
inputs: {day: {type: string}, size: {type: integer, default: 1}}
steps: {make: {argo: {template: make}}}
triggers:
"""


def load(*triggers: str) -> MetaWorkflow:
    return load_definition(HEAD + "".join(f"  - schedule: {one}\n" for one in triggers))


def problem(*triggers: str) -> tuple[str, str, str]:
    """The one problem: place, message, hint."""
    with pytest.raises(DefinitionInvalid) as caught:
        load(*triggers)
    (found,) = caught.value.problems
    assert found.line > 6
    return found.path, found.message, found.hint


def test_a_schedule_has_what_the_definition_says() -> None:
    text = (
        '{cron: ["0 3 * * *", "@monthly"], timezone: Europe/Berlin, name: nightly, overlap: cancel_other, paused: true,'
        ' inputs: {day: "${{ event.date }}", size: "${{ event.timestamp }}"}}'
    )
    schedule = load(text).triggers[0].schedule
    assert schedule is not None
    assert (schedule.key, schedule.times) == ("nightly", "0 3 * * *; @monthly Europe/Berlin")


def test_the_name_is_made_from_the_times_where_it_is_not_given() -> None:
    day = 'inputs: {day: "x"}'
    definition = load(f"{{every: 1h, {day}}}", f"{{every: 2h, offset: 5m, {day}}}")
    first, second = (one.schedule for one in definition.triggers)
    assert first is not None
    assert second is not None
    assert first.key != second.key
    assert second.times == "every 2h + 5m"


@pytest.mark.parametrize(
    ("trigger", "path", "words", "hint"),
    [
        ("{cron: '0 25 * * *', inputs: {day: x}}", "cron", "hour: '25' is not within 0 and 23", "minute hour"),
        ("{cron: '0 3 * *', inputs: {day: x}}", "cron", "it has 4 fields, not 5", "minute hour"),
        ("{cron: ['0 3 * * *', '@often'], inputs: {day: x}}", "cron[1]", "the words are @yearly", ""),
        ("{every: 1h, timezone: Europe/Berlln, inputs: {day: x}}", "timezone", "unknown time zone", "Europe/Berlin"),
        ("{every: 1h}", "schedule", "the trigger gives no 'day'", "event.field"),
        ("{every: 1h, inputs: {dey: x, day: x}}", "inputs.dey", "unknown input 'dey'", "day"),
        ("{every: 1h, inputs: {day: x, size: big}}", "inputs.size", "expected an integer", ""),
        ("{every: 1h, inputs: {day: '${{ event.day }}'}}", "inputs.day", "has no 'day'", "its fields"),
        ("{every: 1h, inputs: {day: '${{ steps.a.outputs.x }}'}}", "inputs.day", "steps", "event"),
        ("{every: 1h, cron: '0 3 * * *', inputs: {day: x}}", "schedule", "exactly one of 'cron', 'every'", ""),
        ("{every: 1h, offset: 2h, inputs: {day: x}}", "schedule", "'offset' is shorter", ""),
        ("{every: 1h, start: tomorrow, inputs: {day: x}}", "start", "no point in time", ""),
        ("{every: 1h, overlap: maybe, inputs: {day: x}}", "overlap", "'skip'", ""),
    ],
)
def test_what_is_wrong_is_named_with_its_place(trigger: str, path: str, words: str, hint: str) -> None:
    where, message, mend = problem(trigger)
    assert where.endswith(path)
    assert words in message
    assert hint in mend


def test_two_schedules_of_one_name_are_refused() -> None:
    _, message, _ = problem("{every: 1h, inputs: {day: x}}", "{every: 1h, inputs: {day: y}}")
    assert message == "triggers 0 and 1 have the same times and no name"


@pytest.mark.parametrize("cron", ["* * * * *", "*/5 0-6/2 1,15 jan-mar MON", "0 0 29 2 0", "@hourly"])
def test_what_temporal_takes_is_a_cron(cron: str) -> None:
    assert not cron_fault(cron)


@pytest.mark.parametrize(
    "cron", ["60 * * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "5-1 * * * *", "*/0 * * * *", "a"]
)
def test_what_temporal_refuses_is_none(cron: str) -> None:
    assert cron_fault(cron)
