from __future__ import annotations

import json

import ormsgpack
import pytest

from meta.bridge.status import id_fault
from meta.config import BridgeConfig
from meta.events.bridge_format import bridge
from workflows.values import JsonObject

CONTEXT: JsonObject = {
    "request_id": "r-1", "pipeline": "ingest", "engine": "", "first_engine": "argo", "encoding": "json"
}  # fmt: skip


def event(kind: str, **data: object) -> JsonObject:
    return {
        "type": f"meta.{kind}",
        "time": "2026-01-02T03:04:05Z",
        "data": {"run": "chain-1", "workflow": "chain"} | data,  # pyright: ignore[reportReturnType]
    }


def told(happened: JsonObject, **context: str) -> JsonObject:
    payload = bridge(happened, CONTEXT | context)
    assert payload is not None
    return json.loads(payload)


@pytest.mark.parametrize(
    ("happened", "status", "message"),
    [
        (event("run.started"), "pending", "accepted, no step runs yet"),
        (event("step.started", step="train", engine="kfp", attempt=1), "running", "step 'train' runs on kfp"),
        (
            event("step.started", step="train", engine="kfp", attempt=2),
            "running",
            "step 'train' runs on kfp, attempt 2",
        ),
        (event("run.succeeded", state="succeeded", outputs={"n": 1}), "succeeded", "succeeded"),
        (event("run.failed", state="failed", message="step 'train': boom"), "failed", "step 'train': boom"),
        (event("run.cancelled", message="by ada"), "failed", "cancelled: by ada"),
        (event("run.cancelled", message=""), "failed", "cancelled"),
        (event("run.terminated", message="in Temporal"), "failed", "terminated: in Temporal"),
    ],
)
def test_events_become_the_statuses_that_clients_know(happened: JsonObject, status: str, message: str) -> None:
    found = told(happened)
    assert (found["status"], found["message"]) == (status, message)
    assert (found["request_id"], found["pipeline"], found["run_id"]) == ("r-1", "ingest", "chain-1")
    assert found["timestamp"] == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize("kind", ["step.succeeded", "step.failed", "step.attempt_failed", "artifact.produced"])
def test_what_clients_do_not_know_is_not_told(kind: str) -> None:
    assert bridge(event(kind, step="train"), CONTEXT) is None


def test_the_engine_is_the_catalogue_s_else_the_step_s_else_the_first() -> None:
    started = event("step.started", step="train", engine="kfp", attempt=1)
    assert told(started, engine="kubeflow")["engine"] == "kubeflow"
    assert told(started)["engine"] == "kfp"
    assert told(event("run.started"))["engine"] == "argo"


def test_outputs_come_with_success_alone() -> None:
    assert told(event("run.succeeded", outputs={"n": 1}))["outputs"] == {"n": 1}
    assert "outputs" not in told(event("run.failed"))


def test_statuses_are_packed_for_who_asked_packed() -> None:
    payload = bridge(event("run.started"), CONTEXT | {"encoding": "msgpack"})
    assert payload is not None
    assert ormsgpack.unpackb(payload)["status"] == "pending"


@pytest.mark.parametrize("request_id", ["a.b", "*", ">", "a b", "a>b", "a\n", "\x00", "x" * 200])
def test_an_id_that_cannot_stand_in_a_subject_is_refused(request_id: str) -> None:
    assert id_fault(BridgeConfig().status, request_id)


@pytest.mark.parametrize("request_id", ["7f8e-aa", "Zürich_1", "0"])
def test_other_ids_are_fine(request_id: str) -> None:
    assert id_fault(BridgeConfig().status, request_id) == ""
