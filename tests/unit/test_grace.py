"""How long a run may still take to stop, however often ending it is tried."""

from datetime import UTC, datetime, timedelta

import pytest

from workers.activities import grace_left
from workflows.messages import TerminateStep
from workflows.naming import RunKey

ASKED = datetime(2026, 1, 1, tzinfo=UTC)
MESSAGE = TerminateStep(
    engine="argo", key=RunKey(meta_run="r", step="s"), name="n", grace=timedelta(seconds=30), asked_at=ASKED
)


@pytest.mark.parametrize(
    ("passed", "left"),
    [(0, 30), (12.5, 17.5), (30, 0), (3600, 0), (-5, 30)],  # the last: this worker's clock is behind the server's
)
def test_the_grace_counts_from_when_the_workflow_wanted_the_end(passed: float, left: float) -> None:
    assert grace_left(MESSAGE, ASKED + timedelta(seconds=passed)) == left


def test_what_an_older_workflow_asked_for_is_terminated_at_once() -> None:
    old = TerminateStep.model_validate({"engine": "argo", "key": {"meta_run": "r", "step": "s"}, "name": "n"})
    assert grace_left(old, ASKED) == 0
