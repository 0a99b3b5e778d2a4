"""What the real processes tell, and whether the dashboard and the alerts ask for that."""

from __future__ import annotations

import asyncio
import re
import runpy
from collections import defaultdict

import pytest

from tests.docs.pages import read
from tests.integration.metrics.instruments import described, made
from tests.integration.metrics.processes import SENT, Measured, measure
from tests.integration.metrics.promql import ADDED, ROOT, alerts, expressions, grouped, parse, rule_tests, selectors

EXPRESSIONS = expressions()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return asyncio.run(measure(tmp_path_factory.mktemp("measured")))


def told(measured: Measured) -> dict[str, dict[str, set[str]]]:
    """Samples of both processes: name, label, values."""
    found: dict[str, dict[str, set[str]]] = {"up": {}}
    for role in ("service", "worker"):
        for family in getattr(measured, role).values():
            for sample in family.samples:
                labels = found.setdefault(sample.name, defaultdict(set))
                for label, value in sample.labels.items():
                    labels[label].add(value)
    return found


def test_both_processes_tell_what_happened_once(measured: Measured) -> None:
    def both(sample: str, **labels: str) -> float:
        return sum(measured.value(role, sample, **labels) or 0 for role in ("service", "worker"))

    for workflow in ("succeeds", "fails", "goes-on"):
        assert both("meta_runs_started_total", workflow=workflow) == 1
    assert both("meta_runs_ended_total", workflow="succeeds", state="succeeded") == 1
    assert both("meta_runs_ended_total", workflow="fails", state="failed") == 1
    assert both("meta_runs_ended_total") == 2
    assert both("meta_steps_ended_total", workflow="fails", engine="argo", state="failed", failure="failed") == 1
    assert both("meta_attempts_ended_total", workflow="succeeds", state="succeeded") == 1
    assert both("meta_run_duration_seconds_count") == both("meta_step_duration_seconds_count") == 2
    assert both("meta_submit_latency_seconds_count", engine="argo") == 3
    assert both("meta_detection_delay_seconds_count", engine="argo") == 2
    assert both("meta_engine_queue_time_seconds_sum", engine="argo") == 4, "each began two seconds late"
    assert both("meta_engine_nodes_total", engine="argo", cached="true") == 2


def test_the_service_tells_how_things_stand(measured: Measured) -> None:
    def value(sample: str, **labels: str) -> float | None:
        return measured.value("service", sample, **labels)

    assert value("meta_runs_running", workflow="goes-on") == 1
    assert value("meta_workers") == 1
    assert value("meta_outbox_size") == 0
    assert value("meta_trigger_dead", trigger="rows") == 1
    assert measured.value("worker", "meta_runs_running") is None, "a worker would ask the store for nothing"
    assert measured.value("worker", "meta_engine_awaited_runs", engine="argo") == 1
    assert (measured.value("worker", "meta_engine_watcher_age_seconds", engine="argo") or 99) < 60


def test_what_temporals_sdk_counts_comes_along_in_seconds(measured: Measured) -> None:
    worker = measured.worker
    family = worker["temporal_workflow_task_schedule_to_start_latency_seconds"]
    assert family.type == "histogram"
    total = measured.value("worker", f"{family.name}_sum")
    count = measured.value("worker", f"{family.name}_count")
    assert total and count
    assert total / count < 20, "milliseconds would be hundreds"
    assert {sample.labels["task_queue"] for sample in family.samples} == {"meta-workflows"}
    assert measured.value("worker", "temporal_worker_task_slots_available", task_queue="meta-workflows-waits")
    assert measured.value("service", "temporal_request_total", operation="StartWorkflowExecution") == 3


def test_no_label_names_a_single_run(measured: Measured) -> None:
    for name, labels in told(measured).items():
        for label, values in labels.items():
            if label not in ("le", "service_instance_id"):
                assert len(values) < 25, (name, label, values)
                assert not [one for one in values if re.search(r"[0-9a-f]{8}", one)], (name, label, values)


def test_a_collector_is_sent_the_same(measured: Measured) -> None:
    sink = measured.collector
    assert sink.headers["x-token"] == "secret"
    assert {role for role, names in SENT.items() if names <= sink.names[role]} == {"service", "worker"}
    assert {one["service.name"] for one in sink.resources} == {"meta-workflows"}
    assert len({one["service.instance.id"] for one in sink.resources}) == 2, "two processes must not write one series"


def test_the_ratio_of_the_configuration_is_what_engine_runs_and_events_are_told(measured: Measured) -> None:
    for traceparents in measured.traceparents:
        assert len(traceparents) == 3, "of each run one"
        assert {one[-3:] for one in traceparents} == {"-00"}, "by a sampling of 0 nothing is to be exported"


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_each_expression_can_be_read(where: str) -> None:
    parse(EXPRESSIONS[where])
    assert selectors(EXPRESSIONS[where])


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_each_expression_asks_for_what_the_processes_tell(measured: Measured, where: str) -> None:
    samples = told(measured)
    for asked in selectors(EXPRESSIONS[where]):
        assert asked.name in samples, asked.name
        for label, value in asked.labels.items():
            if label not in ADDED:
                assert label in samples[asked.name], (asked.name, label)
                assert value is None or value in samples[asked.name][label], (asked.name, label, value)
    for labels, below in grouped(EXPRESSIONS[where]):
        for asked in below:
            assert labels - ADDED <= set(samples[asked.name]), (asked.name, labels)


def test_every_alert_says_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) >= 8
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 80
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            by = [labels for labels, _ in grouped(rule["expr"])]
            assert any(label in labels for labels in by), f"{rule['alert']} has no label {label}"
        assert rule["alert"] in read("docs/metrics.md")


def test_the_dashboard_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "deploy/grafana/dashboard.py"))
    assert script["FILE"].read_text() == script["text"](), "run: python deploy/grafana/dashboard.py"


def test_the_page_names_every_instrument_as_the_code_has_it(measured: Measured) -> None:
    page = read("docs/metrics.md")
    rows = dict(re.findall(r"^\| `(meta\.[a-z._]+)` \| `(\w+)` \|", page, re.MULTILINE))
    assert set(rows) == set(made()) == set(described())
    samples = told(measured)
    for instrument, name in rows.items():
        # nothing went wrong, and nothing was taken over
        if instrument not in ("meta.events.failures", "meta.trigger.redeliveries", "meta.steps.taken"):
            assert name in samples or f"{name}_bucket" in samples, (instrument, name)
        assert name.startswith(instrument.replace(".", "_"))


def test_the_made_up_series_of_the_alerts_are_such_as_the_processes_tell(measured: Measured) -> None:
    samples = told(measured)
    named: set[str] = set()
    for test in rule_tests():
        for series in test["input_series"]:
            [asked] = selectors(series["series"])
            assert set(asked.labels) - ADDED <= set(samples[asked.name]), series
        for one in test.get("promql_expr_test", ()):
            assert parse(one["expr"])
            named.update(re.findall(r'alertname="(\w+)"', str(one["exp_samples"])))
    assert named == {rule["alert"] for rule in alerts()}, "each is raised once"
