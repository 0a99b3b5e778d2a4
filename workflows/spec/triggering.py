"""Whether the triggers of a definition make sense."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.errors import Problem
from workflows.expressions.events import check_event_expression
from workflows.spec.conditions import check_condition
from workflows.spec.locate import Locator, Path
from workflows.spec.models import MetaWorkflow
from workflows.spec.scheduling import check_schedules
from workflows.spec.subjects import DEAD, EVENTS, TRIGGER, overlaps, subject_fault
from workflows.spec.trigger_inputs import check_template, check_trigger_inputs
from workflows.spec.trigger_models import NatsTrigger


def check_triggers(definition: MetaWorkflow, locate: Locator) -> Iterator[Problem]:
    """Problems of `triggers`: names, subjects, expressions, inputs."""
    seen: dict[str, int] = {}
    yield from check_schedules(definition, locate)
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
        yield from check_trigger_inputs(definition, nats.inputs, at, locate)


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
    for problem, _ in check_template(path, text, locate):
        if problem is not None:
            yield problem
