"""Parameters of a sensor's trigger: what is taken from events, and where it is put.

Source: argo-events, `pkg/sensors/triggers/params.go` (ApplyParams): one after the other; `append` and `prepend` keep
what stands there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meta.importing.documents import At
from meta.importing.draft import Given
from meta.importing.events import Dependency
from meta.importing.paths import NotCarried
from meta.importing.report import Report
from meta.importing.values import constant_of, escaped, joined, value_of

_PARAMETER = frozenset({"src", "dest", "operation"})
_FIELD = "leave the field to the manifest, or pass the value as a parameter"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a trigger.

    Attributes:
        dest: a path in the resource; the prefix of one that is applied to the trigger's template is cut off.
    """

    at: At
    dest: str

    @property
    def operation(self) -> str:
        return self.at.text("operation")

    @property
    def constant(self) -> str | None:
        """What it sets whatever the event; None when that depends on the event, or on what stands there."""
        return constant_of(self.at["src"]) if self.operation in ("", "overwrite") else None


def parameters_of(at: At, report: Report, prefix: str = "") -> list[Parameter]:
    """Read a list of parameters.

    Args:
        at: the list.
        report: told of those that are applied to something else.
        prefix: of the paths that lead to the resource.
    """
    found: list[Parameter] = []
    for one in at.items():
        report.unknown(one, _PARAMETER, "a parameter")
        dest = one.text("dest")
        if not dest.startswith(prefix):
            report.left_out(one, f"a parameter changes '{dest}' of the trigger itself", "an event chooses inputs only")
        elif one.text("operation") not in ("", "overwrite", "append", "prepend"):
            report.left_out(one, f"a parameter has no operation '{one.text('operation')}'")
        else:
            found.append(Parameter(one, dest.removeprefix(prefix)))
    return found


@dataclass(frozen=True, slots=True)
class Events:
    """What values are taken from.

    Attributes:
        dependencies: all of the sensor's.
        started_by: names of those that can start the trigger alone.
    """

    dependencies: Mapping[str, Dependency]
    started_by: Sequence[str]


def given_by(name: str, existing: str | None, parameters: Sequence[Parameter], events: Events, report: Report) -> Given:
    """What parameters of one place come to, for each dependency that can start the trigger.

    Args:
        name: for the input.
        existing: what stands at the place.
        parameters: in order.
        events: what they take values from.
        report: told what is not carried over.
    """
    given = Given(name, existing)
    for starter in events.started_by:
        text, raw = (escaped(existing) if existing is not None else ""), False
        applied = False
        for one in parameters:
            src = one.at["src"]
            try:
                value = _value(src, starter, events.dependencies, report)
            except NotCarried as reason:
                report.left_out(src, str(reason), f"'{name}' stays as it is; give it under the trigger's 'inputs'")
                continue
            if value is None:
                continue
            applied = True
            if one.operation == "append":
                text, raw = joined(text, value[0]), False
            elif one.operation == "prepend":
                text, raw = joined(value[0], text), False
            else:
                text, raw = value
        if applied:
            given.values[starter] = text
            given.raw = given.raw or raw
    return given


def _value(src: At, starter: str, dependencies: Mapping[str, Dependency], report: Report) -> tuple[str, bool] | None:
    """The value that a source has when a dependency has started the trigger; None for none."""
    name = src.text("dependencyName")
    if name not in dependencies:
        if "value" in src:
            return escaped(src.text("value")), False
        raise NotCarried(f"'{name}' is no dependency")
    if name != starter:
        return (escaped(src.text("value")), False) if "value" in src else None
    value = value_of(src, dependencies[name], report)
    return value.text, value.raw


def by_place(parameters: Sequence[Parameter]) -> dict[str, list[Parameter]]:
    """Parameters by the place that they change, in order."""
    places: dict[str, list[Parameter]] = {}
    for one in parameters:
        places.setdefault(one.dest, []).append(one)
    return places


def not_a_place(parameters: Sequence[Parameter], report: Report, why: str) -> None:
    for one in parameters:
        report.left_out(one.at, why, _FIELD)
