"""What runs, and what its status says afterwards."""

from __future__ import annotations

import io
import tarfile
import time
from typing import cast

from pydantic import JsonValue

from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import NOTHING, Argo, alive, nodes_of, shell, workflow
from tests.support.objects import BUCKET, ObjectServer


def value_of(name: str, value: str) -> JsonObject:
    return {"parameters": [{"name": name, "value": value}]}


def test_a_container_runs_and_its_node_is_written_as_the_controller_writes_it(argo: Argo) -> None:
    created = argo.create(workflow("one", "main", shell("main", "echo hello; echo oops >&2")))
    assert created["status"] == {
        "startedAt": None, "finishedAt": None,
        "artifactRepositoryRef": cast("JsonObject", created["status"])["artifactRepositoryRef"],
    }  # fmt: skip
    done = argo.finished("one", "Succeeded")
    metadata, status = cast("JsonObject", done["metadata"]), cast("JsonObject", done["status"])
    assert metadata["uid"] == cast("JsonObject", created["metadata"])["uid"]
    assert metadata["labels"] == {
        "workflows.argoproj.io/phase": "Succeeded", "workflows.argoproj.io/completed": "true",
        "workflows.argoproj.io/workflow-archiving-status": "Archived",
    }  # fmt: skip
    node = cast("dict[str, JsonObject]", status["nodes"])["one"]
    assert {k: node[k] for k in ("id", "name", "displayName", "type", "templateName", "templateScope", "phase")} == {
        "id": "one", "name": "one", "displayName": "one", "type": "Pod", "templateName": "main",
        "templateScope": "local/one", "phase": "Succeeded",
    }  # fmt: skip
    assert node["outputs"] == {"exitCode": "0"}
    assert node["progress"] == status["progress"] == "1/1"
    assert {"type": "Completed", "status": "True"} in cast("list[JsonObject]", status["conditions"])
    assert sorted(argo.logs("one", podName="one")) == ["hello", "oops"]


def test_a_failing_container_fails_the_workflow_with_the_controllers_messages(argo: Argo) -> None:
    done = argo.run(
        workflow(
            "bad", "main", {"name": "main", "steps": [[{"name": "a", "template": "fail"}]]}, shell("fail", "exit 3")
        ),
        "Failed",
    )
    nodes = nodes_of(done)
    assert nodes["a"]["message"] == "main: Error (exit code 3)"
    assert cast("JsonObject", nodes["a"]["outputs"])["exitCode"] == "3"
    assert nodes["[0]"]["message"] == nodes["bad"]["message"] == f"child '{nodes['a']['id']}' failed"
    assert cast("JsonObject", done["status"])["message"] == nodes["bad"]["message"]


def test_a_program_that_is_not_there_is_refused_and_one_that_only_the_run_names_fails_the_pod(argo: Argo) -> None:
    template: JsonObject = {"name": "main", "container": {"image": "x", "command": ["no-such-program"]}}
    reason = argo.refuse(workflow("refused", "main", template))
    assert 'templates.main.container.command is not supported by the sandbox: there is no "no-such-program"' in reason
    named: JsonObject = {
        "name": "main", "inputs": value_of("program", "no-such-program"),
        "container": {"image": "x", "command": ["{{inputs.parameters.program}}"]},
    }  # fmt: skip
    done = argo.run(workflow("noprog", "main", named), "Failed")
    assert 'exec: "no-such-program": executable file not found' in str(nodes_of(done)["noprog"]["message"])


def test_an_image_has_its_usual_folders_and_no_others(argo: Argo) -> None:
    parameters = [{"name": "o", "valueFrom": {"path": "/out/o"}}, {"name": "p", "valueFrom": {"path": "/mnt/in/p"}}]
    source = "mkdir /mnt/in && echo 1 > /mnt/in/p; mkdir /out && echo 1 > /out/o"
    made = shell("main", source, outputs={"parameters": parameters})
    argo.run(workflow("folders", "main", made))
    assumed = shell("main", "echo 1 > /out/o", outputs={"parameters": parameters})
    argo.run(workflow("no-folder", "main", assumed), "Failed")


def test_a_script_may_be_run_as_a_program_of_its_own(argo: Argo) -> None:
    script = {"image": "alpine:3", "command": ["sh", "-c"], "source": "echo ran as $0\n"}
    ran = argo.run(workflow("script-file", "main", {"name": "main", "script": script}))
    assert "ran as " in "".join(argo.logs(str(cast("JsonObject", ran["metadata"])["name"])))


def test_steps_pass_parameters_results_and_skip_what_when_excludes(argo: Argo) -> None:
    done = argo.run(
        workflow(
            "chain", "main",
            {
                "name": "main",
                "steps": [
                    [{"name": "make", "template": "make",
                      "arguments": value_of("word", "{{workflow.parameters.word}}")}],
                    [
                        {"name": "use", "template": "use", "when": "{{steps.make.outputs.result}} == hello",
                         "arguments": value_of("text", "{{steps.make.outputs.parameters.size}}")},
                        {"name": "not", "template": "use", "when": "{{steps.make.outputs.result}} != hello",
                         "arguments": value_of("text", "x")},
                    ],
                ],
                "outputs": {"parameters": [
                    {"name": "size", "valueFrom": {"parameter": "{{steps.use.outputs.parameters.said}}"}}]},
            },
            {
                "name": "make", "inputs": {"parameters": [{"name": "word"}, {"name": "more", "default": "5"}]},
                "script": {"image": "python:3.12", "command": ["python"], "source": (
                    "import pathlib\n"
                    "pathlib.Path('{{outputs.parameters.size.path}}').write_text('{{inputs.parameters.more}}')\n"
                    "print('{{inputs.parameters.word}}')\n"
                )},
                "outputs": {"parameters": [{"name": "size", "valueFrom": {"path": "/tmp/size.txt"}}]},
            },
            shell(
                "use", "echo got {{inputs.parameters.text}} > /tmp/said", inputs={"parameters": [{"name": "text"}]},
                outputs={"parameters": [{"name": "said", "globalName": "said", "valueFrom": {"path": "/tmp/said"}}]},
            ),
            arguments=value_of("word", "hello"),
        )
    )  # fmt: skip
    nodes = nodes_of(done)
    assert cast("JsonObject", nodes["make"]["outputs"])["result"] == "hello"
    assert (nodes["not"]["type"], nodes["not"]["phase"]) == ("Skipped", "Skipped")
    assert nodes["not"]["message"] == "when 'hello != hello' evaluated false"
    outputs = cast("JsonObject", nodes["chain"]["outputs"])
    assert cast("list[JsonObject]", outputs["parameters"])[0]["value"] == "got 5"
    status = cast("JsonObject", done["status"])
    assert status["outputs"] == {"parameters": [{"name": "said", "value": "got 5"}]}
    assert nodes["make"]["children"] == [nodes["[1]"]["id"]]
    assert nodes["chain"]["outboundNodes"] == [nodes["use"]["id"], nodes["not"]["id"]]


def dag(name: str, tasks: list[JsonValue], **more: JsonValue) -> JsonObject:
    return {"name": name, "dag": {"tasks": tasks, **more}}


def test_a_dag_runs_by_dependencies_and_omits_what_depends_excludes(argo: Argo) -> None:
    done = argo.run(
        workflow(
            "tree", "main",
            dag("main", [
                {"name": "a", "template": "ok"},
                {"name": "b", "template": "fail", "depends": "a"},
                {"name": "c", "template": "ok", "depends": "b.Failed"},
                {"name": "d", "template": "ok", "depends": "b.Succeeded"},
                {"name": "e", "template": "ok", "depends": "c && (d.Omitted || d.Succeeded) && !a.Failed"},
            ]),
            shell("ok", "true"), shell("fail", "false"),
        )
    )  # fmt: skip
    nodes = nodes_of(done)
    assert {name: nodes[name]["phase"] for name in "abcde"} == {
        "a": "Succeeded", "b": "Failed", "c": "Succeeded", "d": "Omitted", "e": "Succeeded",
    }  # fmt: skip
    assert nodes["d"]["message"] == "omitted: depends condition not met"
    assert nodes["tree"]["children"] == [nodes["a"]["id"]]
    assert nodes["a"]["children"] == [nodes["b"]["id"], nodes["e"]["id"]]  # e names a
    assert set(cast("list[str]", nodes["b"]["children"])) == {str(nodes["c"]["id"]), str(nodes["d"]["id"])}


def test_a_failed_task_fails_the_dag_and_omits_its_followers(argo: Argo) -> None:
    tasks: list[JsonValue] = [{"name": "a", "template": "fail"}, {"name": "b", "template": "ok", "dependencies": ["a"]}]
    done = argo.run(
        workflow("broken", "main", dag("main", tasks), shell("ok", "true"), shell("fail", "exit 1")), "Failed"
    )
    nodes = nodes_of(done)
    assert (nodes["b"]["phase"], nodes["broken"]["phase"]) == ("Omitted", "Failed")


def test_artifacts_go_through_s3_in_a_dag(argo: Argo, objects: ObjectServer) -> None:
    objects.put("given/words.txt", b"one two three\n")
    endpoint = objects.endpoint.removeprefix("http://")
    secret = {"name": "any", "key": "any"}
    done = argo.run(
        workflow(
            "flow", "main",
            dag("main", [
                {"name": "split", "template": "split", "arguments": {"artifacts": [
                    {"name": "words", "from": "{{inputs.artifacts.words}}"}]}},
                {"name": "join", "template": "join", "dependencies": ["split"], "arguments": {"artifacts": [
                    {"name": "lines", "from": "{{tasks.split.outputs.artifacts.lines}}"},
                    {"name": "note", "raw": {"data": "noted"}}]}},
            ]) | {
                "inputs": {"artifacts": [{"name": "words"}]},
                "outputs": {"artifacts": [
                    {"name": "joined", "globalName": "all", "from": "{{tasks.join.outputs.artifacts.joined}}"}]},
            },
            shell(
                "split",
                "tr ' ' '\\n' < /tmp/words.txt > /tmp/lines && mkdir -p /data/dir && cp /tmp/lines /data/dir/x",
                inputs={"artifacts": [{"name": "words", "path": "/tmp/words.txt"}]},
                outputs={"artifacts": [{"name": "lines", "path": "/tmp/lines"}, {"name": "folder", "path": "/data/dir"},
                                       {"name": "maybe", "path": "/tmp/absent", "optional": True}]},
            ),
            shell(
                "join",
                "mkdir /o; paste -sd+ /in/lines > {{outputs.artifacts.joined.path}};"
                "cat {{inputs.artifacts.note.path}} >> /o/j",
                inputs={"artifacts": [{"name": "lines", "path": "/in/lines"}, {"name": "note", "path": "/in/note"}]},
                outputs={"artifacts": [{"name": "joined", "path": "/o/j", "archive": {"none": NOTHING},
                                        "s3": {"key": "results/{{workflow.name}}.txt"}}]},
            ),
            arguments={"artifacts": [{"name": "words", "s3": {
                "endpoint": endpoint, "insecure": True, "bucket": BUCKET, "key": "given/words.txt",
                "accessKeySecret": secret, "secretKeySecret": secret}}]},
        )
    )  # fmt: skip
    nodes, status = nodes_of(done), cast("JsonObject", done["status"])
    assert objects.get("results/flow.txt") == b"one+two+three\nnoted"
    saved = cast("list[JsonObject]", cast("JsonObject", nodes["split"]["outputs"])["artifacts"])
    assert [artifact["name"] for artifact in saved] == ["lines", "folder"]
    pod = f"flow-split-{str(nodes['split']['id']).removeprefix('flow-')}"
    assert saved[0]["s3"] == {"key": f"flow/{pod}/lines.tgz"}
    with tarfile.open(fileobj=io.BytesIO(objects.get(f"flow/{pod}/folder.tgz"))) as archive:
        assert archive.getnames() == ["dir", "dir/x"]
    assert status["outputs"] == {
        "artifacts": [{"name": "all", "archive": {"none": {}}, "s3": {"key": "results/flow.txt"}}]
    }
    repository = cast("JsonObject", cast("JsonObject", status["artifactRepositoryRef"])["artifactRepository"])
    assert cast("JsonObject", repository["s3"])["endpoint"] == endpoint
    assert cast("JsonObject", repository["s3"])["bucket"] == BUCKET


def test_a_missing_input_object_ends_the_pod_in_error(argo: Argo) -> None:
    done = argo.run(
        workflow(
            "lost", "main",
            shell("main", "cat /tmp/x", inputs={"artifacts": [{"name": "x", "path": "/tmp/x"}]}),
            arguments={"artifacts": [{"name": "x", "s3": {"key": "no/such/key"}}]},
        ),
        "Error",
    )  # fmt: skip
    message = str(nodes_of(done)["lost"]["message"])
    assert "artifact x failed to load: The specified key does not exist" in message


def test_a_store_that_does_not_answer_and_a_damaged_tarball_end_the_pod_in_error(
    argo: Argo, objects: ObjectServer
) -> None:
    objects.put("bad.tgz", b"no tarball")
    main = shell("main", "true", inputs={"artifacts": [{"name": "x", "path": "/tmp/x"}]})
    places: dict[str, JsonObject] = {
        "away": {"endpoint": "127.0.0.1:1", "insecure": True, "key": "x"},
        "damaged": {"key": "bad.tgz"},
    }
    for name, place in places.items():
        given: JsonObject = {"name": "x", "archive": {"tar": NOTHING}, "s3": place}
        done = argo.run(workflow(name, "main", main, arguments={"artifacts": [given]}), "Error")
        reason = "cannot read x" if name == "away" else "cannot be opened as a gzip'd tar"
        assert f"artifact x failed to load: {reason}" in str(nodes_of(done)[name]["message"])


def test_a_missing_output_file_ends_the_pod_in_error(argo: Argo) -> None:
    outputs: JsonObject = {"parameters": [{"name": "x", "valueFrom": {"path": "/tmp/none"}}]}
    done = argo.run(workflow("noout", "main", shell("main", "true", outputs=outputs)), "Error")
    assert "open /tmp/none: no such file or directory" in str(nodes_of(done)["noout"]["message"])


def test_items_become_a_task_group_and_their_outputs_a_list(argo: Argo) -> None:
    done = argo.run(
        workflow(
            "many", "main",
            dag("main", [
                {"name": "each", "template": "say", "withItems": ["a", {"k": "v"}],
                 "arguments": value_of("text", "{{item}}")},
                {"name": "all", "template": "say", "dependencies": ["each"],
                 "arguments": value_of("text", "{{tasks.each.outputs.parameters.said}}")},
                {"name": "none", "template": "say", "withParam": "[]", "arguments": value_of("text", "{{item}}")},
            ]),
            shell(
                "say", "printf %s '{{inputs.parameters.text}}' > /tmp/said", inputs={"parameters": [{"name": "text"}]},
                outputs={"parameters": [{"name": "said", "valueFrom": {"path": "/tmp/said"}}]},
            ),
        )
    )  # fmt: skip
    nodes = nodes_of(done)
    assert nodes["each"]["type"] == "TaskGroup"
    assert set(nodes) >= {"each(0:a)", "each(1:k:v)"}
    said = cast("list[JsonObject]", cast("JsonObject", nodes["all"]["outputs"])["parameters"])[0]["value"]
    assert said == '["a","{\\"k\\":\\"v\\"}"]'
    assert (nodes["none"]["phase"], nodes["none"]["message"]) == ("Skipped", "Skipped, empty params")


def test_a_retry_strategy_tries_again_until_the_limit(argo: Argo) -> None:
    strategy: JsonObject = {"limit": 2, "retryPolicy": "OnFailure"}
    done = argo.run(workflow("again", "main", shell("main", "test {{retries}} -ge 1", retryStrategy=strategy)))
    nodes = nodes_of(done)
    assert (nodes["again"]["type"], nodes["again"]["phase"]) == ("Retry", "Succeeded")
    assert [nodes[f"again({i})"]["phase"] for i in (0, 1)] == ["Failed", "Succeeded"]
    done = argo.run(workflow("never", "main", shell("main", "exit 1", retryStrategy=strategy)), "Failed")
    assert cast("JsonObject", done["status"])["message"] == "No more retries left"
    assert len(nodes_of(done)) == 4


def test_attempts_that_fail_without_a_pod_end_with_the_deadline_and_do_not_block_the_server(argo: Argo) -> None:
    call = {"name": "a", "template": "ok", "when": "{{workflow.name}} == (("}
    endless = {"name": "main", "retryStrategy": {"retryPolicy": "Always"}, "steps": [[call]]}
    argo.create(workflow("endless", "main", endless, shell("ok", "true"), activeDeadlineSeconds=1))
    assert argo.call("GET", "/version")[0] == 200
    done = argo.finished("endless", "Failed")
    assert str(cast("JsonObject", done["status"])["message"]).startswith("retry exceeded workflow deadline ")


def test_an_exit_handler_runs_after_a_failure_and_knows_of_it(argo: Argo) -> None:
    templates = (shell("main", "exit 1"), shell("bye", "echo {{workflow.status}}"))
    done = argo.run(workflow("ends", "main", *templates, onExit="bye"), "Failed")
    node = nodes_of(done)["ends.onExit"]
    assert (node["phase"], node["nodeFlag"]) == ("Succeeded", {"hooked": True})
    assert argo.logs("ends", podName=f"ends-bye-{str(node['id']).removeprefix('ends-')}") == ["Failed"]


def test_deadlines_of_pod_and_workflow_end_the_processes(argo: Argo) -> None:
    done = argo.run(workflow("slowpod", "main", shell("main", "sleep 60", activeDeadlineSeconds=1)), "Failed")
    message = nodes_of(done)["slowpod"]["message"]
    assert message == "Pod was active on the node longer than the specified deadline"
    done = argo.run(workflow("slow", "main", shell("main", "sleep 60"), activeDeadlineSeconds=1), "Failed")
    assert nodes_of(done)["slow"]["message"] == "Step exceeded its deadline"


def test_a_pod_has_a_clean_environment_and_its_images_command(argo: Argo) -> None:
    container: JsonObject = {"image": "sandbox/echo:1", "args": ["$(GREETING)", "$(HOSTNAME)"],
                             "env": [{"name": "GREETING", "value": "hi"}]}  # fmt: skip
    argo.run(workflow("imaged", "main", {"name": "main", "container": container}))
    assert argo.logs("imaged", podName="imaged") == ["hi imaged"]
    argo.run(workflow("clean", "main", shell("main", "env | cut -d= -f1 | sort | tr '\\n' ' '")))
    names = set(argo.logs("clean", podName="clean")[0].split())
    assert names <= {
        "ARGO_CONTAINER_NAME", "ARGO_NODE_ID", "ARGO_TEMPLATE_NAME", "HOME", "HOSTNAME", "LANG", "PATH", "PWD",
        "TMPDIR", "_", "OLDPWD", "SHLVL", "LC_CTYPE",
    }  # fmt: skip


def test_a_volume_lies_in_the_pods_folder_and_declared_paths_do_not_touch_the_host(argo: Argo) -> None:
    template = shell("main", "echo x > /meta-sandbox-test/file; ls /meta-sandbox-test; pwd")
    cast("JsonObject", template["container"]).update(
        {"volumeMounts": [{"name": "work", "mountPath": "/meta-sandbox-test"}], "workingDir": "/meta-sandbox-test"}
    )
    argo.run(workflow("vol", "main", template, volumes=[{"name": "work", "emptyDir": NOTHING}]))
    lines = argo.logs("vol", podName="vol")
    assert lines[0] == "file"
    assert lines[1].endswith("/vol/files/volumes/work")


def test_a_log_is_cut_at_its_limit_and_says_so(argo: Argo) -> None:
    argo.run(workflow("loud", "main", shell("main", "yes 0123456789012345678901234567890123456789 | head -n 40000")))
    lines = argo.logs("loud", podName="loud")
    assert sum(len(line) + 1 for line in lines) <= 1024 * 1024 + 100
    assert lines[-1] == "[the sandbox keeps 1048576 bytes of a pod's log; the rest is not kept]"
    assert argo.logs("loud", podName="loud", logOptions__tailLines="2")[-1] == lines[-1]


def test_a_pod_ends_with_its_main_process_and_takes_the_rest_with_it(argo: Argo) -> None:
    started = time.monotonic()
    argo.run(workflow("rest", "main", shell("main", "sleep 300 & echo $!")))
    assert time.monotonic() - started < 10
    (pid,) = argo.logs("rest", podName="rest")
    assert not alive(int(pid))
