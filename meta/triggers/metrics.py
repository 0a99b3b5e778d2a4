"""What triggers count, through OpenTelemetry's metrics API. Without a provider, counting does nothing.

| instrument | unit | attributes |
|---|---|---|
| `meta.trigger.messages` | messages | workflow, trigger, outcome: `started`, `repeated` (its run was there), `skipped` (`when`), `failed` (comes again), `dead` |
| `meta.trigger.redeliveries` | deliveries | workflow, trigger |
| `meta.trigger.lag` | seconds | workflow, trigger; from the message's storing to the start of its run, of a first delivery |

The service's own subject `meta.trigger.<workflow>` has an empty trigger, and an empty workflow too, because whoever
publishes there chooses the name.
"""  # noqa: E501 -- a row of a table is one line

from __future__ import annotations

from opentelemetry import metrics

_meter = metrics.get_meter("meta_workflows.triggers")
_messages = _meter.create_counter("meta.trigger.messages", "{message}", "What became of messages.")
_redeliveries = _meter.create_counter("meta.trigger.redeliveries", "{delivery}", "Deliveries after a message's first.")
_lag = _meter.create_histogram(
    "meta.trigger.lag",
    "s",
    "From a message's storing to the start of its run.",
    explicit_bucket_boundaries_advisory=[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
)


def message_ended(workflow: str, trigger: str, outcome: str) -> None:
    _messages.add(1, {"workflow": workflow, "trigger": trigger, "outcome": outcome})


def redelivered(workflow: str, trigger: str) -> None:
    _redeliveries.add(1, {"workflow": workflow, "trigger": trigger})


def started_after(workflow: str, trigger: str, seconds: float) -> None:
    _lag.record(seconds, {"workflow": workflow, "trigger": trigger})
