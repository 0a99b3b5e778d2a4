from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from tests.histories.scenarios import FOLDER, SCENARIOS
from workers.runtime import WORKFLOWS, workflow_runner

HISTORIES = sorted(FOLDER.glob("*.json"))


def test_every_scenario_has_a_history() -> None:
    assert set(SCENARIOS) <= {path.stem for path in HISTORIES}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_history_replays_with_the_code_as_it_is(path: Path) -> None:
    replayer = Replayer(
        workflows=list(WORKFLOWS), data_converter=pydantic_data_converter, workflow_runner=workflow_runner()
    )
    text = path.read_text()
    began = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    run_id = began["workflowId"]  # ids of child workflows begin with it
    await replayer.replay_workflow(WorkflowHistory.from_json(run_id, text))
