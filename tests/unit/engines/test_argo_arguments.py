"""What a step passes is checked against what a Workflow and its template declare, before anything is created."""

from __future__ import annotations

import pytest

from tests.integration.engines.submissions import argo_submission
from workers.engines.argo.arguments import check_arguments, declared_arguments
from workers.engines.argo.manifest import build_workflow, template_reference
from workers.engines.base import Submission
from workers.engines.json_view import child, children, text
from workers.settings import ArgoSettings, StoreSettings
from workflows.errors import InputsInvalid
from workflows.outcome import Artifact
from workflows.spec.sources import ArgoSource
from workflows.values import JsonObject

DECLARED: JsonObject = {
    "parameters": [
        {"name": "learning-rate"},
        {"name": "mode", "value": "fast", "enum": ["fast", "slow", 3]},
        {"name": "seed", "default": "7"},
    ],
    "artifacts": [{"name": "data-set"}, {"name": "labels", "optional": True}],
}
DATA = Artifact(name="d", uri="s3://bucket/key")
SETTINGS = ArgoSettings(url="http://argo", service_account="engines", labels={"team": "ml", "a": "engines"})


def built(submission: Submission, template: JsonObject | None = None, cron: JsonObject | None = None) -> JsonObject:
    return build_workflow(submission, SETTINGS, StoreSettings(), template, cron)


def test_what_fits_is_accepted_by_the_names_that_definitions_use() -> None:
    check_arguments("t", DECLARED, {"learning_rate": 1, "mode": "slow"}, ["data_set"])
    check_arguments("t", DECLARED, {"learning_rate": 1, "mode": 3, "seed": 8}, ["data_set", "labels"])


@pytest.mark.parametrize(
    ("parameters", "artifacts", "message", "hint"),
    [
        ({"learning_rat": 1}, ["data_set"], "it has no parameter 'learning_rat'", "did you mean 'learning_rate'?"),
        ({"learning_rate": 1, "mode": "fats"}, ["data_set"], "parameter 'mode' cannot be 'fats'", "mean 'fast'?"),
        ({"learning_rate": 1}, [], "it needs artifact 'data_set', which has no default", "pass it"),
        ({}, ["data_set"], "it needs parameter 'learning_rate', which has no default", "pass it"),
        ({"learning_rate": 1}, ["data_set", "label"], "no input artifact 'label'", "did you mean 'labels'?"),
    ],
)
def test_what_does_not_fit_is_named_with_the_mend(
    parameters: JsonObject, artifacts: list[str], message: str, hint: str
) -> None:
    with pytest.raises(InputsInvalid) as caught:
        check_arguments("WorkflowTemplate 't'", DECLARED, parameters, artifacts)
    assert caught.value.message.startswith("WorkflowTemplate 't': ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    with pytest.raises(InputsInvalid) as caught:
        check_arguments("t", DECLARED, {"mode": "x", "sed": 1}, [])
    assert caught.value.message.count(";") == 3


def test_a_workflows_own_arguments_go_before_its_templates() -> None:
    template: JsonObject = {"spec": {"arguments": DECLARED}}
    spec: JsonObject = {
        "workflowTemplateRef": {"name": "t"},
        "arguments": {"parameters": [{"name": "learning-rate", "value": "1"}, {"name": "own"}]},
    }
    declared = declared_arguments(spec, template)
    assert declared is not None
    assert [text(p, "name") for p in children(declared, "parameters")] == ["learning-rate", "mode", "seed", "own"]
    check_arguments("t", declared, {"own": 1}, ["data_set"])
    assert declared_arguments(spec, None) is None, "a template that cannot be read may declare anything"
    assert declared_arguments({"arguments": DECLARED}, None) == DECLARED


def test_a_manifest_that_refers_to_a_template_is_checked_against_it() -> None:
    manifest = (
        "{kind: Workflow, apiVersion: argoproj.io/v1alpha1, spec: {workflowTemplateRef: {name: t, clusterScope: true}}}"
    )
    submission = argo_submission(manifest=manifest, parameters={"learning_rate": 1}, artifacts={"data_set": DATA})
    assert template_reference(submission) == ("t", True)
    arguments = child(built(submission, {"spec": {"arguments": DECLARED}}), "spec", "arguments")
    assert arguments["parameters"] == [{"name": "learning-rate", "value": "1"}]
    with pytest.raises(InputsInvalid, match=r"prepare\.yaml: it needs parameter 'learning_rate'"):
        built(argo_submission(manifest=manifest, artifacts={"data_set": DATA}), {"spec": {"arguments": DECLARED}})


CRON: JsonObject = {
    "kind": "CronWorkflow",
    "metadata": {"name": "nightly", "uid": "u", "labels": {"of": "the cron workflow"}},
    "spec": {
        "schedule": "0 3 * * *",
        "workflowMetadata": {"labels": {"a": "its own"}, "annotations": {"note": "x"}},
        "workflowSpec": {"entrypoint": "main", "arguments": DECLARED, "serviceAccountName": "nightly"},
    },
}


def test_a_cron_workflow_gives_its_workflow_with_its_metadata_and_no_tie_to_it() -> None:
    source = ArgoSource(cron_workflow="nightly")
    submission = argo_submission(source=source, parameters={"learning_rate": 1}, artifacts={"data_set": DATA})
    workflow = built(submission, cron=CRON)
    metadata, spec = child(workflow, "metadata"), child(workflow, "spec")
    assert text(metadata, "name") == submission.name
    assert child(metadata, "labels")["a"] == "its own"
    assert child(metadata, "labels")["team"] == "ml"
    assert "workflows.argoproj.io/cron-workflow" not in child(metadata, "labels"), "its history limits would delete it"
    assert child(metadata, "annotations")["note"] == "x"
    assert "ownerReferences" not in metadata
    assert (spec["entrypoint"], spec["serviceAccountName"]) == ("main", "nightly")
    with pytest.raises(InputsInvalid, match="CronWorkflow 'nightly': it needs parameter 'learning_rate'"):
        built(argo_submission(source=source, artifacts={"data_set": DATA}), cron=CRON)


@pytest.mark.parametrize(
    ("step", "template", "expected"),
    [("steps", "templates", "steps"), (None, "templates", None), (None, None, "engines")],
)
def test_the_service_account_is_the_steps_else_the_templates_else_the_engines(
    step: str | None, template: str | None, expected: str | None
) -> None:
    own: JsonObject = {"serviceAccountName": template} if template else {}
    submission = argo_submission(source=ArgoSource(template="t", service_account=step))
    spec = child(built(submission, {"spec": own}), "spec")
    assert spec.get("serviceAccountName") == expected


def test_the_engines_labels_and_annotations_are_on_every_run_unless_the_manifest_says_otherwise() -> None:
    settings = ArgoSettings(url="http://a", labels={"team": "ml", "tier": "x"}, annotations={"cost": "7"})
    manifest = "{kind: Workflow, metadata: {labels: {tier: own}}, spec: {entrypoint: a}}"
    metadata = child(build_workflow(argo_submission(manifest=manifest), settings, StoreSettings()), "metadata")
    labels = child(metadata, "labels")
    assert (labels["team"], labels["tier"]) == ("ml", "own")
    assert child(metadata, "annotations")["cost"] == "7"
