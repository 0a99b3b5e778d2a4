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


def test_an_error_without_words_still_says_how_it_ended() -> None:
    assert read_outcome({"status": {"phase": "Error"}}, cancelled=False).message == "the workflow ended Error"


def test_the_caller_decides_that_a_failure_is_a_cancellation_but_not_that_success_is() -> None:
    assert read_outcome(workflow(phase="Failed"), cancelled=True).failure is FailureClass.CANCELLED
    assert read_outcome(workflow(), cancelled=True).succeeded
