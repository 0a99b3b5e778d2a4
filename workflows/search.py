"""Search attributes: what runs can be found by in the Temporal Web UI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from temporalio.common import SearchAttributeKey, SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes

from workflows.messages import SearchAttribute, StartRun
from workflows.outcome import RunState

WORKFLOW_KEY = SearchAttributeKey.for_keyword(SearchAttribute.WORKFLOW)
STATUS_KEY = SearchAttributeKey.for_keyword(SearchAttribute.STATUS)
ENGINE_KEY = SearchAttributeKey.for_keyword_list(SearchAttribute.ENGINE)
TRIGGER_KEY = SearchAttributeKey.for_keyword(SearchAttribute.TRIGGER)
FAILED_STEP_KEY = SearchAttributeKey.for_keyword(SearchAttribute.FAILED_STEP)

KEYS = (WORKFLOW_KEY, STATUS_KEY, ENGINE_KEY, TRIGGER_KEY, FAILED_STEP_KEY)
"""All of them. A server on SQLite or SQL has room for ten keywords and three lists of keywords in a namespace."""

_LIST_LIMIT = 1800
"""Bytes of names in a list: Temporal takes 2 KB for one attribute (`limit.searchAttributesSizeOfValue`), as JSON."""


def search_attributes(start: StartRun) -> TypedSearchAttributes:
    """What a run is started with, so that no event is needed for it."""
    definition = start.definition
    return TypedSearchAttributes(
        [
            SearchAttributePair(WORKFLOW_KEY, definition.name),
            SearchAttributePair(STATUS_KEY, RunState.RUNNING.value),
            SearchAttributePair(ENGINE_KEY, _within_limit(step.engine for step in definition.everything().values())),
            SearchAttributePair(TRIGGER_KEY, start.trigger),
        ]
    )


def updates(start: StartRun) -> list[SearchAttributeUpdate[Any]]:
    """The same for a run that was started without them: a server that does not know an attribute refuses the start."""
    pairs = cast("list[SearchAttributePair[Any]]", search_attributes(start).search_attributes)
    return [pair.key.value_set(pair.value) for pair in pairs]


def _within_limit(names: Iterable[str]) -> list[str]:
    """Each once, in order, as many as Temporal takes."""
    kept: list[str] = []
    left = _LIST_LIMIT
    for name in dict.fromkeys(names):
        left -= len(name) + 3  # its quotation marks and a comma
        if left < 0:
            break
        kept.append(name)
    return kept
