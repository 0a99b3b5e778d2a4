"""Histories as they were when their runs were under way: cut where a worker takes them over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from workers.runtime import WORKFLOWS

MAX_CUTS = 40
"""Most prefixes of one history; of a longer one they are spread evenly, the last one with them."""

History = dict[str, Any]


def cuts(history: History) -> Iterator[tuple[int, History]]:
    """What a worker is given that takes the run over, and the number of its last event.

    That is the history up to a workflow task that has begun: the code goes through what was decided before, which must
    be the same as recorded, and then decides anew on what has come.
    """
    events = history["events"]
    begun = [i for i, event in enumerate(events) if event["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_STARTED"]
    step = max(1, -(-len(begun) // MAX_CUTS))
    for i in sorted({*begun[::step], *begun[-1:]}):
        yield i + 1, {"events": events[: i + 1]}


async def replay_faults(histories: Iterable[tuple[str, History]]) -> dict[str, Exception]:
    """Replay all; what fails by name.

    Without the sandbox, whose making would take most of the time: whole histories are replayed in it.
    """
    names: list[str] = []

    async def given() -> AsyncIterator[WorkflowHistory]:
        for name, history in histories:
            names.append(name)
            began = history["events"][0]["workflowExecutionStartedEventAttributes"]
            yield WorkflowHistory.from_json(began["workflowId"], history)  # ids of child workflows begin with it

    replayer = Replayer(
        workflows=list(WORKFLOWS), data_converter=pydantic_data_converter, workflow_runner=UnsandboxedWorkflowRunner()
    )
    async with replayer.workflow_replay_iterator(given()) as results:  # one after the other
        failures = [result.replay_failure async for result in results]
    return {name: failure for name, failure in zip(names, failures, strict=True) if failure is not None}


def load(path: Path) -> History:
    return json.loads(path.read_text())
