"""How a message that a trigger wants becomes a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from meta.api.starter import Started, Starter
from meta.store import Store
from meta.triggers.asking import ask, plain_ask
from meta.triggers.event import Event
from meta.triggers.gather import Gatherer
from meta.triggers.intake import Intake
from meta.triggers.limits import LimitedIntake
from meta.triggers.retire import retire_all
from workflows.spec.subjects import TRIGGER
from workflows.spec.trigger_models import NatsTrigger

Begin = Callable[[Event], Awaitable[Started]]
"""Returns when the run that a message asks for, alone or with others, has started.

It raises a MetaError when it has not: a ServiceUnavailable is an outage, others that are retryable are tried again,
and with those that are not the message is dead.
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How the messages of a source become runs.

    Attributes:
        begin: takes a message.
        run: works beside it until it is done or cancelled; None when there is nothing to do.
    """

    begin: Begin
    run: Callable[[], Awaitable[None]] | None = None


def way_of(starter: Starter, store: Store, workflow: str, trigger: NatsTrigger) -> Way:
    """The way of a trigger: with its limits, and with others where it gathers."""
    limited = trigger.concurrency is not None or trigger.rate is not None
    intake = LimitedIntake(starter, store, trigger) if limited else Intake(starter, store)

    if trigger.gathers:
        gatherer = Gatherer(intake, store, workflow, trigger)
        return Way(gatherer.begin, gatherer.run)

    async def begin(event: Event) -> Started:
        return await intake.start(ask(workflow, trigger, [event], event.identity), [event])

    return Way(begin, lambda: retire_all(store, workflow, trigger.key))  # of what an earlier version gathered


def plain_way(starter: Starter, store: Store) -> Way:
    """The way of the service's own subject: a message on `meta.trigger.<workflow>` has the inputs of a run of it."""
    intake = Intake(starter, store)

    async def begin(event: Event) -> Started:
        return await intake.start(plain_ask(event.subject.removeprefix(TRIGGER), event), [event])

    return Way(begin)
