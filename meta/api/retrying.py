"""Retries a run that has ended: a new one takes its finished steps over and runs the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from meta.api.engines import Engines
from meta.api.starter import Retrying, Started, Starter
from meta.store import Store
from workflows.bundle import Bundle
from workflows.errors import Conflict, InvalidInput, NotFound
from workflows.inputs import check_inputs
from workflows.messages import Cause, Reused, RunSnapshot
from workflows.outcome import RunState
from workflows.reuse import Past, ReusePlan, artifacts_of, plan_reuse
from workflows.suggest import did_you_mean
from workflows.values import JsonObject, JsonValue, canonical_json, digest_of


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Attributes:
        from_step: runs again, and so does all that depends on it; empty: only what has to.
        inputs: those that change.
        bundle_digest: of the new run; empty: the old run's own.
        request_id: the same one gives the same run; empty: a new run each time.
    """

    run_id: str
    from_step: str = ""
    inputs: JsonObject = field(default_factory=dict[str, JsonValue])
    bundle_digest: str = ""
    request_id: str = ""
    no_cache: bool = False

    @property
    def digest(self) -> str:
        """What a repeat of the request must share."""
        asked: JsonObject = {
            "retry": self.run_id, "from": self.from_step, "inputs": self.inputs, "bundle": self.bundle_digest
        }  # fmt: skip
        return digest_of(canonical_json(asked))


@dataclass(frozen=True, slots=True)
class Retried:
    """The new run, and what becomes of its steps."""

    started: Started
    plan: ReusePlan


class Retrier:
    """Looks at the old run, decides, and starts the new one.

    Args:
        store: knows runs and bundles.
        starter: starts runs.
        engines: know where artifacts are.
    """

    def __init__(self, store: Store, starter: Starter, engines: Engines) -> None:
        self._store = store
        self._starter = starter
        self._engines = engines

    async def retry(self, wish: Wish, *, trace: Mapping[str, str], cause: Cause) -> Retried:
        """Start a run that goes on where another one stopped, or find the one that this request started.

        Args:
            wish: what is asked for.
            trace: W3C trace context of the cause.
            cause: what makes the new run start.

        Raises:
            NotFound: no such run, step or bundle.
            Conflict: the run has not ended; or the request id has started a run for something else.
            InvalidInput: there is nothing to run again, or the bundle is of another meta-workflow.
            InputsInvalid: with every input that is wrong.
            ArtifactStoreUnavailable, ServiceUnavailable: the same request can be made again.
        """
        run = await self._ended(wish.run_id)
        past = Past(await self._store.bundles.get(run.bundle_digest), run)
        digest = wish.bundle_digest or run.bundle_digest
        bundle = past.bundle if digest == run.bundle_digest else await self._store.bundles.get(digest)
        _check(wish, run, bundle)
        given = _given(run, bundle, wish.inputs)
        plan = await self._plan(past, bundle, check_inputs(bundle.definition, given), wish.from_step)
        if run.state is RunState.SUCCEEDED and not plan.again:
            raise InvalidInput(
                f"run {run.id} has succeeded, and nothing has changed: there is nothing to run again",
                hint="name the step to begin with (--from STEP), or give an input that changes (-i KEY=VALUE)",
            )
        started = await self._starter.start(
            bundle_digest=digest,
            inputs=given,
            request_id=wish.request_id,
            trigger="api",
            asked=wish.digest,
            trace=trace,
            cause=cause,
            retrying=Retrying(run.id, plan.taken),
            no_cache=wish.no_cache or bool(wish.from_step),  # who names a step wants it run, and what follows it
        )
        await self._store.runs.retried(run.id, started.run_id)
        return Retried(started, plan)

    async def _ended(self, run_id: str) -> RunSnapshot:
        run = await self._starter.find(run_id)
        if not run.state.ended:
            raise Conflict(
                f"run {run.id} has not ended, so it cannot be retried",
                hint=f"wait for it (`meta watch {run.id}`), or end it first: `meta cancel {run.id}`",
            )
        return run

    async def _plan(self, past: Past, bundle: Bundle, inputs: JsonObject, from_step: str) -> ReusePlan:
        """Decide, and look whether what is to be taken over is still there; what is not runs again."""
        plan = plan_reuse(past, bundle, inputs, from_step=from_step)
        reasons = await asyncio.gather(*(self._spoilt(reused) for reused in plan.taken.values()))
        broken = {name: reason for name, reason in zip(plan.taken, reasons, strict=True) if reason}
        return plan_reuse(past, bundle, inputs, from_step=from_step, broken=broken) if broken else plan

    async def _spoilt(self, reused: Reused) -> str:
        for artifact in artifacts_of(reused):
            if reason := await self._engines.objects().spoilt(artifact):
                return reason
        return ""


def _check(wish: Wish, run: RunSnapshot, bundle: Bundle) -> None:
    """Refuse what cannot be meant.

    Raises:
        InvalidInput: the bundle is of another meta-workflow.
        NotFound: it has no step of this name.
    """
    definition = bundle.definition
    if definition.name != run.workflow:
        raise InvalidInput(
            f"run {run.id} is of {run.workflow}, the definition is of {definition.name}",
            hint="retry it with a newer version of its own definition, or start a new run",
        )
    if wish.from_step and wish.from_step not in definition.steps:
        hint = did_you_mean(wish.from_step, definition.steps, what="steps")
        raise NotFound(f"{definition.name} has no step '{wish.from_step}' to begin with", hint=hint)


def _given(run: RunSnapshot, bundle: Bundle, changes: JsonObject) -> JsonObject:
    """The run's inputs with the changes, as if somebody gave them.

    Those that the definition no longer declares are left out; so are defaults, which are used as they are written: a
    number that is given is turned into what it is declared as, 1 into 1.0.
    """
    declared = bundle.definition.inputs
    kept = {
        name: value
        for name, value in run.inputs.items()
        if name in declared and not (value == declared[name].default and not declared[name].is_required)
    }
    return {**kept, **changes}
