"""What a pod finds around it: environment, volumes, its other containers, its limits."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import NOTHING, Argo, alive, nodes_of, serve, shell, until, workflow

OBJECTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mode: fast, not a name: x, file.conf: "a=1\\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {user: me, password: secret}
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux only")


@pytest.fixture(scope="module")
def argo(module_settings: ArgoSandboxSettings) -> Generator[Argo]:
    """One server for all tests: what pods find does not depend on each other."""
    file = module_settings.data_dir.parent / "objects.yaml"
    file.write_text(OBJECTS)
    with serve(module_settings.model_copy(update={"objects": (file,)})) as client:
        yield client


def container(name: str, source: str, template: JsonObject | None = None, **settings: object) -> JsonObject:
    """A container template that runs a shell command, with settings of its container."""
    made = shell(name, source, **(template or {}))
    cast("JsonObject", made["container"]).update(cast("JsonObject", settings))
    return made


def named(name: str, source: str, **settings: object) -> JsonObject:
    """An init container, a sidecar or a part of a container set."""
    return cast(
        "JsonObject", {"name": name, "image": "alpine:3", "command": ["sh", "-c"], "args": [source], **settings}
    )


def mount(name: str, path: str, **more: object) -> JsonObject:
    return cast("JsonObject", {"name": name, "mountPath": path, **more})


def logs(argo: Argo, done: JsonObject) -> list[str]:
    return argo.logs(str(cast("JsonObject", done["metadata"])["name"]))


def test_variables_come_from_config_maps_secrets_and_the_pod_itself(argo: Argo) -> None:
    env = [
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "x", "optional": True}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TEAM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}},
        {"name": "BOTH", "value": "$(MODE)-$(POD)"},
    ]
    env_from = [{"configMapRef": {"name": "settings"}, "prefix": "C_"}, {"secretRef": {"name": "login"}}]
    source = 'echo "$MODE $PASSWORD ${NONE-unset} $TEAM $BOTH $C_mode $user"'
    template = container("main", source, {"metadata": {"labels": {"team": "ml"}}}, env=env, envFrom=env_from)
    done = argo.run(workflow("env", "main", template))
    assert logs(argo, done) == ["fast secret unset ml fast-env fast me"]


def test_an_object_that_was_not_given_ends_the_pod_with_kubelets_message(argo: Argo) -> None:
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "x"}}}]
    done = argo.run(workflow("noobject", "main", container("main", "true", env=env)), "Error")
    assert nodes_of(done)["noobject"]["message"] == (
        'Pod failed before main container starts due to CreateContainerConfigError: secret "gone" not found'
    )
    template = container("main", "true", volumeMounts=[mount("v", "/v")])
    volumes = [{"name": "v", "configMap": {"name": "gone"}}]
    done = argo.run(workflow("novolume", "main", template, volumes=volumes), "Error")
    assert 'configmap "gone" not found' in str(nodes_of(done)["novolume"]["message"])


def test_config_maps_and_secrets_are_files_in_their_volumes(argo: Argo) -> None:
    volumes = [
        {"name": "all", "configMap": {"name": "settings"}},
        {"name": "one", "secret": {"secretName": "login", "defaultMode": 0o400,
                                   "items": [{"key": "user", "path": "deep/name"}]}},
        {"name": "none", "secret": {"secretName": "gone", "optional": True}},
    ]  # fmt: skip
    mounts = [
        mount("all", "/etc/app"), mount("one", "/run/login"), mount("none", "/none"),
        mount("all", "/etc/one.conf", subPath="file.conf"),
    ]  # fmt: skip
    source = (
        "ls /etc/app | wc -l; cat /etc/app/file.conf /run/login/deep/name /etc/one.conf; echo;"
        "stat -c %a /run/login/deep/name; ls /none | wc -l"
    )
    done = argo.run(workflow("files", "main", container("main", source, volumeMounts=mounts), volumes=volumes))
    assert logs(argo, done) == ["3", "a=1", "mea=1", "", "400", "0"]


def test_a_claim_of_the_workflow_is_shared_by_its_pods_and_a_named_one_by_workflows(argo: Argo) -> None:
    mounts = [mount("work", "/mnt/work"), mount("kept", "/kept", subPath="of/all")]
    steps = {"name": "main", "steps": [[{"name": "a", "template": "write"}], [{"name": "b", "template": "read"}]]}
    write = container("write", "echo 1 > /mnt/work/x; echo 2 >> /kept/y", volumeMounts=mounts)
    read = container("read", "cat /mnt/work/x /kept/y", volumeMounts=mounts)
    spec = {
        "volumeClaimTemplates": [{"metadata": {"name": "work"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        "volumes": [{"name": "kept", "persistentVolumeClaim": {"claimName": "{{workflow.parameters.claim}}"}}],
        "arguments": {"parameters": [{"name": "claim", "value": "shared"}]},
    }
    done = argo.run(workflow("claims1", "main", steps, write, read, **spec))
    assert logs(argo, done) == ["1", "2"]
    done = argo.run(workflow("claims2", "main", steps, write, read, **spec))
    assert logs(argo, done) == ["1", "2", "2"]


def test_a_claims_name_cannot_lead_out_of_the_sandbox(argo: Argo) -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "../../x"}}]
    done = argo.run(workflow("upwards", "main", shell("main", "true"), volumes=volumes), "Error")
    assert "is no name of a volume or claim" in str(nodes_of(done)["upwards"]["message"])


def test_init_containers_run_first_and_sidecars_beside_the_main_one(argo: Argo) -> None:
    template = container(
        "main", "cat /shared/init; while ! test -f /shared/side; do sleep 0.02; done; cat /shared/side",
        {
            "volumes": [{"name": "shared", "emptyDir": NOTHING}],
            "initContainers": [named("prepare", "echo init > /other/init", volumeMounts=[mount("shared", "/other")])],
            "sidecars": [named("helper", "echo side > /shared/side; exec sleep 60", mirrorVolumeMounts=True)],
        },
        volumeMounts=[mount("shared", "/shared")],
    )  # fmt: skip
    done = argo.run(workflow("beside", "main", template))
    assert logs(argo, done) == ["init", "side"]


def test_the_failure_of_an_init_container_or_a_sidecar_fails_the_pod_with_its_name(argo: Argo) -> None:
    first = shell("main", "echo never", initContainers=[named("prepare", "exit 4")])
    done = argo.run(workflow("badinit", "main", first), "Failed")
    assert nodes_of(done)["badinit"]["message"] == "prepare: Error (exit code 4)"
    assert logs(argo, done) == []
    beside = shell("main", "sleep 0.2", sidecars=[named("helper", "exit 5"), named("other", "sleep 60")])
    done = argo.run(workflow("badside", "main", beside), "Failed")
    assert nodes_of(done)["badside"]["message"] == "helper: Error (exit code 5)"


def test_each_containers_log_is_its_own(argo: Argo) -> None:
    template = shell("main", "echo main; sleep 0.3", sidecars=[named("helper", "echo helper")])
    argo.run(workflow("ownlogs", "main", template))
    assert argo.logs("ownlogs") == ["main"]
    assert argo.logs("ownlogs", logOptions__container="helper") == ["helper"]


def container_set(*containers: JsonObject, **more: object) -> JsonObject:
    return cast("JsonObject", {"name": "main", "containerSet": {"containers": list(containers)}, **more})


def test_a_container_set_runs_as_a_graph_with_a_node_for_each_container(argo: Argo) -> None:
    parts = [
        named("a", "echo a >> /job/order"),
        named("b", "echo b >> /job/order", dependencies=["a"]),
        named("main", "cat /job/order; cp /job/order /job/out", dependencies=["b"]),
    ]
    template = container_set(
        *parts, volumes=[{"name": "work", "emptyDir": NOTHING}],
        outputs={"parameters": [{"name": "order", "valueFrom": {"path": "/job/out"}}]},
    )  # fmt: skip
    cast("JsonObject", template["containerSet"])["volumeMounts"] = [mount("work", "/job")]
    steps = {"name": "all", "steps": [[{"name": "set", "template": "main"}], [{"name": "then", "template": "then"}]]}
    done = argo.run(workflow("graph", "all", steps, template, shell("then", "true")))
    nodes = nodes_of(done)
    pod = nodes["set"]
    outputs = cast("JsonObject", pod["outputs"])
    assert cast("list[JsonObject]", outputs["parameters"])[0]["value"] == "a\nb"
    assert outputs["exitCode"] == "0"
    inner = [nodes[name] for name in ("a", "b", "main")]
    assert [(n["type"], n["phase"], n["boundaryID"]) for n in inner] == [("Container", "Succeeded", pod["id"])] * 3
    assert pod["children"] == [inner[0]["id"]] and inner[1]["children"] == [inner[2]["id"]]
    assert inner[2]["children"] == [nodes["[1]"]["id"]], "what comes next hangs below the last container"


def test_the_failure_of_one_container_of_a_set_ends_the_others(argo: Argo) -> None:
    parts = [named("a", "sleep 0.3; exit 3"), named("b", "sleep 60"), named("c", "true", dependencies=["a"])]
    done = argo.run(workflow("badset", "main", container_set(*parts)), "Failed")
    nodes = nodes_of(done)
    assert nodes["badset"]["message"] == "a: Error (exit code 3)"
    assert {name: nodes[name]["message"] for name in "abc"} == {
        "a": "a: Error (exit code 3): ",
        "b": "b: Error (exit code 143): ",
        "c": 'c: Error (exit code 3): dependency "a" exited with non-zero code: 3',
    }


def test_the_servers_own_environment_does_not_reach_a_pod(argo: Argo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-server")
    source = "tr '\\0' '\\n' < /proc/self/environ | cut -d= -f1 | sort; tr '\\0' '\\n' < /proc/$PPID/environ"
    template: JsonObject = {"name": "main", "container": {"image": "a:1", "command": ["sh", "-c"], "args": [source]}}
    done = argo.run(workflow("clean", "main", template))
    lines = logs(argo, done)
    assert "of-the-server" not in "\n".join(lines)
    names = {line for line in lines if "=" not in line}
    assert names <= {
        "ARGO_CONTAINER_NAME", "ARGO_NODE_ID", "ARGO_TEMPLATE_NAME", "HOME", "HOSTNAME", "LANG", "PATH", "TMPDIR",
        "PWD", "OLDPWD", "SHLVL", "_",
    }  # fmt: skip


@linux
def test_a_pod_over_its_memory_limit_is_killed_as_on_a_cluster(argo: Argo) -> None:
    source = "import time\nx = b'x' * 200_000_000\ntime.sleep(5)"
    script = {"image": "python:3", "command": ["python"], "source": source, "resources": {"limits": {"memory": "64Mi"}}}
    done = argo.run(workflow("oom", "main", {"name": "main", "script": script}), "Failed")
    assert nodes_of(done)["oom"]["message"] == "main: OOMKilled (exit code 137)"
    assert cast("JsonObject", nodes_of(done)["oom"]["outputs"])["exitCode"] == "137"


@linux
def test_a_pod_with_half_a_core_runs_on_one(argo: Argo) -> None:
    template = container("main", "nproc", resources={"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}})
    assert logs(argo, argo.run(workflow("cores", "main", template))) == ["1"]


@linux
def test_a_daemon_that_a_pod_leaves_behind_ends_with_it(argo: Argo) -> None:
    source = "setsid sh -c 'echo $$; exec sleep 60' & sleep 0.3"
    (line,) = logs(argo, argo.run(workflow("daemon", "main", shell("main", source))))
    until(lambda: not alive(int(line)))


def test_outputs_have_the_real_limits(argo: Argo) -> None:
    big = "head -c 300000 /dev/zero | tr '\\0' x"
    outputs = {"parameters": [{"name": "o", "valueFrom": {"path": "/tmp/o"}}]}
    done = argo.run(workflow("bigout", "main", shell("main", f"{big} > /tmp/o", outputs=outputs)), "Error")
    assert "failed to save parameter o: 300000 bytes are more than" in str(nodes_of(done)["bigout"]["message"])
    script = {"image": "bash", "command": ["sh"], "source": f"{big}; echo; echo end"}
    call = {"name": "a", "template": "big"}
    use = {"name": "b", "template": "use",
           "arguments": {"parameters": [{"name": "p", "value": "{{steps.a.outputs.result}}"}]}}  # fmt: skip
    steps = {"name": "main", "steps": [[call], [use]]}
    template = shell("use", "true", inputs={"parameters": [{"name": "p"}]})
    done = argo.run(workflow("bigresult", "main", steps, {"name": "big", "script": script}, template))
    result = str(cast("JsonObject", nodes_of(done)["a"]["outputs"])["result"])
    assert len(result) == 256 * 1024 - 1 and result.endswith("x\nend")


@pytest.mark.parametrize("kind", ["parameter", "artifact", "tree"])
def test_an_output_that_is_a_link_to_the_hosts_files_is_not_followed(argo: Argo, tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("of the host")
    artifact: JsonObject = {"name": "o", "path": "/tmp/o", "archive": {"none": {}}}
    outputs: JsonObject = {"artifacts": [artifact]}
    source = f"ln -s {tmp_path}/secret /tmp/o"
    if kind == "parameter":
        outputs = {"parameters": [{"name": "o", "valueFrom": {"path": "/tmp/o"}}]}
    elif kind == "tree":
        source = f"mkdir /tmp/o; ln -s {tmp_path}/secret /tmp/o/x"
    done = argo.run(workflow(f"link-{kind}", "main", shell("main", source, outputs=outputs)), "Error")
    assert "which is not the pod's own" in str(nodes_of(done)[f"link-{kind}"]["message"])
    assert "of the host" not in json.dumps(done)


def test_an_images_own_programs_are_found_by_their_absolute_paths(argo: Argo) -> None:
    template: JsonObject = {"name": "main", "container": {"image": "sandbox/say:1", "args": ["hello"]}}
    assert logs(argo, argo.run(workflow("own", "main", template))) == ["said hello"]
