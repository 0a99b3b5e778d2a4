"""A step: what it runs, when, how often, with what, and what takes it back."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, PlainValidator, StrictBool, StrictInt, WithJsonSchema, model_validator

from workflows.expressions.templates import walk_strings
from workflows.outcome import EngineKind, FailureClass, StepKind
from workflows.spec.base import Duration, Label, Model, Name
from workflows.spec.sources import (
    ActivitySource,
    ApprovalSource,
    ArgoSource,
    KfpSource,
    Source,
    WaitSource,
    WorkflowSource,
)
from workflows.values import JsonValue, ValueType

CANCEL_GRACE = timedelta(seconds=30)
"""`cancelGrace` of an Argo step that does not give one; Kubernetes gives a pod as long."""

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


class Range(Model):
    """Integers from `from` on, below `to`."""

    start: StrictInt | str = Field(default=0, alias="from", description="The first; may be ${{ an expression }}.")
    to: StrictInt | str = Field(description="Where it ends, itself left out; may be ${{ an expression }}.")
    step: StrictInt = Field(default=1, ge=1)


class Foreach(Model):
    """The step runs once for each item: exactly one of a list, a range, a matrix. `item` and `index` can be read.

    A bare list or expression stands for `items`.
    """

    items: list[JsonValue] | str | None = Field(
        default=None, description="A list, or ${{ an expression }} that gives one."
    )
    range: Range | StrictInt | None = Field(default=None, description="Integers; a bare number ends a range from 0.")
    matrix: dict[Name, list[JsonValue] | str] | None = Field(
        default=None, description="Every combination, the last name's values the fastest; item is an object."
    )
    parallelism: StrictInt = Field(default=50, ge=1, le=1000, description="Most items at a time.")
    fail_fast: StrictBool = Field(
        default=True,
        description="True: after the first failed item no further one begins, and those that run are ended.",
    )

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        return {"items": cast(object, value)} if isinstance(value, (list, str)) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(x is not None for x in (self.items, self.range, self.matrix)) != 1:
            raise ValueError("give exactly one of 'items', 'range', 'matrix'")
        return self

    def templates(self) -> list[str]:
        """Every string in what it runs over; each may hold ${{ expressions }}."""
        bounds = [self.range.start, self.range.to] if isinstance(self.range, Range) else []
        given: list[JsonValue] = [self.items, *bounds, *(self.matrix or {}).values()]
        return [text for _, text in walk_strings(given)]


class Cache(Model):
    """When an earlier success of the same work is taken instead of running it."""

    ttl: Duration | None = Field(default=None, description="How old it may be; any age when left out.")
    key: str | None = Field(
        default=None,
        description="With ${{ expressions }}: counts beside manifest, parameters and artifacts. Needed where the "
        "service does not know what runs, as with a template on the server.",
    )


Continued = Literal["failed", "lost", "timedOut", "cancelled"]
STATE_WORDS: dict[Continued, FailureClass] = {
    "failed": FailureClass.FAILED,
    "lost": FailureClass.LOST,
    "timedOut": FailureClass.TIMED_OUT,
    "cancelled": FailureClass.CANCELLED,
}


class Work(Model):
    """What is run, with what, and how often: what a step and a compensation have in common."""

    argo: ArgoSource | None = None
    kfp: KfpSource | None = None
    workflow: WorkflowSource | None = None
    activity: ActivitySource | None = None
    description: str = ""
    parameters: dict[str, JsonValue] = Field(default_factory=dict, description="Values may hold ${{ expressions }}.")
    artifacts: dict[str, str] = Field(
        default_factory=dict, description="Name at the consumer to an expression or a URI."
    )
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


class Compensation(Work):
    """Takes back what a step has done, when a later step fails or the run is cancelled.

    It reads what the step could read, the step's own outputs and artifacts, and `outcome`.
    """

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = (self.argo, self.kfp, self.workflow, self.activity)
        if sum(one is not None for one in given) != 1:
            raise ValueError("a compensation has exactly one of 'argo', 'kfp', 'workflow', 'activity'")
        return self

    def as_step(self) -> Step:
        return Step.model_validate({name: getattr(self, name) for name in self.model_fields_set})


class Step(Work):
    approval: ApprovalSource | None = None
    wait: WaitSource | None = None
    use_case: Label | None = Field(
        default=None,
        description="The configuration's table of use cases names the engine; the step may then have both 'argo' and"
        " 'kfp', of which the engine's kind is taken.",
    )
    needs: list[Name] = Field(default_factory=list[Name])
    when: str | None = Field(default=None, description="CEL; the step is skipped when it is false.")
    outputs: dict[Name, ValueType] = Field(default_factory=dict, description="Declared types of the engine's outputs.")
    foreach: Foreach | None = Field(default=None, description="Run once for each item.")
    continue_on: list[Continued] = Field(
        default_factory=list[Continued],
        description="Ends that let the run go on as a success does; later expressions read the step's state.",
    )
    compensate: Compensation | None = None
    cache: Cache | StrictBool = Field(
        default=False, description="An earlier success of the same work is taken instead of running it."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if self.use_case is not None and given and set(given) <= {"argo", "kfp"}:
            return self
        if self.use_case is not None:
            raise ValueError("'useCase' goes with 'argo', 'kfp' or both")
        if len(given) != 1:
            raise ValueError(f"a step has exactly one of {', '.join(repr(name) for name in KINDS)}")
        return self

    @property
    def grace(self) -> timedelta:
        """How long the step's engine run may take to stop. KFP knows no stop, only an end at once."""
        if self.kind is not StepKind.ARGO:
            return timedelta(0)
        return CANCEL_GRACE if self.cancel_grace is None else self.cancel_grace

    @property
    def source(self) -> Source:
        source = next((s for name in KINDS if (s := cast("Source | None", getattr(self, name))) is not None), None)
        assert source is not None  # _one_kind
        return source

    @property
    def engine_source(self) -> ArgoSource | KfpSource:
        """What an engine is asked to run.

        Raises:
            TypeError: the step is none of an engine; its kind says so.
        """
        source = self.source
        if not isinstance(source, (ArgoSource, KfpSource)):
            raise TypeError(f"a step of kind {self.kind} has no engine")
        return source

    @property
    def kind(self) -> StepKind:
        """What it runs; with a use case that is not settled yet the first of `argo`, `kfp` that it has."""
        return StepKind(next(name for name in KINDS if getattr(self, name) is not None))

    @property
    def engine_kind(self) -> EngineKind | None:
        """None when no engine runs it."""
        return EngineKind(self.kind) if self.kind in ENGINE_KINDS else None

    @property
    def engine(self) -> str:
        """Name of the engine; empty when none runs it."""
        source = self.source
        return source.engine if isinstance(source, (ArgoSource, KfpSource)) else ""

    @property
    def file(self) -> str | None:
        """The file of the bundle that this step submits, if it submits one."""
        return next(iter(self.files.values()), None)

    @property
    def files(self) -> dict[EngineKind, str]:
        """The files of the bundle that this step can submit: more than one as long as its use case is not settled."""
        named = {
            EngineKind.ARGO: self.argo.manifest if self.argo is not None else None,
            EngineKind.KFP: self.kfp.package if self.kfp is not None else None,
        }
        return {kind: file for kind, file in named.items() if file is not None}

    @property
    def caching(self) -> Cache | None:
        """None when every run of the step runs it."""
        if isinstance(self.cache, Cache):
            return self.cache
        return Cache() if self.cache else None

    @property
    def continues(self) -> frozenset[FailureClass]:
        """Classes of failure that let the run go on."""
        return frozenset(STATE_WORDS[word] for word in self.continue_on)

    def settled(self, engine: str, kind: EngineKind) -> Step:
        """The step as it runs where its use case has an engine.

        Raises:
            ValueError: the step has nothing for an engine of this kind.
        """
        source = self.argo if kind is EngineKind.ARGO else self.kfp
        if source is None:
            raise ValueError(f"the use case '{self.use_case}' goes to engine '{engine}', and the step has no '{kind}'")
        other = {"argo": None, "kfp": None, "use_case": None}
        update: dict[str, Any] = {**other, kind.value: source.model_copy(update={"engine": engine})}
        return self.model_copy(update=update)


KINDS = tuple(kind.value for kind in StepKind)
ENGINE_KINDS = frozenset({StepKind.ARGO, StepKind.KFP})
