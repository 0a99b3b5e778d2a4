"""What a trigger's expressions make of a message."""

from datetime import UTC, datetime

import pytest

from meta.triggers.asking import ask, identified, plain_ask, wants
from meta.triggers.event import MAX_IDENTITY, Event, identity_of
from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.spec.trigger_models import NatsTrigger
from workflows.values import JsonObject, JsonValue

AT = datetime(2026, 1, 2, tzinfo=UTC)


def event(data: JsonValue, event_id: str = "", attributes: JsonObject | None = None) -> Event:
    return Event(
        subject="ml.datasets.sales.ready",
        data=data,
        identity=f"nats:id:{event_id}",
        time=AT,
        id=event_id,
        headers={"x-team": "blue"},
        attributes=attributes or {},
        trace={"traceparent": "00-1-2-01"},
    )


def trigger(**fields: object) -> NatsTrigger:
    return NatsTrigger.model_validate({"subject": "ml.datasets.*.ready", "name": "t", **fields})


def test_expressions_read_the_data_and_what_is_known_of_the_message() -> None:
    made = trigger(
        inputs={
            "rows": "${{ event.rows }}",
            "name": "${{ event.tokens[2] }}-${{ event.headers['x-team'] }}",
            "nested": {"all": ["${{ event.data.rows }}", "${{ event.time }}"]},
            "fixed": 5,
        }
    )
    found = ask("chain", made, [event({"rows": 3})], "who")
    assert found.inputs == {
        "rows": 3,
        "name": "sales-blue",
        "nested": {"all": [3, "2026-01-02T00:00:00+00:00"]},
        "fixed": 5,
    }
    assert (found.workflow, found.trigger, found.identity) == ("chain", "t", "who")
    assert found.trace == {"traceparent": "00-1-2-01"}


def test_what_is_known_of_a_message_wins_over_fields_of_the_same_name() -> None:
    view = event({"subject": "mine", "id": "data's", "headers": 1}, "42", {"source": "/s"}).view()
    assert (view["subject"], view["id"], view["source"]) == ("ml.datasets.sales.ready", "42", "/s")
    assert view["data"] == {"subject": "mine", "id": "data's", "headers": 1}


def test_without_an_id_of_the_message_the_datas_own_field_is_read() -> None:
    assert event({"id": "data's"}).view()["id"] == "data's"


@pytest.mark.parametrize(("rows", "wanted"), [(1001, True), (1000, False), (1000.5, True)])
def test_when_lets_through_what_it_says(rows: float, wanted: bool) -> None:
    assert wants(trigger(when="event.rows > 1000"), event({"rows": rows})) is wanted
    assert wants(trigger(), event(None))


@pytest.mark.parametrize(("when", "data"), [("event.rows > 1000", {}), ("event.rows", {"rows": 1}), ("event.x.y", 5)])
def test_a_condition_that_cannot_be_computed_is_an_error_and_no_refusal(when: str, data: JsonValue) -> None:
    with pytest.raises(ExpressionFailed, match="when"):
        wants(trigger(when=when), event(data))


def test_the_triggers_own_identity_wins_and_keeps_its_type_apart_from_its_text() -> None:
    made = trigger(id="${{ event.table }}/${{ event.version }}")
    assert identified(made, event({"table": "a", "version": 2}, "7")).identity == "key:a/2"
    assert identified(trigger(), event({}, "7")).identity == "nats:id:7"
    assert identified(trigger(id="${{ event.k }}"), event({"k": {"b": 1, "a": 2}})).identity == 'key:{"a":2,"b":1}'


@pytest.mark.parametrize("data", [{"table": ""}, {"table": None}, {}])
def test_a_message_without_the_identity_that_the_trigger_wants_is_an_error(data: JsonValue) -> None:
    with pytest.raises(ExpressionFailed, match="id:"):
        identified(trigger(id="${{ event.table }}"), event(data))


def test_a_long_identity_is_kept_by_its_digest() -> None:
    long = identity_of("key", "x" * (MAX_IDENTITY + 1))
    assert len(long) < 100
    assert long != identity_of("key", "x" * (MAX_IDENTITY + 2))


def test_the_same_identity_must_tell_the_same() -> None:
    one, other = (ask("chain", trigger(), [event({"rows": rows})], "who") for rows in (1, 2))
    again = ask("chain", trigger(inputs={"rows": 5}), [event({"rows": 1})], "who")
    assert one.digest != other.digest
    assert one.digest == again.digest, "what the definition makes of it may change between two deliveries"


def test_a_batch_reads_all_its_messages_and_the_last() -> None:
    made = trigger(inputs={"all": "${{ events.map(e, e.rows) }}", "last": "${{ event.rows }}"})
    assert ask("chain", made, [event({"rows": n}) for n in (1, 2, 3)], "who").inputs == {"all": [1, 2, 3], "last": 3}


@pytest.mark.parametrize(
    ("reply", "subject"), [("_INBOX.a.b", "_INBOX.a.b"), ("", ""), (None, ""), ("team.status", "team.status")]
)
def test_a_message_can_say_where_statuses_go(reply: str | None, subject: str) -> None:
    assert ask("chain", trigger(reply="${{ event.to }}"), [event({"to": reply})], "who").reply == subject


@pytest.mark.parametrize("reply", ["meta.trigger.chain", "$SYS.REQ", "a.*", ">", "a b", 5])
def test_a_message_cannot_make_statuses_start_or_forge_anything(reply: JsonValue) -> None:
    with pytest.raises(ExpressionFailed, match="reply"):
        ask("chain", trigger(reply="${{ event.to }}"), [event({"to": reply})], "who")


def test_a_message_without_a_trigger_gives_its_data_as_inputs() -> None:
    assert plain_ask("chain", event({"rate": 3})).inputs == {"rate": 3}
    assert plain_ask("chain", event(None)).inputs == {}
    with pytest.raises(InputsInvalid, match="not an object"):
        plain_ask("chain", event([1]))
