"""Use cases: which engine each goes to, and a definition as it runs by that.

The table is data of the configuration. A definition that names a use case in place of an engine moves when the table
is edited; runs that have begun stay where they are, because what a run was settled to stands in its own argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workflows.errors import UseCaseUnsettled
from workflows.messages import EngineChoice
from workflows.outcome import EngineKind
from workflows.spec.models import MetaWorkflow
from workflows.spec.steps import Step
from workflows.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Settled:
    """A definition whose use cases have engines.

    Attributes:
        definition: each step has one source, which names its engine.
        choices: what was chosen, by step; a submission reads the bundle, where the use cases still stand.
    """

    definition: MetaWorkflow
    choices: dict[str, EngineChoice]


@dataclass(frozen=True, slots=True)
class UseCases:
    """The table, with the engines that it can name.

    Attributes:
        table: use case to the name of an engine.
        engines: the kind of every configured engine, by name.
    """

    table: Mapping[str, str] = field(default_factory=dict[str, str])
    engines: Mapping[str, EngineKind] = field(default_factory=dict[str, EngineKind])

    def settle(self, definition: MetaWorkflow) -> Settled:
        """Give every step that names a use case its engine. Whoever starts a run calls this first.

        Raises:
            UseCaseUnsettled: with every step whose use case is not in the table, goes to an engine that is not
                configured, or to one for whose kind the step has nothing.
        """
        choices: dict[str, EngineChoice] = {}
        problems: list[tuple[str, str]] = []
        parts = {"steps": dict(definition.steps), "finally_": dict(definition.finally_)}
        for steps in parts.values():
            for name, step in steps.items():
                if step.use_case is None:
                    continue
                choice = self._choose(name, step, step.use_case)
                if isinstance(choice, EngineChoice):
                    choices[name] = choice
                    steps[name] = step.settled(choice.engine, choice.kind)
                else:
                    problems.append(choice)
        if problems:
            raise UseCaseUnsettled(
                "; ".join(message for message, _ in problems), hint="; ".join(dict.fromkeys(h for _, h in problems))
            )
        return Settled(definition.model_copy(update=parts) if choices else definition, choices)

    def _choose(self, name: str, step: Step, use_case: str) -> EngineChoice | tuple[str, str]:
        """The engine of a step's use case; else what is wrong, and what to do about it."""
        engine = self.table.get(use_case)
        if engine is None:
            near = did_you_mean(use_case, self.table, what="use cases")
            message = f"step '{name}': the service has no use case '{use_case}'"
            return message, f'{near}; a new one stands under [use_cases] in meta.toml: {use_case} = "ENGINE"'
        kind = self.engines.get(engine)
        if kind is None:
            near = did_you_mean(engine, self.engines, what="engines")
            message = f"step '{name}': the use case '{use_case}' goes to engine '{engine}', which is not configured"
            return message, f"{near}; mend [use_cases] in meta.toml"
        if getattr(step, kind.value) is None:
            goes = f"the use case '{use_case}' goes to engine '{engine}'"
            message = f"step '{name}': {goes}, and the step has no '{kind.value}'"
            return message, f"give the step '{kind.value}' too, or move the use case under [use_cases] in meta.toml"
        return EngineChoice(engine=engine, kind=kind)
