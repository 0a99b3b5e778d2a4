"""Durable consumers at NATS: made, edited where JetStream allows it, deleted with their trigger."""

from __future__ import annotations

from datetime import datetime, timedelta

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from workflows.errors import Conflict
from workflows.spec.subjects import covers
from workflows.spec.trigger_models import NatsTrigger

MAX_ACK_PENDING = 10_000
"""Most messages of a trigger that wait for their acknowledgement, those that failed and come again later included."""

_WORKFLOW, _TRIGGER = "meta-workflow", "meta-trigger"


def consumer_config(name: str, workflow: str, key: str, trigger: NatsTrigger, since: datetime | None) -> ConsumerConfig:
    """The consumer that a trigger needs.

    Args:
        name: durable name.
        workflow: whose trigger it is; empty for the service's own subject.
        key: of the trigger.
        trigger: as published.
        since: messages stored before it are not read; None reads the stream from its beginning.
    """
    return ConsumerConfig(
        name=name,
        durable_name=name,
        description=f"Trigger of the meta-workflow {workflow}" if workflow else "Messages that name their workflow",
        deliver_policy=DeliverPolicy.ALL if since is None else DeliverPolicy.BY_START_TIME,
        opt_start_time=since,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=trigger.ack_wait / timedelta(seconds=1),
        max_deliver=-1,  # a message is never given up in silence: it starts a run or goes to the dead letters
        max_ack_pending=MAX_ACK_PENDING,
        filter_subject=trigger.subject,
        metadata={_WORKFLOW: workflow, _TRIGGER: key} if workflow else None,
    )


async def ensure_consumer(js: JetStreamContext, stream: str, wanted: ConsumerConfig) -> ConsumerInfo:
    """The consumer as it is wanted: found, edited, or made.

    Raises:
        Conflict: somebody else has a consumer of that name.
        nats.errors.Error: NATS refuses or does not answer.
    """
    name = str(wanted.name)
    try:
        found = await js.consumer_info(stream, name)
    except NotFoundError:
        return await js.add_consumer(stream, wanted)
    config = found.config
    _check_ours(stream, config, wanted)
    if _settled(config, wanted):
        return found
    if not _editable(config, wanted):
        await js.delete_consumer(stream, name)
        return await js.add_consumer(stream, wanted)
    # where it began cannot be edited either, and need not: it goes on where it stands
    edited = wanted.evolve(
        deliver_policy=config.deliver_policy, opt_start_time=config.opt_start_time, opt_start_seq=config.opt_start_seq,
        replay_policy=config.replay_policy, num_replicas=config.num_replicas, mem_storage=config.mem_storage,
    )  # fmt: skip
    return await js.add_consumer(stream, edited)


async def delete_consumer(js: JetStreamContext, stream: str, name: str, workflow: str, key: str) -> None:
    """Delete the consumer of a trigger; one that is not there, or is somebody else's, is left alone."""
    try:
        config = (await js.consumer_info(stream, name)).config
        if (config.metadata or {}).get(_WORKFLOW) == workflow and (config.metadata or {}).get(_TRIGGER) == key:
            await js.delete_consumer(stream, name)
    except NotFoundError:
        return


def _check_ours(stream: str, config: ConsumerConfig, wanted: ConsumerConfig) -> None:
    if not wanted.metadata:  # the service's own subject: whoever made the consumer made it for us
        return
    known = config.metadata or {}
    owner = known.get(_WORKFLOW, "")
    if owner == wanted.metadata[_WORKFLOW] and known.get(_TRIGGER) == wanted.metadata[_TRIGGER]:
        return
    whose = f"of trigger {known.get(_TRIGGER)} of {owner}" if owner else "of somebody else"
    raise Conflict(
        f"consumer {wanted.name} of stream {stream} is {whose}",
        hint=f"give the trigger another 'name', or delete that one: `nats consumer rm {stream} {wanted.name}`",
    )


def _editable(config: ConsumerConfig, wanted: ConsumerConfig) -> bool:
    """Whether a consumer can become what is wanted and go on where it stands.

    JetStream edits neither the kind of a consumer nor its acknowledgements. It edits the subject; but with another
    subject the consumer would read what was stored there before anybody asked for it. One that takes in more or less
    than before keeps its place, so that nothing is lost that waits.
    """
    old, new = config.filter_subject, wanted.filter_subject
    if config.deliver_subject or config.ack_policy != AckPolicy.EXPLICIT or not old or not new:
        return False
    return covers(old, new) or covers(new, old)


def _settled(config: ConsumerConfig, wanted: ConsumerConfig) -> bool:
    """Whether what we decide about a consumer is so; the rest is the server's, or an administrator's."""
    return (
        config.filter_subject == wanted.filter_subject
        and not config.filter_subjects
        and config.ack_wait == wanted.ack_wait
        and config.max_deliver == wanted.max_deliver
        and config.max_ack_pending == wanted.max_ack_pending
        and not config.backoff
        and not config.deliver_subject
        and config.ack_policy == wanted.ack_policy
    )
