"""What a message was as the cause of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from meta.triggers.asking import ask, plain_ask
from meta.triggers.causes import cause_of
from meta.triggers.event import Event
from workflows.spec.trigger_models import NatsTrigger

STORED = datetime(2026, 1, 2, 3, tzinfo=UTC)
EVENT = Event(
    subject="ml.datasets.x.ready", data={}, identity="nats:id:1", time=STORED - timedelta(days=1), id="1", stored=STORED
)
TRIGGER = NatsTrigger(subject="ml.datasets.*.ready")
ATTRIBUTES = {
    "messaging.system": "nats",
    "messaging.operation.type": "process",
    "messaging.operation.name": "process",
    "messaging.destination.name": "ml.datasets.x.ready",
}


def test_a_message_is_a_cause_by_its_triggers_subject_since_it_was_stored() -> None:
    cause = cause_of(ask("chain", TRIGGER, [EVENT], "1"), [EVENT], "nats")
    assert (cause.kind, cause.name, cause.at) == ("nats", "process ml.datasets.*.ready", STORED)
    assert cause.attributes == ATTRIBUTES | {
        "messaging.destination.template": "ml.datasets.*.ready", "messaging.message.id": "1"
    }  # fmt: skip


def test_a_message_of_no_trigger_is_one_by_its_own_subject_and_its_time_counts_where_no_other_is_known() -> None:
    event = replace(EVENT, subject="meta.trigger.chain", id="", stored=None)
    cause = cause_of(plain_ask("chain", event), [event], "bridge")
    assert (cause.kind, cause.name, cause.at) == ("bridge", "process meta.trigger.chain", event.time)
    assert cause.attributes == ATTRIBUTES | {"messaging.destination.name": "meta.trigger.chain"}


def test_of_several_messages_the_last_counts() -> None:
    last = replace(EVENT, stored=STORED + timedelta(seconds=9), id="2")
    cause = cause_of(ask("chain", TRIGGER, [EVENT, last], "b"), [EVENT, last], "nats")
    assert cause.at == last.stored
    assert cause.attributes["messaging.batch.message_count"] == "2"
    assert "messaging.message.id" not in cause.attributes


def test_a_replay_is_a_cause_from_when_it_was_asked_for() -> None:
    now = STORED + timedelta(days=30)
    cause = cause_of(ask("chain", TRIGGER, [EVENT], "1"), [EVENT], "nats", replayed_at=now)
    assert cause.at == now
    assert cause.attributes["meta.message.stored_at"] == STORED.isoformat()


def test_texts_of_publishers_are_cut() -> None:
    event = replace(EVENT, subject="s" * 5000, id="i" * 5000)
    cause = cause_of(plain_ask("chain", event), [event], "nats")
    assert max(len(cause.name), *map(len, cause.attributes.values())) <= 300
