"""What a definition means: names, dependencies, types of expressions, and what its manifests declare."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

from workflows.errors import Problem
from workflows.expressions.cel import Issue
from workflows.expressions.check import Checked, Scope, check_expression
from workflows.expressions.templates import TemplateMalformed, parse_template, walk_strings
from workflows.expressions.types import ExprType, of_value
from workflows.expressions.variables import EVENT
from workflows.inputs import type_mismatch
from workflows.outcome import StepKind
from workflows.plan import circle_message, find_circle, step_templates
from workflows.spec.caching import check_cache
from workflows.spec.conditions import check_condition
from workflows.spec.flow import check_flow, check_foreach, check_names, check_needs
from workflows.spec.kinds import check_kind
from workflows.spec.locate import NOWHERE, Locator, Path
from workflows.spec.models import COMPENSATE, MetaWorkflow
from workflows.spec.passing import check_passing
from workflows.spec.retrying import check_retry
from workflows.spec.scopes import Manifests, of_compensation, of_finally, of_steps, scope_of
from workflows.spec.steps import Step
from workflows.spec.triggering import check_triggers
from workflows.values import JsonValue, canonical_json

MAX_DEFINITION = 256 * 1024
"""Largest definition without its manifests, in bytes: it travels through every run's history."""


def validate(
    definition: MetaWorkflow, locate: Locator | None = None, manifests: Manifests | None = None
) -> list[Problem]:
    """See `workflows.spec.validate`."""
    return list(_Validation(definition, locate or NOWHERE, manifests or {}).run())


class _Validation:
    def __init__(self, definition: MetaWorkflow, locate: Locator, manifests: Manifests) -> None:
        self._definition = definition
        self._locate = locate
        self._manifests = manifests
        self._all = {**definition.steps, **definition.finally_}
        self._mentions: dict[str, set[str]] = {name: set(step.needs) for name, step in self._all.items()}

    def run(self) -> Iterator[Problem]:
        scope = scope_of(self._definition, self._manifests)
        in_steps, in_finally = of_steps(scope, self._definition), of_finally(scope)
        yield from self._size()
        yield from self._inputs()
        yield from check_names(self._definition, self._locate)
        for name, step in self._definition.steps.items():
            yield from self._step(("steps", name), name, step, replace(in_steps, here=name))
        for name, step in self._definition.finally_.items():
            yield from self._step(("finally", name), name, step, replace(in_finally, here=name))
        for name, step in self._definition.steps.items():
            if step.compensate is not None:
                at = ("steps", name, "compensate")
                before = of_compensation(scope, name, self._before(name))
                yield from self._step(at, COMPENSATE + name, step.compensate.as_step(), before)
        for name, text in self._definition.outputs.items():
            yield from self._template(("outputs", name), text, in_steps)
        yield from check_triggers(self._definition, self._locate)
        yield from self._circles()

    def _size(self) -> Iterator[Problem]:
        size = len(canonical_json(self._definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)))
        if size > MAX_DEFINITION:
            yield self._locate.problem((), f"the definition has {size:,} bytes of JSON, {MAX_DEFINITION:,} at most")
        if self._definition.timeout is not None and not self._definition.timeout:
            yield self._locate.problem(("timeout",), "a timeout of nothing; write it as 30s, 10m, 2h")

    def _inputs(self) -> Iterator[Problem]:
        for name, declared in self._definition.inputs.items():
            if declared.default is not None and (fault := type_mismatch(declared.default, declared.type)) is not None:
                yield self._locate.problem(("inputs", name, "default"), f"default of input '{name}': {fault}")

    def _step(self, at: Path, name: str, step: Step, scope: Scope) -> Iterator[Problem]:
        """Problems of a step, of a step of `finally` or of a compensation.

        Args:
            at: where it stands.
            name: as `MetaWorkflow.step` knows it.
            step: what runs.
            scope: what it can read.
        """
        yield from check_needs(at, step, self._definition, self._locate)
        yield from check_kind(at, step, self._definition.name, self._locate)
        yield from check_flow(at, step, self._locate)
        yield from check_retry(at, step, self._locate)
        elsewhere = (m for m in self._manifests.get(name, ()) if m.parameters is None)
        yield from check_cache(at, step, self._locate, next(elsewhere, None))
        yield from self._conditions(at, step, scope)
        items = yield from check_foreach(at, step, lambda path, value: self._value(path, value, scope), self._locate)
        of_item = replace(scope, variables={**scope.variables, **items})
        types: dict[str, ExprType] = {}
        for place, value in step_templates(step):
            path = (*at, *place)
            if place[0] == "parameters":
                types[place[1]] = yield from self._value(path, value, of_item)
            elif place[0] == "artifacts":
                yield from self._artifact(path, str(value), of_item)
            elif place[0] == "wait":
                yield from self._text(path, str(value), scope)
            elif place[0] != "foreach":
                yield from self._value(path, value, of_item if place[0] == "cache" else scope)
        for manifest in self._manifests.get(name, ()):
            yield from check_passing(at, step, manifest, types, self._locate)

    def _conditions(self, at: Path, step: Step, scope: Scope) -> Iterator[Problem]:
        event = step.wait.event if step.wait is not None else None
        with_event = replace(scope, variables={**scope.variables, **EVENT})
        for path, text, readable in (
            ((*at, "when"), step.when, scope),
            ((*at, "wait", "event", "when"), event.when if event is not None else None, with_event),
        ):
            if text is not None:
                yield from self._condition(path, text, readable)

    def _condition(self, path: Path, text: str, scope: Scope) -> Iterator[Problem]:
        yield from check_condition(
            path, text, lambda t: self._check(t, scope), self._locate, lambda c: self._issues(path, text, c)
        )

    def _text(self, path: Path, text: str, scope: Scope) -> Iterator[Problem]:
        """Problems of a template that must give a string."""
        found = yield from self._template(path, text, scope)
        if found not in (ExprType.STRING, ExprType.ANY):
            yield self._locate.problem(path, f"a string is wanted, and this is {found}", hint="write string(x)")

    def _value(self, path: Path, value: JsonValue, scope: Scope) -> Generator[Problem, None, ExprType]:
        """Problems of a value with templates in it; returns the value's type."""
        found = ExprType.ANY if value is None else of_value(value)
        for inner, text in walk_strings(value):
            type_ = yield from self._template((*path, *inner), text, scope)
            if not inner:
                found = type_
        return found

    def _template(self, path: Path, text: str, scope: Scope) -> Generator[Problem, None, ExprType]:
        """Problems of a template; returns its type."""
        try:
            template = parse_template(text)
        except TemplateMalformed as error:
            yield self._locate.problem(path, error.message, hint=error.hint, within=(text, error.offset))
            return ExprType.ANY
        found = ExprType.STRING
        for embedded in template.expressions:
            checked = self._check(embedded.text, scope)
            yield from self._issues(path, embedded.text, checked)
            if checked.returns is ExprType.OTHER:
                message = f"'{embedded.text}' gives {checked.returns}"
                yield self._locate.problem(path, message, hint="wrap it in string(...)", within=(embedded.text, 0))
            if template.whole is not None:
                found = checked.returns
        return ExprType.ANY if found is ExprType.NULL else found

    def _artifact(self, path: Path, text: str, scope: Scope) -> Iterator[Problem]:
        found = yield from self._template(path, text, scope)
        if found not in (ExprType.OBJECT, ExprType.STRING, ExprType.ANY) or (
            found is ExprType.STRING and "${{" not in text and "://" not in text
        ):
            what = f"{found}" if "${{" in text else f"'{text}'"
            hint = "write ${{ steps.<step>.artifacts.<name> }} or s3://bucket/key"
            yield self._locate.problem(path, f"{what} is neither an artifact nor a URI", hint=hint)

    def _check(self, text: str, scope: Scope) -> Checked:
        checked = check_expression(text, scope)
        if scope.here:
            self._mentions[scope.here].update(r.name for r in checked.references if r.step is not None)
        return checked

    def _issues(self, path: Path, text: str, checked: Checked) -> Iterator[Problem]:
        for issue in checked.issues:
            hint = self._declare_hint(checked, issue) or issue.hint
            yield self._locate.problem(path, issue.message, hint=hint, within=(text, issue.offset))

    def _declare_hint(self, checked: Checked, issue: Issue) -> str:
        """Argo's outputs are strings: the usual reason why an operator does not fit one."""
        if "overload" not in issue.raw or "string" not in issue.raw:
            return ""
        for r in checked.references:
            step = self._all.get(r.name) if r.field == "outputs" else None
            if step is not None and step.kind is StepKind.ARGO and r.item not in step.outputs:
                return f"Argo's outputs are strings; declare the type: steps.{r.name}.outputs: {{{r.item}: number}}"
        return ""

    def _before(self, name: str) -> set[str]:
        """Steps that have ended before a step begins."""
        found: set[str] = set()
        rest = [name]
        while rest:
            more = {d for d in self._mentions.get(rest.pop(), ()) if d in self._definition.steps} - found
            found |= more
            rest.extend(more)
        return found

    def _circles(self) -> Iterator[Problem]:
        for group, steps in (("steps", self._definition.steps), ("finally", self._definition.finally_)):
            # A step that reads itself was named where it does so.
            dependencies = {
                name: tuple(d for d in steps if d in self._mentions[name] and (d != name or d in step.needs))
                for name, step in steps.items()
            }
            if circle := find_circle(dependencies):
                hint = "take one of these dependencies out"
                yield self._locate.problem((group, circle[0]), circle_message(circle), hint=hint, key=True)
