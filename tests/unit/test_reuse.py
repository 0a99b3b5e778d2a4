"""Which steps of a run stand for those of its retry: planning alone, on snapshots."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows import reuse
from workflows.bundle import Bundle
from workflows.messages import RunSnapshot, StepSnapshot, Taken
from workflows.outcome import Artifact, RunState, StepKind, StepState
from workflows.plan import make_plan
from workflows.reuse import Past, ReusePlan, artifacts_of, plan_reuse
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonObject

AT = datetime(2026, 1, 2, tzinfo=UTC)
ARGO: dict[str, Any] = {"argo": {"manifest": "m.yaml"}}
S, F, SKIPPED = StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED


def bundle_of(steps: dict[str, Any], files: dict[str, str] | None = None) -> Bundle:
    declared = {"rate": {"type": "number", "default": 1}, "note": {"type": "string", "default": ""}}
    definition = MetaWorkflow.model_validate(
        {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "chain"}, "inputs": declared,
         "steps": steps}
    )  # fmt: skip
    texts = {file: "manifest" for step in definition.steps.values() for file in step.files.values()}
    return Bundle(definition=definition, files=texts | (files or {}))


def step(name: str, state: StepState, **changes: Any) -> StepSnapshot:
    attempt = 0 if state in (SKIPPED, StepState.PENDING) else 1
    base = StepSnapshot(name=name, kind=StepKind.ARGO, engine="argo", state=state, attempt=attempt, finished_at=AT)
    return base.model_copy(update=changes)


def past(bundle: Bundle, *steps: StepSnapshot, state: RunState = RunState.FAILED) -> Past:
    inputs: JsonObject = {"rate": 1.0, "note": ""}
    run = RunSnapshot(
        id="chain-1", workflow="chain", bundle_digest=bundle.digest, inputs=inputs, steps=list(steps), state=state
    )
    return Past(bundle, run)


def plan(old: Past, new: Bundle | None = None, inputs: JsonObject | None = None, **more: Any) -> ReusePlan:
    return plan_reuse(old, new or old.bundle, {**old.run.inputs, **(inputs or {})}, **more)


CHAIN = {
    "prepare": {**ARGO, "parameters": {"note": "${{ inputs.note }}"}},
    "train": {"argo": {"manifest": "t.yaml"}, "needs": ["prepare"], "parameters": {"rate": "${{ inputs.rate }}"}},
    "deploy": {**ARGO, "needs": ["train"]},
}
FAILED_LAST = past(bundle_of(CHAIN), step("prepare", S), step("train", S), step("deploy", F))


def test_what_succeeded_is_taken_and_what_failed_runs_again() -> None:
    found = plan(FAILED_LAST)
    assert list(found.taken) == ["prepare", "train"]
    assert found.again == {"deploy": "it failed"}
    assert found.taken["train"].taken_from == Taken(how="retry", run="chain-1", step="train", at=AT)


@pytest.mark.parametrize(
    ("new", "inputs", "more", "taken", "reason"),
    [
        (None, {"rate": 2.0}, {}, ["prepare"], "it reads input 'rate', which has changed"),
        (None, {}, {"from_step": "train"}, ["prepare"], "it was asked for"),
        (None, {}, {"broken": {"train": "its model is gone"}}, ["prepare"], "its model is gone"),
        ({"files": {"t.yaml": "other"}}, {}, {}, ["prepare"], "its definition has changed: content of its argo file"),
        ({"train": {"parameters": {"rate": 3}}}, {}, {}, ["prepare"], "its definition has changed: parameters"),
        ({"train": {"when": "inputs.rate > 0"}}, {}, {}, ["prepare"], "its definition has changed: when"),
        ({"train": {"retry": {"attempts": 3}, "timeout": "1h", "cache": True}}, {}, {}, ["prepare", "train"], ""),
        ({"train": {"argo": {"manifest": "renamed.yaml"}}}, {}, {}, ["prepare", "train"], ""),
        ({"train": {"argo": {"manifest": "t.yaml", "engine": "far"}}}, {}, {}, ["prepare"],
         "its definition has changed: argo"),
    ],
)  # fmt: skip
def test_a_step_that_is_not_what_it_was_runs_again_with_all_that_follows(
    new: dict[str, Any] | None, inputs: JsonObject, more: dict[str, Any], taken: list[str], reason: str
) -> None:
    changes = dict(new or {})
    files = changes.pop("files", None)
    steps = {name: {**one, **changes.get(name, {})} for name, one in CHAIN.items()}
    found = plan(FAILED_LAST, bundle_of(steps, files), inputs, **more)
    assert list(found.taken) == taken
    if reason:
        assert found.again == {"train": reason, "deploy": "it follows train, which runs again"}


def test_a_step_that_is_new_or_had_not_begun_runs() -> None:
    old = past(bundle_of(CHAIN), step("prepare", S), step("train", F), step("deploy", StepState.CANCELLED, attempt=0))
    new = bundle_of({**CHAIN, "report": {**ARGO, "needs": ["prepare"]}, "deploy": ARGO})
    found = plan(old, new)
    assert list(found.taken) == ["prepare"]
    assert found.again["report"] == "the run has no such step"
    same = past(bundle_of({"a": ARGO}), step("a", StepState.CANCELLED, attempt=0))
    assert plan(same).again == {"a": "it had not begun"}


def test_a_skip_that_comes_again_keeps_what_follows_it() -> None:
    steps = {
        "gate": {**ARGO, "when": "inputs.rate > 5.0"},
        "after": {**ARGO, "when": "steps.gate.state == 'skipped'"},
        "last": ARGO,
    }
    old = past(bundle_of(steps), step("gate", SKIPPED), step("after", S), step("last", F))
    found = plan(old)
    assert list(found.taken) == ["after"]
    assert list(found.again) == ["last"]
    changed = plan(old, inputs={"rate": 9.0})
    assert list(changed.taken) == []
    assert changed.again["after"] == "it follows gate, which runs again"
    terminated = past(old.bundle, *old.run.steps, state=RunState.TERMINATED)
    assert plan(terminated).again["gate"] == "it had not begun"


def test_what_was_compensated_runs_again() -> None:
    steps = {"train": {**ARGO, "compensate": ARGO}, "deploy": ARGO}
    undone = step("compensate_train", S)
    old = past(bundle_of(steps), step("train", S), step("deploy", S), undone)
    assert plan(old).again == {"train": "its compensation has run"}
    pending = past(old.bundle, *old.run.steps[:2], step("compensate_train", StepState.PENDING))
    assert plan(pending).again == {}


def test_an_approval_is_taken_unless_it_shows_what_has_changed() -> None:
    def approval(prompt: str) -> Past:
        steps = {"ok": {"approval": {"prompt": prompt}}, "deploy": {**ARGO, "needs": ["ok"]}}
        return past(bundle_of(steps), step("ok", S, kind=StepKind.APPROVAL), step("deploy", F))

    assert list(plan(approval("Deploy?")).taken) == ["ok"]
    assert "shows run.id" in plan(approval("Deploy ${{ run.id }}?")).again["ok"]
    assert "input 'note'" in plan(approval("Deploy ${{ inputs.note }}?"), inputs={"note": "x"}).again["ok"]


def test_results_that_stay_with_their_items_are_made_again() -> None:
    old = past(bundle_of({"a": ARGO}), step("a", S, stored=True))
    assert "too large to travel" in plan(old).again["a"]


def test_a_chain_of_retries_names_the_run_that_did_the_work() -> None:
    first = Taken(how="cache", run="chain-0", step="other", at=AT)
    old = past(bundle_of({"a": ARGO, "b": ARGO}), step("a", S, taken_from=first, attempt=0), step("b", F))
    assert plan(old).taken["a"].taken_from == first.model_copy(update={"how": "retry"})


def test_lists_of_a_fan_out_travel_with_it() -> None:
    one = Artifact(name="shard", uri="s3://b/0", sha256="ab")
    old = past(bundle_of({"a": ARGO}), step("a", S, outputs={"x": [1, None]}, artifact_lists={"shard": [one, None]}))
    taken = plan(old).taken["a"]
    assert (taken.outcome.outputs, list(artifacts_of(taken))) == ({"x": [1, None]}, [one])


def test_what_does_not_fit_into_the_start_of_a_run_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "MAX_REUSED", 5000)
    steps = {"small": ARGO, "large": ARGO, "after": {**ARGO, "needs": ["large"]}}
    old = past(bundle_of(steps), step("small", S), step("large", S, outputs={"x": "y" * 5000}), step("after", S))
    found = plan(old)
    assert list(found.taken) == ["small"]
    assert "too large" in found.again["large"]


@st.composite
def dags(draw: st.DrawFn) -> tuple[Past, Bundle, str, JsonObject, dict[str, str]]:
    """A run of any DAG, and any retry of it."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 8)))]
    steps: dict[str, Any] = {}
    for at, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:at]), unique=True)) if at else []
        reads = draw(st.sampled_from([{}, {"rate": "${{ inputs.rate }}"}, {"note": "${{ inputs.note }}"}]))
        steps[name] = {**ARGO, "needs": needs, "parameters": reads}
    some_names = st.lists(st.sampled_from(names), unique=True, max_size=2)
    changed = {name: {**one, "when": "true"} if name in draw(some_names) else one for name, one in steps.items()}
    old = past(bundle_of(steps), *(step(name, draw(st.sampled_from([S, S, S, F, SKIPPED]))) for name in names))
    inputs: JsonObject = {"rate": draw(st.sampled_from([1.0, 2.0])), "note": ""}
    return old, bundle_of(changed), draw(st.sampled_from(["", *names])), inputs, {n: "gone" for n in draw(some_names)}


@settings(max_examples=150, deadline=None)
@given(dags())
def test_no_step_that_is_taken_depends_on_one_that_runs(
    case: tuple[Past, Bundle, str, JsonObject, dict[str, str]],
) -> None:
    old, new, from_step, inputs, broken = case
    found = plan_reuse(old, new, inputs, from_step=from_step, broken=broken)
    states = {one.name: one.state for one in old.run.steps}
    assert not set(found.taken) & set(found.again)
    for planned in make_plan(new.definition).steps:
        if planned.name in found.taken:
            assert states[planned.name] is S
            assert planned.name not in broken
            assert not set(planned.dependencies) & set(found.again)
        elif planned.name not in found.again:
            assert states[planned.name] is SKIPPED
            assert not set(planned.dependencies) & set(found.again)
    if from_step:
        assert from_step in found.again
