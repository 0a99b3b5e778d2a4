"""What a finished Workflow's JSON is read as."""

from __future__ import annotations

from workers.engines.argo.outcome import OutputArtifact, read_artifacts, read_nodes, read_outcome, read_outputs
from workflows.outcome import FailureClass
from workflows.values import JsonObject

NODES: JsonObject = {
    "wf": {
        "id": "wf",
        "name": "wf",
        "displayName": "wf",
        "type": "Retry",
        "phase": "Succeeded",
        "children": ["wf-1", "wf-2"],
    },
    "wf-1": {"displayName": "wf(0)", "type": "Pod", "phase": "Failed", "message": "OOMKilled (exit code 137)"},
    "wf-2": {
        "displayName": "wf(1)",
        "type": "Pod",
        "phase": "Succeeded",
        "startedAt": "2024-01-01T00:00:00Z",
        "finishedAt": "2024-01-01T00:00:07Z",
        "memoizationStatus": {"hit": True, "key": "k", "cacheName": "c"},
        "outputs": {
            "exitCode": "0",
            "result": "hello",
            "parameters": [{"name": "rows", "value": "7"}, {"name": "own", "value": "9"}],
            "artifacts": [
                {"name": "data", "s3": {"key": "k/data"}},
                {"name": "there", "s3": {"bucket": "other", "key": "k/there"}},
                {"name": "main-logs", "s3": {"key": "k/main.log"}},
                {"name": "inline", "raw": {"data": "x"}},
                {"name": "google", "gcs": {"bucket": "g", "key": "k"}},
            ],
        },
    },
}


def workflow(**status: object) -> JsonObject:
    made: JsonObject = {"metadata": {"name": "wf"}, "status": {"phase": "Succeeded", "nodes": NODES, **status}}  # pyright: ignore[reportAssignmentType] -- JSON by the test
    return made


def test_global_outputs_win_over_the_entrypoints_own() -> None:
    outputs = {"parameters": [{"name": "rows", "value": "100"}, {"name": "empty"}]}
    assert read_outputs(workflow(outputs=outputs)) == {"rows": "100", "own": "9", "result": "hello"}


def test_artifacts_have_the_bucket_of_the_repository_unless_they_name_one() -> None:
    repository = {"artifactRepository": {"s3": {"bucket": "bucket", "endpoint": "h"}}}
    assert read_artifacts(workflow(artifactRepositoryRef=repository)) == [
        OutputArtifact("data", "s3://bucket/k/data"),
        OutputArtifact("there", "s3://other/k/there"),
        OutputArtifact("google", "gs://g/k"),
    ]


def test_nodes_keep_times_exit_codes_and_who_holds_them() -> None:
    nodes = {node.id: node for node in read_nodes(workflow())}
    assert nodes["wf-1"].parent == "wf"
    assert nodes["wf-2"].exit_code == 0
    assert nodes["wf-2"].cached
    started, finished = nodes["wf-2"].started_at, nodes["wf-2"].finished_at
    assert started is not None
    assert finished is not None
    assert (finished - started).total_seconds() == 7


def test_the_message_of_a_failure_names_the_pods_that_failed_once() -> None:
    failed = workflow(phase="Failed", message="child 'wf-1' failed")
    outcome = read_outcome(failed, cancelled=False)
    assert outcome.failure is FailureClass.FAILED
    assert outcome.message == "child 'wf-1' failed\nwf(0): OOMKilled (exit code 137)"


def test_an_error_without_words_still_says_how_it_ended() -> None:
    assert read_outcome({"status": {"phase": "Error"}}, cancelled=False).message == "the workflow ended Error"


def test_the_caller_decides_that_a_failure_is_a_cancellation_but_not_that_success_is() -> None:
    assert read_outcome(workflow(phase="Failed"), cancelled=True).failure is FailureClass.CANCELLED
    assert read_outcome(workflow(), cancelled=True).succeeded
