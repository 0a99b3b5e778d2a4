"""What a definition means: names, dependencies, types of expressions, and what its manifests declare."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace

from workflows.errors import Problem
from workflows.expressions.cel import Issue
from workflows.expressions.check import Checked, check_expression
from workflows.expressions.templates import TemplateMalformed, parse_template, walk_strings
from workflows.expressions.types import ExprType, of_value
from workflows.inputs import type_mismatch
from workflows.manifests import ManifestInfo
from workflows.outcome import StepKind
from workflows.plan import circle_message, find_circle
from workflows.spec.caching import check_cache
from workflows.spec.conditions import check_condition
from workflows.spec.locate import NOWHERE, Locator, Path
from workflows.spec.models import MetaWorkflow
from workflows.spec.passing import check_passing
from workflows.spec.retrying import check_retry
from workflows.spec.scopes import scope_of
from workflows.spec.steps import Step
from workflows.spec.triggering import check_triggers
from workflows.suggest import did_you_mean
from workflows.values import JsonValue, canonical_json

MAX_DEFINITION = 256 * 1024
"""Largest definition without its manifests, in bytes: it travels through every run's history."""


def validate(
    definition: MetaWorkflow, locate: Locator | None = None, manifests: Mapping[str, ManifestInfo] | None = None
) -> list[Problem]:
    """See `workflows.spec.validate`."""
    return list(_Validation(definition, locate or NOWHERE, manifests or {}).run())


class _Validation:
    def __init__(self, definition: MetaWorkflow, locate: Locator, manifests: Mapping[str, ManifestInfo]) -> None:
        self._definition = definition
        self._locate = locate
        self._manifests = manifests
        self._scope = scope_of(definition, manifests)
        self._mentions: dict[str, set[str]] = {name: set(step.needs) for name, step in definition.steps.items()}

    def run(self) -> Iterator[Problem]:
        yield from self._size()
        yield from self._inputs()
        for name, step in self._definition.steps.items():
            yield from self._step(name, step)
        yield from self._outputs()
        yield from check_triggers(self._definition, self._locate)
        yield from self._circle()

    def _size(self) -> Iterator[Problem]:
        size = len(canonical_json(self._definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)))
        if size > MAX_DEFINITION:
            yield self._locate.problem((), f"the definition has {size:,} bytes of JSON, {MAX_DEFINITION:,} at most")

    def _inputs(self) -> Iterator[Problem]:
        for name, declared in self._definition.inputs.items():
            if declared.default is not None and (fault := type_mismatch(declared.default, declared.type)) is not None:
                yield self._locate.problem(("inputs", name, "default"), f"default of input '{name}': {fault}")

    def _step(self, name: str, step: Step) -> Iterator[Problem]:
        at: Path = ("steps", name)
        for i, needed in enumerate(step.needs):
            if needed not in self._definition.steps:
                others = [n for n in self._definition.steps if n != name]
                hint = did_you_mean(needed, others, what="steps")
                yield self._locate.problem((*at, "needs", i), f"unknown step '{needed}'", hint=hint)
        for key, duration in (("timeout", step.timeout), ("attemptTimeout", step.attempt_timeout)):
            if duration is not None and not duration:
                yield self._locate.problem((*at, key), "a timeout of nothing; write it as 30s, 10m, 2h")
        yield from check_retry(name, step, self._locate)
        yield from check_cache(at, step, self._locate, self._manifests.get(name))
        if step.caching is not None and step.caching.key is not None:
            yield from self._template((*at, "cache", "key"), step.caching.key, name)
        if step.when is not None:
            path, text = (*at, "when"), step.when
            yield from check_condition(
                path, text, lambda t: self._check(t, name), self._locate, lambda c: self._issues(path, text, c)
            )
        types: dict[str, ExprType] = {}
        for parameter, value in step.parameters.items():
            types[parameter] = yield from self._value((*at, "parameters", parameter), value, name)
        for artifact, text in step.artifacts.items():
            yield from self._artifact((*at, "artifacts", artifact), text, name)
        manifest = self._manifests.get(name)
        if manifest is not None:
            yield from check_passing(name, step, manifest, types, self._locate)

    def _value(self, path: Path, value: JsonValue, step: str) -> Generator[Problem, None, ExprType]:
        """Problems of a value with templates in it; returns the value's type."""
        found = ExprType.ANY if value is None else of_value(value)
        for inner, text in walk_strings(value):
            type_ = yield from self._template((*path, *inner), text, step)
            if not inner:
                found = type_
        return found

    def _template(self, path: Path, text: str, step: str) -> Generator[Problem, None, ExprType]:
        """Problems of a template; returns its type."""
        try:
            template = parse_template(text)
        except TemplateMalformed as error:
            yield self._locate.problem(path, error.message, hint=error.hint, within=(text, error.offset))
            return ExprType.ANY
        found = ExprType.STRING
        for embedded in template.expressions:
            checked = self._check(embedded.text, step)
            yield from self._issues(path, embedded.text, checked)
            if checked.returns is ExprType.OTHER:
                message = f"'{embedded.text}' gives {checked.returns}"
                yield self._locate.problem(path, message, hint="wrap it in string(...)", within=(embedded.text, 0))
            if template.whole is not None:
                found = checked.returns
        return ExprType.ANY if found is ExprType.NULL else found

    def _artifact(self, path: Path, text: str, step: str) -> Iterator[Problem]:
        found = yield from self._template(path, text, step)
        if found not in (ExprType.OBJECT, ExprType.STRING, ExprType.ANY) or (
            found is ExprType.STRING and "${{" not in text and "://" not in text
        ):
            what = f"{found}" if "${{" in text else f"'{text}'"
            hint = "write ${{ steps.<step>.artifacts.<name> }} or s3://bucket/key"
            yield self._locate.problem(path, f"{what} is neither an artifact nor a URI", hint=hint)

    def _outputs(self) -> Iterator[Problem]:
        for name, text in self._definition.outputs.items():
            yield from self._template(("outputs", name), text, "")

    def _check(self, text: str, step: str) -> Checked:
        checked = check_expression(text, replace(self._scope, here=step))
        if step:
            self._mentions[step].update(r.name for r in checked.references if r.step is not None)
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
            step = self._definition.steps.get(r.name) if r.field == "outputs" else None
            if step is not None and step.kind is StepKind.ARGO and r.item not in step.outputs:
                return f"Argo's outputs are strings; declare the type: steps.{r.name}.outputs: {{{r.item}: number}}"
        return ""

    def _circle(self) -> Iterator[Problem]:
        # A step that reads itself was named where it does so.
        dependencies = {
            name: tuple(d for d in self._definition.steps if d in mentioned and (d != name or d in step.needs))
            for (name, mentioned), step in zip(self._mentions.items(), self._definition.steps.values(), strict=True)
        }
        if circle := find_circle(dependencies):
            hint = "take one of these dependencies out"
            yield self._locate.problem(("steps", circle[0]), circle_message(circle), hint=hint, key=True)
