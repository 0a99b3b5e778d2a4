"""Which engine a step goes to that names a use case."""

from __future__ import annotations

import pytest

from workflows.errors import UseCaseUnsettled
from workflows.messages import EngineChoice, StartRun
from workflows.outcome import EngineKind
from workflows.spec.models import MetaWorkflow
from workflows.use_cases import UseCases
from workflows.values import JsonObject

ENGINES = {"argo": EngineKind.ARGO, "argo-west": EngineKind.ARGO, "kfp": EngineKind.KFP}
BOTH: JsonObject = {"useCase": "evaluation", "argo": {"template": "judge"}, "kfp": {"pipeline": "judge"}}


def chain(steps: dict[str, JsonObject], finally_: dict[str, JsonObject] | None = None) -> MetaWorkflow:
    return MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "chain"},
            "steps": steps,
            "finally": finally_ or {},
        }
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_of_the_table_decides_which_source_is_taken(engine: str) -> None:
    definition = chain({"judge": {**BOTH, "parameters": {"doubt": 0.05}}})
    settled = UseCases({"evaluation": engine}, ENGINES).settle(definition)
    step = settled.definition.steps["judge"]
    assert (step.engine, step.engine_kind, step.use_case) == (engine, ENGINES[engine], None)
    assert step.parameters == {"doubt": 0.05}
    assert settled.choices == {"judge": EngineChoice(engine=engine, kind=ENGINES[engine])}
    assert definition.steps["judge"].use_case == "evaluation", "the bundle's own definition stays as it is"


def test_what_was_settled_survives_the_way_through_a_history() -> None:
    settled = UseCases({"evaluation": "kfp"}, ENGINES).settle(chain({"judge": BOTH}))
    start = StartRun(definition=settled.definition, choices=settled.choices, bundle_digest="sha256:0")
    assert StartRun.model_validate_json(start.model_dump_json()) == start


def test_a_step_that_runs_at_the_end_is_settled_too() -> None:
    settled = UseCases({"evaluation": "kfp"}, ENGINES).settle(chain({"a": {"argo": {"template": "t"}}}, {"b": BOTH}))
    assert settled.definition.step("b").engine == "kfp"
    assert list(settled.choices) == ["b"]


def test_a_definition_without_use_cases_needs_no_table() -> None:
    definition = chain({"a": {"argo": {"template": "t", "engine": "argo-west"}}})
    settled = UseCases().settle(definition)
    assert settled.definition is definition
    assert settled.choices == {}


def test_every_step_that_cannot_be_settled_is_named_with_what_to_do() -> None:
    definition = chain(
        {
            "unknown": {"useCase": "evaluatoin", "kfp": {"pipeline": "p"}},
            "gone": {"useCase": "training", "kfp": {"pipeline": "p"}},
            "one_sided": {"useCase": "ingestion", "kfp": {"pipeline": "p"}},
        }
    )
    table = {"evaluation": "kfp", "training": "kfp-old", "ingestion": "argo-west"}
    with pytest.raises(UseCaseUnsettled) as caught:
        UseCases(table, ENGINES).settle(definition)
    message, hint = caught.value.message, caught.value.hint
    assert "step 'unknown': the service has no use case 'evaluatoin'" in message
    assert "did you mean 'evaluation'?" in hint
    assert 'evaluatoin = "ENGINE"' in hint
    assert "step 'gone': the use case 'training' goes to engine 'kfp-old', which is not configured" in message
    assert "did you mean 'kfp'?" in hint
    assert (
        "step 'one_sided': the use case 'ingestion' goes to engine 'argo-west', and the step has no 'argo'" in message
    )
    assert "give the step 'argo' too, or move the use case" in hint
