"""A run in flight survives a new version of this software, wherever in its history the version changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.histories import digests
from tests.histories.prefixes import MAX_CUTS, History, cuts, load, replay_faults
from tests.histories.scenarios import FOLDER

HISTORIES = sorted(FOLDER.glob("*.json"))
ONE = FOLDER / "restart_then_success.json"


async def test_every_history_replays_cut_wherever_a_worker_may_have_taken_it_over() -> None:
    prefixes = [(f"{path.stem}-{at}", cut) for path in HISTORIES for at, cut in cuts(load(path))]
    assert len(prefixes) > 3 * len(HISTORIES)
    assert len({name for name, _ in prefixes}) == len(prefixes)
    assert await replay_faults(prefixes) == {}


def _other_activity(history: History) -> None:
    _first(history, "activityTaskScheduledEventAttributes")["activityType"]["name"] = "other"


def _other_id(history: History) -> None:
    _first(history, "activityTaskScheduledEventAttributes")["activityId"] = "99"


def _other_marker(history: History) -> None:
    _first(history, "markerRecordedEventAttributes")["markerName"] = "other"


def _first(history: History, attributes: str) -> History:
    return next(event[attributes] for event in history["events"] if attributes in event)


@pytest.mark.parametrize("change", [_other_activity, _other_id, _other_marker])
async def test_what_was_decided_otherwise_is_found_in_the_prefixes_too(change: Callable[[History], None]) -> None:
    history = copy.deepcopy(load(ONE))
    change(history)
    last = [(str(at), cut) for at, cut in cuts(history)][-2:]
    assert set(await replay_faults(last)) == {name for name, _ in last}


def test_a_history_is_cut_before_each_of_its_decisions_and_a_long_one_at_some_of_them() -> None:
    history = load(ONE)
    cut = list(cuts(history))
    assert all(prefix["events"][-1]["eventType"] == "EVENT_TYPE_WORKFLOW_TASK_STARTED" for _, prefix in cut)
    assert [len(prefix["events"]) for _, prefix in cut] == [at for at, _ in cut]
    long: History = {"events": [*history["events"]] * 40}
    assert MAX_CUTS // 2 <= len(list(cuts(long))) <= MAX_CUTS + 1


def test_no_history_was_edited() -> None:
    assert digests.faults(digests.listed(), digests.found()) == []


def test_an_edit_a_loss_and_a_new_history_are_told() -> None:
    known = {"a.json": "1", "b.json": "2", "c.json": "3"}
    assert digests.faults(known, {"a.json": "1", "b.json": "x", "d.json": "4"}) == [
        "b.json is not what was recorded: restore it",
        "c.json is gone: restore it, runs like it may still be in flight",
        "d.json is new: python -m tests.histories.digests",
    ]


def test_the_digest_of_an_edited_history_is_never_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "FOLDER", tmp_path)
    monkeypatch.setattr(digests, "FILE", tmp_path / "DIGESTS")
    (tmp_path / "a.json").write_text("{}")
    assert digests.add() == 0
    recorded = (tmp_path / "DIGESTS").read_text()
    (tmp_path / "a.json").write_text("{ }")
    (tmp_path / "b.json").write_text("{}")
    assert digests.add() == 1
    assert (tmp_path / "DIGESTS").read_text() == recorded
    (tmp_path / "a.json").write_text("{}")
    assert digests.add() == 0
    assert set(digests.listed()) == {"a.json", "b.json"}
