"""The definition as data: pydantic models of `apiVersion: meta/v1`, `kind: MetaWorkflow`.

The models say what shape a definition has; what it means (dependencies, types of expressions, cycles) is checked in
`workflows.spec.validate`. Names in files are camelCase, in Python snake_case.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self, cast

from pydantic import (
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from workflows.outcome import EngineKind, FailureClass
from workflows.spec.base import Duration, Label, Model, Name
from workflows.spec.trigger_models import Trigger
from workflows.values import JsonObject, JsonValue, ValueType

CANCEL_GRACE = timedelta(seconds=30)
"""`cancelGrace` of an Argo step that does not give one; Kubernetes gives a pod as long."""


class Metadata(Model):
    name: Label
    description: str = ""
    labels: dict[str, str] = Field(default_factory=dict)


class Input(Model):
    type: ValueType
    default: JsonValue = None
    required: StrictBool | None = Field(default=None, description="Default: an input without a default is required.")
    description: str = ""

    @property
    def is_required(self) -> bool:
        return self.required if self.required is not None else "default" not in self.model_fields_set

    @model_serializer(mode="wrap")
    def _keep_unset(self, handler: SerializerFunctionWrapHandler) -> JsonObject:
        """Say whether there is a default: an input without one is required, one whose default is null is not."""
        data: JsonObject = handler(self)
        data.pop("default", None)
        return data | {"default": self.default} if "default" in self.model_fields_set else data


class ArgoSource(Model):
    """What an Argo step runs: exactly one of a manifest, a template of either scope, a CronWorkflow's template."""

    manifest: str | None = Field(default=None, description="Path of a Workflow manifest, relative to the definition.")
    template: str | None = Field(default=None, description="Name of a WorkflowTemplate in the engine's namespace.")
    cluster_template: str | None = Field(default=None, description="Name of a ClusterWorkflowTemplate.")
    cron_workflow: str | None = Field(default=None, description="Name of a CronWorkflow; what it schedules is run.")
    engine: Label = Field(default="argo", description="Name of the engine in the configuration.")
    service_account: str | None = Field(default=None, description="Of the pods; wins over manifest and engine.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(x is not None for x in (self.manifest, self.template, self.cluster_template, self.cron_workflow)) != 1:
            raise ValueError("give exactly one of 'manifest', 'template', 'clusterTemplate', 'cronWorkflow'")
        return self


class KfpSource(Model):
    """What a KFP step runs: a package in the bundle, or an uploaded pipeline."""

    package: str | None = Field(
        default=None,
        description="Path of a compiled pipeline, relative to the definition; or of a Python file with a @dsl.pipeline,"
        " `pipelines.py:train` when it has several.",
    )
    pipeline: str | None = Field(default=None, description="Name of an uploaded pipeline.")
    version: str | None = Field(default=None, description="Name of its version; the newest when left out.")
    engine: Label = Field(default="kfp", description="Name of the engine in the configuration.")
    cache: StrictBool = Field(default=True, description="False: KFP's own cache is not used.")
    experiment: str | None = Field(default=None, description="KFP experiment; by default the meta-workflow's name.")
    pipeline_root: str | None = Field(default=None, description="Where KFP writes artifacts; by default the engine's.")
    service_account: str | None = Field(default=None, description="Of the run's pods; by default the engine's.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.package is None) == (self.pipeline is None):
            raise ValueError("give exactly one of 'package', 'pipeline'")
        if self.version is not None and self.pipeline is None:
            raise ValueError("'version' goes with 'pipeline'")
        return self


RETRYABLE = (FailureClass.FAILED, FailureClass.TIMED_OUT, FailureClass.LOST, FailureClass.CANCELLED)
"""Failure classes that `retryOn` can name: a refusal is never tried again, an API that is down always."""


def _retry_on(value: object) -> list[str] | str | None:
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("retryOn is a list of failure classes, or an expression over 'outcome'")
    words = [str(word) for word in RETRYABLE]
    for word in cast(list[object], value):
        if word not in words:
            raise ValueError(f"retryOn: {word!r} is no failure class that can be tried again: {', '.join(words)}")
    return cast(list[str], value)


RetryOn = Annotated[
    list[str] | str | None,
    PlainValidator(_retry_on),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "minItems": 1, "items": {"type": "string", "enum": [str(c) for c in RETRYABLE]}},
                {"type": "string", "minLength": 1},
                {"type": "null"},
            ]
        }
    ),
]


class Retry(Model):
    """How often and how a failed engine run is tried again. One budget: the engine's own retries stay inside."""

    attempts: StrictInt = Field(default=1, ge=1, le=100, description="Every attempt counts, the first too.")
    strategy: Literal["resume", "restart", "auto"] = Field(
        default="restart",
        description="resume: the engine's in-place retry, which keeps finished nodes; restart: a new engine run; "
        "auto: resume where the engine can, else restart.",
    )
    backoff: Duration = Field(
        default=timedelta(seconds=10),
        description="Before the second attempt; doubles, up to 10m. The pause is between half of it and the whole.",
    )
    retry_on: RetryOn = Field(
        default=None,
        description="Failure classes, or CEL over 'outcome'; by default failed and timed_out are tried again.",
    )


class Step(Model):
    argo: ArgoSource | None = None
    kfp: KfpSource | None = None
    description: str = ""
    needs: list[Name] = Field(default_factory=list[str])
    when: str | None = Field(default=None, description="CEL; the step is skipped when it is false.")
    parameters: dict[str, JsonValue] = Field(default_factory=dict, description="Values may hold ${{ expressions }}.")
    artifacts: dict[str, str] = Field(
        default_factory=dict, description="Name at the consumer to an expression or a URI."
    )
    outputs: dict[Name, ValueType] = Field(default_factory=dict, description="Declared types of the engine's outputs.")
    retry: Retry = Retry()
    timeout: Duration | None = Field(default=None, description="Over all attempts.")
    attempt_timeout: Duration | None = Field(default=None, description="Of one attempt.")
    cancel_grace: Duration | None = Field(
        default=None,
        description="How long a run that is cancelled may take to stop, its exit handlers included, before it is "
        "terminated. Argo only; 30s by default.",
    )
    on_lost: Literal["fail", "restart"] = Field(
        default="fail", description="restart: an engine run whose result is gone is run again, within retry.attempts."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.argo is None) == (self.kfp is None):
            raise ValueError("a step has exactly one of 'argo', 'kfp'")
        return self

    @property
    def grace(self) -> timedelta:
        """How long the step's engine run may take to stop. KFP knows no stop, only an end at once."""
        if self.kind is not EngineKind.ARGO:
            return timedelta(0)
        return CANCEL_GRACE if self.cancel_grace is None else self.cancel_grace

    @property
    def source(self) -> ArgoSource | KfpSource:
        source = self.argo or self.kfp
        assert source is not None  # _one_kind
        return source

    @property
    def kind(self) -> EngineKind:
        return EngineKind.ARGO if self.argo is not None else EngineKind.KFP

    @property
    def engine(self) -> str:
        return self.source.engine

    @property
    def file(self) -> str | None:
        """The file of the bundle that this step submits, if it submits one."""
        return self.argo.manifest if self.argo is not None else self.kfp.package if self.kfp is not None else None


class MetaWorkflow(Model):
    """A chain whose steps are whole runs of Argo Workflows or Kubeflow Pipelines."""

    api_version: Literal["meta/v1"]
    kind: Literal["MetaWorkflow"]
    metadata: Metadata
    inputs: dict[Name, Input] = Field(default_factory=dict)
    steps: dict[Name, Step] = Field(min_length=1, max_length=500)
    outputs: dict[Name, str] = Field(default_factory=dict)
    triggers: list[Trigger] = Field(
        default_factory=list[Trigger], max_length=50, description="What starts runs; in force once it is published."
    )

    @property
    def name(self) -> str:
        return self.metadata.name
