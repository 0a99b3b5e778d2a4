"""Arguments and results of the activities of steps that no engine runs; see `workflows.messages`."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from workflows.messages import Message
from workflows.naming import RunKey
from workflows.values import JsonObject, JsonValue, ValueType


class AwaitEvent(Message):
    """Wait for a message.

    Attributes:
        workflow: name of the meta-workflow.
        subject: of JetStream, with wildcards.
        stream: to read; empty: the one that has the subject.
        make_stream: whether one is made where none has the subject: not for a subject of this run alone.
        since: messages that were stored before do not count.
        when: the condition; empty: the first message fits.
        variables: what the condition reads beside `event`, by qualified name.
    """

    workflow: str
    key: RunKey
    subject: str
    stream: str = ""
    make_stream: bool = True
    since: datetime
    when: str = ""
    variables: JsonObject = Field(default_factory=dict)


class EventArrived(Message):
    """The message that fits.

    Attributes:
        event: as conditions see it.
        time: when the server stored it.
        skipped: how many messages before it could not be read, or the condition not be computed on them.
    """

    event: JsonObject
    subject: str
    time: datetime
    skipped: int = 0


class TakeResult(Message):
    """Make a foreign activity's result a step's outputs; `key` of an item of a fan-out."""

    step: str
    key: RunKey | None = None
    result: JsonValue = None
    outputs: dict[str, ValueType] = Field(default_factory=dict, description="Declared types, to convert to.")
