"""Control flow by the rules of the real server: OneOf, Collected, exit tasks, nulls, what is skipped and omitted."""

from __future__ import annotations

from pathlib import Path

from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.support import Json, Server
from workers.engines.kfp.proto import metadata_store_pb2 as pb


def output(execution: pb.Execution) -> object:
    value = execution.custom_properties["outputs"].struct_value.fields["Output"]
    return value.string_value or value.number_value


def states(run: Json) -> dict[str, str]:
    return {node["display_name"]: node["state"] for node in run["run_details"]["task_details"]}


def test_oneof_artifacts_nested_collected_and_parts_of_loop_items(server: Server) -> None:
    run_id = server.submit(pipelines.spec("flowing"))
    run = server.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    executions = server.executions(run_id)
    assert output(executions["read-file"]) == "right"
    assert output(executions["read-all"]) == "a a b b"
    assert output(executions["total"]) == 60


def test_a_task_after_a_branch_that_was_not_taken_is_not_run(server: Server) -> None:
    spec = pipelines.spec("after_a_branch")
    spec["root"]["dag"]["tasks"]["greet-2"]["dependentTasks"] = ["condition-1"]
    run = server.wait(server.submit(spec))
    assert run["state"] == "SUCCEEDED", run
    assert states(run)["condition-1"] == "SKIPPED"
    assert states(run)["greet-2"] == "RUNTIME_STATE_UNSPECIFIED"  # Argo's Omitted


def test_tasks_that_do_not_wait_for_each_other_run_at_once(server: Server, tmp_path: Path) -> None:
    run = server.wait(server.submit(pipelines.spec("meeting"), {"folder": str(tmp_path)}))
    assert run["state"] == "SUCCEEDED", run


def test_an_exit_task_learns_how_the_rest_ended(server: Server) -> None:
    run_id = server.submit(pipelines.spec("ending"))
    run = server.wait(run_id)
    assert run["state"] == "FAILED"
    assert run["error"]["message"].endswith("ValueError: as planned")
    assert output(server.executions(run_id)["last-word"]) == "exit-handler-1 FAILED"
    assert states(run)["say"] == "RUNTIME_STATE_UNSPECIFIED"


def test_a_task_that_ignores_upstream_failures_gets_its_defaults(server: Server) -> None:
    run_id = server.submit(pipelines.spec("ignoring"))
    run = server.wait(run_id)
    assert run["state"] == "FAILED"  # for the real server it is an exit hook, which mends nothing
    assert output(server.executions(run_id)["say"]) == "a default x"


def test_nested_pipelines_get_their_defaults_and_nulls(server: Server) -> None:
    run_id = server.submit(pipelines.spec("nesting"))
    run = server.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    assert output(server.executions(run_id)["say"]) == "default None"


def test_each_attempt_of_a_task_is_a_node_below_its_executor(server: Server, tmp_path: Path) -> None:
    run_id = server.submit(pipelines.spec("retrying"), {"folder": str(tmp_path)})
    run = server.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    assert output(server.executions(run_id)["second-time"]) == 1
    nodes = {node["display_name"]: node for node in run["run_details"]["task_details"]}
    first, second, executor = nodes["executor(0)"], nodes["executor(1)"], nodes["executor"]
    assert (first["state"], second["state"], executor["state"]) == ("FAILED", "SUCCEEDED", "SUCCEEDED")
    assert "not the first time" in first["error"]["message"]
    assert first["parent_task_id"] == second["parent_task_id"] == executor["task_id"]
    assert len(executor["child_tasks"]) == 2
    assert "executor(2)" not in nodes
