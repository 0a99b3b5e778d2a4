"""What a start would run, without running anything: values that are known, and what the engines say."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from meta.api.engines import Engines
from meta.store import Store
from workers.engines.base import EngineCheck, Unknown, Verdict
from workers.submission import make_submission
from workflows.bundle import Bundle, validate_bundle
from workflows.caching_messages import FindCached
from workflows.details import source_of
from workflows.errors import InputsInvalid, MetaError, NotFound, Problem, UseCaseUnsettled
from workflows.forecast import Forecast, forecast
from workflows.foresight import Foreseen, What, foresee
from workflows.inputs import check_inputs
from workflows.messages import EngineChoice, StepOutcome, StepRole, StepView, SubmitStep, Taken
from workflows.naming import RunKey, engine_run_name
from workflows.outcome import StepState
from workflows.plan import make_plan
from workflows.spec.models import COMPENSATE, MetaWorkflow
from workflows.spec.sources import WorkflowSource
from workflows.spec.steps import Step
from workflows.use_cases import Settled, UseCases
from workflows.values import JsonObject

_NOBODY = "meta-plan"  # in place of a run's id


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan.

    Attributes:
        foreseen: what becomes of it, and its values.
        taken: whose success stands for it.
        checks: what was said of what it names.
    """

    name: str
    role: StepRole
    step: Step
    after: tuple[str, ...]
    foreseen: Foreseen
    taken: Taken | None = None
    checks: Sequence[EngineCheck] = ()

    @property
    def runs(self) -> str:
        return source_of(self.step)

    @property
    def ok(self) -> bool:
        return self.foreseen.what is not What.FAIL and all(c.verdict is not Verdict.FAIL for c in self.checks)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would be.

    Attributes:
        problems: of definition and inputs; with any there are no steps.
        inputs: with defaults.
    """

    workflow: str
    problems: Sequence[Problem] = ()
    inputs: JsonObject = field(default_factory=dict)
    steps: Sequence[PlannedStep] = ()
    forecast: Forecast = field(default_factory=lambda: Forecast(0, 0))

    @property
    def ok(self) -> bool:
        """Whether a run would begin, and nothing is known that it would fail by."""
        return not self.problems and self.forecast.fits and all(step.ok for step in self.steps)


class Planner:
    """Makes plans.

    Args:
        store: knows what is published, and earlier successes.
        engines: that are asked.
        use_cases: which engine each goes to.
    """

    def __init__(self, store: Store, engines: Engines, use_cases: UseCases) -> None:
        self._store = store
        self._engines = engines
        self._use_cases = use_cases

    async def plan(self, bundle: Bundle, inputs: JsonObject, *, offline: bool) -> RunPlan:
        """Plan a run.

        Args:
            bundle: what would run; it need not be stored.
            inputs: as they would be given.
            offline: do not ask the engines.
        """
        definition = bundle.definition
        if problems := validate_bundle(bundle):
            return RunPlan(definition.name, problems)
        try:
            inputs = check_inputs(definition, inputs)
            settled = self._use_cases.settle(definition)
        except (InputsInvalid, UseCaseUnsettled) as error:
            path = "inputs" if isinstance(error, InputsInvalid) else "steps"
            return RunPlan(definition.name, [Problem(error.message, path=path, hint=error.hint)])
        definition = settled.definition
        steps = await self._steps(bundle, settled, inputs)
        steps += _others(definition, {one.name for one in steps if one.foreseen.what in (What.SKIP, What.CACHED)})
        if not offline:
            checks = await asyncio.gather(*(self._checks(bundle, one, settled.choices.get(one.name)) for one in steps))
            steps = [replace(one, checks=found) for one, found in zip(steps, checks, strict=True)]
        items = {one.name: one.foreseen.items for one in steps if one.foreseen.items is not None}
        skipped = frozenset(one.name for one in steps if one.foreseen.what in (What.SKIP, What.CACHED))
        return RunPlan(definition.name, (), inputs, steps, forecast(definition, items, skipped))

    async def _steps(self, bundle: Bundle, settled: Settled, inputs: JsonObject) -> list[PlannedStep]:
        definition = settled.definition
        views: dict[str, StepView] = {}
        open_: set[str] = set()
        found: list[PlannedStep] = []
        for planned in make_plan(definition).steps:
            foreseen = foresee(definition, planned.name, inputs, views, frozenset(open_))
            if foreseen.what is What.SKIP:
                views[planned.name] = StepView(state=StepState.SKIPPED)
            elif foreseen.what is What.UNKNOWN:
                open_.add(planned.name)
            step, taken = definition.steps[planned.name], None
            if foreseen.certain and (hit := await self._success(bundle, planned.name, step, foreseen, settled)):
                foreseen, taken = replace(foreseen, what=What.CACHED), hit.taken_from
                views[planned.name] = StepView(state=StepState.SUCCEEDED, outputs=hit.outputs, artifacts=hit.artifacts)
            found.append(PlannedStep(planned.name, StepRole.STEP, step, planned.dependencies, foreseen, taken))
        return found

    async def _success(
        self, bundle: Bundle, name: str, step: Step, foreseen: Foreseen, settled: Settled
    ) -> StepOutcome | None:
        """The earlier success that a run would take; of a fan-out each item is looked for in the run."""
        if step.caching is None or step.foreach is not None or step.engine_kind is None:
            return None
        from workers.caching import find_cached  # with the stores' clients, which are slow to import

        message = FindCached(
            bundle_digest="",
            key=RunKey(meta_run=_NOBODY, step=name),
            resolved=foreseen.resolved,
            choice=settled.choices.get(name),
            outputs=step.outputs,
            ttl=step.caching.ttl,
        )
        return (await find_cached(message, bundle, self._engines.objects(), self._store)).outcome

    async def _checks(self, bundle: Bundle, planned: PlannedStep, choice: EngineChoice | None) -> list[EngineCheck]:
        """What is said of what a step names; nothing of one that is not run."""
        if planned.foreseen.what in (What.SKIP, What.CACHED, What.FAIL):
            return []
        source = planned.step.source
        if isinstance(source, WorkflowSource):
            return [await self._published(source, planned)]
        if planned.step.engine_kind is None:
            return []
        try:
            engine = await self._engines.get(planned.step.engine)
        except MetaError as error:
            return [EngineCheck("engine", Verdict.FAIL, error.message, error.hint)]
        key = RunKey(meta_run=_NOBODY, step=planned.name)
        message = SubmitStep(
            definition_name=bundle.definition.name,
            bundle_digest="",
            key=key,
            name=engine_run_name(bundle.definition.name, key),
            resolved=planned.foreseen.resolved,
            choice=choice,
        )
        unknown = Unknown(planned.foreseen.parameters, planned.foreseen.artifacts)
        return await engine.rehearse(make_submission(message, bundle), unknown)

    async def _published(self, source: WorkflowSource, planned: PlannedStep) -> EngineCheck:
        """Whether the meta-workflow that a step runs is published, and takes what is passed."""
        try:
            newest = await self._store.workflows.newest(source.name)
        except NotFound as error:
            return EngineCheck("reference", Verdict.FAIL, error.message, error.hint)
        known = newest.definition.inputs
        given = {**planned.foreseen.resolved.parameters, **planned.foreseen.parameters}
        wrong = [f"it has no input '{name}'" for name in given if name not in known]
        wrong += [f"it needs '{name}'" for name, one in known.items() if one.is_required and name not in given]
        if wrong:
            hint = f"its inputs: {', '.join(known) or 'none'}"
            return EngineCheck("arguments", Verdict.FAIL, f"meta-workflow '{source.name}': {'; '.join(wrong)}", hint)
        return EngineCheck("reference", Verdict.OK, f"meta-workflow '{source.name}', version {newest.version}")


def _others(definition: MetaWorkflow, undone: Collection[str]) -> list[PlannedStep]:
    """Compensations and steps of `finally`: what they are given depends on how the run goes.

    Args:
        definition: that has them.
        undone: steps that do not run, so that there is nothing to take back.
    """
    found: list[PlannedStep] = []
    for name, step in definition.everything().items():
        if name in definition.steps:
            continue
        undoes = name.removeprefix(COMPENSATE) if name not in definition.finally_ else ""
        role = StepRole.COMPENSATION if undoes else StepRole.FINALLY
        why = f"if the run fails or is cancelled after {undoes} has succeeded" if undoes else "at the end"
        parameters = {key: value if isinstance(value, str) else str(value) for key, value in step.parameters.items()}
        what = What.UNKNOWN if undoes or step.when is not None else What.RUN
        if undoes in undone:
            what, why = What.SKIP, f"{undoes} does not run"
        foreseen = Foreseen(what, why, parameters=parameters, artifacts=step.artifacts)
        found.append(PlannedStep(name, role, step, (undoes,) if undoes else tuple(step.needs), foreseen))
    return found
