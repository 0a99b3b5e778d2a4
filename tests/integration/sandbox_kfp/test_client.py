"""The server as `kfp.Client` sees it, unmodified."""

from __future__ import annotations

import datetime
import json
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.support import TERMINAL, Server, wait_until
from tests.support.objects import ObjectServer


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp's own deprecations
        import kfp

        return kfp.Client(host=server.url, verify_ssl=False)


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def end_of(client: Any, run_id: str) -> Any:
    wait_until(lambda: client.get_run(run_id).state in TERMINAL, f"an end of run {run_id}")
    return client.get_run(run_id)


def test_a_package_is_uploaded_run_found_and_read(client: Any, objects: ObjectServer, tmp_path: Path) -> None:
    uri = objects.put("client/data.txt", b"client images")
    package = str(pipelines.package("train_and_evaluate", tmp_path))
    pipeline = client.upload_pipeline(package, pipeline_name="uploaded", description="of a test")
    assert client.get_pipeline_id("uploaded") == pipeline.pipeline_id
    assert client.get_pipeline(pipeline.pipeline_id).description == "of a test"
    version = client.upload_pipeline_version(package, "v2", pipeline_id=pipeline.pipeline_id)
    versions = client.list_pipeline_versions(pipeline.pipeline_id, sort_by="created_at desc").pipeline_versions
    assert {one.display_name for one in versions} == {"uploaded", "v2"}

    experiment = client.create_experiment("of the client")
    assert client.get_experiment(experiment_name="of the client").experiment_id == experiment.experiment_id
    inline = client.run_pipeline(experiment.experiment_id, "inline run", package, {"dataset": uri})
    by_version = client.run_pipeline(
        experiment.experiment_id, "run of a version", pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id, params={"dataset": uri, "rate": 0.125},
    )  # fmt: skip
    assert end_of(client, inline.run_id).state == "SUCCEEDED"
    ended = end_of(client, by_version.run_id)
    assert ended.state == "SUCCEEDED"
    assert ended.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert ended.runtime_config.parameters == {"dataset": uri, "rate": 0.125}
    assert {task.display_name for task in ended.run_details.task_details} >= {"root", "importer", "train", "evaluate"}

    def named(name: str) -> list[str]:
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        found = client.list_runs(experiment_id=experiment.experiment_id, filter=json.dumps({"predicates": [predicate]}))
        rows: list[Any] = found.runs or []
        return [row.run_id for row in rows]

    assert named("inline run") == [inline.run_id]
    assert named("no such run") == []


def test_a_run_is_terminated_retried_archived_and_deleted(client: Any, tmp_path: Path) -> None:
    package = str(pipelines.package("holding", tmp_path))
    run = client.create_run_from_pipeline_package(package, arguments={"folder": str(tmp_path)}, run_name="held")
    wait_until((tmp_path / "hold.pids").exists, "a component that has started")
    client.terminate_run(run.run_id)
    assert end_of(client, run.run_id).state == "FAILED"
    (tmp_path / "go").touch()
    client._run_api.run_service_retry_run(run.run_id)  # pyright: ignore[reportPrivateUsage] - Client has no retry
    assert end_of(client, run.run_id).state == "SUCCEEDED"
    client.archive_run(run.run_id)
    assert client.get_run(run.run_id).storage_state == "ARCHIVED"
    client.delete_run(run.run_id)
    with pytest.raises(Exception, match="not found"):
        client.get_run(run.run_id)


def test_runs_that_finished_since_a_moment_are_listed_in_pages(client: Any, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    package = str(pipelines.package("holding", tmp_path))
    experiment = client.create_experiment("pages").experiment_id
    since = datetime.datetime.fromtimestamp(int(time.time()), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    started = [
        client.run_pipeline(experiment, f"page {number}", package, {"folder": str(tmp_path)}).run_id
        for number in range(3)
    ]
    for run_id in started:
        end_of(client, run_id)
    predicate = {"operation": "GREATER_THAN_EQUALS", "key": "finished_at", "timestamp_value": since}
    found: list[str] = []
    query = {"sort_by": "finished_at desc", "filter": json.dumps({"predicates": [predicate]})}
    for size in (2, 1):
        page = client.list_runs(page_size=2, experiment_id=experiment, **query)
        assert (len(page.runs), page.total_size) == (size, 3)
        found += [run.run_id for run in page.runs]
        query = {"page_token": page.next_page_token}  # it carries its query; times beside it would be refused
    assert not page.next_page_token
    assert sorted(found) == sorted(started)


def test_functions_and_packages_are_run_at_once_and_waited_for(client: Any, tmp_path: Path) -> None:
    assert client.get_kfp_healthz().multi_user is False
    from_function = client.create_run_from_pipeline_func(
        pipelines.function("collecting"), {"names": ["a"], "loud": True}, "collected", "at once", enable_caching=False
    )
    ended = client.wait_for_run_completion(from_function.run_id, timeout=60, sleep_duration=1)
    assert (ended.state, ended.display_name) == ("SUCCEEDED", "collected")
    assert from_function.wait_for_run_completion(timeout=60).state == "SUCCEEDED"

    package = str(pipelines.package("needing", tmp_path))
    failing = client.create_run_from_pipeline_package(package, {"folder": str(tmp_path)}, experiment_name="at once")
    ended = client.wait_for_run_completion(failing.run_id, timeout=60, sleep_duration=1)
    assert (ended.state, ended.error.code) == ("FAILED", 13)
    assert "not repaired" in ended.error.message
    (tmp_path / "repaired").touch()
    client._run_api.run_service_retry_run(failing.run_id)  # pyright: ignore[reportPrivateUsage] - Client has no retry
    ended = client.wait_for_run_completion(failing.run_id, timeout=60, sleep_duration=1)
    assert ended.state == "SUCCEEDED"
    assert [status.state for status in ended.state_history][-3:] == ["PENDING", "RUNNING", "SUCCEEDED"]

    with pytest.raises(Exception, match="parameter folder is not optional"):
        client.create_run_from_pipeline_package(package, {}, experiment_name="at once")
    with pytest.raises(Exception, match=r"not required by pipeline: colour"):
        client.create_run_from_pipeline_package(package, {"folder": "x", "colour": "red"}, experiment_name="at once")


def test_a_pipeline_is_run_by_version_and_deleted(client: Any, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    package = str(pipelines.package("holding", tmp_path))
    pipeline = client.upload_pipeline(package, pipeline_name="by id")
    second = client.upload_pipeline_version(package, "second", pipeline_name="by id", description="newer")
    with pytest.raises(Exception, match="409"):
        client.upload_pipeline(package, pipeline_name="by id")
    experiment = client.create_experiment("by id").experiment_id
    pinned = client.run_pipeline(
        experiment, "pinned", params={"folder": str(tmp_path)}, pipeline_id=pipeline.pipeline_id,
        version_id=second.pipeline_version_id,
    )  # fmt: skip
    reference = client.get_run(pinned.run_id).pipeline_version_reference
    assert reference.pipeline_version_id == second.pipeline_version_id
    assert end_of(client, pinned.run_id).state == "SUCCEEDED"

    shown = client.get_pipeline_version(pipeline.pipeline_id, second.pipeline_version_id)
    assert (shown.display_name, shown.description) == ("second", "newer")
    assert shown.pipeline_spec["pipelineInfo"]["name"] == "holding"
    with pytest.raises(Exception, match="it has existing pipeline versions"):
        client.delete_pipeline(pipeline.pipeline_id)
    for version in client.list_pipeline_versions(pipeline.pipeline_id, page_size=100).pipeline_versions:
        client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    client.delete_pipeline(pipeline.pipeline_id)
    assert client.get_pipeline_id("by id") is None
    # a run of a version that is gone is still there
    assert client.get_run(pinned.run_id).state == "SUCCEEDED"


def test_experiments_are_archived_listed_and_deleted(client: Any) -> None:
    made = [client.create_experiment(f"listed {number}", description=str(number)) for number in range(3)]
    assert client.create_experiment("listed 0").experiment_id == made[0].experiment_id  # it is found by its name
    client.archive_experiment(made[2].experiment_id)
    predicates = [
        {"operation": "IS_SUBSTRING", "key": "display_name", "stringValue": "listed"},
        {"operation": "EQUALS", "key": "storage_state", "stringValue": "AVAILABLE"},
    ]
    query = {"sort_by": "display_name desc", "filter": json.dumps({"predicates": predicates}), "page_size": 1}
    names: list[str] = []
    token = ""
    while True:
        page = client.list_experiments(page_token=token, **query)  # filters of texts may stand beside their token
        assert page.total_size == 2
        names += [row.display_name for row in page.experiments]
        token = page.next_page_token
        if not token:
            break
    assert names == ["listed 1", "listed 0"]
    client.unarchive_experiment(made[2].experiment_id)
    assert client.get_experiment(made[2].experiment_id).storage_state == "AVAILABLE"
    for experiment in made:
        client.delete_experiment(experiment.experiment_id)
    with pytest.raises(Exception, match="not found"):
        client.get_experiment(made[0].experiment_id)


def test_what_the_sandbox_has_not_is_said_to_the_client(client: Any, tmp_path: Path) -> None:
    package = str(pipelines.package("holding", tmp_path))
    experiment = client.create_experiment("refusing").experiment_id
    with pytest.raises(Exception, match="recurringruns is not supported by the sandbox") as caught:
        client.create_recurring_run(
            experiment, "daily", cron_expression="0 0 3 * * *", pipeline_package_path=package, params={"folder": "x"}
        )
    assert getattr(caught.value, "status", 0) == 400
