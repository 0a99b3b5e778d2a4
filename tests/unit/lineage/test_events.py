from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from openlineage.client.serde import Serde

from meta.lineage.events import lineage_events
from meta.lineage.naming import dataset_name, run_uuid
from meta.trace.record import AttemptRecord, RunRecord
from tests.stubs.lineage import check_event
from workflows.messages import Cause, RunSnapshot, StepSnapshot
from workflows.naming import RunKey
from workflows.outcome import Artifact, EngineKind, EngineRunRef, FailureClass, RunState, StepState
from workflows.spec.models import MetaWorkflow

T0 = datetime(2026, 11, 27, 12, 0, 0, 600_000, tzinfo=UTC)
DEFINITION = MetaWorkflow.model_validate(
    {
        "apiVersion": "meta/v1",
        "kind": "MetaWorkflow",
        "metadata": {"name": "chain", "description": "Trains a model"},
        "inputs": {"source": {"type": "string"}},
        "steps": {
            "prepare": {"argo": {"template": "prepare"}, "artifacts": {"raw": "${{ inputs.source }}"}},
            "train": {
                "kfp": {"pipeline": "train"},
                "description": "On KFP",
                "artifacts": {"dataset": "${{ steps.prepare.artifacts.dataset }}"},
            },
            "deploy": {
                "argo": {"template": "deploy"},
                "parameters": {"where": ["${{ steps.train.artifacts.model.uri }}"]},
            },
        },
    }
)
DATASET = Artifact(name="dataset", uri="s3://lake/sets/1/", sha256="aa", size=10)
MODEL = Artifact(name="model", uri="s3://lake/models/1#a", sha256="bb", size=20, type="system.Model")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def ref(step: str, kind: EngineKind = EngineKind.ARGO) -> EngineRunRef:
    return EngineRunRef(engine=kind.value, kind=kind, name=f"chain-{step}", uid=f"uid-{step}", namespace="ns")


def step(name: str, state: StepState = StepState.SUCCEEDED, attempt: int = 1, **more: Any) -> StepSnapshot:
    kind = EngineKind.KFP if name == "train" else EngineKind.ARGO
    times = {"started_at": at(1), "finished_at": at(9) if state.ended else None}
    return StepSnapshot.model_validate(
        {"name": name, "kind": kind, "engine": kind.value, "state": state, "attempt": attempt, **times, **more}
    )


def attempt(
    name: str, number: int = 1, *, begin: float = 1, end: float | None = 2, failure: FailureClass | None = None
) -> AttemptRecord:
    kind = EngineKind.KFP if name == "train" else EngineKind.ARGO
    return AttemptRecord(
        key=RunKey(meta_run="chain-1", step=name, attempt=number),
        ref=ref(name, kind), asked_at=at(begin - 0.1), tries=1, submitted_at=at(begin), engine_started_at=None,
        ended_at=None if end is None else at(end), seen_at=None, failure=failure,
        message="exit code 1" if failure else "", own_trace="", nodes=[],
    )  # fmt: skip


def record(steps: list[StepSnapshot], attempts: list[AttemptRecord], **more: Any) -> RunRecord:
    run = RunSnapshot.model_validate(
        {
            "id": "chain-1",
            "workflow": "chain",
            "bundle_digest": "d",
            "started_at": at(0.05),
            "steps": steps,
            "inputs": {"source": "s3://raw/today"},
            **more,
        }
    )
    return RunRecord(run, attempts, [], created_at=at(0))


def told(made: RunRecord, over: tuple[str, ...] = (), namespace: str = "lab") -> dict[str, dict[str, Any]]:
    """Events by their marks, in their order, as they go over the wire."""
    found = {
        one.mark: json.loads(Serde.to_json(one.event))
        for one in lineage_events(made, DEFINITION, namespace=namespace, over=over)
    }
    for event in found.values():
        check_event(event)
    times = [event["eventTime"] for event in found.values()]
    assert times == sorted(times)
    return found


def datasets(event: dict[str, Any], side: str) -> list[tuple[str, str]]:
    return [(one["namespace"], one["name"]) for one in event.get(side, [])]


def test_steps_are_children_of_the_run_which_is_their_root() -> None:
    made = record(
        [step("prepare", artifacts={"dataset": DATASET})], [attempt("prepare")], state="succeeded", finished_at=at(9)
    )
    events = told(made)
    assert list(events) == ["start", "start/prepare/1", "end/prepare/1", "end"]
    assert [event["eventType"] for event in events.values()] == ["START", "START", "COMPLETE", "COMPLETE"]
    assert [event["job"]["name"] for event in events.values()] == ["chain", *["chain.prepare"] * 2, "chain"]
    run, parent = events["start"]["run"], events["start/prepare/1"]["run"]["facets"]["parent"]
    assert "parent" not in run["facets"]
    assert parent["run"]["runId"] == parent["root"]["run"]["runId"] == run["runId"]
    assert parent["job"] == parent["root"]["job"] | {"facets": {}}
    assert parent["job"]["name"] == "chain"
    assert run["facets"]["meta_run"]["id"] == "chain-1"
    assert events["end"]["job"]["facets"]["documentation"]["description"] == "Trains a model"
    assert events["start/prepare/1"]["run"]["facets"]["meta_engineRun"]["uid"] == "uid-prepare"


def test_what_one_step_writes_another_reads_with_digest_and_size() -> None:
    made = record(
        [
            step("prepare", artifacts={"dataset": DATASET}),
            step("train", artifacts={"model": MODEL}),
            step("deploy", StepState.RUNNING),
        ],
        [attempt("prepare"), attempt("train", begin=3, end=4), attempt("deploy", begin=5, end=None)],
    )
    events = told(made)
    assert datasets(events["start/prepare/1"], "inputs") == [("s3://raw", "today")]
    assert datasets(events["start/prepare/1"], "outputs") == []
    written, read = events["end/prepare/1"]["outputs"][0], events["start/train/1"]["inputs"][0]
    assert (written["namespace"], written["name"]) == (read["namespace"], read["name"]) == ("s3://lake", "sets/1")
    assert written["facets"]["version"]["datasetVersion"] == read["facets"]["version"]["datasetVersion"] == "sha256:aa"
    assert written["outputFacets"]["outputStatistics"]["size"] == read["inputFacets"]["inputStatistics"]["size"] == 10
    assert events["end/train/1"]["outputs"][0]["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert datasets(events["start/deploy/1"], "inputs") == [("s3://lake", "models/1#a")]  # by a parameter


def test_an_attempt_that_failed_is_told_when_the_workflow_has_judged_it() -> None:
    failed = attempt("train", failure=FailureClass.FAILED)
    first = record([step("train", StepState.FAILED)], [failed])
    assert "end/train/1" not in told(first)
    assert "end/train/1" in told(first, over=("train",))
    again = record([step("train", StepState.RUNNING, 2)], [failed, attempt("train", 2, begin=5, end=None)])
    events = told(again)
    assert events["end/train/1"]["eventType"] == "FAIL"
    assert events["end/train/1"]["run"]["facets"]["errorMessage"]["message"] == "exit code 1"
    assert events["end/train/1"].get("outputs", []) == []
    assert list(events)[-1] == "start/train/2"
    assert events["start/train/2"]["run"]["runId"] != events["start/train/1"]["run"]["runId"]


def test_an_attempt_that_was_cut_short_ends_with_its_step() -> None:
    cut = attempt("train", end=None, failure=FailureClass.CANCELLED)
    made = record([step("train", StepState.CANCELLED)], [cut], state="canceled", finished_at=at(10))
    events = told(made)
    assert events["end/train/1"]["eventType"] == events["end"]["eventType"] == "ABORT"
    assert events["end/train/1"]["eventTime"] == at(9).isoformat()
    unknown = record(
        [step("train", StepState.LOST)], [attempt("train", end=None)], state="terminated", finished_at=at(9)
    )
    assert told(unknown)["end/train/1"]["eventType"] == "ABORT"


def test_a_step_that_its_engine_refused_fails_and_one_that_was_skipped_has_no_events() -> None:
    made = record(
        [step("train", StepState.FAILED, message="no such pipeline"), step("deploy", StepState.SKIPPED, 0)],
        [],
        state="failed",
        message="step train failed",
        finished_at=at(9),
    )
    events = told(made)
    assert list(events) == ["start", "start/train/1", "end/train/1", "end"]
    assert events["end/train/1"]["run"]["facets"]["errorMessage"]["message"] == "no such pipeline"
    assert events["end"]["run"]["facets"]["errorMessage"]["message"] == "step train failed"


def test_a_step_that_no_engine_runs_has_no_events() -> None:
    made = record(
        [step("approve", StepState.FAILED, kind="approval", engine="")], [], state="failed", finished_at=at(9)
    )
    assert list(told(made)) == ["start", "end"]


def test_an_engines_clock_that_cuts_to_seconds_does_not_end_a_run_before_its_start() -> None:
    made = record([step("prepare")], [attempt("prepare", begin=0.2, end=-0.6)])
    events = told(made)
    assert events["end/prepare/1"]["eventTime"] == events["start/prepare/1"]["eventTime"]


def test_the_ids_are_those_of_the_first_telling_for_ever_and_differ_between_namespaces() -> None:
    made = record([step("prepare")], [attempt("prepare")])
    assert told(made) == told(made)
    assert run_uuid("lab", "chain-1") == "40d2a34d-5633-5a5e-b77e-5ca825269a3c"
    ids = {event["run"]["runId"] for event in told(made).values()}
    assert len(ids) == 2
    assert ids.isdisjoint(event["run"]["runId"] for event in told(made, namespace="plant").values())


def test_what_was_told_is_left_out() -> None:
    made = record([step("prepare")], [attempt("prepare")], state="succeeded", finished_at=at(9))
    news = lineage_events(made, DEFINITION, namespace="lab", told=["start", "start/prepare/1"])
    assert [one.mark for one in news] == ["end/prepare/1", "end"]


def test_a_planned_start_is_the_nominal_time() -> None:
    cause = Cause(kind="schedule", name="nightly", at=at(-5))
    events = told(record([], [], cause=cause))
    assert events["start"]["run"]["facets"]["nominalTime"]["nominalStartTime"] == at(-5).isoformat()


def test_a_run_that_is_not_written_down_yet_has_no_events() -> None:
    assert told(record([], [], workflow="")) == {}
    assert told(record([], [], state=RunState.RUNNING)).keys() == {"start"}


def test_datasets_have_the_names_that_other_producers_give_them() -> None:
    assert dataset_name("s3://bucket/a/b.csv") == ("s3://bucket", "a/b.csv")
    assert dataset_name("gs://bucket/a/") == ("gs://bucket", "a")
    assert dataset_name("s3://bucket") == ("s3://bucket", "/")
    assert dataset_name("file:///data/set") == ("file", "/data/set")
