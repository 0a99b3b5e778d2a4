"""Which decisions are taken, and how what is asked looks to people."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from meta.cli.render import print_run
from meta.client import RunView
from workflows.decisions import MAX_WORDS, Decide, Inbox, asked_digest
from workflows.details import markdown
from workflows.errors import Conflict, InvalidInput, NotAllowed, NotFound
from workflows.messages import Asked, Decision, RunSnapshot, StepSnapshot
from workflows.outcome import Artifact, StepKind, StepState

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MODEL = Artifact(name="model", uri="s3://meta/model", sha256="ab")
ASKED = Asked(
    prompt="Deploy **it**?",
    parameters={"accuracy": 0.9},
    artifacts={"model": MODEL},
    approvers=["ann"],
    digest="sha256:1",
    deadline=AT,
    on_timeout="approve",
)


def inbox() -> Inbox:
    made = Inbox({"approve": None, "later": None})
    made.ask("approve", ASKED)
    return made


def test_a_decision_is_taken_once() -> None:
    box = inbox()
    first = box.take(Decide(approve=True, by="ann"), AT)
    assert first.decided
    assert first.decision == Decision(approved=True, by="ann", at=AT, digest="sha256:1")
    assert not box.take(Decide(approve=True, by="ann", reason="again"), AT).decided
    box.close("approve")
    assert not box.take(Decide(step="approve", approve=True, by="ann", digest="sha256:1"), AT).decided
    for other in ({"approve": False, "by": "ann"}, {"approve": True, "by": "bob"}):
        with pytest.raises(Conflict, match="was approved by ann at 2026-01-02 03:04:05 UTC"):
            box.check(Decide.model_validate({"step": "approve", **other}))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"by": ""}, InvalidInput),
        ({"reason": "x" * (MAX_WORDS + 1)}, InvalidInput),
        ({"by": "bob"}, NotAllowed),
        ({"digest": "sha256:2"}, Conflict),
        ({"step": "later"}, Conflict),
        ({"step": "deploy"}, NotFound),
    ],
)
def test_what_is_not_right_is_refused(fields: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        inbox().check(Decide.model_validate({"approve": True, "by": "ann", **fields}))


def test_a_run_without_approvals_and_one_that_does_not_ask_yet_say_so() -> None:
    with pytest.raises(NotFound, match="no approval"):
        Inbox({}).check(Decide(approve=True, by="ann"))
    with pytest.raises(Conflict, match="no approval waits"):
        Inbox({"approve": None}).check(Decide(approve=True, by="ann"))


def test_the_digest_is_of_everything_that_is_seen_and_of_nothing_else() -> None:
    digest = asked_digest("a", {"x": 1}, {"model": MODEL})
    assert digest == asked_digest("a", {"x": 1}, {"model": MODEL.model_copy(update={"producer": "train", "size": 3})})
    others = [
        asked_digest("b", {"x": 1}, {"model": MODEL}),
        asked_digest("a", {"x": 2}, {"model": MODEL}),
        asked_digest("a", {"x": 1}, {"model": MODEL.model_copy(update={"sha256": "cd"})}),
        asked_digest("a", {"x": 1}, {}),
    ]
    assert len({digest, *others}) == 5


def asking(**more: object) -> RunSnapshot:
    step = StepSnapshot(
        name="approve",
        kind=StepKind.APPROVAL,
        engine="",
        state=StepState.RUNNING,
        attempt=1,
        asked=ASKED,
        started_at=AT,
    ).model_copy(update=more)
    return RunSnapshot(id="chain-1", workflow="chain", bundle_digest="x", steps=[step], started_at=AT)


def shown(run: RunSnapshot) -> str:
    text = StringIO()
    print_run(Console(width=200, file=text), RunView.model_validate(run.model_dump()))
    return text.getvalue()


def test_people_read_what_is_asked_and_the_command_that_approves_exactly_it() -> None:
    text = shown(asking())
    for line in (
        "Deploy **it**?",
        "accuracy = 0.9",
        "model: s3://meta/model sha256:ab",
        "may decide: ann",
        "until 2026-01-02 03:04:05 UTC, then it counts as approved",
        "meta approve chain-1 --step approve --digest sha256:1",
    ):
        assert line in text
    details = markdown(asking())
    assert "**approve** asks: Deploy \\*\\*it\\*\\*?" in details
    assert "meta approve chain-1 --step approve" in details


def test_people_read_who_decided_and_nothing_is_asked_any_more() -> None:
    decision = Decision(approved=False, by="ann", at=AT, reason="too early", digest="sha256:1")
    run = asking(state=StepState.FAILED, decision=decision)
    assert "approve: rejected by ann at 2026-01-02 03:04:05 UTC: too early" in shown(run)
    assert "**approve** was rejected by ann at 2026-01-02 03:04:05 UTC: too early" in markdown(run)
    assert "meta approve" not in shown(run) + markdown(run)
