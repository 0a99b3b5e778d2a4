"""Where artifacts come from and go to, and in what form."""

from __future__ import annotations

import base64
import io
import subprocess
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import obstore
import pytest
from pydantic import JsonValue

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import Argo, nodes_of, serve, shell, workflow
from tests.support.objects import BUCKET, ObjectServer

OBJECTS = """
kind: Secret
metadata: {name: login}
stringData: {user: me, password: secret, wrong: nobody}
---
kind: ConfigMap
metadata: {name: artifact-repositories}
data:
  other: |
    s3: {endpoint: %s, insecure: true, bucket: elsewhere, keyFormat: "{{workflow.namespace}}/{{pod.name}}"}
  gcs: |
    gcs: {bucket: x}
"""
PLAIN: JsonObject = {"none": {}}


@pytest.fixture(scope="module")
def argo(module_settings: ArgoSandboxSettings) -> Generator[Argo]:
    file = module_settings.data_dir.parent / "objects.yaml"
    file.write_text(OBJECTS % str(module_settings.s3_endpoint).removeprefix("http://"))
    update = {"objects": (file,), "artifact_limit_bytes": 1_000_000}
    with serve(module_settings.model_copy(update=update)) as client:
        yield client


@contextmanager
def web(files: dict[str, bytes]) -> Generator[str]:
    """A web server that wants the password of `login`, and keeps what is put."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = "Basic " + base64.b64encode(b"me:secret").decode()
            known = self.path in files and self.headers.get("X-Kind") == "test"
            status = 401 if self.headers.get("Authorization") != wanted else 200 if known else 404
            self.send_response(status)
            self.end_headers()
            self.wfile.write(files[self.path] if status == 200 else b"")

        def do_PUT(self) -> None:
            files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def http(url: str, user: str = "user") -> JsonObject:
    secrets: JsonObject = {
        "usernameSecret": {"name": "login", "key": user}, "passwordSecret": {"name": "login", "key": "password"},
    }  # fmt: skip
    return {"url": url, "headers": [{"name": "X-Kind", "value": "test"}], "auth": {"basicAuth": secrets}}


def made(
    name: str, source: str, *, into: list[JsonValue] | None = None, out: list[JsonValue] | None = None
) -> JsonObject:
    return shell(name, source, inputs={"artifacts": into or []}, outputs={"artifacts": out or []})


def artifact(name: str, **more: object) -> JsonObject:
    return cast("JsonObject", {"name": name, "path": f"/tmp/{name}", **more})


def saved(done: JsonObject, node: str) -> dict[str, JsonObject]:
    outputs = cast("JsonObject", nodes_of(done)[node]["outputs"])
    return {str(a["name"]): a for a in cast("list[JsonObject]", outputs["artifacts"])}


def test_files_are_got_and_put_over_http_with_headers_and_passwords_of_secrets(argo: Argo) -> None:
    files = {"/in": b"from the web"}
    with web(files) as url:
        into: list[JsonValue] = [artifact("in", http=http(f"{url}/in"))]
        out: list[JsonValue] = [artifact("out", http=http(f"{url}/out"), archive=PLAIN)]
        done = argo.run(
            workflow("web", "main", made("main", "cat /tmp/in | tr a-z A-Z > /tmp/out", into=into, out=out))
        )
        assert files["/out"] == b"FROM THE WEB"
        assert cast("JsonObject", saved(done, "web")["out"]["http"])["url"] == f"{url}/out"


@pytest.mark.parametrize(
    ("path", "user", "reason"),
    [
        ("/gone", "user", "artifact in failed to load: 404 Not Found"),
        ("/in", "wrong", "failed with reason: 401 Unauthorized"),
        ("/in", "none", "couldn't find key none in Secret login"),
    ],
)
def test_an_answer_over_http_that_is_no_success_ends_the_pod(argo: Argo, path: str, user: str, reason: str) -> None:
    name = f"web{len(reason)}"
    with web({"/in": b""}) as url:
        template = made("main", "true", into=[artifact("in", http=http(url + path, user))])
        done = argo.run(workflow(name, "main", template), "Error")
    assert reason in str(nodes_of(done)[name]["message"])


def test_a_repository_is_cloned_at_its_revision(argo: Argo, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    commands = (
        "init -q -b main", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m first", "tag v1",
        "-c user.name=a -c user.email=a@b commit -q --allow-empty -m second",
    )  # fmt: skip
    repository.mkdir()
    for command in commands:
        subprocess.run(["git", "-C", str(repository), *command.split()], check=True, timeout=20)
    git: JsonObject = {"repo": f"file://{repository}", "revision": "v1"}
    template = made("main", "git -C /tmp/code log --format=%s", into=[artifact("code", git=git)])
    argo.run(workflow("clone", "main", template))
    assert argo.logs("clone") == ["first"]
    git["revision"] = "no-such"
    template = made("main", "true", into=[artifact("code", git=git)])
    done = argo.run(workflow("noclone", "main", template), "Error")
    assert "artifact code failed to load: git failed" in str(nodes_of(done)["noclone"]["message"])
    assert "no-such" in str(nodes_of(done)["noclone"]["message"])


def test_a_zip_is_made_and_opened_where_it_is_asked_for(argo: Argo, objects: ObjectServer) -> None:
    archive: JsonObject = {"zip": {}}
    source = "mkdir -p /tmp/d/deep; echo 1 > /tmp/d/deep/x; echo 2 > /tmp/d/y"
    steps: JsonObject = {"name": "main", "steps": [
        [{"name": "a", "template": "a"}],
        [{"name": "b", "template": "b", "arguments": {"artifacts": [
            {"name": "back", "from": "{{steps.a.outputs.artifacts.d}}"}]}}],
    ]}  # fmt: skip
    done = argo.run(workflow(
        "zipped", "main", steps, made("a", source, out=[artifact("d", archive=archive)]),
        made("b", "cat /tmp/back/deep/x /tmp/back/y", into=[artifact("back")]),
    ))  # fmt: skip
    assert argo.logs("zipped") == ["1", "2"]
    key = str(cast("JsonObject", saved(done, "a")["d"]["s3"])["key"])
    assert key.endswith("/d.zip")
    with zipfile.ZipFile(io.BytesIO(objects.get(key))) as found:
        assert sorted(found.namelist()) == ["d/deep/x", "d/y"]


def test_a_part_of_a_folder_is_passed_on_by_its_path(argo: Argo) -> None:
    steps: JsonObject = {"name": "main", "steps": [
        [{"name": "a", "template": "a"}],
        [{"name": "b", "template": "b", "arguments": {"artifacts": [
            {"name": "part", "from": "{{steps.a.outputs.artifacts.d}}", "subPath": "{{workflow.parameters.part}}"}]}}],
    ]}  # fmt: skip
    argo.run(workflow(
        "part", "main", steps,
        made("a", "mkdir -p /tmp/d/x; echo 1 > /tmp/d/x/one; echo 2 > /tmp/d/two", out=[artifact("d", archive=PLAIN)]),
        made("b", "ls /tmp/part; cat /tmp/part/one", into=[artifact("part")]),
        arguments={"parameters": [{"name": "part", "value": "x"}]},
    ))  # fmt: skip
    assert argo.logs("part") == ["one", "1"]


def test_modes_are_set_down_to_the_last_file_where_that_is_asked_for(argo: Argo, objects: ObjectServer) -> None:
    objects.put("modes/a/b", b"x")
    s3: JsonObject = {"key": "modes"}
    into: list[JsonValue] = [artifact("all", s3=s3, mode=0o700, recurseMode=True), artifact("top", s3=s3, mode=0o700)]
    template = made("main", "stat -c %a /tmp/all /tmp/all/a/b /tmp/top; stat -c %a /tmp/top/a/b", into=into)
    argo.run(workflow("modes", "main", template))
    assert argo.logs("modes")[:3] == ["700", "700", "700"]
    assert argo.logs("modes")[3] != "700"


def test_a_bucket_is_made_where_it_is_asked_for(argo: Argo, objects: ObjectServer) -> None:
    s3: JsonObject = {
        "endpoint": objects.endpoint.removeprefix("http://"), "insecure": True, "bucket": "made-by-argo", "key": "x",
        "createBucketIfNotPresent": {},
    }  # fmt: skip
    for number in range(2):
        template = made("main", f"echo {number} > /tmp/o", out=[artifact("o", s3=s3, archive=PLAIN)])
        argo.run(workflow(f"bucket{number}", "main", template))
    template = made("main", "cat /tmp/o", into=[artifact("o", s3=s3)])
    argo.run(workflow("bucket", "main", template))
    assert argo.logs("bucket") == ["1"]


def test_logs_become_artifacts_where_that_is_asked_for(argo: Argo, objects: ObjectServer) -> None:
    template = shell("main", "echo said", archiveLocation={"archiveLogs": True})
    done = argo.run(workflow("keeplogs", "main", template))
    assert saved(done, "keeplogs")["main-logs"] == {"name": "main-logs", "s3": {"key": "keeplogs/keeplogs/main.log"}}
    assert objects.get("keeplogs/keeplogs/main.log") == b"said\n"
    done = argo.run(workflow("keepall", "main", shell("main", "true"), archiveLogs=True))
    assert objects.get("keepall/keepall/main.log") == b""


def test_a_repository_that_was_given_is_used_with_its_own_keys(argo: Argo, objects: ObjectServer) -> None:
    s3: JsonObject = {"key": "ours", "createBucketIfNotPresent": {}}
    template = made("main", "echo 1 > /tmp/o", out=[artifact("first", s3=s3, path="/tmp/o"), artifact("o")])
    done = argo.run(workflow("there", "main", template, artifactRepositoryRef={"key": "other"}))
    assert saved(done, "there")["o"]["s3"] == {"key": "argo/there/o.tgz"}
    status = cast("JsonObject", cast("JsonObject", done["status"])["artifactRepositoryRef"])
    assert (status["configMap"], status["key"], status["namespace"]) == ("artifact-repositories", "other", "argo")
    there = objects.store().__class__(
        "elsewhere", endpoint=objects.endpoint, access_key_id=objects.access_key,
        secret_access_key=objects.secret_key, region="us-east-1", virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )  # fmt: skip
    assert {item["path"] for batch in obstore.list(there) for item in batch} == {"ours", "argo/there/o.tgz"}


@pytest.mark.parametrize("key", ["none", "gcs"])
def test_a_repository_that_was_not_given_ends_the_workflow(argo: Argo, key: str) -> None:
    done = argo.run(workflow(f"repo-{key}", "main", shell("main", "true"), artifactRepositoryRef={"key": key}), "Error")
    message = str(cast("JsonObject", done["status"])["message"])
    assert message.startswith("failed to resolve artifact repository: artifactRepositoryRef: artifact-repositories#")


@pytest.mark.parametrize("form", ["plain", "packed", "input"])
def test_an_artifact_over_the_limit_is_refused(argo: Argo, objects: ObjectServer, form: str) -> None:
    big = "head -c 1000001 /dev/zero > /tmp/o"
    template = made("main", big, out=[artifact("o", archive=PLAIN)])
    if form == "packed":  # small in the store, but not in the pod that opens it
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x", b"\0" * 1_000_001)
        objects.put("bomb.zip", buffer.getvalue())
        template = made("main", "true", into=[artifact("o", s3={"key": "bomb.zip"}, archive={"zip": {}})])
    elif form == "input":
        objects.put("big", b"\0" * 1_000_001)
        template = made("main", "true", into=[artifact("o", s3={"key": "big"})])
    done = argo.run(workflow(f"limit-{form}", "main", template), "Error")
    message = str(nodes_of(done)[f"limit-{form}"]["message"])
    assert "larger than the 1000000 bytes that this sandbox allows" in message


def test_without_an_s3_server_artifacts_are_files_by_their_keys(tmp_path: Path, environments: Path) -> None:
    settings = ArgoSandboxSettings(
        data_dir=tmp_path / "argo", artifact_root=tmp_path / "kept", environments=environments
    )  # fmt: skip
    steps: JsonObject = {"name": "main", "steps": [
        [{"name": "a", "template": "a"}],
        [{"name": "b", "template": "b", "arguments": {"artifacts": [
            {"name": "in", "from": "{{steps.a.outputs.artifacts.o}}"}]}}],
    ]}  # fmt: skip
    with serve(settings) as argo:
        argo.run(workflow(
            "local", "main", steps,
            made("a", "mkdir /tmp/o; echo 1 > /tmp/o/x", out=[artifact("o", s3={"key": "k/o"}, archive=PLAIN)]),
            made("b", "cat /tmp/in/x", into=[artifact("in")]),
        ))  # fmt: skip
        assert argo.logs("local") == ["1"]
        template = made("main", "echo 2 > /tmp/o", out=[artifact("o", s3={"key": "../../o"}, archive=PLAIN)])
        done = argo.run(workflow("outside", "main", template), "Error")
        assert "failed to save artifact o" in str(nodes_of(done)["outside"]["message"])
    assert (tmp_path / "kept" / "artifacts" / "k" / "o" / "x").read_text() == "1\n"
    assert not (tmp_path / "o").exists()


def test_the_bucket_of_the_stack_is_where_artifacts_are_by_default(argo: Argo, objects: ObjectServer) -> None:
    done = argo.run(workflow("default", "main", made("main", "echo 1 > /tmp/o", out=[artifact("o", archive=PLAIN)])))
    assert objects.get("default/default/o") == b"1\n"
    reference = cast("dict[str, JsonObject]", cast("JsonObject", done["status"])["artifactRepositoryRef"])
    assert cast("JsonObject", reference["artifactRepository"]["s3"])["bucket"] == BUCKET


def test_a_folder_under_a_key_that_ends_in_a_slash_lies_right_below_it(argo: Argo, objects: ObjectServer) -> None:
    parts = artifact("parts", archive=PLAIN, s3={"key": "{{workflow.name}}/parts/"}, path="/out")
    split = shell("main", "mkdir -p /out && echo 0 > /out/0.json", outputs={"artifacts": [parts]})
    argo.run(workflow("slash", "main", split))
    assert objects.get("slash/parts/0.json") == b"0\n"
