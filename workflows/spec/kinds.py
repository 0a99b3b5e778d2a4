"""Whether a step has only keys that mean something for what it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workflows.errors import Problem
from workflows.outcome import StepKind
from workflows.spec.base import NAME
from workflows.spec.locate import Locator, Path
from workflows.spec.retrying import A_KIND
from workflows.spec.steps import Step

_PEOPLE_AND_TIME = "what is asked or waited for is asked or waited for once"
_IGNORED: dict[StepKind, dict[str, str]] = {
    StepKind.APPROVAL: {
        "retry": _PEOPLE_AND_TIME,
        "attemptTimeout": "write timeout",
        "onLost": "nothing of it can be lost",
        "outputs": "it gives approved, by, at, reason and digest",
    },
    StepKind.WAIT: {
        "parameters": "nothing takes them",
        "artifacts": "nothing takes them",
        "retry": _PEOPLE_AND_TIME,
        "attemptTimeout": "write timeout",
        "onLost": "nothing of it can be lost",
        "outputs": "an event gives event, subject and time",
    },
    StepKind.ACTIVITY: {"artifacts": "pass ${{ steps.<step>.artifacts.<name>.uri }} as a parameter"},
}


def check_kind(at: Path, step: Step, workflow: str, locate: Locator) -> Iterator[Problem]:
    """Problems of what a step runs, and keys that have no meaning for it.

    Args:
        at: where the step stands.
        step: the step.
        workflow: name of the meta-workflow that it is part of.
        locate: where things stand.
    """
    for key, hint in _IGNORED.get(step.kind, {}).items():
        if _says(step, key):
            yield locate.problem((*at, key), f"{A_KIND[step.kind]} has no '{key}'", hint=hint, key=True)
    yield from _approval(at, step, locate)
    yield from _wait(at, step, locate)
    yield from _workflow(at, step, workflow, locate)
    if step.activity is not None:
        for key, text in (("name", step.activity.name), ("taskQueue", step.activity.task_queue)):
            yield from _no_template((*at, "activity", key), text, locate)
    yield from _use_case(at, step, locate)


def _says(step: Step, key: str) -> bool:
    """Whether a key has another value than its default: where a definition travels, defaults are written out."""
    name, field = next((n, f) for n, f in Step.model_fields.items() if f.alias == key)
    return bool(getattr(step, name) != field.get_default(call_default_factory=True))


def _approval(at: Path, step: Step, locate: Locator) -> Iterator[Problem]:
    approval = step.approval
    if approval is None:
        return
    path = (*at, "approval")
    if not approval.prompt.strip():
        yield locate.problem((*path, "prompt"), "the prompt is blank", hint="say what is approved")
    if approval.on_timeout != "fail" and approval.timeout is None:
        message = "there is no 'timeout' that it could follow"
        yield locate.problem((*path, "onTimeout"), message, hint="give one beside it", key=True)
    if approval.timeout is not None and step.timeout is not None and step.timeout <= approval.timeout:
        message = "the step's time is over before the approval's, which then decides nothing"
        yield locate.problem((*at, "timeout"), message, hint="leave it out: approval.timeout limits the step")
    for i, name in enumerate(approval.approvers):
        if not name.strip():
            yield locate.problem((*path, "approvers", i), "an approver has a name")
        elif name in approval.approvers[:i]:
            yield locate.problem((*path, "approvers", i), f"'{name}' stands twice")
        else:
            yield from _no_template((*path, "approvers", i), name, locate)


def _wait(at: Path, step: Step, locate: Locator) -> Iterator[Problem]:
    if step.wait is None:
        return
    if step.wait.event is not None and step.wait.event.subject.startswith("$"):
        message = "a subject that begins with '$' is the server's own"
        if not step.wait.event.subject.startswith("${{"):
            yield locate.problem((*at, "wait", "event", "subject"), message)
    duration, timeout = step.wait.duration, step.timeout
    if duration is not None and timeout is not None and timeout <= duration:
        message = "the wait takes longer than its timeout, so it would always fail"
        yield locate.problem((*at, "timeout"), message, hint="leave the timeout out")


def _workflow(at: Path, step: Step, workflow: str, locate: Locator) -> Iterator[Problem]:
    if step.workflow is None:
        return
    if step.workflow.name == workflow and step.when is None:
        message = f"every run of '{workflow}' would run itself again, without an end"
        yield locate.problem((*at, "workflow", "name"), message, hint="give the step a 'when' that ends it")
    for parameter in step.parameters:
        if not re.fullmatch(NAME, parameter):
            hint = "a name has lower-case letters, digits and underscores, and begins with a letter"
            message = f"no input can be called '{parameter}'"
            yield locate.problem((*at, "parameters", parameter), message, hint=hint, key=True)


def _use_case(at: Path, step: Step, locate: Locator) -> Iterator[Problem]:
    if step.use_case is None:
        return
    for kind, source in (("argo", step.argo), ("kfp", step.kfp)):
        if source is not None and source.engine != kind:
            hint = "leave 'engine' out, or 'useCase'"
            message = "the use case says which engine it is"
            yield locate.problem((*at, kind, "engine"), message, hint=hint, key=True)


def _no_template(path: Path, text: str, locate: Locator) -> Iterator[Problem]:
    if "${{" in text:
        yield locate.problem(
            path, f"'{path[-1]}' holds no expressions" if isinstance(path[-1], str) else "no expression can stand here"
        )
