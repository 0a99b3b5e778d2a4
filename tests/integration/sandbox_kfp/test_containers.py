"""Container components as processes of this machine."""

from __future__ import annotations

from pathlib import Path

from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.conftest import MakeServer
from tests.integration.sandbox_kfp.support import Server, wait_until
from tests.integration.sandbox_kfp.test_control import gone, held
from tests.support.objects import ObjectServer
from workers.engines.kfp.proto import metadata_store_pb2 as pb


def outputs(execution: pb.Execution) -> dict[str, object]:
    fields = execution.custom_properties["outputs"].struct_value.fields
    return {name: value.string_value or value.number_value for name, value in fields.items()}


def log_of(server: Server, run_id: str, task: str) -> str:
    return (server.data_dir / "runs" / run_id / "logs" / f"root.{task}.log").read_text(encoding="utf-8")


def test_a_container_component_runs_with_its_placeholders_and_its_outputs_are_read_from_their_paths(
    server: Server, objects: ObjectServer
) -> None:
    run_id = server.submit(pipelines.spec("writing"))
    run = server.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    executions = server.executions(run_id)
    assert outputs(executions["write"]) == {"note": "a word"}
    assert outputs(executions["read-file"]) == {"Output": "a word=3 hello\n"}
    made = server.artifacts(executions["write"], pb.Event.OUTPUT)["made"]
    assert objects.read(made.uri) == b"a word=3 hello\n"
    assert f"at {made.uri}" in log_of(server, run_id, "write")


def test_a_command_of_the_images_table_stands_in_for_an_entrypoint(make_server: MakeServer, tmp_path: Path) -> None:
    table = tmp_path / "images.toml"
    table.write_text('[images."example/greeter:1"]\ncommand = ["echo", "hello"]\n', encoding="utf-8")
    server = make_server("--images", str(table))
    run_id = server.submit(pipelines.spec("entrypoints"))
    assert server.wait(run_id)["state"] == "SUCCEEDED"
    assert log_of(server, run_id, "entrypoint") == "hello from the table\n"


def test_terminate_ends_a_container_and_what_it_started(server: Server, tmp_path: Path) -> None:
    run_id = server.submit(pipelines.spec("holding_container"), {"folder": str(tmp_path)})
    wait_until((tmp_path / "c.pids").exists, "a container that runs")
    pids = held(tmp_path, "c")
    assert server.call("POST", f"runs/{run_id}:terminate") == (200, {})
    assert server.wait(run_id)["state"] == "FAILED"
    gone(pids)


def test_a_retry_keeps_what_a_container_has_done(server: Server, tmp_path: Path) -> None:
    run_id = server.submit(pipelines.spec("needing_container"), {"folder": str(tmp_path)})
    run = server.wait(run_id)
    assert run["state"] == "FAILED"
    assert "not repaired, counted 1" in run["error"]["message"]
    (tmp_path / "repaired").touch()
    assert server.call("POST", f"runs/{run_id}:retry") == (200, {})
    assert server.wait(run_id)["state"] == "SUCCEEDED"
    assert (tmp_path / "count").read_text(encoding="ascii") == "x\n"
