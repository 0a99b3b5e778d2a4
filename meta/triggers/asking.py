"""What a message asks for: a trigger's expressions, evaluated on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from meta.triggers.event import Event, identity_of
from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.expressions.events import event_evaluator
from workflows.expressions.templates import render_value
from workflows.inputs import show
from workflows.spec.trigger_models import NatsTrigger
from workflows.spec.triggering import reply_fault
from workflows.values import JsonObject, JsonValue, canonical_json, digest_of


@dataclass(frozen=True, slots=True)
class Ask:
    """A start that is wanted.

    Attributes:
        workflow: a published name; files and engines are the definition's, no message can choose them.
        trigger: key of the trigger in the definition; empty for a message on `meta.trigger.<workflow>`.
        identity: of what the message tells: one run of the workflow for each.
        digest: of what the message tells; the same identity with another one is refused.
        reply: subject for statuses; empty for none.
        trace: W3C trace context and baggage to continue.
        subject: that the trigger listens on, wildcards and all; empty where it is the message's own.
    """

    workflow: str
    trigger: str
    identity: str
    digest: str
    inputs: JsonObject = field(default_factory=dict[str, JsonValue])
    reply: str = ""
    trace: Mapping[str, str] = field(default_factory=dict[str, str])
    subject: str = ""


def wants(trigger: NatsTrigger, event: Event) -> bool:
    """Whether the trigger's `when` lets a message through.

    Raises:
        ExpressionFailed: it cannot be computed on this message, or gives no boolean.
    """
    if trigger.when is None:
        return True
    value = event_evaluator([event.view()], "when")(trigger.when)
    if not isinstance(value, bool):
        raise ExpressionFailed(
            f"when: '{trigger.when}' gives {show(value)}, not true or false", hint="compare it with something"
        )
    return value


def identified(trigger: NatsTrigger, event: Event) -> Event:
    """A message with the identity that the trigger's `id` gives it, where there is one.

    Raises:
        ExpressionFailed: `id` cannot be computed on this message, or is empty.
    """
    if trigger.id is None:
        return event
    value = render_value(trigger.id, event_evaluator([event.view()], "id"))
    if value is None or value == "":
        raise ExpressionFailed(f"id: '{trigger.id}' is empty for this message", hint="every message needs an identity")
    text = value if isinstance(value, str) else canonical_json(value).decode()
    return replace(event, identity=identity_of("key", text))


def ask(workflow: str, trigger: NatsTrigger, events: Sequence[Event], who: str) -> Ask:
    """What messages ask for that become one run.

    Args:
        workflow: whose trigger it is.
        trigger: of its newest version.
        events: one, or all of a batch or burst, in order.
        who: identity of the run: the one message's, or the batch's.

    Raises:
        ExpressionFailed: an expression cannot be computed on them, or the reply subject is none.
    """
    views = [event.view() for event in events]

    def at(place: str) -> Callable[[str], JsonValue]:
        return event_evaluator(views, place)

    inputs = {name: render_value(value, at(f"input '{name}'")) for name, value in trigger.inputs.items()}
    last = events[-1]
    return Ask(
        workflow=workflow,
        trigger=trigger.key,
        identity=who,
        digest=last.digest if len(events) == 1 else digest_of(canonical_json([e.digest for e in events])),
        inputs=inputs,
        reply=_reply(trigger, at("reply")),
        trace=last.trace,
        subject=trigger.subject,
    )


def _reply(trigger: NatsTrigger, evaluate: Callable[[str], JsonValue]) -> str:
    if trigger.reply is None:
        return ""
    value = render_value(trigger.reply, evaluate)
    if value is None or value == "":
        return ""
    fault = reply_fault(value) if isinstance(value, str) else f"{show(value)} is no text"
    if fault:
        raise ExpressionFailed(f"reply: {fault}", hint="statuses go to a subject of the requester's own")
    return str(value)


def plain_ask(workflow: str, event: Event) -> Ask:
    """What a message on `meta.trigger.<workflow>` asks for, which no trigger of a definition stands behind.

    Its data are the inputs; no data is no inputs.

    Raises:
        InputsInvalid: the data is no object.
    """
    data = {} if event.data is None else event.data
    if not isinstance(data, dict):
        raise InputsInvalid(
            f"the message is {show(data)}, not an object", hint='send an object with the inputs, as {"rate": 0.1}'
        )
    return Ask(
        workflow=workflow, trigger="", identity=event.identity, digest=event.digest, inputs=data, trace=event.trace
    )
