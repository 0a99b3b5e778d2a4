"""Branches, loops, and the environments of components."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from tests.integration.sandbox_kfp import pipelines
from tests.integration.sandbox_kfp.conftest import MakeServer
from tests.integration.sandbox_kfp.support import Server
from workers.engines.kfp.proto import metadata_store_pb2 as pb


def output(execution: pb.Execution) -> object:
    value = execution.custom_properties["outputs"].struct_value.fields["Output"]
    return value.string_value


@pytest.mark.parametrize(
    ("value", "taken", "skipped"), [(0.75, "condition-1", "condition-2"), (0.25, "condition-2", "condition-1")]
)
def test_a_branch_runs_when_its_condition_on_a_named_output_holds(
    server: Server, value: float, taken: str, skipped: str
) -> None:
    run_id = server.submit(pipelines.spec("branches_and_loops"), {"value": value})
    run = server.wait(run_id)
    assert run["state"] == "SUCCEEDED", run
    executions = server.executions(run_id)
    assert executions[taken].last_known_state == pb.Execution.COMPLETE
    assert executions[skipped].last_known_state == pb.Execution.CANCELED  # KFP's word for not triggered
    states = {node["display_name"]: node["state"] for node in run["run_details"]["task_details"]}
    assert (states[taken], states[skipped]) == ("SUCCEEDED", "SKIPPED")
    inside = next(
        one for one in executions.values() if one.custom_properties["parent_dag_id"].int_value == executions[taken].id
    )
    assert output(inside) == ("hello high" if value > 0.5 else "hello low")


def test_each_iteration_of_a_loop_over_a_named_output_has_its_execution(server: Server) -> None:
    run_id = server.submit(pipelines.spec("branches_and_loops"), {"value": 0.125})
    assert server.wait(run_id)["state"] == "SUCCEEDED"
    with server.metadata() as stub:
        context = stub.GetContextByTypeAndName(
            pb.GetContextByTypeAndNameRequest(type_name="system.PipelineRun", context_name=run_id)
        ).context
        found = stub.GetExecutionsByContext(pb.GetExecutionsByContextRequest(context_id=context.id)).executions
    iterations = [one for one in found if "iteration_index" in one.custom_properties]
    assert sorted(one.custom_properties["iteration_index"].int_value for one in iterations) == [0, 1]
    loops = {one.custom_properties["parent_dag_id"].int_value for one in iterations}
    assert len(loops) == 1
    loop = next(one for one in found if one.id in loops)
    assert loop.custom_properties["task_name"].string_value == "for-loop-3"
    assert loop.custom_properties["iteration_count"].int_value == 2
    parents = {one.id for one in iterations}
    greetings = [output(one) for one in found if one.custom_properties["parent_dag_id"].int_value in parents]
    assert sorted(str(greeting) for greeting in greetings) == ["hello a", "hello b"]


def test_packages_of_a_component_are_in_its_environment_before_it_runs(server: Server) -> None:
    run_id = server.submit(pipelines.spec("packages"))
    run = server.wait(run_id, 120)
    assert run["state"] == "SUCCEEDED", run
    assert output(server.executions(run_id)["use-six"]) == "1.17.0"


def test_each_image_of_a_pipeline_has_its_own_environment(make_server: MakeServer, tmp_path: Path) -> None:
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in ("kfp", "docker", "protobuf", "urllib3")]
    (tmp_path / "tools.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    table = tmp_path / "images.toml"
    table.write_text('[images."example/tools:1"]\nrequirements = "tools.txt"\n', encoding="utf-8")
    server = make_server("--images", str(table))
    run_id = server.submit(pipelines.spec("two_images"))
    run = server.wait(run_id, 120)
    assert run["state"] == "SUCCEEDED", run
    executions = server.executions(run_id)
    tools, plain = str(output(executions["use-tools"])), str(output(executions["use-plain"]))
    assert Path(tools).name.startswith("tools-")
    assert Path(plain).name.startswith("bare-kfp-")


def test_an_image_whose_requirements_lack_kfp_fails_the_run_with_the_mend(
    make_server: MakeServer, tmp_path: Path
) -> None:
    (tmp_path / "tools.txt").write_text("", encoding="utf-8")
    table = tmp_path / "images.toml"
    table.write_text('[images."example/tools:1"]\nrequirements = "tools.txt"\n', encoding="utf-8")
    server = make_server("--images", str(table))
    run = server.wait(server.submit(pipelines.spec("two_images")))
    assert run["state"] == "FAILED"
    assert 'the environment of image "example/tools:1" has no kfp' in run["error"]["message"]
