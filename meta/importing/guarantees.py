"""How delivery differs between Argo Events and this service, as far as it matters for what is imported.

Sources: argo-events, `docs/sensors/more-about-sensors-and-triggers.md`, `docs/eventsources/setup/nats.md`,
`pkg/eventsources/eventing.go`, `pkg/sensors/listener.go`; here docs/events.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

KEPT = (
    "Messages are kept. A NATS EventSource reads a plain subscription: what is published while it is away is lost. Here"
    " a JetStream stream has the subject, and keeps what comes while the service is away."
)
AT_MOST_ONCE = (
    "Each message starts its run. Without atLeastOnce the sensor acknowledges an event without waiting for its action:"
    " when the action fails, or the sensor dies, the event is lost. Here a message is acknowledged once Temporal has"
    " accepted the run, and is delivered again until then."
)
AT_LEAST_ONCE = (
    "Each message starts one run. With atLeastOnce a sensor that dies between acting and acknowledging acts twice. Here"
    " the run's id comes from the message, and a message that is delivered again finds its run."
)
DUPLICATES = (
    "A message that is published twice starts one run, where it has a CloudEvents id or a Nats-Msg-Id; Argo Events"
    " gives each received message a new id. A message with neither is known by its place in the stream: published"
    " twice, it starts two runs, there as here. If its data has an id, name it in the trigger:"
    " id: '${{ event.data.<field> }}'."
)
PUT_ASIDE = (
    "What cannot start a run is put aside. The sensor gives such an event up, after its retryStrategy where it has one."
    " Here a start that fails is tried again after 'backoff', and after 'maxDeliver' deliveries (20), or at once when"
    " it can never succeed, the message goes to meta.dead.<workflow> with the reason: `meta events` shows and replays"
    " it."
)
DLQ = (
    "What cannot start a run is put aside. dlqTrigger gets it in Argo Events; here it goes to meta.dead.<workflow> with"
    " the reason, after 'maxDeliver' deliveries (20), or at once when it can never succeed: `meta events` shows and"
    " replays it, and programs can read the subject."
)
WAITED_FOR = (
    "The end is known. What starts the engine run there does not wait for it; here the workflow does, has its outputs,"
    " and can try it again (the step's 'retry')."
)
RATE = (
    "The rate is the trigger's. The sensor's rateLimit counts in its pod, and starts anew with it; here it is kept in"
    " the store, for all instances of the service together."
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the source says about delivery.

    Attributes:
        at_least_once, at_most_once: some trigger is of that kind.
        sensor: it is a sensor, not a template that somebody submits.
    """

    sensor: bool = True
    at_least_once: bool = False
    at_most_once: bool = False
    dlq: bool = False
    rate: bool = False


def guarantees(delivery: Delivery) -> list[str]:
    """The differences that matter, each a paragraph."""
    return list(_matter(delivery))


def _matter(delivery: Delivery) -> Iterator[str]:
    if not delivery.sensor:
        yield WAITED_FOR
        return
    yield KEPT
    if delivery.at_most_once:
        yield AT_MOST_ONCE
    if delivery.at_least_once:
        yield AT_LEAST_ONCE
    yield DUPLICATES
    yield DLQ if delivery.dlq else PUT_ASIDE
    if delivery.rate:
        yield RATE
    yield WAITED_FOR
