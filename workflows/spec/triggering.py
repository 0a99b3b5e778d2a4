"""Whether the triggers of a definition make sense."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.errors import Problem
from workflows.expressions.events import check_event_expression
from workflows.expressions.templates import TemplateMalformed, parse_template, walk_strings
from workflows.expressions.types import ExprType, fits, of_declared, of_value
from workflows.inputs import type_mismatch
from workflows.spec.conditions import check_condition
from workflows.spec.locate import Locator, Path
from workflows.spec.models import MetaWorkflow
from workflows.spec.subjects import DEAD, EVENTS, TRIGGER, overlaps, subject_fault
from workflows.spec.trigger_models import NatsTrigger
from workflows.suggest import did_you_mean


def check_triggers(definition: MetaWorkflow, locate: Locator) -> Iterator[Problem]:
    """Problems of `triggers`: names, subjects, expressions, inputs."""
    seen: dict[str, int] = {}
    for i, trigger in enumerate(definition.triggers):
        nats = trigger.nats
        if nats is None:
            continue
        at: Path = ("triggers", i, "nats")
        if nats.key in seen:
            message = (
                f"triggers {seen[nats.key]} and {i} have the same {'name' if nats.name else 'subject and no name'}"
            )
            yield locate.problem((*at, "name" if nats.name else "subject"), message, hint="give each its own 'name'")
        seen.setdefault(nats.key, i)
        yield from _subject(definition.name, nats, at, locate)
        if nats.when is not None:
            yield from check_condition((*at, "when"), nats.when, check_event_expression, locate)
        for key, text in (("id", nats.id), ("reply", nats.reply)):
            if text is not None:
                yield from _template((*at, key), text, locate)
        if nats.reply is not None and "${{" not in nats.reply and (fault := reply_fault(nats.reply)):
            yield locate.problem((*at, "reply"), fault)
        yield from _inputs(definition, nats, at, locate)


def reply_fault(subject: str) -> str:
    """Why statuses cannot be sent to a subject; empty when they can.

    The server's own subjects and this service's are not for messages to choose: they would start or forge things.
    """
    if fault := subject_fault(subject, wildcards=False):
        return fault
    if subject.startswith("$"):
        return "a subject that begins with '$' is the server's own"
    if subject.startswith(("meta.", "_META.")):
        return "a subject that begins with 'meta.' is the service's own"
    return ""


def _subject(workflow: str, nats: NatsTrigger, at: Path, locate: Locator) -> Iterator[Problem]:
    path = (*at, "subject")
    if nats.subject.startswith("$"):
        yield locate.problem(path, "a subject that begins with '$' is the server's own")
    for own, why in (
        (f"{EVENTS}{workflow}.>", "the workflow's own events, so every run would start another"),
        (f"{TRIGGER}>", "the service's own subjects, on which a message starts a workflow without any trigger"),
        (f"{DEAD}>", "the dead letters, so what cannot start a run would come again"),
    ):
        if overlaps(nats.subject, own):
            yield locate.problem(path, f"'{nats.subject}' takes in {own}: {why}", hint="name a narrower subject")


def _template(path: Path, text: str, locate: Locator) -> Iterator[Problem]:
    for problem, _ in _expressions(path, text, locate):
        if problem is not None:
            yield problem


def _inputs(definition: MetaWorkflow, nats: NatsTrigger, at: Path, locate: Locator) -> Iterator[Problem]:
    for name, value in nats.inputs.items():
        path = (*at, "inputs", name)
        declared = definition.inputs.get(name)
        if declared is None:
            hint = did_you_mean(name, definition.inputs, what="inputs")
            yield locate.problem(path, f"unknown input '{name}'", hint=hint, key=True)
            continue
        found, problems = of_value(value), list[Problem]()
        for inner, text in walk_strings(value):
            for problem, returns in _expressions((*path, *inner), text, locate):
                if problem is not None:
                    problems.append(problem)
                elif not inner:
                    found = returns
        yield from problems
        literal = not any("${{" in text for _, text in walk_strings(value))
        if problems or (value is None and not declared.is_required):
            continue
        if literal and (fault := type_mismatch(value, declared.type)) is not None:
            yield locate.problem(path, f"input '{name}': {fault}")
        elif not literal and not fits(found, declared.type):
            yield locate.problem(path, f"input '{name}' takes {of_declared(declared.type)}, this is {found}")
    for name, declared in definition.inputs.items():
        if declared.is_required and name not in nats.inputs:
            where: Path = (*at, "inputs") if nats.inputs else at
            hint = "give it under the trigger's 'inputs', as ${{ event.field }}, or give the input a default"
            yield locate.problem(where, f"the trigger gives no '{name}', which has no default", hint=hint, key=True)


def _expressions(path: Path, text: str, locate: Locator) -> Iterator[tuple[Problem | None, ExprType]]:
    """Problems of a template; where there is none, its type."""
    try:
        template = parse_template(text)
    except TemplateMalformed as error:
        yield locate.problem(path, error.message, hint=error.hint, within=(text, error.offset)), ExprType.ANY
        return
    found, wrong = ExprType.STRING, False
    for embedded in template.expressions:
        checked = check_event_expression(embedded.text)
        for issue in checked.issues:
            wrong = True
            yield (
                locate.problem(path, issue.message, hint=issue.hint, within=(embedded.text, issue.offset)),
                ExprType.ANY,
            )
        if checked.returns is ExprType.OTHER:
            wrong = True
            message = f"'{embedded.text}' gives {checked.returns}"
            yield (
                locate.problem(path, message, hint="wrap it in string(...)", within=(embedded.text, 0)),
                ExprType.ANY,
            )
        if template.whole is not None:
            found = checked.returns
    if not wrong:
        yield None, found
