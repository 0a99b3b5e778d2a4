"""What crosses Temporal for a fan-out, beside `workflows.messages`: by addition only, as there."""

from __future__ import annotations

from pydantic import Field

from workflows.messages import Message, Origin, StepView
from workflows.outcome import Artifact, StepState
from workflows.spec.steps import Step
from workflows.values import JsonObject, JsonValue

CHUNK_TYPE = "MetaChunk"
RESOLVE_ITEMS = "resolve_items"
RECORD_ITEMS = "record_items"


class Shared(Message):
    """What the items of a fan-out have in common.

    Attributes:
        step: without what was worked out, as parameters.
        total: how many items there are.
        values: what the items' expressions read beside `item` and `index`, by qualified name.
        stored: earlier fan-outs that they read, whose lists the store has.
    """

    origin: Origin
    name: str
    step: Step
    total: int
    values: JsonObject = Field(default_factory=dict)
    stored: dict[str, StepView] = Field(default_factory=dict)


class ResolveItems(Message):
    """The parameters and artifacts of some items, which follow each other. `first` is the first one's `index`."""

    shared: Shared
    first: int
    items: list[JsonValue]


class ResolvedItem(Message):
    """What one item is run with; `fault` says why it cannot be, `copies` and `cache_key` are as in `ResolvedStep`."""

    parameters: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    copies: list[str] = Field(default_factory=list)
    fault: str = ""
    cache_key: str = ""


class ResolvedItems(Message):
    """The first of those that were asked for, at least one: as many as a history bears in one piece."""

    items: list[ResolvedItem]


class ItemRecord(Message):
    """What an item has come to; `position` from 1, as in run keys."""

    position: int
    state: StepState
    attempt: int = 0
    message: str = ""
    item: JsonValue = None
    outputs: JsonObject = Field(default_factory=dict)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)


class RecordItems(Message):
    run: str
    step: str
    items: list[ItemRecord]


class ItemLists(Message):
    """Outputs and artifacts of a fan-out by name, in the items' order; None where an item gave none."""

    outputs: dict[str, list[JsonValue]] = Field(default_factory=dict)
    artifacts: dict[str, list[Artifact | None]] = Field(default_factory=dict)


class FailedItem(Message):
    """An item that did not succeed; `index` from 0, `label` says what it ran over."""

    index: int
    label: str
    state: StepState
    message: str


class ItemsEnd(Message):
    """What some items of a fan-out have come to together. The rest was ended, or has not begun.

    Attributes:
        taken: of those that succeeded: not run, but taken from an earlier success.
        failures: the first few.
        lists: None when they are too large to travel; the store has them.
    """

    succeeded: int = 0
    failed: int = 0
    taken: int = 0
    nodes: int = 0
    cached_nodes: int = 0
    failures: list[FailedItem] = Field(default_factory=list[FailedItem])
    lists: ItemLists | None = None


class StartChunk(Message):
    """Argument of the workflow that runs a part of a fan-out.

    Attributes:
        first: `index` of the first item.
        parallelism: most items at a time, of this part.
    """

    shared: Shared
    first: int
    items: list[JsonValue]
    parallelism: int
    fail_fast: bool = True
