"""Values that a sensor takes from events, as templates of a trigger's inputs.

Source: argo-events, `pkg/sensors/triggers/params.go` (ResolveParamValue): a template comes before a key, a key before
`value`, which stands in for what is missing; all of it becomes text, unless `useRawData` says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from meta.importing.documents import At
from meta.importing.events import Dependency
from meta.importing.paths import NotCarried, Read, cel_string
from meta.importing.report import Report
from workflows.expressions.templates import OPEN

_SOURCE = frozenset(
    {"dependencyName", "contextKey", "contextTemplate", "dataKey", "dataTemplate", "value", "useRawData"}
)
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_FIELD = re.compile(r"\.Input((?:\.[A-Za-z_][A-Za-z0-9_]*)+)")
AS_TEXT = "${{ '' }}"
"""Beside an expression: its value becomes text, as inside any other text."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value for a place in a trigger's resource.

    Attributes:
        text: a template, with `${{ expressions }}` over `event`.
        raw: it keeps the type that it has in the message.
    """

    text: str
    raw: bool = False


def escaped(text: str) -> str:
    """Literal text in a template."""
    return text.replace(OPEN, "$" + OPEN)


def value_of(at: At, dependency: Dependency, report: Report) -> Value:
    """The value that a parameter's `src` takes from an event of a dependency.

    Raises:
        NotCarried: it cannot be told here; the text says why.
    """
    report.unknown(at, _SOURCE, "a parameter's src")
    raw = at.flag("useRawData")
    fallback = at.text("value") if "value" in at else None
    data = "dataKey" in at or "dataTemplate" in at
    template, key = (
        (at.text("dataTemplate"), at.text("dataKey")) if data else (at.text("contextTemplate"), at.text("contextKey"))
    )
    if template:
        return Value(_template(template, dependency, fallback, data=data))
    if key:
        return _key(at, key, dependency, fallback, raw=raw, data=data, report=report)
    if fallback is not None:
        return Value(escaped(fallback))
    return _whole(at, dependency, report)


def constant_of(at: At) -> str | None:
    """The value of a parameter that does not depend on events; None when it does."""
    takes = ("contextKey", "contextTemplate", "dataKey", "dataTemplate")
    return at.text("value") if "value" in at and not any(key in at for key in takes) else None


def _whole(at: At, dependency: Dependency, report: Report) -> Value:
    if dependency.opaque or dependency.prefix:
        raise NotCarried("the whole of a transformed event is not carried over")
    report.differs(
        at,
        "the sensor passes the whole event, {context, data}, with the data in base64; here it is the message's data",
        "read the message's own fields in the manifest",
    )
    return Value("${{ event.data }}" + AS_TEXT)


def _key(
    at: At, key: str, dependency: Dependency, fallback: str | None, *, raw: bool, data: bool, report: Report
) -> Value:
    try:
        found = dependency.data(key) if data else dependency.context(key)
    except NotCarried:
        if fallback is None or dependency.opaque:
            raise
        # what the sensor never finds has the fallback always
        report.differs(at, f"'{key}' is never in a message of NATS; its value is always '{fallback}'")
        return Value(escaped(fallback))
    if data and not dependency.source.json_body and key.partition(".")[0] == "body":
        report.differs(
            at, "the sensor passes the message in base64 (jsonBody is not set); here it is decoded", "do not decode it"
        )
    if not data and key == "time":
        report.differs(at, "the time of the event: the sensor's has seconds and Z, here it has fractions and +00:00")
    if found.value.startswith("'"):
        return Value(escaped(_unquoted(found.value)))
    expression = found.value
    if fallback is not None and found.exists:
        expression = f"{found.exists} ? {found.value} : {cel_string(fallback)}"
    return Value("${{ " + expression + " }}" + ("" if raw else AS_TEXT), raw=raw)


def _unquoted(literal: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r", "t": "\t"}.get(m[1], m[1]), literal[1:-1])


def _template(template: str, dependency: Dependency, fallback: str | None, *, data: bool) -> str:
    """A Go template that only puts fields in text: `s3://{{ .Input.body.bucket }}/x`."""
    out, at = "", 0
    reads: list[Read] = []
    for action in _ACTION.finditer(template):
        field = _FIELD.fullmatch(action[1])
        if field is None:
            raise NotCarried(f"the template action '{{{{ {action[1]} }}}}' is not carried over, only fields of .Input")
        keys = field[1].removeprefix(".")
        found = dependency.data(keys) if data else dependency.context(keys)
        reads.append(found)
        out += escaped(template[at : action.start()]) + "${{ " + found.value + " }}"
        at = action.end()
    out += escaped(template[at:])
    if not reads:
        return out
    checks = " && ".join(dict.fromkeys(one.exists for one in reads if one.exists))
    if fallback is not None and checks:
        if len(reads) > 1 or out != "${{ " + reads[0].value + " }}":
            raise NotCarried("a template with text around its field, and a 'value' for when there is none")
        return "${{ " + f"{checks} ? {reads[0].value} : {cel_string(fallback)}" + " }}" + AS_TEXT
    return out if len(reads) > 1 or not out.startswith("${{") or not out.endswith("}}") else out + AS_TEXT


def joined(first: str, second: str) -> str:
    """Two templates, one after the other; what is put together is text."""
    return first.removesuffix(AS_TEXT) + second if first and second else first or second
