from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from meta.api import convert
from meta.api.v1 import meta_pb2 as pb
from workflows.bundle import Bundle
from workflows.errors import BundleInvalid, InputsInvalid
from workflows.messages import OtherRun, RunSnapshot, StepSnapshot
from workflows.outcome import Artifact, EngineKind, EngineRunRef, FailedNode, RunState, StepKind, StepState
from workflows.spec.models import MetaWorkflow

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
STEP = StepSnapshot(
    name="train",
    kind=StepKind.KFP,
    engine="kfp-eu",
    state=StepState.TIMED_OUT,
    attempt=2,
    message="too slow",
    failed_nodes=[
        FailedNode(name="fit", phase="Failed", message="Error (exit code 0)", exit_code=0, log=["a", "ü"]),
        FailedNode(name="load", phase="FAILED"),
    ],
    run=EngineRunRef(engine="kfp-eu", kind=EngineKind.KFP, name="n", uid="u", namespace="ns", url="http://x"),
    outputs={"accuracy": 0.5, "count": 3, "big": 2**60},
    artifacts={
        "model": Artifact(name="model", uri="s3://b/k", sha256="ab", size=0, type="system.Model", producer="train")
    },
    nodes=3,
    cached_nodes=1,
    started_at=AT,
    finished_at=AT + timedelta(seconds=2.5),
    other_runs=[
        OtherRun(
            ref=EngineRunRef(engine="kfp-eu", kind=EngineKind.KFP, name="n", uid="v", namespace="ns", url="http://y"),
            attempt=1,
            stays="u",
            at=AT,
        )
    ],
    note="retried by hand",
)
RUN = RunSnapshot(
    id="r",
    workflow="chain",
    bundle_digest="d",
    request_id="q",
    trigger="nats",
    state=RunState.CANCELED,
    message="m",
    inputs={"n": 1, "x": 1.0, "deep": {"list": [None, True]}},
    outputs={"o": "ü"},
    steps=[STEP, StepSnapshot(name="deploy", kind=StepKind.ARGO, engine="argo")],
    started_at=AT,
)


def test_a_run_comes_back_as_it_went() -> None:
    back = convert.from_run(pb.Run.FromString(convert.to_run(RUN, "http://ui").SerializeToString()))
    assert back == RUN
    assert isinstance(back.inputs["n"], int), "integers stay integers"
    assert isinstance(back.inputs["x"], float), "and numbers stay numbers"


def test_a_steps_duration_is_sent() -> None:
    assert convert.to_step(STEP).duration.ToTimedelta() == timedelta(seconds=2.5)


@pytest.mark.parametrize("state", list(StepState))
def test_every_step_state_has_its_enum_value(state: StepState) -> None:
    assert convert.from_step(convert.to_step(STEP.model_copy(update={"state": state}))).state is state


@pytest.mark.parametrize("state", list(RunState))
def test_every_run_state_has_its_enum_value(state: RunState) -> None:
    assert convert.from_run_state(convert.to_run_state(state)) is state
    assert convert.from_run_state(convert.to_run_state(None)) is None


def test_a_bundle_keeps_its_digest_across_the_wire() -> None:
    definition = MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "chain"},
            "inputs": {"a": {"type": "integer", "default": None}},
            "steps": {"one": {"argo": {"clusterTemplate": "t"}, "timeout": "90m", "retry": {"attempts": 2}}},
        }
    )
    bundle = Bundle(definition=definition, files={"f": "text"}, source="# s")
    back = convert.from_bundle(pb.Bundle.FromString(convert.to_bundle(bundle).SerializeToString()))
    assert back == bundle
    assert Bundle(definition=back.definition, files=back.files).digest == bundle.digest


def test_a_definition_of_another_shape_is_refused_by_place() -> None:
    with pytest.raises(BundleInvalid, match=r"apiVersion: Input should be 'meta/v1'"):
        convert.from_definition(b'{"apiVersion": "meta/v2", "kind": "MetaWorkflow"}')


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[1]", "is a JSON list, not an object"),
        (b"{", "is no JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": "\\ud800"}', "is no JSON"),
        (b'{"a":' + b"[" * 100_000, "is no JSON"),
        (b"\xff", "is no JSON"),
    ],
)
def test_inputs_that_are_no_json_object_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(InputsInvalid, match=words):
        convert.from_json_object(data, "inputs_json")
