"""Which messages become one run: pure rules of `batch` and `debounce`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from meta.store.gathering import Held, NewBatch
from meta.triggers.event import identity_of
from workflows.spec.trigger_models import NatsTrigger

MOST = 1000
"""Messages of one burst, at most."""

LONGEST = 10
"""A burst that goes on and on starts a run after so many times its `debounce`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When messages in order of receipt are complete.

    Attributes:
        most: so many.
        longest: this long after the first of them was received.
        quiet: when no other has been received for so long; None: that is no reason.
    """

    most: int
    longest: timedelta
    quiet: timedelta | None = None


def rule_of(trigger: NatsTrigger) -> Rule:
    """The rule of a trigger; one without `batch` or `debounce` makes every message a batch of its own."""
    if trigger.batch is not None:
        return Rule(trigger.batch.max, trigger.batch.within)
    if trigger.debounce is not None:
        return Rule(MOST, LONGEST * trigger.debounce, trigger.debounce)
    return Rule(1, timedelta(0))


def split(waiting: Sequence[Held], rule: Rule, now: datetime) -> tuple[list[Sequence[Held]], Sequence[Held]]:
    """Part messages into those that are complete and the rest.

    When somebody looks does not matter: a look that comes late parts them as one in time would have.

    Args:
        waiting: messages that wait, in order of receipt.
        rule: when they are complete.
        now: by the clock that stamped them.

    Returns:
        Groups that are complete, in order, and the messages that wait on.
    """
    groups, group = list[Sequence[Held]](), list[Held]()
    for message in waiting:
        if group and (len(group) >= rule.most or message.received_at >= due(group, rule)):
            groups.append(group)
            group = []
        group.append(message)
    if group and (len(group) >= rule.most or now >= due(group, rule)):
        return [*groups, group], []
    return groups, group


def due(group: Sequence[Held], rule: Rule) -> datetime:
    """When a group is complete if no other message comes."""
    last = group[0].received_at + rule.longest
    return last if rule.quiet is None else min(last, group[-1].received_at + rule.quiet)


def new_batch(workflow: str, trigger: str, members: Sequence[Held]) -> NewBatch:
    """A batch, whose identity is made from those of its members: the same members are the same run."""
    names = "\n".join([workflow, trigger, *(member.identity for member in members)])
    digest = hashlib.sha256(names.encode(errors="surrogatepass")).hexdigest()[:32]
    return NewBatch(identity_of("batch", f"{trigger}:{digest}"), members)
