from __future__ import annotations

import json
from datetime import UTC, datetime

from meta.trace.model import PART, Part
from meta.trace.record import RunRecord
from meta.trace.spans import run_spans
from workflows.board import Board
from workflows.messages import StartRun
from workflows.naming import RunKey
from workflows.queries import plan_view, trace_view
from workflows.search import ENGINE_KEY, KEYS, STATUS_KEY, TRIGGER_KEY, WORKFLOW_KEY, search_attributes, updates
from workflows.spec.models import MetaWorkflow
from workflows.trace import context_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIST_LIMIT = 2048  # bytes; Temporal's limit.searchAttributesSizeOfValue
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def start(steps: dict[str, object]) -> StartRun:
    document = {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "chain"}, "steps": steps}
    definition = MetaWorkflow.model_validate(document)
    return StartRun(definition=definition, bundle_digest="sha256:0", trigger="nats", trace={"traceparent": PARENT})


CHAIN = start(
    {
        "a": {"argo": {"clusterTemplate": "clean", "engine": "argo-eu"}},
        "b": {
            "kfp": {"pipeline": "churn", "version": "v3"},
            "parameters": {"rows": "${{ steps.a.outputs.rows }} of ${{ run.id }}"},
            "artifacts": {"data": "${{ steps.a.artifacts.data }}"},
        },
        "c": {"argo": {"cronWorkflow": "nightly", "engine": "argo-eu"}, "needs": ["b"]},
    }
)


def test_a_run_is_started_with_what_it_is_found_by_each_engine_once() -> None:
    found = search_attributes(CHAIN)
    assert (found[WORKFLOW_KEY], found[STATUS_KEY], found[TRIGGER_KEY]) == ("chain", "running", "nats")
    assert found[ENGINE_KEY] == ["argo-eu", "kfp"]
    wanted: dict[str, object] = {update.key.name: update.value for update in updates(CHAIN)}
    assert wanted == {
        "MetaWorkflow": "chain",
        "MetaStatus": "running",
        "MetaEngine": ["argo-eu", "kfp"],
        "MetaTrigger": "nats",
    }


def test_the_names_of_very_many_engines_are_cut_to_what_temporal_takes() -> None:
    many = start({f"s{i}": {"argo": {"manifest": "m.yaml", "engine": f"{'e' * 60}{i}"}} for i in range(300)})
    names = search_attributes(many)[ENGINE_KEY]
    assert len(names) > 20
    assert len(json.dumps(list(names)).encode()) <= LIST_LIMIT


def test_there_is_room_for_the_attributes_on_a_server_with_a_sql_database() -> None:
    kinds = [key.indexed_value_type.name for key in KEYS]
    assert kinds.count("KEYWORD_LIST") <= 3
    assert kinds.count("KEYWORD") <= 10


def test_the_plan_says_what_runs_after_what_and_what_is_read() -> None:
    a, b, c = plan_view(CHAIN.definition).steps
    assert [a.runs, b.runs, c.runs] == ["ClusterWorkflowTemplate clean", "pipeline churn, v3", "CronWorkflow nightly"]
    assert [a.after, b.after, c.after] == [[], ["a"], ["b"]]
    assert b.reads == ["run.id", "steps.a.artifacts.data", "steps.a.outputs.rows"]


def test_the_trace_has_the_ids_that_spans_and_engine_runs_are_given() -> None:
    board = Board("run-1", "t-1", CHAIN, NOW)
    board.attempt_started("a", 1, NOW)
    board.attempt_started("a", 2, NOW)
    view = trace_view(board.snapshot())
    spans = {span.attributes[PART]: span for span in run_spans(RunRecord(run=board.snapshot(), attempts=[], work=[]))}
    run, step = spans[Part.RUN], spans[Part.STEP]
    assert view.parent == PARENT
    assert view.trace_id == run.trace_id == PARENT.split("-")[1]
    assert (view.run_span_id, view.cause_span_id) == (run.span_id, run.parent_id)
    assert view.steps[0].span_id == step.span_id
    contexts = [context_of(RunKey(meta_run="run-1", step="a", attempt=n), CHAIN.trace, 1.0) for n in (1, 2)]
    assert view.steps[0].attempts == [context["traceparent"].split("-")[2] for context in contexts]
    assert view.steps[1].attempts == []
