"""What a finished Workflow's JSON is read as."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engines.argo.outcome import OutputArtifact, read_artifacts, read_nodes, read_outcome, read_outputs
from workers.engines.argo.pods import pod_name
from workflows.outcome import (
    MAX_FAILED_NODES,
    MAX_LOG_CHARACTERS,
    MAX_LOG_LINES,
    MAX_NODE_MESSAGE,
    FailureClass,
    last_lines,
)
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
                {"name": "azure", "azure": {"endpoint": "https://a", "container": "c", "blob": "k"}},
                {"name": "web", "http": {"url": "https://h/x"}},
                {"name": "ali", "oss": {"key": "k"}},
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
        OutputArtifact("azure", "az://c/k"),
        OutputArtifact("web", "https://h/x"),
        OutputArtifact("ali", "oss:///k"),
    ]


def test_a_key_has_the_bucket_of_its_templates_archive_location_where_that_is_complete() -> None:
    def made(node: JsonObject, **rest: object) -> list[OutputArtifact]:
        leaf = {"type": "Pod", "outputs": {"artifacts": [{"name": "data", "s3": {"key": "k/data"}}]}, **node}
        root = {"type": "DAG", "outputs": {"artifacts": [{"name": "data", "s3": {"key": "k/data"}}]}}
        repository = {"artifactRepository": {"s3": {"bucket": "repository", "endpoint": "h"}}}
        status = {"nodes": {"wf": root, "wf-1": leaf}, "artifactRepositoryRef": repository, **rest}
        templates = [
            {"name": "own", "archiveLocation": {"s3": {"bucket": "own", "endpoint": "h", "key": "k"}}},
            {"name": "half", "archiveLocation": {"s3": {"bucket": "half", "key": "k"}}},
        ]
        whole: JsonObject = {"metadata": {"name": "wf"}, "spec": {"templates": templates}, "status": status}  # pyright: ignore[reportAssignmentType] -- JSON by the test
        return read_artifacts(whole)

    stored = {
        "namespaced/shared/leaf": {"archiveLocation": {"s3": {"bucket": "shared", "endpoint": "h", "key": "k"}}},
        "cluster/all/leaf": {"archiveLocation": {"s3": {"bucket": "all", "endpoint": "h", "key": "k"}}},
    }
    assert made({"templateName": "own"}) == [OutputArtifact("data", "s3://own/k/data")]
    assert made({"templateName": "half"}) == [OutputArtifact("data", "s3://repository/k/data")]
    assert made({"templateName": "other"}) == [OutputArtifact("data", "s3://repository/k/data")]
    shared: JsonObject = {"templateName": "leaf", "templateScope": "namespaced/shared"}
    assert made(shared, storedTemplates=stored) == [OutputArtifact("data", "s3://shared/k/data")]
    referred: JsonObject = {"templateRef": {"name": "all", "template": "leaf", "clusterScope": True}}
    assert made(referred, storedTemplates=stored) == [OutputArtifact("data", "s3://all/k/data")]
    nothing = {"artifactRepositoryRef": {"configMap": "artifact-repositories"}}
    assert made({"templateName": "other"}, **nothing) == [OutputArtifact("data", "s3:///k/data")]


def test_an_artifact_says_how_argo_packed_it() -> None:
    def packed(**fields: object) -> JsonObject:
        artifact = {"name": "data", "s3": {"bucket": "b", "key": "k"}, **fields}
        (found,) = read_artifacts(workflow(outputs={"artifacts": [artifact]}, nodes={}))
        return found.metadata

    assert packed(path="/tmp/data") == {"archive": "tar+gzip"}
    assert packed(path="/tmp/data", archive={"tar": {"compressionLevel": 9}}) == {"archive": "tar+gzip"}
    assert packed(path="/tmp/data", archive={"zip": {}}) == {"archive": "zip"}
    assert packed(path="/tmp/data", archive={"none": {}}) == {}
    assert packed() == {}, "what no pod has written was not packed"


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


def test_what_the_workflow_says_of_its_one_pod_is_not_said_twice() -> None:
    nodes = {"wf": {"displayName": "wf", "type": "Pod", "phase": "Failed", "message": "Error (exit code 1)"}}
    failed = workflow(phase="Failed", nodes=nodes, message="main: Error (exit code 1)")
    assert read_outcome(failed, cancelled=False).message == "main: Error (exit code 1)"


def pod(name: str, phase: str, second: int, **fields: object) -> JsonObject:
    made: JsonObject = {
        "displayName": name,
        "type": "Pod",
        "phase": phase,
        "startedAt": f"2024-01-01T00:00:{second:02d}Z",
        "finishedAt": f"2024-01-01T00:00:{second + 1:02d}Z",
        **fields,
    }  # pyright: ignore[reportAssignmentType] -- JSON by the test
    return made


def test_the_failed_nodes_begin_with_the_cause_and_have_one_try_of_each_retry() -> None:
    nodes = {
        "wf": {"displayName": "wf", "type": "DAG", "phase": "Failed", "message": "child failed"},
        "wf-9": {"displayName": "load", "type": "Retry", "phase": "Failed", "children": ["wf-7", "wf-2"]},
        "wf-2": pod("load(1)", "Failed", 5, message="Error (exit code 2)", outputs={"exitCode": "2"}),
        "wf-7": pod("load(0)", "Failed", 1, message="Error (exit code 1)", outputs={"exitCode": "1"}),
        "wf-8": {"displayName": "train", "type": "Retry", "phase": "Succeeded", "children": ["wf-3", "wf-4"]},
        "wf-3": pod("train(0)", "Failed", 1),
        "wf-4": pod("train(1)", "Succeeded", 3),
        "wf-5": pod("first", "Error", 2, message="pod deleted"),
    }
    outcome = read_outcome(workflow(phase="Failed", nodes=nodes, message="child failed"), cancelled=False)
    found = [(node.name, node.phase, node.exit_code) for node in outcome.failed_nodes]
    assert found == [("first", "Error", None), ("load(1)", "Failed", 2)]
    assert outcome.phase == "Failed"
    assert outcome.message == "child failed\nfirst: pod deleted\nload(1): Error (exit code 2)"


def test_a_template_that_fails_without_a_pod_is_the_node_that_failed() -> None:
    nodes = {"wf": {"displayName": "wf", "type": "Steps", "phase": "Error", "message": "no such template"}}
    outcome = read_outcome(workflow(phase="Error", nodes=nodes), cancelled=False)
    assert [node.message for node in outcome.failed_nodes] == ["no such template"]


def test_a_loop_that_fails_everywhere_is_named_within_bounds() -> None:
    nodes = {f"wf-{i}": pod(f"item({i})", "Failed", 1, message="x" * 2000) for i in range(1000)}
    outcome = read_outcome(workflow(phase="Failed", nodes=nodes, message="failed"), cancelled=False)
    assert len(outcome.failed_nodes) == MAX_FAILED_NODES
    assert all(len(node.message) == MAX_NODE_MESSAGE for node in outcome.failed_nodes)
    assert outcome.message.endswith("and 980 more nodes failed")


def test_a_workflow_that_succeeded_has_no_failed_nodes() -> None:
    assert read_outcome(workflow(), cancelled=False).failed_nodes == []


@pytest.mark.parametrize(
    ("metadata", "node_id", "pod"),
    [
        ({"name": "wf"}, "wf", "wf"),
        ({"name": "wf"}, "wf-12", "wf-train-12"),
        ({"name": "wf"}, "wf-13", "wf-other-13"),
        ({"name": "wf", "annotations": {"workflows.argoproj.io/pod-name-format": "v1"}}, "wf-12", "wf-12"),
        ({"name": "w" * 250}, "w-12", "w" * 242 + "-12"),
    ],
)
def test_a_pod_is_named_as_the_controller_names_it(metadata: JsonObject, node_id: str, pod: str) -> None:
    nodes: JsonObject = {
        "wf-12": {"templateName": "train"},
        "wf-13": {"templateName": "mine", "templateRef": {"name": "shared", "template": "other"}},
        "w-12": {"templateName": "train"},
    }
    assert pod_name({"metadata": metadata, "status": {"nodes": nodes}}, node_id) == pod


@given(st.lists(st.text(max_size=6000), max_size=40))
def test_the_last_lines_have_bounds_and_are_the_last(lines: list[str]) -> None:
    kept = last_lines(lines)
    assert len(kept) <= MAX_LOG_LINES
    assert sum(map(len, kept)) <= MAX_LOG_CHARACTERS
    assert bool(kept) is bool(lines)
    shown = [line for whole in lines for line in last_lines([whole])]
    assert all(whole.endswith(cut) for whole, cut in zip(shown[len(shown) - len(kept) :], kept, strict=True))


def test_a_line_is_kept_without_what_a_terminal_or_a_database_would_not_bear() -> None:
    assert last_lines(["\x1b[31mred\x1b[0m\x00 \tend", "\ud800x"]) == ["red \tend", "x"]


def test_an_error_without_words_still_says_how_it_ended() -> None:
    assert read_outcome({"status": {"phase": "Error"}}, cancelled=False).message == "the workflow ended Error"


def test_the_caller_decides_that_a_failure_is_a_cancellation_but_not_that_success_is() -> None:
    assert read_outcome(workflow(phase="Failed"), cancelled=True).failure is FailureClass.CANCELLED
    assert read_outcome(workflow(), cancelled=True).succeeded
