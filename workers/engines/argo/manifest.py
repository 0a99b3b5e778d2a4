"""From a submission to the Workflow object that is created: pure functions on values."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

import yaml

from workers.artifacts import ArtifactStore, parse_uri
from workers.engines.argo.arguments import check_arguments, declared_arguments, merge, names_of
from workers.engines.argo.trace_context import trace_annotations, with_variables
from workers.engines.base import Submission
from workers.engines.json_view import child, children, text
from workers.settings import ArgoSettings, NamedStore, StoreSettings, StoreType
from workflows.errors import ArtifactError, BundleInvalid
from workflows.manifests import ManifestInfo, argo_text, engine_name, inspect_argo
from workflows.naming import ANNOTATION_DIGEST, ANNOTATION_KEY, LABEL_MANAGED, LABEL_RUN, MANAGED_BY
from workflows.outcome import Artifact, EngineKind
from workflows.spec.sources import ArgoSource
from workflows.trace import TRACEPARENT
from workflows.values import JsonObject

API_VERSION = "argoproj.io/v1alpha1"


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: times stay strings, and only true and false are booleans."""


def _kept(tag: str, letter: str) -> bool:
    return tag != "tag:yaml.org,2002:timestamp" and (tag != "tag:yaml.org,2002:bool" or letter in "tTfF")


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if _kept(tag, letter)]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_workflow(manifest: str, file: str) -> JsonObject:
    """Take the Workflow out of a manifest; of a template or a CronWorkflow, the Workflow that it would make.

    Raises:
        BundleInvalid: no YAML, or no Workflow in it.
    """
    try:
        documents = [document for document in yaml.load_all(manifest, _Loader) if document is not None]
    except yaml.YAMLError as error:
        raise BundleInvalid(f"{file}: not YAML: {error}", hint="argo lint checks a manifest") from error
    for document in cast("list[object]", documents):
        if not isinstance(document, dict):
            continue
        found = cast("JsonObject", document)
        kind = text(found, "kind")
        if kind == "Workflow":
            return found
        if kind in ("WorkflowTemplate", "ClusterWorkflowTemplate"):
            return _workflow(child(found, "spec"))
        if kind == "CronWorkflow":
            return _workflow(child(found, "spec", "workflowSpec"))
    raise BundleInvalid(f"{file}: there is no Argo Workflow in it", hint="kind: Workflow, apiVersion: argoproj.io/*")


def _workflow(spec: JsonObject) -> JsonObject:
    return {"apiVersion": API_VERSION, "kind": "Workflow", "metadata": {}, "spec": spec}


def template_reference(submission: Submission, cron: JsonObject | None = None) -> tuple[str, bool] | None:
    """Name of the template that a Workflow will refer to, and whether it is a ClusterWorkflowTemplate.

    None when the Workflow has its templates itself.

    Raises:
        BundleInvalid: the manifest holds no Workflow.
    """
    reference = child(_base(submission, cron), "spec", "workflowTemplateRef")
    return (text(reference, "name"), reference.get("clusterScope") is True) if reference else None


def declared_by(submission: Submission, template: JsonObject | None, cron: JsonObject | None) -> ManifestInfo:
    """What the Workflow of a submission takes, as far as that can be known; arguments as for `build_workflow`.

    Raises:
        BundleInvalid: the manifest holds no Workflow.
    """
    declared = declared_arguments(child(_base(submission, cron), "spec"), template)
    if declared is None:
        return ManifestInfo(EngineKind.ARGO, parameters=None, artifacts=None)
    return inspect_argo({"spec": {"arguments": declared}})


def build_workflow(
    submission: Submission,
    settings: ArgoSettings,
    store: StoreSettings | ArtifactStore,
    template: JsonObject | None = None,
    cron: JsonObject | None = None,
) -> JsonObject:
    """Make the Workflow of a submission: the user's manifest with name, arguments, labels, annotations, trace context.

    Args:
        submission: what to run; its source is an `ArgoSource`.
        settings: the engine's: service account, labels, credentials of artifacts.
        store: where artifacts are, as engine pods reach it: the common store, or all there are.
        template: that `template_reference` names, for what it declares; None when it is not known.
        cron: the CronWorkflow that the source names, if it names one.

    Raises:
        BundleInvalid: the manifest holds no Workflow.
        InputsInvalid: parameters or artifacts that do not fit what is declared.
        ArtifactError: an artifact that is not an object in an S3 store.
    """
    source = submission.source
    assert isinstance(source, ArgoSource)  # the registry routes by kind
    workflow = _base(submission, cron)
    metadata, spec = child(workflow, "metadata"), child(workflow, "spec")
    metadata.pop("generateName", None)
    metadata["name"] = submission.name
    metadata["labels"] = {
        **settings.labels,
        **child(metadata, "labels"),
        LABEL_MANAGED: MANAGED_BY,
        LABEL_RUN: submission.key.hash,
    }
    metadata["annotations"] = {
        **settings.annotations,
        **child(metadata, "annotations"),
        **trace_annotations(submission.trace),
        ANNOTATION_KEY: str(submission.key),
        ANNOTATION_DIGEST: submission.spec_digest,
    }
    arguments = child(spec, "arguments")
    places = [arguments, child(template or {}, "spec", "arguments")]
    parameters = dict(submission.parameters)
    names = names_of(places, "parameters")
    if TRACEPARENT in names and TRACEPARENT in submission.trace:
        parameters.setdefault(TRACEPARENT, submission.trace[TRACEPARENT])
    if (declared := declared_arguments(spec, template)) is not None:
        check_arguments(_what(source), declared, parameters, submission.artifacts)
    if parameters:
        given: dict[str, JsonObject] = {
            engine_name(name, names): {"value": argo_text(value)} for name, value in parameters.items()
        }
        arguments["parameters"] = merge(children(arguments, "parameters"), given, drop=("value", "valueFrom"))
    if submission.artifacts:
        names = names_of(places, "artifacts")
        located: dict[str, JsonObject] = {
            engine_name(name, names): {"s3": _location(artifact, settings, store)}
            for name, artifact in submission.artifacts.items()
        }
        arguments["artifacts"] = merge(children(arguments, "artifacts"), located, drop=_LOCATIONS)
    if arguments:
        spec["arguments"] = arguments
    _set_service_account(spec, source, settings, template)
    spec = with_variables(spec, submission.trace)
    return {**workflow, "apiVersion": API_VERSION, "kind": "Workflow", "metadata": metadata, "spec": spec}


def _base(submission: Submission, cron: JsonObject | None) -> JsonObject:
    """The Workflow before anything is put into it."""
    source = submission.source
    assert isinstance(source, ArgoSource)  # the registry routes by kind
    if source.manifest is not None:
        return parse_workflow(submission.manifest or "", source.manifest)
    if source.cron_workflow is not None:
        assert cron is not None  # it has been read, or the submission refused
        return _of_cron(cron)
    reference: JsonObject = {"name": source.template or source.cluster_template}
    if source.cluster_template is not None:
        reference["clusterScope"] = True
    return _workflow({"workflowTemplateRef": reference})


def _of_cron(cron: JsonObject) -> JsonObject:
    """The Workflow that a CronWorkflow would make now (`ConvertCronWorkflowToWorkflow`), but for its tie to it.

    Without owner and label `workflows.argoproj.io/cron-workflow`: the cron controller would count the run as one of its
    own and delete it by its history limits, before or after its results have been read.
    """
    extra = child(cron, "spec", "workflowMetadata")
    metadata: JsonObject = {key: extra[key] for key in ("labels", "annotations", "finalizers") if extra.get(key)}
    return {**_workflow(child(cron, "spec", "workflowSpec")), "metadata": metadata}


def _what(source: ArgoSource) -> str:
    if source.manifest is not None:
        return source.manifest
    if source.cron_workflow is not None:
        return f"CronWorkflow '{source.cron_workflow}'"
    if source.cluster_template is not None:
        return f"ClusterWorkflowTemplate '{source.cluster_template}'"
    return f"WorkflowTemplate '{source.template}'"


def _set_service_account(
    spec: JsonObject, source: ArgoSource, settings: ArgoSettings, template: JsonObject | None
) -> None:
    """The step's, else the manifest's or the template's own, else the engine's."""
    if source.service_account is not None:
        spec["serviceAccountName"] = source.service_account
    elif settings.service_account and not text(template or {}, "spec", "serviceAccountName"):
        spec.setdefault("serviceAccountName", settings.service_account)


_LOCATIONS = ("s3", "gcs", "oss", "azure", "http", "git", "hdfs", "raw", "artifactory", "from", "fromExpression")
"""Keys of an Argo artifact that say where it is; the one that is passed replaces them."""


def _location(artifact: Artifact, settings: ArgoSettings, store: StoreSettings | ArtifactStore) -> JsonObject:
    """Where Argo's executor finds an artifact.

    Without endpoint and credentials Argo takes those, and the bucket, of its artifact repository
    (`ArtifactLocation.Relocate`); with them the artifact can be in any bucket. What is in a store with a name of its
    own always has an endpoint, and the pods' own rights (`useSDKCreds`) when no secret is named for it.
    """
    place = parse_uri(artifact.uri)
    if place.scheme is not StoreType.S3:
        raise ArtifactError(
            f"artifact '{artifact.name}' at {artifact.uri} cannot be passed to Argo Workflows",
            hint="put it into an S3 store that it reads; from stores that are not among `stores` of the engine in "
            "meta.toml artifacts are copied to where `copy_into` says",
        )
    of = store if isinstance(store, StoreSettings) else store.settings_of(artifact.uri)
    location: JsonObject = {"bucket": place.bucket, "key": place.key}
    secret = of.secret_name if isinstance(of, NamedStore) else settings.secret_name
    if secret or isinstance(of, NamedStore):
        endpoint, insecure = engine_endpoint(of)
        location |= {"endpoint": endpoint, "insecure": insecure, "region": of.region}
    if secret:
        location |= {
            "accessKeySecret": {"name": secret, "key": "accesskey"},
            "secretKeySecret": {"name": secret, "key": "secretkey"},
        }
    elif isinstance(of, NamedStore):
        location["useSDKCreds"] = True
    return location


def engine_endpoint(store: StoreSettings) -> tuple[str, bool]:
    """`host:port` of the store as engine pods reach it, and whether it is plain HTTP."""
    given = store.engine_endpoint or store.endpoint or f"https://s3.{store.region}.amazonaws.com"
    if "://" in given:
        parts = urlsplit(given)
        return parts.netloc, parts.scheme == "http"
    return given, (store.endpoint or "").startswith("http://")


def run_identity(workflow: JsonObject) -> tuple[str, str]:
    """Run key and spec digest that a Workflow carries; empty strings when it is none of ours."""
    annotations = child(workflow, "metadata", "annotations")
    return text(annotations, ANNOTATION_KEY), text(annotations, ANNOTATION_DIGEST)
