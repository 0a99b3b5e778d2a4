"""The archive of ended workflows, and lists that merge it with the live ones."""

from __future__ import annotations

from typing import cast

import pytest

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import NAMESPACE, Argo, nodes_of, serve, shell, until, workflow

LIVE = f"/workflows/{NAMESPACE}"
ARCHIVED = "/archived-workflows"
LABEL = "workflows.argoproj.io/workflow-archiving-status"


def labelled(name: str, source: str = "true", **labels: str) -> JsonObject:
    body = workflow(name, "main", shell("main", source))
    cast("JsonObject", body["metadata"])["labels"] = {**labels}
    return body


def meta(body: JsonObject) -> JsonObject:
    return cast("JsonObject", body["metadata"])


def archived(argo: Argo, name: str) -> JsonObject:
    """Wait for a workflow to be archived."""
    path = f"{ARCHIVED}/"
    until(lambda: argo.call("GET", path, namespace=NAMESPACE, name=name)[0] == 200)
    return argo.call("GET", path, namespace=NAMESPACE, name=name)[1]


def listed(argo: Argo, path: str = ARCHIVED, **query: str) -> list[str]:
    status, body = argo.call("GET", path, **query)
    assert status == 200, body
    return [str(meta(item)["name"]) for item in cast("list[JsonObject]", body["items"] or [])]


def test_an_ended_workflow_stays_in_the_archive_after_it_is_deleted(settings: ArgoSandboxSettings) -> None:
    with serve(settings) as argo:
        done = argo.run(labelled("gone"))
        uid = str(meta(done)["uid"])
        kept = archived(argo, "gone")
        assert argo.call("DELETE", f"{LIVE}/gone") == (200, {})
    with serve(settings) as argo:
        assert argo.call("GET", f"{ARCHIVED}/{uid}") == (200, kept)
        assert argo.get("gone") == kept
        assert (nodes_of(kept), cast("JsonObject", meta(kept)["labels"])[LABEL]) == (nodes_of(done), "Persisted")
        assert argo.call("GET", f"{LIVE}/gone", uid=uid)[0] == 200
        assert argo.call("GET", f"{LIVE}/gone", uid="other")[0] == 404
        (shown,) = cast("list[JsonObject]", argo.call("GET", LIVE)[1]["items"])
        assert "nodes" not in cast("JsonObject", shown["status"])
        assert cast("JsonObject", shown["status"])["phase"] == "Succeeded"
        for method, path in (("DELETE", f"{LIVE}/gone"), ("PUT", f"{LIVE}/gone/terminate")):
            assert argo.call(method, path)[0] == 404
        assert argo.call("DELETE", f"{ARCHIVED}/{uid}") == (200, {})
        answer = (404, {"code": 5, "message": "not found"})
        assert argo.call("GET", f"{ARCHIVED}/{uid}") == answer == argo.call("DELETE", f"{ARCHIVED}/{uid}")
        assert argo.call("GET", f"{LIVE}/gone")[0] == 404


def test_a_workflow_is_archived_before_its_time_is_over(argo: Argo) -> None:
    body = labelled("brief")
    cast("JsonObject", body["spec"])["ttlStrategy"] = {"secondsAfterCompletion": 0}
    argo.create(body)
    assert cast("JsonObject", archived(argo, "brief")["status"])["phase"] == "Succeeded"
    until(lambda: cast("JsonObject", meta(argo.get("brief"))["labels"])[LABEL] == "Persisted")


def test_lists_merge_live_and_archived_workflows_and_select_among_them(argo: Argo) -> None:
    for name, team in (("a-red", "red"), ("b-blue", "blue"), ("ab-red", "red")):
        argo.run(labelled(name, team=team))
        archived(argo, name)
    argo.call("DELETE", f"{LIVE}/a-red")
    argo.create(labelled("c-live", "sleep 300", team="red"))
    argo.until("c-live", lambda status: status.get("phase") == "Running")
    everything = ["c-live", "ab-red", "b-blue", "a-red"]
    assert sorted(listed(argo, LIVE)) == sorted(everything)
    assert listed(argo, LIVE)[0] == "c-live"
    assert "c-live" not in listed(argo)
    created = str(meta(argo.get("c-live"))["creationTimestamp"])
    cases: dict[str, tuple[dict[str, str], set[str]]] = {
        "label": ({"listOptions__labelSelector": "team=red,team"}, {"c-live", "ab-red", "a-red"}),
        "not in": ({"listOptions__labelSelector": "team notin (red)"}, {"b-blue"}),
        "name": ({"listOptions__fieldSelector": "metadata.name=a-red"}, {"a-red"}),
        "not name": ({"listOptions__fieldSelector": f"metadata.name!=a-red,metadata.namespace={NAMESPACE}"},
                     {"c-live", "ab-red", "b-blue"}),
        "prefix": ({"listOptions__fieldSelector": "metadata.name=a", "nameFilter": "Prefix"}, {"a-red", "ab-red"}),
        "part": ({"listOptions__fieldSelector": "metadata.name=b", "nameFilter": "Contains"}, {"ab-red", "b-blue"}),
        "made since": ({"createdAfter": created}, {"c-live"} | {n for n in everything
                       if str(meta(argo.get(n))["creationTimestamp"]) >= created}),
        "ended": ({"finishedBefore": "2999-01-01T00:00:00Z"}, {"a-red", "b-blue", "ab-red"}),
        "never": ({"finishedBefore": "2001-01-01T00:00:00Z"}, set()),
        "started": ({"listOptions__fieldSelector": "spec.startedAt>2001-01-01T00:00:00Z"}, set(everything)),
        "earlier": ({"listOptions__fieldSelector": "spec.startedAt<2001-01-01T00:00:00Z"}, set()),
    }  # fmt: skip
    for case, (query, expected) in cases.items():
        assert set(listed(argo, LIVE, **query)) == expected, case
    assert set(listed(argo, namePrefix="a", namespace=NAMESPACE)) == {"a-red", "ab-red"}
    argo.put("c-live", "terminate")


@pytest.mark.parametrize("path", [LIVE, ARCHIVED])
def test_pages_of_a_list_show_each_workflow_once(argo: Argo, path: str) -> None:
    names = {f"page-{number}" for number in range(5)}
    for name in names:
        argo.create(labelled(name))
    for name in names:
        archived(argo, name)
    seen: list[str] = []
    query = {"listOptions__limit": "2", "listOptions__fieldSelector": "ext.showRemainingItemCount=true"}
    left: list[object] = []
    while True:
        status, body = argo.call("GET", path, **query)
        assert status == 200, body
        seen += [str(meta(item)["name"]) for item in cast("list[JsonObject]", body["items"])]
        left.append(meta(body)["remainingItemCount"])
        if not (more := meta(body).get("continue")):
            break
        query["listOptions__continue"] = str(more)
    assert (sorted(seen), left) == (sorted(names), [3, 1, 0])
    for wrong, code, reason in (
        ({"listOptions__continue": "x"}, 400, "listOptions.continue must be int"),
        ({"listOptions__continue": "-1"}, 400, "listOptions.continue must >= 0"),
        ({"listOptions__fieldSelector": "status.phase=Failed"}, 400, "unsupported requirement status.phase=Failed"),
        ({"listOptions__fieldSelector": "metadata.namespace=else"}, 400, "contradict each other"),
        ({"listOptions__fieldSelector": "spec.startedAt>now"}, 500, 'parsing time "now"'),
    ):
        status, body = argo.call("GET", path, **wrong)
        assert status == code
        assert reason in str(body["message"])


def test_the_archives_labels_are_listed(argo: Argo) -> None:
    for name, team in (("one", "red"), ("two", "blue")):
        argo.run(labelled(name, team=team))
        archived(argo, name)
    status, body = argo.call("GET", "/archived-workflows-label-keys")
    assert status == 200
    assert {"team", "workflows.argoproj.io/phase"} <= set(cast("list[str]", body["items"]))
    values = "/archived-workflows-label-values"
    assert argo.call("GET", values, listOptions__labelSelector="team") == (200, {"items": ["blue", "red"]})
    assert argo.call("GET", values, listOptions__labelSelector="team,other")[1]["message"] == (
        "only allow 1 labelRequirement, found 2"
    )
    assert argo.call("GET", values, listOptions__labelSelector="team=red")[0] == 400


def test_an_archived_workflow_is_retried_under_its_name_and_resubmitted_under_another(
    argo: Argo, settings: ArgoSandboxSettings
) -> None:
    flag = settings.data_dir / "flag"
    body = workflow("back", "main", {"name": "main", "steps": [[{"name": "ok", "template": "ok"}],
                                                               [{"name": "try", "template": "try"}]]},
                    shell("ok", "true"), shell("try", f"cat {flag}"))  # fmt: skip
    first = argo.run(body, "Failed")
    uid = str(meta(archived(argo, "back"))["uid"])
    path = f"{ARCHIVED}/{uid}"
    asked: JsonObject = {"uid": uid, "namespace": NAMESPACE}
    status, answer = argo.call("PUT", f"{path}/retry", asked)
    assert (status, answer["code"]) == (409, 6)
    argo.call("DELETE", f"{LIVE}/back")
    flag.write_text("")
    status, answer = argo.call("PUT", f"{path}/retry", asked)
    assert (status, meta(answer)["name"]) == (200, "back")
    assert meta(answer)["uid"] != uid
    done = argo.finished("back", "Succeeded")
    assert nodes_of(done)["ok"]["startedAt"] == nodes_of(first)["ok"]["startedAt"]
    until(lambda: meta(archived(argo, "back"))["uid"] == meta(done)["uid"])  # the latest of that name
    status, answer = argo.call("PUT", f"{path}/resubmit", asked)
    assert status == 200, answer
    argo.finished(str(meta(answer)["name"]), "Succeeded")
    argo.call("DELETE", f"{LIVE}/back")
    assert argo.call("PUT", f"{LIVE}/back/resubmit", {})[0] == 200
    assert argo.call("PUT", f"{ARCHIVED}/{meta(done)['uid']}/retry", {})[0] == 400


def test_a_retried_workflow_leaves_the_archive_behind_and_is_archived_again(
    argo: Argo, settings: ArgoSandboxSettings
) -> None:
    flag = settings.data_dir / "flag"
    argo.run(labelled("again", f"cat {flag}"), "Failed")
    assert cast("JsonObject", archived(argo, "again")["status"])["phase"] == "Failed"
    flag.write_text("")
    status, body = argo.put("again", "retry")
    assert (status, LABEL in cast("JsonObject", meta(body)["labels"])) == (200, False)
    argo.finished("again", "Succeeded")
    until(lambda: cast("JsonObject", archived(argo, "again")["status"])["phase"] == "Succeeded")
    assert listed(argo, LIVE) == ["again"]


def test_a_server_without_an_archive_says_so(settings: ArgoSandboxSettings) -> None:
    with serve(settings.model_copy(update={"archive": False})) as argo:
        done = argo.run(labelled("plain"))
        assert LABEL not in cast("JsonObject", meta(done)["labels"])
        answer = (500, {"code": 13, "message": "getting archived workflows not supported"})
        assert argo.call("GET", f"{ARCHIVED}/{meta(done)['uid']}") == answer
        assert argo.call("GET", ARCHIVED) == (200, {"metadata": {}, "items": []})
        assert argo.call("GET", "/archived-workflows-label-keys") == (200, {})
        (shown,) = cast("list[JsonObject]", argo.call("GET", LIVE)[1]["items"])
        assert "nodes" in cast("JsonObject", shown["status"])
        argo.call("DELETE", f"{LIVE}/plain")
        assert argo.call("GET", f"{LIVE}/plain")[0] == 404
