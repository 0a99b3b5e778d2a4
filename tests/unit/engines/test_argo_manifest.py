"""What a submission makes of a user's manifest."""

from __future__ import annotations

import pytest

from tests.integration.engines.submissions import ARGO_MANIFEST, argo_submission
from workers.artifacts import ArtifactStore
from workers.engines.argo.manifest import build_workflow, engine_endpoint, parse_workflow
from workers.engines.base import Submission
from workers.engines.json_view import child, children
from workers.settings import ArgoSettings, NamedStore, StoreSettings
from workflows.errors import ArtifactError, BundleInvalid
from workflows.outcome import Artifact
from workflows.spec.sources import ArgoSource
from workflows.values import JsonObject, JsonValue

SETTINGS = ArgoSettings(url="http://argo")
STORE = StoreSettings(endpoint="http://127.0.0.1:8333")
DATA = {"data_set": Artifact(name="dataset", uri="s3://bucket/a/data.npz")}


def built(submission: Submission, settings: ArgoSettings = SETTINGS, store: StoreSettings = STORE) -> JsonObject:
    return build_workflow(submission, settings, store)


def test_the_name_is_ours_and_a_generated_one_is_dropped() -> None:
    submission = argo_submission()
    metadata = child(built(submission), "metadata")
    assert metadata["name"] == submission.name
    assert "generateName" not in metadata


def test_labels_let_all_our_workflows_and_those_of_one_attempt_be_listed() -> None:
    submission = argo_submission(manifest=ARGO_MANIFEST.replace("{generateName: hello-}", "{labels: {team: ml}}"))
    assert child(built(submission), "metadata", "labels") == {
        "team": "ml",
        "app.kubernetes.io/managed-by": "meta-workflows",
        "meta-workflows/run-key": submission.key.hash,
    }


def test_parameters_are_strings_under_the_names_that_the_manifest_declares() -> None:
    values: JsonObject = {"learning_rate": 0.5, "flags": [True, None], "text": "as it is", "on": True}
    more = "{name: other, value: kept}, {name: flags}, {name: text}, {name: on, value: false}"
    manifest = ARGO_MANIFEST.replace("{name: other, value: kept}", more)
    submission = argo_submission(manifest=manifest, parameters=values)
    assert children(child(built(submission), "spec", "arguments"), "parameters") == [
        {"name": "learning-rate", "value": "0.5"},
        {"name": "other", "value": "kept"},
        {"name": "flags", "value": "[true,null]"},
        {"name": "text", "value": "as it is"},
        {"name": "on", "value": "true"},
    ]


def test_a_trace_context_is_passed_where_the_manifest_declares_it() -> None:
    manifest = ARGO_MANIFEST.replace("name: other", "name: traceparent")
    submission = argo_submission(manifest=manifest, trace={"traceparent": "00-1-2-01"})
    parameters = children(child(built(submission), "spec", "arguments"), "parameters")
    assert {"name": "traceparent", "value": "00-1-2-01"} in parameters


def test_an_artifact_replaces_the_declared_location_with_bucket_and_key() -> None:
    arguments = child(built(argo_submission(artifacts=DATA)), "spec", "arguments")
    assert arguments["artifacts"] == [{"name": "data-set", "s3": {"bucket": "bucket", "key": "a/data.npz"}}]


def test_with_a_secret_an_artifact_carries_endpoint_and_credentials() -> None:
    settings = ArgoSettings(url="http://argo", secret_name="s3-credentials")
    store = StoreSettings(endpoint="http://127.0.0.1:8333", engine_endpoint="s3.svc:9000")
    workflow = built(argo_submission(artifacts=DATA), settings, store)
    assert children(child(workflow, "spec", "arguments"), "artifacts")[0]["s3"] == {
        "bucket": "bucket",
        "key": "a/data.npz",
        "endpoint": "s3.svc:9000",
        "insecure": True,
        "region": "us-east-1",
        "accessKeySecret": {"name": "s3-credentials", "key": "accesskey"},
        "secretKeySecret": {"name": "s3-credentials", "key": "secretkey"},
    }


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (StoreSettings(endpoint="http://h:1"), ("h:1", True)),
        (StoreSettings(endpoint="https://h"), ("h", False)),
        (StoreSettings(endpoint="http://h:1", engine_endpoint="https://s3.svc"), ("s3.svc", False)),
        (StoreSettings(region="eu-west-1"), ("s3.eu-west-1.amazonaws.com", False)),
    ],
)
def test_the_endpoint_is_the_one_that_pods_reach(store: StoreSettings, expected: tuple[str, bool]) -> None:
    assert engine_endpoint(store) == expected


def test_an_artifact_that_is_in_no_store_cannot_be_passed() -> None:
    artifacts = {"data_set": Artifact(name="dataset", uri="file:///tmp/data")}
    with pytest.raises(ArtifactError, match="cannot be passed to Argo"):
        built(argo_submission(artifacts=artifacts))


def test_a_cluster_template_is_referred_to() -> None:
    workflow = built(argo_submission(source=ArgoSource(cluster_template="trainer")))
    assert workflow["spec"] == {"workflowTemplateRef": {"name": "trainer", "clusterScope": True}}


def test_the_service_account_of_the_settings_yields_to_the_manifests() -> None:
    settings = ArgoSettings(url="http://argo", service_account="runner")
    assert child(built(argo_submission(), settings), "spec")["serviceAccountName"] == "runner"
    manifest = ARGO_MANIFEST.replace("entrypoint: main", "entrypoint: main\n  serviceAccountName: own")
    assert child(built(argo_submission(manifest=manifest), settings), "spec")["serviceAccountName"] == "own"


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    text = "{kind: Workflow, spec: {at: 2024-01-01, mode: on, yes: no, really: true}}"
    assert parse_workflow(text, "f.yaml")["spec"] == {"at": "2024-01-01", "mode": "on", "yes": "no", "really": True}


def test_a_template_or_a_cron_workflow_gives_the_workflow_it_would_make() -> None:
    template = "{kind: WorkflowTemplate, metadata: {name: t}, spec: {entrypoint: a}}"
    cron = "{kind: CronWorkflow, spec: {schedule: x, workflowSpec: {entrypoint: a}}}"
    for text in (template, cron):
        workflow = parse_workflow(text, "f.yaml")
        assert (workflow["kind"], workflow["spec"]) == ("Workflow", {"entrypoint": "a"})


@pytest.mark.parametrize("text", ["kind: Deployment", "- 1", "", "{", "a: b: c"])
def test_what_is_no_workflow_is_refused_by_the_files_name(text: str) -> None:
    with pytest.raises(BundleInvalid, match=r"f\.yaml: "):
        parse_workflow(text, "f.yaml")


def test_an_artifact_of_a_named_store_has_that_stores_endpoint_and_secret() -> None:
    named = {
        "lake": NamedStore(
            endpoint="http://lake:8333", region="eu-west-1", serves=("s3://lake/",), secret_name="lake-keys"
        ),
        "own": NamedStore(endpoint="https://own", serves=("s3://own/",)),
    }
    stores = ArtifactStore(STORE, named)

    def passed(uri: str) -> JsonValue:
        given = argo_submission(artifacts={"data_set": Artifact(name="data_set", uri=uri)})
        workflow = build_workflow(given, SETTINGS, stores)
        artifacts = children(workflow, "spec", "arguments", "artifacts")
        return child(next(one for one in artifacts if one["name"] == "data-set"), "s3")

    assert passed("s3://lake/x") == {
        "bucket": "lake",
        "key": "x",
        "endpoint": "lake:8333",
        "insecure": True,
        "region": "eu-west-1",
        "accessKeySecret": {"name": "lake-keys", "key": "accesskey"},
        "secretKeySecret": {"name": "lake-keys", "key": "secretkey"},
    }
    own = passed("s3://own/x")
    assert own == {
        "bucket": "own",
        "key": "x",
        "endpoint": "own",
        "insecure": False,
        "region": "us-east-1",
        "useSDKCreds": True,
    }
    assert passed("s3://common/x") == {"bucket": "common", "key": "x"}
