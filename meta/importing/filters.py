"""Filters of a dependency as the `when` of a trigger.

Source: argo-events, `pkg/sensors/dependencies/filter.go`. What cannot be carried over is said, and the trigger then
lets more messages through than the sensor, never fewer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from meta.importing.documents import At
from meta.importing.events import Dependency
from meta.importing.govaluate import to_cel
from meta.importing.logic import FALSE, TRUE, all_of, any_of
from meta.importing.paths import NotCarried, Read, cel_string
from meta.importing.report import Report
from workflows.errors import ExpressionFailed
from workflows.expressions.events import check_event_expression, event_evaluator

_FILTERS = frozenset({"time", "context", "data", "exprs", "dataLogicalOperator", "exprLogicalOperator", "script"})
_DATA = frozenset({"path", "type", "value", "comparator", "template"})
_CONTEXT = ("type", "subject", "source", "datacontenttype")  # the sensor compares these alone
_ORDER = {"": "==", "=": "==", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_TRUTH = {**dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
          **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False)}  # fmt: skip
_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]?\d):([0-5]?\d)")
_WIDER = "write it into the trigger's 'when'; until then it lets through what this filter refuses"
_TYPES = (
    "a value of another type than the filter's is converted by the sensor; here it is not equal to the filter's, and an"
    " order like > puts the message aside"
)


def when_of(dependency: Dependency, report: Report) -> str:
    """CEL that lets through what the dependency's filters let through; empty when they let through all."""
    at = dependency.at["filters"]
    report.unknown(at, _FILTERS, "a filter")
    either = _operator(dependency.at, "filtersLogicalOperator", report)
    groups: list[str | None] = [
        _group(at, "exprs", "exprLogicalOperator", lambda one: _expression(one, dependency), report),
        _group(at, "data", "dataLogicalOperator", lambda one: _data(one, dependency, report), report),
    ]
    for key, convert in (("context", _context), ("time", _time), ("script", _script)):
        if key in at:
            groups.append(_carried(at[key], lambda one, convert=convert: convert(one, dependency), report))
    present = [group for group in groups if group != ""]
    if either:
        # one that is not carried may hold: then nothing may be refused
        return "" if None in present or not present else _told(any_of(str(one) for one in present), at, report)
    return _told(all_of(one for one in present if one), at, report)


def _told(condition: str, at: At, report: Report) -> str:
    """The condition, if it is one that a definition can have."""
    if condition == FALSE:
        report.left_out(at, "these filters refuse every message of this event source", "mend them, or drop the trigger")
        return FALSE
    if condition == TRUE:
        return ""
    if issues := check_event_expression(condition).issues:
        report.left_out(at, f"the filters cannot be told together: {issues[0].message}", _WIDER)
        return ""
    return condition


def _operator(at: At, key: str, report: Report) -> bool:
    """Whether an operator is `or`; anything but `and` and nothing is said."""
    value = at.text(key)
    if value not in ("", "and", "or"):
        report.left_out(at[key], f"{key} is '{value}', neither 'and' nor 'or'", "it is read as 'and'")
    return value == "or"


def _group(at: At, key: str, operator: str, convert: Callable[[At], str], report: Report) -> str | None:
    """A list of filters; empty for none of them, None when the list cannot be carried over."""
    members = [_carried(one, convert, report) for one in at[key].items()]
    if _operator(at, operator, report):
        return None if None in members else any_of(str(one) for one in members) if members else ""
    if members and all(one is None for one in members):
        return None
    return all_of(one for one in members if one) if members else ""


def _carried(at: At, convert: Callable[[At], str], report: Report) -> str | None:
    try:
        return convert(at)
    except NotCarried as reason:
        report.left_out(at, str(reason), _WIDER)
        return None


def _expression(at: At, dependency: Dependency) -> str:
    fields = {one.text("name"): dependency.data(one.text("path")) for one in at["fields"].items()}
    if not fields:
        return TRUE  # the sensor passes over an expression without fields
    translated = to_cel(at.text("expr"), {name: read.value for name, read in fields.items()})
    if issues := check_event_expression(translated).issues:
        raise NotCarried(f"'{at.text('expr')}' cannot be told in CEL: {issues[0].message}")
    return all_of([*(read.exists for read in fields.values()), translated])


def _data(at: At, dependency: Dependency, report: Report) -> str:
    report.unknown(at, _DATA, "a data filter")
    if "template" in at:
        raise NotCarried(f"the template '{at.text('template')}' of a data filter is not carried over")
    read = dependency.data(at.text("path"))
    values = [str(one.value) for one in at["value"].items()]
    if not values:
        raise NotCarried("a data filter without values refuses every message")
    kind, comparator = at.text("type"), at.text("comparator")
    if kind in ("bool", "number"):
        report.differs_once(at, _TYPES)
    if kind == "bool":
        return all_of([read.exists, any_of(_truth(read, value) for value in values)])
    if kind == "number":
        return all_of([read.exists, any_of(_number(read, comparator, value) for value in values)])
    if kind == "string":
        return all_of([read.exists, any_of(_pattern(read, comparator, value) for value in values)])
    raise NotCarried(f"a data filter has type bool, number or string, not '{kind}'")


def _truth(read: Read, value: str) -> str:
    if value not in _TRUTH:
        raise NotCarried(f"'{value}' is neither true nor false")
    return f"{read.value} == {'true' if _TRUTH[value] else 'false'}"


def _number(read: Read, comparator: str, value: str) -> str:
    if comparator not in _ORDER:
        raise NotCarried(f"a data filter has no comparator '{comparator}'")
    try:
        number = float(value)
    except ValueError:
        raise NotCarried(f"'{value}' is no number") from None
    if not math.isfinite(number):
        raise NotCarried(f"'{value}' is no number that CEL has")
    exact = str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return f"{read.value} {_ORDER[comparator]} {exact}"


def _pattern(read: Read, comparator: str, value: str) -> str:
    """A string filter's values are regular expressions, found anywhere in the text."""
    if comparator not in ("", "=", "!="):
        raise NotCarried(f"texts are compared with '=' or '!=', '{comparator}' is never true")
    pattern = cel_string(value)
    try:
        event_evaluator([{}], "pattern")(f"''.matches({pattern})")
    except ExpressionFailed:
        raise NotCarried(f"'{value}' is no regular expression") from None
    return f"{'!' if comparator == '!=' else ''}string({read.value}).matches({pattern})"


def _context(at: At, dependency: Dependency) -> str:
    """The context of a NATS event is made by the event source, so that it passes always or never."""
    passes = True
    for key in _CONTEXT:
        if wanted := at.text(key):
            passes = passes and dependency.context(key).value == cel_string(wanted)
    return TRUE if passes else FALSE


def _time(at: At, _: Dependency) -> str:
    start, stop = _second(at, "start"), _second(at, "stop")
    zone = cel_string(at.text("timezone")) if "timezone" in at else ""
    time = "timestamp(event.time)"
    now = f"{time}.getHours({zone}) * 3600 + {time}.getMinutes({zone}) * 60 + {time}.getSeconds({zone})"
    condition = all_of([f"{now} >= {start}", f"{now} < {stop}"])
    if start >= stop:
        condition = any_of([f"{now} >= {start}", f"{now} < {stop}"])
    try:
        event_evaluator([{"time": "2024-01-01T00:00:00+00:00"}], "time")(condition)
    except ExpressionFailed as error:
        raise NotCarried(f"the time window cannot be told: {error.message}") from None
    return condition


def _second(at: At, key: str) -> int:
    match = _CLOCK.fullmatch(at.text(key))
    if match is None:
        raise NotCarried(f"'{at.text(key)}' is no time of day as hh:mm:ss")
    hours, minutes, seconds = (int(part) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _script(_: At, __: Dependency) -> str:
    raise NotCarried("a Lua script is not carried over")
