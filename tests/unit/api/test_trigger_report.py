from __future__ import annotations

from datetime import UTC, datetime

import pytest

from meta.api.trigger_report import joined
from meta.store.bundles import PublishedWorkflow
from meta.store.event_tables import TriggerRow
from workflows.spec import load_definition
from workflows.spec.trigger_models import NatsTrigger

AT = datetime(2026, 1, 2, tzinfo=UTC)
CHAIN = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: chain}
steps: {one: {argo: {template: t}}}
triggers:
  - nats: {subject: ml.ready, name: ready}
  - nats: {subject: "ml.*.done", name: done, rate: 5/s}
"""


def published(text: str = CHAIN) -> PublishedWorkflow:
    definition = load_definition(text)
    return PublishedWorkflow("chain", 1, "", "sha256:0", AT, definition)


def row(trigger: NatsTrigger, state: str = "active", **more: object) -> TriggerRow:
    values: dict[str, object] = {
        "workflow": "chain", "name": trigger.key, "subject": trigger.subject, "stream": "ML", "consumer": "meta-chain",
        "spec": trigger.model_dump(mode="json", by_alias=True), "since": AT, "state": state, "updated_at": AT,
    }  # fmt: skip
    return TriggerRow(**{**values, **more})  # pyright: ignore[reportArgumentType]


READY = NatsTrigger(subject="ml.ready", name="ready")


def test_a_trigger_that_the_service_has_not_looked_at_shows_too() -> None:
    done, ready = joined([published()], [row(READY, pending=3, unacknowledged=1)], nats=True)
    assert (done.name, done.state, done.stream, done.pending) == ("done", "", "", None)
    assert "within seconds" in done.message
    assert done.spec == {"subject": "ml.*.done", "name": "done", "rate": "5/s"}
    assert (ready.state, ready.stream, ready.consumer, ready.pending, ready.unacknowledged) == (
        "active", "ML", "meta-chain", 3, 1,
    )  # fmt: skip
    assert ready.updated_at == AT


def test_what_is_known_of_a_trigger_before_it_was_changed_is_not_said_of_the_changed_one() -> None:
    changed = published(CHAIN.replace("subject: ml.ready", "subject: ml.other"))
    _, ready = joined([changed], [row(READY)], nats=True)
    assert (ready.subject, ready.state, ready.consumer) == ("ml.other", "", "")
    assert "change" in ready.message


def test_without_nats_every_trigger_is_off_and_says_how_to_switch_it_on() -> None:
    for one in joined([published()], [row(READY)], nats=False):
        assert (one.state, one.message) == ("off", "NATS is not configured")
        assert "nats.url" in one.hint


@pytest.mark.parametrize("definitions", [[], [published(CHAIN.replace("name: ready", "name: renamed"))]])
def test_a_consumer_that_outlives_its_trigger_is_said_to_end(definitions: list[PublishedWorkflow]) -> None:
    *_, last = joined(definitions, [row(READY, "failing", message="NATS is away")], nats=True)
    assert (last.name, last.state, last.message) == ("ready", "ending", "NATS is away")


def test_a_failing_trigger_says_why() -> None:
    failing = row(READY, "failing", message="no stream has ml.ready", hint="make one")
    _, ready = joined([published()], [failing], nats=True)
    assert (ready.state, ready.message, ready.hint) == ("failing", "no stream has ml.ready", "make one")
