"""What a step runs: one function for each kind, with the keys that a definition has for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from workflows.dsl.templates import Duration, condition, keys, plain
from workflows.dsl.values import Expression, Value
from workflows.outcome import StepKind
from workflows.values import JsonObject, JsonValue


@dataclass(frozen=True)
class Runs:
    """What a step runs, as a definition says it.

    Attributes:
        file: of a pipeline that is a function of Python; its path is relative to the definition once that is known.
    """

    kind: StepKind
    data: JsonObject
    file: Path | None = None

    def below(self, folder: Path | None) -> JsonObject:
        """Its keys in a definition of this folder.

        Raises:
            ValueError: the function's file is not in the folder.
        """
        if self.file is None:
            return self.data
        if folder is None or not self.file.is_relative_to(folder):
            raise ValueError(f"{self.file} is not in the definition's folder {folder or ''}".rstrip())
        return {"package": f"{self.file.relative_to(folder).as_posix()}:{self.data['package']}", **_but(self.data)}


def _but(data: JsonObject) -> JsonObject:
    return {key: value for key, value in data.items() if key != "package"}


def argo(
    manifest: str | None = None,
    *,
    template: str | None = None,
    cluster_template: str | None = None,
    cron_workflow: str | None = None,
    engine: str | None = None,
    service_account: str | None = None,
) -> Runs:
    """A run of Argo Workflows: of exactly one of manifest, template, cluster template, CronWorkflow.

    Args:
        manifest: path of a Workflow manifest, relative to the definition.
        template: name of a WorkflowTemplate in the engine's namespace.
        cluster_template: name of a ClusterWorkflowTemplate.
        cron_workflow: name of a CronWorkflow; what it schedules is run.
        engine: its name in the configuration; `argo` when left out.
        service_account: of the pods; wins over manifest and engine.
    """
    return Runs(
        StepKind.ARGO,
        keys(
            manifest=manifest,
            template=template,
            cluster_template=cluster_template,
            cron_workflow=cron_workflow,
            engine=engine,
            service_account=service_account,
        ),
    )


def kfp(
    package: str | Callable[..., Any] | None = None,
    *,
    pipeline: str | None = None,
    version: str | None = None,
    engine: str | None = None,
    cache: bool | None = None,
    experiment: str | None = None,
    pipeline_root: str | None = None,
    service_account: str | None = None,
) -> Runs:
    """A run of Kubeflow Pipelines.

    Args:
        package: path of a compiled pipeline, relative to the definition; or a function with `@dsl.pipeline`, whose file
            stands beside the definition or below it.
        pipeline: in place of a package, the name of an uploaded one.
        version: name of its version; the newest when left out.
        engine: its name in the configuration; `kfp` when left out.
        cache: False: KFP's own cache is not used.
        experiment: by default the meta-workflow's name.
        pipeline_root: where KFP writes artifacts; by default the engine's.
        service_account: of the run's pods; by default the engine's.

    Raises:
        TypeError: the function is no pipeline.
    """
    file: Path | None = None
    if package is not None and not isinstance(package, str):
        function = cast("Callable[..., Any] | None", getattr(package, "pipeline_func", None))
        if function is None:
            raise TypeError(f"{package!r} is no pipeline: decorate the function with @dsl.pipeline")
        file, package = Path(inspect.getfile(function)).resolve(), function.__name__
    data = keys(
        package=package,
        pipeline=pipeline,
        version=version,
        engine=engine,
        cache=cache,
        experiment=experiment,
        pipeline_root=pipeline_root,
        service_account=service_account,
    )
    return Runs(StepKind.KFP, data, file)


def approval(
    prompt: str | Expression,
    *,
    approvers: Sequence[str] | None = None,
    timeout: Duration | None = None,
    on_timeout: Literal["fail", "approve", "reject"] | None = None,
) -> Runs:
    """A person decides.

    Args:
        prompt: what is asked.
        approvers: who may decide; anybody when left out.
        timeout: how long to wait; for ever when left out.
        on_timeout: what the time-out decides; `fail` when left out.
    """
    given = keys(prompt=prompt, approvers=approvers, timeout=timeout, on_timeout=on_timeout)
    return Runs(StepKind.APPROVAL, given)


def wait(duration: Duration | None = None, *, until: datetime | str | Expression | None = None) -> Runs:
    """Time passes: a duration, or until a point in time (with its time zone)."""
    at = until.isoformat() if isinstance(until, datetime) else until
    return Runs(StepKind.WAIT, keys(duration=duration, until=at))


def wait_for(subject: str | Expression, *, when: Value[bool] | str | None = None, stream: str | None = None) -> Runs:
    """The first message on a NATS subject that fits, from the step's begin on.

    Args:
        subject: of a JetStream stream, with wildcards.
        when: which message it is; reads `event`, inputs and steps.
        stream: to read; by default the one that has the subject.
    """
    found = keys(subject=subject, when=None if when is None else condition(when), stream=stream)
    return Runs(StepKind.WAIT, {"event": found})


def workflow(name: str) -> Runs:
    """Another published meta-workflow, as a run of its own: the step's parameters are its inputs."""
    return Runs(StepKind.WORKFLOW, keys(name=name))


def activity(
    name: str,
    *,
    task_queue: str,
    heartbeat_timeout: Duration | None = None,
    schedule_timeout: Duration | None = None,
) -> Runs:
    """A Temporal activity that somebody else's worker serves.

    Args:
        name: as it is registered.
        task_queue: of the worker that has it.
        heartbeat_timeout: after so long a silence the attempt counts as lost.
        schedule_timeout: how long it may wait for a worker to take it; an hour when left out.
    """
    given = keys(
        name=name, task_queue=task_queue, heartbeat_timeout=heartbeat_timeout, schedule_timeout=schedule_timeout
    )
    return Runs(StepKind.ACTIVITY, given)


@dataclass(frozen=True)
class Retry:
    """How often and how what failed is tried again.

    Attributes:
        attempts: every one counts, the first too.
        strategy: `resume`: the engine's in-place retry; `restart`: a new engine run; `auto`: resume where it can.
        backoff: before the second attempt; doubles, up to 10m.
        retry_on: failure classes (`failed`, `timed_out`, `lost`, `cancelled`), or a condition over `outcome`.
    """

    attempts: int = 1
    strategy: Literal["resume", "restart", "auto"] | None = None
    backoff: Duration | None = None
    retry_on: Sequence[str] | Value[bool] | str | None = None

    def data(self) -> JsonObject:
        on = self.retry_on.cel if isinstance(self.retry_on, Value) else self.retry_on
        return keys(attempts=self.attempts, strategy=self.strategy, backoff=self.backoff, retry_on=on)


@dataclass(frozen=True)
class Cache:
    """When an earlier success of the same work is taken.

    Attributes:
        ttl: how old it may be; any age when left out.
        key: counts beside manifest, parameters and artifacts.
    """

    ttl: Duration | None = None
    key: str | Expression | None = None

    def data(self) -> JsonObject:
        return keys(ttl=self.ttl, key=self.key)


Items = Sequence[Any] | Value[Any] | range
"""What a step runs over: a list, a list that the run gives, a `range`."""


@dataclass(frozen=True)
class Each:
    """The items that a step runs over, and how many at a time.

    Attributes:
        items: a list, a `Span`, or by name several lists whose combinations are the items.
        parallelism: most items at a time; 50 when left out.
        fail_fast: False: a failed item does not keep the others from running.
    """

    items: Items | Mapping[str, Sequence[Any] | Value[Any]] | Span
    parallelism: int | None = None
    fail_fast: bool | None = None

    def data(self) -> JsonObject:
        found = keys(parallelism=self.parallelism, fail_fast=self.fail_fast)
        if isinstance(self.items, Span):
            return {**self.items.data(), **found}
        if isinstance(self.items, range):
            return {"range": _range(self.items), **found}
        if isinstance(self.items, Mapping):
            return {"matrix": plain(self.items), **found}
        return {"items": plain(self.items), **found}


@dataclass(frozen=True)
class Span:
    """Integers from `start` on, below `to`, of which one at least is known when the run is under way.

    Give it to `Each`, or to `foreach` itself.
    """

    to: int | Value[int]
    start: int | Value[int] = 0
    step: int = 1

    def data(self) -> JsonObject:
        return {"range": {"from": plain(self.start), "to": plain(self.to), "step": self.step}}


def _range(of: range) -> JsonValue:
    if of.start == 0 and of.step == 1:
        return of.stop
    return {"from": of.start, "to": of.stop, "step": of.step}


def foreach_data(given: Items | Mapping[str, Sequence[Any] | Value[Any]] | Each | Span) -> JsonObject:
    """The key `foreach` of a step."""
    return given.data() if isinstance(given, (Each, Span)) else Each(given).data()


@dataclass(frozen=True)
class Undo:
    """What takes back what a step has done, when a later one fails or the run is cancelled.

    It reads what the step could read, the step's own outputs and artifacts, and `outcome`.
    """

    runs: Runs
    parameters: Mapping[str, object] | None = None
    artifacts: Mapping[str, object] | None = None
    retry: Retry | None = None
    timeout: Duration | None = None
    attempt_timeout: Duration | None = None
    cancel_grace: Duration | None = None
    on_lost: Literal["fail", "restart"] | None = None
    description: str | None = None

    def data(self, folder: Path | None) -> JsonObject:
        found = keys(
            description=self.description,
            parameters=self.parameters,
            artifacts=self.artifacts,
            retry=None if self.retry is None else self.retry.data(),
            timeout=self.timeout,
            attempt_timeout=self.attempt_timeout,
            cancel_grace=self.cancel_grace,
            on_lost=self.on_lost,
        )
        return {self.runs.kind.value: self.runs.below(folder), **found}
