"""Whether the schedules of a definition make sense: times, time zones, inputs."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from workflows.errors import Problem
from workflows.expressions.templates import TemplateMalformed, parse_template, walk_strings
from workflows.expressions.tokens import Kind, tokenize
from workflows.planned_inputs import EVENT_FIELDS
from workflows.spec.crons import cron_fault
from workflows.spec.locate import Locator, Path
from workflows.spec.models import MetaWorkflow
from workflows.spec.trigger_inputs import check_trigger_inputs
from workflows.spec.trigger_models import ScheduleTrigger
from workflows.suggest import did_you_mean


def check_schedules(definition: MetaWorkflow, locate: Locator) -> Iterator[Problem]:
    """Problems of `triggers` with `schedule`."""
    seen: dict[str, int] = {}
    for i, trigger in enumerate(definition.triggers):
        schedule = trigger.schedule
        if schedule is None:
            continue
        at: Path = ("triggers", i, "schedule")
        if schedule.key in seen:
            message = (
                f"triggers {seen[schedule.key]} and {i} have the same"
                f" {'name' if schedule.name else 'times and no name'}"
            )
            yield locate.problem((*at, *(("name",) if schedule.name else ())), message, hint="give each its own 'name'")
        seen.setdefault(schedule.key, i)
        yield from _times(schedule, at, locate)
        problems = list(check_trigger_inputs(definition, schedule.inputs, at, locate))
        yield from problems
        if not problems:
            yield from _fields(schedule, at, locate)


def _times(schedule: ScheduleTrigger, at: Path, locate: Locator) -> Iterator[Problem]:
    for n, cron in enumerate(schedule.crons):
        if fault := cron_fault(cron):
            place: Path = (*at, "cron") if isinstance(schedule.cron, str) else (*at, "cron", n)
            hint = "minute hour day month weekday, as in '0 3 * * *' for every day at 3:00"
            yield locate.problem(place, f"cron '{cron}': {fault}", hint=hint)
    if schedule.timezone != "UTC" and not _is_zone(schedule.timezone):
        hint = did_you_mean(schedule.timezone, sorted(available_timezones()), what="time zones")
        message = f"unknown time zone '{schedule.timezone}'"
        yield locate.problem((*at, "timezone"), message, hint=hint if len(hint) < 200 else "as in Europe/Berlin")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return not available_timezones()  # a machine that knows none cannot tell; Temporal has its own rules
    return True


def _fields(schedule: ScheduleTrigger, at: Path, locate: Locator) -> Iterator[Problem]:
    """Fields of `event` that a schedule does not have."""
    for name, value in schedule.inputs.items():
        for inner, text in walk_strings(value):
            try:
                embedded = parse_template(text).expressions
            except TemplateMalformed:  # said above
                continue
            for expression in embedded:
                tokens = tokenize(expression.text)
                for event, dot, field in zip(tokens, tokens[1:], tokens[2:], strict=False):
                    named = (event.kind, event.text, dot.text, field.kind) == (Kind.NAME, "event", ".", Kind.NAME)
                    if named and field.text not in EVENT_FIELDS:
                        yield locate.problem(
                            (*at, "inputs", name, *inner),
                            f"'event' of a schedule has no '{field.text}'",
                            hint=did_you_mean(field.text, EVENT_FIELDS, what="its fields"),
                            within=(expression.text, field.start),
                        )
