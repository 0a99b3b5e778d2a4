"""How a message that a trigger wants becomes a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from meta.api.starter import Started
from meta.triggers.asking import ask, plain_ask
from meta.triggers.event import Event
from meta.triggers.intake import Intake
from meta.triggers.names import SUBJECT
from workflows.spec.trigger_models import NatsTrigger

Begin = Callable[[Event], Awaitable[Started]]
"""Returns when the run that a message asks for, alone or with others, has started.

It raises a MetaError when it has not: a ServiceUnavailable is an outage, others that are retryable are tried again,
and with those that are not the message is dead.
"""


def begin_alone(intake: Intake, workflow: str, trigger: NatsTrigger) -> Begin:
    """Each message starts a run of its own."""

    async def begin(event: Event) -> Started:
        return await intake.start(ask(workflow, trigger, [event], event.identity), [event])

    return begin


def begin_plain(intake: Intake) -> Begin:
    """A message on `meta.trigger.<workflow>` starts a run of that workflow, with its data as inputs."""

    async def begin(event: Event) -> Started:
        return await intake.start(plain_ask(event.subject.removeprefix(SUBJECT), event), [event])

    return begin
