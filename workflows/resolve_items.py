"""The expressions of a fan-out's items, evaluated in batches in a local activity whose result is recorded."""

from __future__ import annotations

from collections.abc import Mapping

from workflows.errors import ExpressionFailed, InputsInvalid, MetaError
from workflows.expressions.cel import Program
from workflows.expressions.references import INDEX, ITEM, Reference
from workflows.expressions.templates import render_value
from workflows.expressions.types import ExprType
from workflows.fanout_messages import ResolvedItem, ResolvedItems, ResolveItems, Shared
from workflows.foreach_items import label
from workflows.inputs import size_of
from workflows.messages import ResolveStep, StepView
from workflows.resolve import Values, artifact_of, render_cache_key
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import Step
from workflows.values import JsonValue, canonical_json

MAX_ITEM_PARAMETERS = 16 * 1024
"""Bytes of JSON of one item's parameters: hundreds of items share a history."""

MAX_BATCH = 64 * 1024
"""Bytes of JSON that one recorded result may have, unless a single item has more."""


def resolve_items(message: ResolveItems, definition: MetaWorkflow, views: Mapping[str, StepView]) -> ResolvedItems:
    """Work out what items are run with. One that cannot be run has its fault, and does not keep others from it.

    Args:
        message: which.
        definition: of the run's bundle.
        views: of the earlier fan-outs whose lists the store has, with the lists.
    """
    values = _ItemValues(message.shared, definition, views)
    step = definition.step(message.shared.name)
    resolved: list[ResolvedItem] = []
    size = 0
    for index, item in enumerate(message.items, message.first):
        values.move_to(item, index)
        try:
            one = _resolved(message.shared, step, values)
        except MetaError as error:
            one = ResolvedItem(fault=str(error))
        size += len(canonical_json(one.model_dump(mode="json")))
        if resolved and size > MAX_BATCH:
            break
        resolved.append(one)
    return ResolvedItems(items=resolved)


def _resolved(shared: Shared, step: Step, values: _ItemValues) -> ResolvedItem:
    parameters = {
        name: render_value(value, values.at(f"parameter '{name}'")) for name, value in step.parameters.items()
    }
    if (size := size_of(parameters)) > MAX_ITEM_PARAMETERS:
        raise InputsInvalid(
            f"its parameters have {size:,} bytes, {MAX_ITEM_PARAMETERS:,} at most for an item of a fan-out",
            hint="pass what is large as an artifact",
        )
    artifacts = {
        name: artifact_of(name, render_value(text, values.at(place)), place)
        for name, text in step.artifacts.items()
        for place in (f"artifact '{name}'",)
    }
    key = render_cache_key(step, values.at("cache.key"))
    return ResolvedItem(parameters=parameters, artifacts=artifacts, cache_key=key)


class _ItemValues(Values):
    """What the expressions of one item after another can read."""

    def __init__(self, shared: Shared, definition: MetaWorkflow, views: Mapping[str, StepView]) -> None:
        root = "inputs."
        inputs = {name.removeprefix(root): value for name, value in shared.values.items() if name.startswith(root)}
        super().__init__(
            ResolveStep(
                meta_run=shared.origin.run_id, definition=definition, step=shared.name, inputs=inputs, steps=dict(views)
            )
        )
        self._given = shared.values
        self._stored = frozenset(views)
        self._item: JsonValue = None
        self._index = 0
        self._programs: dict[tuple[str, tuple[tuple[str, ExprType], ...]], Program] = {}

    def move_to(self, item: JsonValue, index: int) -> None:
        self._item, self._index = item, index

    def _compile(self, text: str, types: dict[str, ExprType]) -> Program:
        """As for a step, but once for items of the same types: thousands are evaluated one after another."""
        key = text, tuple(sorted(types.items()))
        if key not in self._programs:
            self._programs[key] = super()._compile(text, types)
        return self._programs[key]

    def _value(self, reference: Reference) -> JsonValue:
        name = str(reference)
        if reference.root == ITEM:
            return self._item
        if reference.root == INDEX:
            return self._index
        if name in self._given:
            return self._given[name]
        if reference.step in self._stored:
            return super()._value(reference)
        raise ExpressionFailed(f"'{name}' has no value for item {self._index} ({label(self._item)})")
