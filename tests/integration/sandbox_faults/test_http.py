"""Faults of HTTP as a plain client sees them, on both engines."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meta.sandbox.argo.faults import MARK
from meta.sandbox.faults import FaultPlan, parse_rules
from tests.integration.sandbox_faults.conftest import Client, argo_app, argo_at
from tests.integration.sandbox_faults.support import BROKEN, created, ended, run, runs_named, workflow
from workflows.errors import SettingsInvalid

NO_LABELS: dict[str, str] = {}


def test_a_lost_response_is_of_a_request_that_was_carried_out(argo: Client, kfp: Client) -> None:
    for client in (argo, kfp):
        client.faults("lost-response:times=1")
    with pytest.raises(BROKEN):
        argo.call("POST", "/workflows/argo", workflow(name="lost"))
    assert argo.call("GET", "/workflows/argo/lost")[0] == 200
    with pytest.raises(BROKEN):
        kfp.call("POST", "/runs", run("lost"))
    assert len(runs_named(kfp, "lost")) == 1
    assert (argo.fired(), kfp.fired()) == ([1], [1])


def test_a_lost_request_was_not_carried_out(argo: Client, kfp: Client) -> None:
    for client in (argo, kfp):
        client.faults("lost-request:times=1")
    with pytest.raises(BROKEN):
        argo.call("POST", "/workflows/argo", workflow(name="never"))
    assert argo.call("GET", "/workflows/argo/never")[0] == 404
    with pytest.raises(BROKEN):
        kfp.call("POST", "/runs", run("never"))
    assert runs_named(kfp, "never") == []


def test_the_response_of_any_verb_can_be_lost(argo: Client, kfp: Client) -> None:
    name = created(argo, "sleep 60")
    argo.faults("lost-response:verb=terminate")
    with pytest.raises(BROKEN):
        argo.call("PUT", f"/workflows/argo/{name}/terminate", {})
    assert ended(argo, name)["phase"] == "Failed"
    run_id = kfp.call("POST", "/runs", run())[1]["run_id"]
    kfp.faults("lost-response:verb=delete")
    with pytest.raises(BROKEN):
        kfp.call("DELETE", f"/runs/{run_id}")
    assert kfp.call("GET", f"/runs/{run_id}")[0] == 404


def test_a_burst_of_503_is_plain_text_as_of_a_proxy_and_spares_the_health_check(argo: Client, kfp: Client) -> None:
    for client, path, health in ((argo, "/workflows/argo", "/version"), (kfp, "/experiments", "/healthz")):
        client.faults("unavailable:times=2")
        answers = [client.ask("GET", path) for _ in range(3)]
        assert [answer.status for answer in answers] == [503, 503, 200]
        assert answers[0].headers["content-type"].startswith("text/plain")
        client.faults("unavailable")
        assert client.ask("GET", health).status == 200
        client.faults("unavailable:verb=health")
        assert client.ask("GET", health).status == 503


def test_too_many_requests_says_when_to_come_back(argo: Client, kfp: Client) -> None:
    for client in (argo, kfp):
        client.faults("too-many-requests:delay=30")
    answer = argo.ask("GET", "/workflows/argo")
    again = email.utils.parsedate_to_datetime(answer.headers["retry-after"]).timestamp()
    assert answer.status == 429
    assert 20 < again - time.time() < 40
    answer = kfp.ask("GET", "/runs")
    assert (answer.status, answer.headers["retry-after"]) == (429, "30")


def test_a_server_error_has_the_engines_own_body(argo: Client, kfp: Client) -> None:
    for client in (argo, kfp):
        client.faults("server-error")
    assert argo.call("GET", "/workflows/argo") == (500, {"code": 13, "message": "etcdserver: request timed out"})
    status, body = kfp.call("GET", "/runs")
    assert (status, body["code"], body["details"][0]["message"]) == (500, 13, "Internal Server Error")
    assert body["message"].startswith("InternalServerError: ")


def test_a_slow_answer_comes_in_the_end(argo: Client, kfp: Client) -> None:
    for client, path in ((argo, "/workflows/argo"), (kfp, "/runs")):
        client.faults("slow:delay=0.3,verb=list")
        began = time.monotonic()
        assert client.ask("GET", path).status == 200
        assert time.monotonic() - began >= 0.3


def test_a_quota_conflict_looks_like_a_taken_name_and_nothing_is_created(argo: Client) -> None:
    argo.faults("quota-conflict:times=1")
    status, body = argo.call("POST", "/workflows/argo", workflow(name="quota"))
    assert (status, body["code"]) == (409, 6)
    assert body["message"].startswith('Operation cannot be fulfilled on resourcequotas "sandbox": the object has been')
    assert argo.call("GET", "/workflows/argo/quota")[0] == 404


def test_a_conflict_at_a_retry_is_409_from_argo_and_500_from_kfp(argo: Client, kfp: Client) -> None:
    name = created(argo, "false")
    before = ended(argo, name)
    run_id = kfp.call("POST", "/runs", run())[1]["run_id"]
    kfp.call("POST", f"/runs/{run_id}:terminate")
    for client in (argo, kfp):
        client.faults("retry-conflict:times=1")
    status, body = argo.call("PUT", f"/workflows/argo/{name}/retry", {})
    assert (status, body["code"]) == (409, 6)
    assert f'workflows.argoproj.io "{name}": the object has been modified' in body["message"]
    assert ended(argo, name) == before
    status, body = kfp.call("POST", f"/runs/{run_id}:retry")
    assert (status, body["code"]) == (500, 13)
    assert "already exists, the server was not able to generate a unique name" in body["message"]
    assert kfp.call("GET", f"/runs/{run_id}")[1]["state"] == "FAILED"
    assert kfp.call("POST", f"/runs/{run_id}:retry")[0] == 200


def test_a_rule_meets_only_the_runs_it_names(argo: Client) -> None:
    argo.faults("server-error:name=bad-*,verb=get", {"kind": "server-error", "match": {"label": "team=red"}})
    cases = (("bad-1", NO_LABELS, 500), ("good-1", NO_LABELS, 200), ("good-2", {"team": "blue"}, 200))
    for name, labels, status in cases:
        created(argo, name=name, labels=labels)
        assert argo.ask("GET", f"/workflows/argo/{name}").status == status
    assert argo.ask("POST", "/workflows/argo", workflow(labels={"team": "red"})).status == 500


def test_a_label_on_a_workflow_makes_each_of_its_kinds_happen_once(argo: Client) -> None:
    mark = "lost-response.retry-conflict"
    with pytest.raises(BROKEN):
        argo.call("POST", "/workflows/argo", workflow("false", name="marked", labels={MARK: mark}))
    ended(argo, "marked")
    retries = [argo.ask("PUT", "/workflows/argo/marked/retry", {}).status for _ in range(2)]
    assert retries == [409, 200]
    assert argo.call("GET", "/workflows/argo/marked")[1]["metadata"]["labels"][MARK] == mark


def test_an_annotation_on_a_workflow_takes_whole_rules(argo: Client) -> None:
    rules = "server-error:verb=get,times=2; slow:verb=get,delay=0.1,after=2"
    name = created(argo, annotations={MARK: rules})
    assert [argo.ask("GET", f"/workflows/argo/{name}").status for _ in range(3)] == [500, 500, 200]
    assert argo.ask("GET", "/workflows/argo").status == 200


def test_a_line_in_the_description_of_a_kfp_run_takes_rules(kfp: Client) -> None:
    body = run("described", description="mine\nsandbox-fault: server-error:verb=get,times=1; unavailable:verb=retry")
    run_id = kfp.call("POST", "/runs", body)[1]["run_id"]
    assert [kfp.ask("GET", f"/runs/{run_id}").status for _ in range(2)] == [500, 200]
    assert kfp.ask("POST", f"/runs/{run_id}:retry").status == 503


def test_wrong_rules_on_a_run_are_refused_when_it_is_created(argo: Client, kfp: Client) -> None:
    status, body = argo.call("POST", "/workflows/argo", workflow(name="wrong", labels={MARK: "stale-list"}))
    assert (status, body) == (
        400, {"code": 3, "message": "stale-list cannot be set on one run: it is not about one"},
    )  # fmt: skip
    assert argo.call("GET", "/workflows/argo/wrong")[0] == 404
    status, body = kfp.call("POST", "/runs", run("wrong", description="sandbox-fault: watch-cut"))
    assert (status, body["code"]) == (400, 3)
    assert "watch-cut is no fault of kfp" in body["message"]
    assert runs_named(kfp, "wrong") == []


def pattern(argo: Client, seed: int, prefix: str) -> list[list[int]]:
    argo.faults("server-error:probability=0.5,verb=get", seed=seed)
    names = [f"{prefix}-{number}" for number in range(3)]
    asked = [(name, argo.ask("GET", f"/workflows/argo/{name}").status) for _ in range(12) for name in names]
    return [[status for one, status in asked if one == name] for name in names]


def test_the_same_seed_gives_each_run_the_same_faults(argo: Client) -> None:
    first = pattern(argo, 7, "seeded")
    assert {500, 404} == {status for statuses in first for status in statuses}
    assert pattern(argo, 7, "seeded") == first
    assert pattern(argo, 8, "seeded") != first


def test_the_admin_endpoint_shows_what_happened_and_refuses_what_cannot(argo: Client) -> None:
    argo.faults("server-error:verb=get,times=1", "slow:verb=log,delay=1", seed=5)
    created_name = created(argo)
    for _ in range(2):
        argo.ask("GET", f"/workflows/argo/{created_name}")
    url = f"{argo.url}/sandbox/faults"
    shown = argo.http.request("GET", url).json()
    assert shown["seed"] == 5
    assert [(rule["text"], rule["matched"], rule["fired"]) for rule in shown["rules"]] == [
        ("server-error:times=1,verb=get", 2, 1),
        ("slow:delay=1.0,verb=log", 0, 0),
    ]
    for wrong, reason in (("late-list", "late-list is no fault of argo"), ("slw", 'there is no fault "slw"')):
        answer = argo.http.request("PUT", url, json={"rules": [wrong]})
        assert answer.status == 400
        assert reason in answer.json()["message"]
    assert len(argo.fired()) == 2  # as before
    assert argo.http.request("DELETE", url).json()["rules"] == []


@pytest.fixture
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with argo_at(argo_app(tmp_path_factory.mktemp("plain"), admin=False)) as client:
        yield client


def test_without_a_flag_there_is_no_admin_endpoint(plain: Client) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert plain.http.request(method, f"{plain.url}/sandbox/faults").status == 404


def test_a_fault_from_the_start_opens_the_admin_endpoint(tmp_path: Path) -> None:
    plan = FaultPlan(seed=1, rules=parse_rules("server-error:verb=list,times=1"))
    with argo_at(argo_app(tmp_path, plan, admin=False)) as client:
        assert [client.ask("GET", "/workflows/argo").status for _ in range(2)] == [500, 200]
        assert client.fired() == [1]


def test_a_fault_that_the_engine_does_not_have_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="late-list is no fault of argo"):
        argo_app(tmp_path, FaultPlan(rules=parse_rules("late-list")))
