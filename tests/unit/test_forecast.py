"""Predicted histories, against those that are kept."""

from __future__ import annotations

import base64
import json

import pytest

from tests.histories.scenarios import FOLDER
from workflows.fanout import INLINE_ITEMS
from workflows.forecast import forecast
from workflows.spec.models import MetaWorkflow


def chain(steps: dict[str, object]) -> MetaWorkflow:
    return MetaWorkflow.model_validate(
        {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "c"}, "steps": steps}
    )


@pytest.mark.parametrize("history", ["values_artifacts_and_a_gate", "an_artifact_copied_for_its_consumer"])
def test_a_smooth_run_has_about_as_many_events_as_foretold(history: str) -> None:
    events = json.loads((FOLDER / f"{history}.json").read_text())["events"]
    start = events[0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0]["data"]
    definition = MetaWorkflow.model_validate(json.loads(base64.b64decode(start))["definition"])
    found = forecast(definition, {}, frozenset({"rollback"}))
    assert 0.7 * len(events) < found.events < 1.3 * len(events)


def test_a_chain_of_steps_grows_by_about_thirteen_events_each() -> None:
    one = forecast(chain({"a": {"argo": {"template": "t"}}}), {})
    hundred = forecast(chain({f"a{n}": {"argo": {"template": "t"}} for n in range(101)}), {})
    assert 10 <= (hundred.events - one.events) / 100 <= 16
    assert hundred.fits


def test_items_beyond_the_inline_ones_hardly_count() -> None:
    fan = chain({"a": {"argo": {"template": "t"}, "foreach": {"range": 10_000}}})
    inline, chunked = forecast(fan, {"a": INLINE_ITEMS}), forecast(fan, {"a": 10_000})
    assert chunked.events < inline.events
    assert chunked.fits


def test_many_fan_outs_that_a_run_would_take_by_chunks_fit() -> None:
    fans = {f"a{n}": {"argo": {"template": "t"}, "foreach": {"range": 200}} for n in range(30)}
    assert forecast(chain(dict(fans)), {name: INLINE_ITEMS for name in fans}).fits


def test_a_fan_out_that_a_run_would_refuse_does_not_fit() -> None:
    tried = {"argo": {"template": "t"}, "foreach": {"range": 10_000}, "retry": {"attempts": 100}}
    found = forecast(chain({"a": tried}), {"a": 10_000})
    assert (found.refused, found.fits) == (("a",), False)


def test_what_temporal_would_end_does_not_fit() -> None:
    steps = {f"a{n}": {"argo": {"template": "t"}, "parameters": {"x": "y" * 200_000}} for n in range(300)}
    assert not forecast(chain(dict(steps)), {}).fits
