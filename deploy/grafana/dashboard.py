"""Writes the Grafana dashboard: `python deploy/grafana/dashboard.py`.

A test compares the file with what this writes, and the expressions with what the processes tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "dashboards" / "meta-workflows.json"

Json = dict[str, object]
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, ROW = 8, 8, 24

W = 'workflow=~"$workflow"'
E = 'engine=~"$engine"'


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph over time.

    Attributes:
        queries: legend to expression.
        about: what it means, and what to look at when it is high.
    """

    title: str
    about: str
    unit: str
    queries: dict[str, str]
    steps: bool = False


def p(quantile: float, metric: str, by: str, where: str = "") -> str:
    """A quantile of a histogram, of the last minutes that the panel's resolution gives."""
    return f"histogram_quantile({quantile}, sum by (le, {by}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"


def rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def ended(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (increase({metric}{{{where}}}[$__rate_interval]))"


ROWS: dict[str, list[Panel]] = {
    "Meta-runs": [
        Panel("Running", "Runs that have not ended, as the store knows it.", "short",
              {"{{workflow}}": f"max by (workflow) (meta_runs_running{{{W}}})"}),
        Panel("Started", "Runs that came to be known.", "short",
              {"{{workflow}}": ended("meta_runs_started_total", "workflow", W)}),
        Panel("Ended", "By state; `meta list --state failed` names those that failed.", "short",
              {"{{workflow}} {{state}}": ended("meta_runs_ended_total", "workflow, state", W)}),
        Panel("Failed, of all that ended", "Over the last hour.", "percentunit", {
            "{{workflow}}": f'sum by (workflow) (increase(meta_runs_ended_total{{{W}, state="failed"}}[1h]))'
            f" / sum by (workflow) (increase(meta_runs_ended_total{{{W}}}[1h]))"}),
        Panel("Duration of runs", "From start to end.", "s", {
            "{{workflow}} p50": p(0.5, "meta_run_duration_seconds", "workflow", W),
            "{{workflow}} p95": p(0.95, "meta_run_duration_seconds", "workflow", W)}),
        Panel("Duration of steps", "Over all attempts.", "s", {
            "{{workflow}} {{engine}} p95": p(0.95, "meta_step_duration_seconds", "workflow, engine", f"{W}, {E}")}),
    ],
    "Steps and attempts": [
        Panel("Steps ended", "All attempts of a step together.", "short",
              {"{{engine}} {{state}}": ended("meta_steps_ended_total", "engine, state", f"{W}, {E}")}),
        Panel("Attempts that failed", "By class: failed is the engine run's own end, lost one that is gone.", "short",
              {"{{engine}} {{failure}}":
              ended("meta_attempts_ended_total", "engine, failure", f'{W}, {E}, failure!=""')}),
        Panel("From the cache", "Pods and tasks that the engine took from its cache, of all.", "percentunit", {
            "{{engine}}": ended("meta_engine_nodes_total", "engine", f'{E}, cached="true"')
            + " / " + ended("meta_engine_nodes_total", "engine", E)}),
        Panel("Submit latency", "From the workflow's wish to the adopted engine run.", "s", {
            "{{engine}} p50": p(0.5, "meta_submit_latency_seconds", "engine", E),
            "{{engine}} p95": p(0.95, "meta_submit_latency_seconds", "engine", E)}),
        Panel("Queue time in the engine", "From an engine run's start to its first pod's or task's.", "s",
              {"{{engine}} p95": p(0.95, "meta_engine_queue_time_seconds", "engine", E)}),
        Panel("Ends seen late", "From an engine run's end to our reading of it; two clocks.", "s",
              {"{{engine}} p95": p(0.95, "meta_detection_delay_seconds", "engine", E)}),
    ],
    "Engines": [
        Panel("Circuit", "0 closed, 1 half open, 2 open: the engine is not asked.", "short",
              {"{{engine}} {{job}}": f"max by (engine, job) (meta_engine_circuit{{{E}}})"}, steps=True),
        Panel("Silence of watchers", "Since the watcher of an engine last had an answer.", "s",
              {"{{engine}} {{instance}}": f"max by (engine, instance) (meta_engine_watcher_age_seconds{{{E}}})"}),
        Panel("Watchers begun again", "A stream that the server closes is normal, a few an hour.", "short", {
            "{{engine}} {{reason}}": ended("meta_engine_watcher_restarts_total", "engine, reason", E)}),
        Panel("Requests", "To the engines' APIs, a second.", "reqps",
              {"{{engine}} {{outcome}}": rate("meta_engine_requests_total", "engine, outcome", E)}),
        Panel("Duration of requests", "To the head of the answer.", "s", {
            "{{engine}} {{method}} p95": p(0.95, "meta_engine_request_duration_seconds", "engine, method", E)}),
        Panel("Awaited engine runs", "Waits of all workers.", "short",
              {"{{engine}}": f"sum by (engine) (meta_engine_awaited_runs{{{E}}})"}),
    ],
    "Messages and events": [
        Panel("Messages", "What became of messages that ask for runs.", "short",
              {"{{workflow}} {{outcome}}": ended("meta_trigger_messages_total", "workflow, outcome")}),
        Panel("Trigger lag", "From a message's storing in NATS to the start of its run.", "s",
              {"{{workflow}} p95": p(0.95, "meta_trigger_lag_seconds", "workflow")}),
        Panel("Dead messages", "They wait for somebody: `meta events`.", "short",
              {"{{workflow}} {{trigger}}": "max by (workflow, trigger) (meta_trigger_dead)"}),
        Panel("Outbox", "Life-cycle events that wait to be sent.", "short", {"events": "max(meta_outbox_size)"}),
        Panel("Age of the outbox", "Since the oldest of them was written.", "s",
              {"oldest": "max(meta_outbox_age_seconds)"}),
        Panel("Events sent", "Taken by NATS, a second.", "ops",
              {"events": "sum(rate(meta_events_published_total[$__rate_interval]))"}),
    ],
    "Workers and Temporal": [
        Panel("Workers", "Processes that have written to the store in the last 90 seconds.", "short",
              {"workers": "max(meta_workers)"}),
        Panel("Activities wait for a worker", "Schedule to start; more workers or slots where it is long.", "s", {
            "{{task_queue}} p95": p(0.95, "temporal_activity_schedule_to_start_latency_seconds", "task_queue")}),
        Panel("Workflow tasks wait for a worker", "Schedule to start.", "s", {
            "{{task_queue}} p95": p(0.95, "temporal_workflow_task_schedule_to_start_latency_seconds", "task_queue")}),
        Panel("Slots in use", "Of those that there are.", "percentunit", {
            "{{task_queue}} {{worker_type}}": "sum by (task_queue, worker_type) (temporal_worker_task_slots_used)"
            " / sum by (task_queue, worker_type)"
            " (temporal_worker_task_slots_used + temporal_worker_task_slots_available)"}),
        Panel("Requests to Temporal", "A second.", "reqps", {
            "{{operation}}": rate("temporal_request_total", "operation")}),
        Panel("Memory of processes", "Resident.", "bytes",
              {"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"meta-service|meta-worker"}'}),
    ],
}  # fmt: skip


def variable(name: str, label: str, metric: str) -> Json:
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "refresh": 2, "includeAll": True,
        "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "sort": 1,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
    }  # fmt: skip


def graph(number: int, panel: Panel, x: int, y: int) -> Json:
    custom: Json = {"fillOpacity": 10, "showPoints": "never", "lineInterpolation": "linear"}
    if panel.steps:
        custom["lineInterpolation"] = "stepAfter"
    targets = [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
        for at, (legend, expr) in enumerate(panel.queries.items())
    ]
    return {
        "id": number, "type": "timeseries", "title": panel.title, "description": panel.about, "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT}, "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }  # fmt: skip


def panels() -> Iterator[Json]:
    number, y = 1, 0
    for title, row in ROWS.items():
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": ROW, "h": 1}}  # fmt: skip
        number, y = number + 1, y + 1
        for at, panel in enumerate(row):
            yield graph(number, panel, at * WIDTH % ROW, y + at * WIDTH // ROW * HEIGHT)
            number += 1
        y += -(-len(row) * WIDTH // ROW) * HEIGHT


def dashboard() -> Json:
    source: Json = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "meta-workflows", "title": "Meta-workflows", "tags": ["meta-workflows"], "schemaVersion": 39,
        "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timezone": "browser", "editable": True,
        "templating": {"list": [
            source,
            variable("workflow", "Workflow", "meta_runs_started_total"),
            variable("engine", "Engine", "meta_engine_circuit"),
        ]},
        "panels": list(panels()),
    }  # fmt: skip


def text() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())
