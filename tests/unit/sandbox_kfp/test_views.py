from meta.sandbox.kfp import views
from meta.sandbox.kfp.runs import RunRecord, TaskRecord

RUN = "6d0d1d1e-2f5c-4b1f-8f0e-0d6f5a9a3b11"


def record() -> RunRecord:
    run = RunRecord("a run", "experiment", {"pipelineInfo": {"name": "p"}}, {}, workflow="p-abcde", id=RUN)
    run.created_at = 60
    return run


def task(path: str, kind: str, state: str, number: int) -> TaskRecord:
    parent, _, name = path.rpartition("/")
    identity = f"{number:08d}-0000-4000-8000-000000000000"
    return TaskRecord(RUN, path, parent, name, kind, state, id=identity, number=number, started_at=61, finished_at=62)


def test_what_has_not_ended_ends_at_the_epoch_and_empty_fields_are_left_out() -> None:
    shown = views.run(record())
    assert shown["finished_at"] == "1970-01-01T00:00:00Z"
    assert "error" not in shown
    assert "run_details" not in shown
    assert shown["pipeline_spec"] == {"pipelineInfo": {"name": "p"}}


def test_a_run_of_a_version_names_the_version_instead_of_the_specification() -> None:
    run = record()
    run.pipeline_id, run.version_id = "p", "v"
    shown = views.run(run)
    assert shown["pipeline_version_reference"] == {"pipeline_id": "p", "pipeline_version_id": "v"}
    assert "pipeline_spec" not in shown


def test_a_task_is_shown_with_the_nodes_that_a_real_server_has_around_it() -> None:
    tasks = [
        task("root", "dag", "FAILED", 1),
        task("root/load", "importer", "SUCCEEDED", 2),
        task("root/train", "container", "CACHED", 3),
        task("root/check", "container", "FAILED", 4),
        task("root/deploy", "container", "OMITTED", 5),
        task("root/maybe", "container", "SKIPPED", 6),
    ]
    tasks[3].error = "exit code 1"
    details = views.task_details(record(), tasks)
    assert [(node["display_name"], node["state"]) for node in details[1:]] == [
        ("root-driver", "SUCCEEDED"), ("root", "FAILED"),
        ("load", "SUCCEEDED"),
        ("train-driver", "SUCCEEDED"), ("train", "SUCCEEDED"), ("executor", "SKIPPED"),
        ("check-driver", "SUCCEEDED"), ("check", "FAILED"), ("executor", "FAILED"),
        ("deploy-driver", "RUNTIME_STATE_UNSPECIFIED"), ("deploy", "RUNTIME_STATE_UNSPECIFIED"),
        ("maybe-driver", "SUCCEEDED"), ("maybe", "SKIPPED"),
    ]  # fmt: skip
    ids = {node["task_id"] for node in details}
    assert len(ids) == len(details)
    assert {node["parent_task_id"] for node in details[1:]} <= ids
    by_name = {node["display_name"]: node for node in details}
    assert by_name["check"]["error"] == {"code": 13, "message": "exit code 1"}
    nodes = [child["pod_name"] for child in by_name["root"]["child_tasks"]]
    assert len(set(nodes)) == len(nodes) == 9
