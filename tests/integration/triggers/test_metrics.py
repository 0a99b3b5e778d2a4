"""What triggers count."""

from __future__ import annotations

from nats.js import JetStreamContext

from tests.integration.service.servers import Rig
from tests.integration.triggers.support import drained, publish
from tests.support.metrics import points, shared_reader


async def test_messages_are_counted_by_what_became_of_them(rig: Rig, js: JetStreamContext) -> None:
    before = counted()
    [row] = await publish(rig, "{subject: a.b, name: counted, when: event.rows > 1, id: '${{ event.id }}'}")
    for data in (b'{"rows": 1, "id": "x"}', b'{"rows": 2, "id": "y"}', b'{"rows": 2, "id": "y"}', b"no JSON"):
        await js.publish("a.b", data)
        await drained(js, row.stream, row.consumer)
    after = counted()
    assert {name: after[name] - before.get(name, 0) for name in after} == {
        "meta.trigger.messages/skipped": 1,
        "meta.trigger.messages/started": 1,
        "meta.trigger.messages/repeated": 1,
        "meta.trigger.messages/dead": 1,
        "meta.trigger.lag": 1,
    }


def counted() -> dict[str, float]:
    return {
        name if "outcome" not in attributes else f"{name}/{attributes['outcome']}": value
        for name, attributes, value in points(shared_reader())
        if attributes.get("trigger") == "counted"
    }
