"""Experiments, pipelines and versions over REST, with the answers of the real server."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.support import Json, Server


@pytest.fixture
def name() -> str:
    return f"name-{uuid.uuid4().hex[:8]}"


def made(answer: tuple[int, Json]) -> Json:
    assert answer[0] == 200, answer
    return answer[1]


def refused(answer: tuple[int, Json], status: int, code: int, *said: str) -> None:
    assert (answer[0], answer[1].get("code")) == (status, code), answer
    for words in said:
        assert words in answer[1]["message"], answer
    assert answer[1]["details"][0]["@type"] == "type.googleapis.com/google.rpc.Status"


def experiment(server: Server, name: str) -> str:
    return str(made(server.call("POST", "experiments", {"display_name": name}))["experiment_id"])


def upload(server: Server, query: str, name: str = "pipeline.yaml", pipeline: str = "look_around") -> tuple[int, Any]:
    text = json.dumps(pipelines.spec(pipeline)).encode()
    answer = server.http.request(
        "POST", f"{server.url}/apis/v2beta1/pipelines/{query}", fields={"uploadfile": (name, text)}
    )
    return answer.status, answer.json()


def equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})


# -- experiments


def test_archiving_an_experiment_archives_its_runs_and_they_come_back_one_by_one(server: Server, name: str) -> None:
    number = experiment(server, name)
    body = {"display_name": "r", "experiment_id": number, "pipeline_spec": pipelines.spec("look_around")}
    run_id = made(server.call("POST", "runs", body))["run_id"]
    server.wait(run_id)
    made(server.call("POST", f"experiments/{number}:archive"))
    assert made(server.call("GET", f"experiments/{number}"))["storage_state"] == "ARCHIVED"
    assert server.get(run_id)["storage_state"] == "ARCHIVED"
    listed = made(server.call("GET", "runs", experiment_id=number, filter=equals("storage_state", "ARCHIVED")))
    assert [one["run_id"] for one in listed["runs"]] == [run_id]
    refused(server.call("POST", f"runs/{run_id}:unarchive"), 400, 9, "must be un-archived first")
    made(server.call("POST", f"experiments/{number}:unarchive"))
    assert server.get(run_id)["storage_state"] == "ARCHIVED"
    made(server.call("POST", f"runs/{run_id}:unarchive"))
    assert server.get(run_id)["storage_state"] == "AVAILABLE"
    # a deleted experiment leaves its runs
    made(server.call("DELETE", f"experiments/{number}"))
    assert server.get(run_id)["experiment_id"] == number
    refused(server.call("GET", "runs", experiment_id=number), 404, 5, "Failed to list runs due to error fetching")


def test_an_experiment_that_cannot_be_made_or_deleted_is_refused(server: Server, name: str) -> None:
    refused(server.call("POST", "experiments", {"display_name": ""}), 500, 13, "must have a non-empty name")
    refused(server.call("POST", "experiments", {"display_name": "x" * 129}), 500, 13, "length cannot exceed 128")
    experiment(server, name)
    refused(server.call("POST", "experiments", {"display_name": name}), 409, 6, f"The name {name} already exists")
    refused(server.call("GET", "experiments/none"), 404, 5, "Failed to fetch experiment", "Experiment none not found")
    refused(server.call("DELETE", "experiments/none"), 404, 5, "due to error fetching it")
    default = made(server.call("GET", "experiments", filter=equals("display_name", "Default")))["experiments"][0]
    refused(
        server.call("DELETE", f"experiments/{default['experiment_id']}"), 409, 10,
        "The default experiment cannot be deleted",
    )  # fmt: skip


def test_a_run_of_an_unknown_experiment_is_not_found(server: Server) -> None:
    body = {"display_name": "r", "experiment_id": "none", "pipeline_spec": pipelines.spec("look_around")}
    refused(server.call("POST", "runs", body), 404, 5, "invalid experimentId and namespace", "Experiment none")


# -- pipelines and versions


def test_a_pipeline_with_versions_is_deleted_in_cascade_only(server: Server, name: str) -> None:
    status, pipeline = upload(server, f"upload?name={name}")
    assert status == 200
    number = pipeline["pipeline_id"]
    version = made(server.call("GET", f"pipelines/{number}/versions"))["pipeline_versions"][0]
    refused(
        server.call("DELETE", f"pipelines/{number}"), 400, 3,
        f"Failed to delete pipeline {number}. Check error stack", version["pipeline_version_id"], "cascade=true",
    )  # fmt: skip
    refused(server.call("DELETE", f"pipelines/{number}", cascade="maybe"), 400, 3, "strconv.ParseBool")
    made(server.call("DELETE", f"pipelines/{number}", cascade="true"))
    refused(server.call("GET", f"pipelines/{number}"), 404, 5, f"Pipeline {number} not found")
    refused(server.call("GET", f"pipelines/{number}/versions"), 404, 5, "Failed to list pipeline versions")
    refused(server.call("GET", f"pipelines/names/{name}"), 404, 5, f"Namespace/Pipeline /{name} not found")


def test_a_pipeline_is_made_empty_found_by_name_and_filled(server: Server, name: str) -> None:
    body = {"name": name, "display_name": "Shown", "description": "of a test", "tags": {"team": "blue"}}
    pipeline = made(server.call("POST", "pipelines", body))
    assert {key: pipeline[key] for key in body} == body
    assert made(server.call("GET", f"pipelines/names/{name}")) == pipeline
    number = pipeline["pipeline_id"]
    assert server.call("GET", f"pipelines/{number}/versions") == (200, {})
    reference = {"display_name": "r", "pipeline_version_reference": {"pipeline_id": number}}
    refused(server.call("POST", "runs", reference), 500, 13, f"PipelineVersion {number} not found")
    for version in ("first", "second"):
        assert upload(server, f"upload_version?pipelineid={number}&name={version}")[0] == 200
    run = made(server.call("POST", "runs", reference))  # the latest version
    listed = made(server.call("GET", f"pipelines/{number}/versions", sort_by="name desc"))["pipeline_versions"]
    assert [one["name"] for one in listed] == ["second", "first"]
    assert run["pipeline_version_reference"]["pipeline_version_id"] == listed[0]["pipeline_version_id"]
    assert "pipeline_spec" not in run
    one = listed[1]["pipeline_version_id"]
    other = {"pipeline_id": "another", "pipeline_version_id": one}
    refused(
        server.call("POST", "runs", {"display_name": "r", "pipeline_version_reference": other}), 500, 13,
        f"Pipeline version {one} belongs to pipeline {number} (not another)",
    )  # fmt: skip
    made(server.call("DELETE", f"pipelines/{number}/versions/{one}"))
    refused(server.call("GET", f"pipelines/{number}/versions/{one}"), 404, 5, f"PipelineVersion {one} not found")
    server.wait(run["run_id"])


def test_display_names_and_tags_are_changed_and_filtered_by(server: Server, name: str) -> None:
    number = upload(server, f"upload?name={name}&tags=%7B%22team%22%3A%22blue%22%7D")[1]["pipeline_id"]
    found = made(server.call("GET", "pipelines", filter=equals("tags.team", "blue")))["pipelines"]
    assert number in [one["pipeline_id"] for one in found]
    changed = made(server.call("PATCH", f"pipelines/{number}", {"display_name": "New", "tags": {"team": "red"}}))
    assert (changed["display_name"], changed["tags"], changed["name"]) == ("New", {"team": "red"}, name)
    found = made(server.call("GET", "pipelines", filter=equals("tags.team", "blue"))).get("pipelines", [])
    assert number not in [one["pipeline_id"] for one in found]
    assert made(server.call("PATCH", f"pipelines/{number}", {"display_name": ""})) == changed
    assert "tags" not in made(server.call("PATCH", f"pipelines/{number}", {"tags": {}}))
    version = made(server.call("GET", f"pipelines/{number}/versions"))["pipeline_versions"][0]["pipeline_version_id"]
    changed = made(server.call("PATCH", f"pipelines/{number}/versions/{version}", {"tags": {"a": "b"}}))
    assert changed["tags"] == {"a": "b"}
    refused(server.call("PATCH", f"pipelines/{number}", {"tags": {"a.b": "c"}}), 400, 3, "must not contain '.'")
    not_equals = json.dumps({"predicates": [{"operation": "IS_SUBSTRING", "key": "tags.a", "string_value": "b"}]})
    refused(server.call("GET", "pipelines", filter=not_equals), 400, 3, "only EQUALS operation is supported for tag")


def test_a_pipeline_that_cannot_be_made_is_refused(server: Server, name: str) -> None:
    refused(server.call("POST", "pipelines", {}), 400, 3, "name is required")
    made(server.call("POST", "pipelines", {"name": name}))
    refused(server.call("POST", "pipelines", {"name": name}), 409, 6, f"The name {name} already exist")
    url = {"package_url": {"pipeline_url": "https://example.org/pipeline.yaml"}}
    version = {"pipeline_version": {"name": name, **url}}
    refused(server.call("POST", "pipelines/create", version), 400, 3, "package_url is not supported by the sandbox")
    refused(server.call("POST", "pipelines/x/versions", {"name": name, **url}), 400, 3, "package_url is not supported")
    refused(server.call("POST", "pipelines/x/versions", {"name": name}), 400, 3, "Package URL is nil")


def test_uploads_that_are_refused_say_so_in_their_own_form(server: Server, name: str) -> None:
    assert upload(server, f"upload?name={name}")[0] == 200
    status, body = upload(server, f"upload?name={name}")
    assert (status, body["error_message"]) == (409, "Failed to create a pipeline and a pipeline version")
    status, body = upload(server, "upload_version?pipelineid=none")
    assert (status, set(body)) == (400, {"error_message", "error_details"})
    assert upload(server, "upload_version")[0] == 400
    status, body = upload(server, "upload?tags=3")
    assert (status, "Failed to parse tags" in body["error_message"]) == (400, True)
    answer = server.http.request("POST", f"{server.url}/apis/v2beta1/pipelines/upload", fields={"other": "x"})
    assert (answer.status, answer.json()["error_message"]) == (400, "Failed to read pipeline from file")


# -- what there is not


@pytest.mark.parametrize("service", ["recurringruns", "visualizations", "workflows", "scheduledworkflows"])
@pytest.mark.parametrize("path", ["", "/x", "/x:disable"])
def test_services_that_it_has_not_are_refused_by_name(server: Server, service: str, path: str) -> None:
    for method in ("GET", "POST"):
        refused(server.call(method, service + path), 400, 3, f"{service} is not supported by the sandbox")


def test_authorisation_is_granted_to_whoever_asks_a_whole_question(server: Server) -> None:
    def ask(**query: str) -> tuple[int, Json]:
        answer = server.http.request("GET", f"{server.url}/apis/v1beta1/auth", fields=query)
        return answer.status, answer.json()

    assert ask(namespace="kubeflow", resources="VIEWERS", verb="GET") == (200, {})
    refused(ask(resources="VIEWERS", verb="GET"), 400, 3, "Namespace is empty")
    refused(ask(namespace="kubeflow", verb="GET"), 400, 3, "Resources not specified")


def test_the_database_of_an_older_server_is_carried_on(tmp_path: Path) -> None:
    import sqlite3

    from meta.sandbox.kfp.database import Database

    file = tmp_path / "kfp.sqlite"
    Database(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE pipelines DROP COLUMN tags")
        connection.execute("INSERT INTO pipelines VALUES ('1', 'old', 'old', '', 5)")
    connection.close()
    database = Database(file)
    assert [row["tags"] for row in database.rows("SELECT * FROM pipelines")] == ["{}"]
    database.close()
