"""Faults of watches, lists and records, as a plain client sees them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Iterator

import grpc
import pytest
import urllib3

from meta.sandbox.argo.faults import MARK
from tests.integration.sandbox_faults.conftest import Client, Json, until
from tests.integration.sandbox_faults.support import BROKEN, created, ended, run, runs_named
from workers.engines.kfp.proto import metadata_store_pb2 as pb
from workers.engines.kfp.proto import metadata_store_pb2_grpc as pb_grpc


class Watch:
    """An open watch on one workflow's events, read line by line."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self.answer, self._buffer = answer, b""

    def lines(self) -> Iterator[str]:
        """Lines with something on them; the last may be half a line."""
        while chunk := self.answer.read1(65536):
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            yield from (line.decode() for line in lines if line)

    @property
    def rest(self) -> str:
        return self._buffer.decode()


@contextlib.contextmanager
def watching(
    argo: Client, accept: str = "application/json", *, patience: float = 5.0, **query: str
) -> Generator[Watch]:
    answer = argo.http.request(
        "GET", f"{argo.url}/api/v1/workflow-events/argo", headers={"Accept": accept}, preload_content=False,
        fields={f"listOptions.{key}": value for key, value in query.items()}, timeout=urllib3.Timeout(read=patience),
    )  # fmt: skip
    try:
        yield Watch(answer)
    finally:
        answer.close()


def now(argo: Client) -> str:
    return str(argo.call("GET", "/workflows/argo")[1]["metadata"]["resourceVersion"])


def name_of(line: str) -> str:
    return str(json.loads(line.removeprefix("data:"))["result"]["object"]["metadata"]["name"])


def see(lines: Iterator[str], name: str) -> None:
    """Read on to an event of a workflow; there may be others, of workflows that earlier tests left."""
    assert any(name_of(line) == name for line in lines)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_watch_is_cut_before_the_event_of_a_rule(argo: Client, accept: str) -> None:
    argo.faults("watch-cut:name=cut-*,times=1")
    with watching(argo, accept, resourceVersion=now(argo)) as watch:
        seen = watch.lines()
        see(seen, created(argo))
        cut = created(argo, name=f"cut-{accept[:4]}")
        with pytest.raises(BROKEN):
            see(seen, cut)
    assert argo.fired() == [1]


def test_a_partial_cut_is_in_the_middle_of_a_line(argo: Client) -> None:
    argo.faults("watch-cut:partial")
    with watching(argo, resourceVersion=now(argo)) as watch:
        created(argo)
        with pytest.raises(BROKEN):
            list(watch.lines())
        assert watch.rest.startswith('{"result":')
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(watch.rest)


def test_an_error_in_a_watch_has_the_gateways_form_and_ends_the_stream(argo: Client) -> None:
    argo.faults("watch-error")
    for accept, prefix in (("application/json", ""), ("text/event-stream", "data: ")):
        with watching(argo, accept, resourceVersion=now(argo)) as watch:
            created(argo)
            (line,) = watch.lines()  # and then a clean end
        assert line.startswith(prefix)
        error = {"grpc_code": 8, "http_code": 429, "message": "EOF", "http_status": "Too Many Requests"}
        assert json.loads(line.removeprefix(prefix)) == {"error": error}


def test_a_version_that_is_too_old_is_refused_or_said_inside_the_stream(argo: Client) -> None:
    argo.faults("watch-too-old")
    with watching(argo, resourceVersion="5") as watch:
        error = json.loads(watch.answer.read())["error"]
        assert (watch.answer.status, error["grpc_code"]) == (400, 3)
        assert error["message"].startswith("too old resource version: 5")
    with watching(argo) as watch:  # it names no version, so it cannot be too old
        assert watch.answer.status == 200
    argo.faults("watch-too-old:stream")
    with watching(argo, "text/event-stream", resourceVersion="5") as watch:
        (line,) = watch.lines()
        assert (watch.answer.status, watch.answer.headers["content-type"]) == (200, "text/event-stream")
    error = json.loads(line.removeprefix("data: "))["error"]
    assert (error["grpc_code"], error["message"][:24]) == (3, "too old resource version")


def test_a_silent_watch_says_nothing_more_but_a_new_one_does(argo: Client) -> None:
    argo.faults("watch-silent:times=1")
    version = now(argo)
    with watching(argo, resourceVersion=version, patience=0.7) as watch:
        name = created(argo)
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            assert list(watch.lines()) == []
    with watching(argo, resourceVersion=version) as watch:
        see(watch.lines(), name)


def test_a_fault_of_watches_can_be_set_on_a_workflow(argo: Client) -> None:
    with watching(argo, resourceVersion=now(argo)) as watch:
        seen = watch.lines()
        see(seen, created(argo))
        cut = created(argo, labels={MARK: "watch-cut"})
        with pytest.raises(BROKEN):
            see(seen, cut)


def test_a_stale_list_shows_the_past_with_its_version_and_get_the_present(argo: Client) -> None:
    argo.faults("stale-list:delay=1")
    name = created(argo, "sleep 60")

    def listed() -> tuple[bool, str]:
        body = argo.call("GET", "/workflows/argo")[1]
        items: list[Json] = body["items"] or []
        return any(one["metadata"]["name"] == name for one in items), str(body["metadata"]["resourceVersion"])

    found, version = listed()
    assert not found
    assert argo.call("GET", f"/workflows/argo/{name}")[0] == 200
    until(lambda: listed()[0], "the list has caught up")
    assert argo.call("DELETE", f"/workflows/argo/{name}")[0] == 200
    assert listed()[0], "a list of a second ago has it still"
    only = f"metadata.name={name}"  # others that earlier tests left may carry a fault
    with watching(argo, resourceVersion=version, fieldSelector=only) as watch:  # nothing is lost between list and watch
        see(watch.lines(), name)


def deleted(argo: Client, name: str) -> bool:
    """Whether it is no longer live: a verb does not fall back to the archive, which may show it still."""
    return argo.ask("PUT", f"/workflows/argo/{name}/suspend").status == 404


@pytest.mark.parametrize("kind", ["early-deletion", "record-gone"])
def test_a_workflow_is_deleted_after_its_end(argo: Client, kind: str) -> None:
    argo.faults(f"{kind}:name=deleted-{kind},delay=0.3")  # by name: others that earlier tests left end meanwhile
    name = created(argo, name=f"deleted-{kind}", uid="")
    uid = ended(argo, name) and argo.call("GET", f"/workflows/argo/{name}")[1]["metadata"]["uid"]
    until(lambda: deleted(argo, name), f"{name} is deleted")
    if kind == "record-gone":
        assert argo.ask("GET", f"/archived-workflows/{uid}").status != 200
        items: list[Json] = argo.call("GET", "/workflows/argo")[1]["items"] or []
        assert uid not in {one["metadata"]["uid"] for one in items}
    other = created(argo)
    ended(argo, other)
    assert argo.ask("GET", f"/workflows/argo/{other}").status == 200


def test_a_failed_workflow_is_opened_again_as_by_a_manual_retry(argo: Client) -> None:
    argo.faults("reopened:name=again,times=1,delay=0.2")
    name = created(argo, "false", name="again")
    uid = argo.call("GET", f"/workflows/argo/{name}")[1]["metadata"]["uid"]
    version = now(argo)
    phases: list[str] = []
    with watching(argo, resourceVersion=version) as watch:
        for line in watch.lines():
            found = json.loads(line)["result"]["object"]
            phase = found["status"].get("phase", "")
            if found["metadata"]["uid"] == uid and phases[-1:] != [phase]:
                phases.append(phase)
            if phases.count("Failed") == 2:
                break
    assert "Running" in phases[phases.index("Failed") :]


def test_a_kfp_run_is_listed_late_and_read_at_once(kfp: Client) -> None:
    kfp.faults("late-list:delay=0.8,times=1")
    began = time.monotonic()
    run_id = kfp.call("POST", "/runs", run("late"))[1]["run_id"]
    assert kfp.call("GET", f"/runs/{run_id}")[0] == 200
    assert runs_named(kfp, "late") == []
    until(lambda: runs_named(kfp, "late"), "it is listed")
    assert time.monotonic() - began >= 0.8
    kfp.call("POST", "/runs", run("prompt"))
    assert len(runs_named(kfp, "prompt")) == 1


def test_a_create_can_make_a_second_run_of_the_same_name(kfp: Client) -> None:
    kfp.faults("second-run:times=1")
    answered = kfp.call("POST", "/runs", run("twice"))[1]["run_id"]
    found = [one["run_id"] for one in runs_named(kfp, "twice")]
    assert len(set(found)) == 2
    assert answered in found


def test_a_terminated_kfp_run_ends_failed_or_canceled_where_a_rule_says_so(kfp: Client) -> None:
    for rules, state in (((), "FAILED"), (("canceled-after-terminate",), "CANCELED")):
        kfp.faults(*rules)
        run_id = kfp.call("POST", "/runs", run())[1]["run_id"]
        assert kfp.call("POST", f"/runs/{run_id}:terminate")[0] == 200
        found = kfp.call("GET", f"/runs/{run_id}")[1]
        assert (found["state"], found["state_history"][-1]["state"]) == (state, state)


def test_a_kfp_runs_row_is_gone_after_its_end(kfp: Client) -> None:
    kfp.faults("record-gone:times=1,delay=0.2")
    run_id = kfp.call("POST", "/runs", run("row"))[1]["run_id"]
    kfp.call("POST", f"/runs/{run_id}:terminate")
    assert kfp.call("GET", f"/runs/{run_id}")[1]["state"] == "FAILED"
    until(lambda: kfp.ask("GET", f"/runs/{run_id}").status == 404, "its row is gone")
    assert runs_named(kfp, "row") == []


def test_ml_metadata_is_unavailable_by_method(kfp: Client) -> None:
    kfp.faults("metadata-unavailable:name=GetContext*,times=1")
    with grpc.insecure_channel(kfp.metadata) as channel:
        stub = pb_grpc.MetadataStoreServiceStub(channel)
        stub.GetArtifactTypes(pb.GetArtifactTypesRequest(), timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetContextTypes(pb.GetContextTypesRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # pyright: ignore[reportAttributeAccessIssue] -- a Call too
        stub.GetContextTypes(pb.GetContextTypesRequest(), timeout=10)
