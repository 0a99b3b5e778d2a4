"""Argo's manifests: created or submitted, resumed where they wait for somebody, and judged by their nodes."""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import urllib3
import yaml

from tests.corpus.verdict import Expected, Finding, Verdict

Json = dict[str, Any]
NAMESPACE = "argo"
_STORED = {
    "WorkflowTemplate": (f"workflow-templates/{NAMESPACE}", "template"),
    "ClusterWorkflowTemplate": ("cluster-workflow-templates", "template"),
    "CronWorkflow": (f"cron-workflows/{NAMESPACE}", "cronWorkflow"),
}
_NO_TEST = "workflows.argoproj.io/no-test"  # by which Argo keeps an example out of its own tests
_ENDED = ("Succeeded", "Failed", "Error")
_FULFILLED = (*_ENDED, "Skipped", "Omitted")


class _Refused(Exception):
    pass


class _FailsHere(Exception):
    pass


class _Wrong(Exception):
    pass


def _objects(value: object) -> list[Json]:
    return cast("list[Json]", value or [])


def _parameters(values: object) -> list[Json]:
    """Of `inputs`, `outputs` or `arguments`, which may be missing or null."""
    return _objects(cast("Json", values or {}).get("parameters"))


def _documents(file: Path) -> Iterator[Json]:
    """The objects of a file; none when it is no YAML, which is said when it is judged."""
    try:
        found = list(yaml.safe_load_all(file.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError):
        return
    yield from (cast("Json", document) for document in found if isinstance(document, dict))


class ArgoCorpus:
    """A folder of manifests on one server.

    Args:
        folder: the corpus.
        expected: by path below the folder.
        addresses: of the sandbox.
        timeout: seconds for one manifest.
    """

    def __init__(self, folder: Path, expected: dict[str, Expected], addresses: dict[str, str], timeout: float) -> None:
        self._folder, self._expected, self._timeout = folder, expected, timeout
        self._url = f"{addresses['argo']}/api/v1"
        self._http = urllib3.PoolManager(maxsize=20, retries=False, timeout=30)
        self._refused: dict[str, str] = {}  # by kind and name: stored objects that the server does not take
        self._number = itertools.count()
        self._names = self._find()
        for name in self._names:
            for document in _documents(folder / name):
                if document.get("kind") in ("WorkflowTemplate", "ClusterWorkflowTemplate"):
                    self._store(document)

    @staticmethod
    def kubernetes_objects(folder: Path) -> list[str]:
        """The ConfigMaps and Secrets of a corpus, and those that its comments ask for, to be given to the server."""
        found = [(Path(__file__).parent / "argo-objects.yaml").read_text()]
        for file in sorted(folder.rglob("*.yaml")):
            found += [
                yaml.safe_dump(document)
                for document in _documents(file)
                if document.get("kind") in ("ConfigMap", "Secret")
            ]
        return found

    def files(self) -> list[str]:
        """The files that hold something to run or to store."""
        return self._names

    def _find(self) -> list[str]:
        found: list[str] = []
        for file in sorted([*self._folder.rglob("*.yaml"), *self._folder.rglob("*.yml")]):
            kinds = {document.get("kind") for document in _documents(file)}
            if kinds & {"Workflow", *_STORED}:
                found.append(str(file.relative_to(self._folder)))
            else:
                print(f"skipped      {file.relative_to(self._folder)} holds no workflow", file=sys.stderr)
        return found

    def judge(self, name: str) -> Finding:
        """Run all that a file holds."""
        start = time.monotonic()
        expected = self._expected.get(name, Expected())
        verdict, reason = Verdict.INTENDED, ""
        try:
            for document in _documents(self._folder / name):
                self._run(document, expected)
        except _Refused as error:
            if not expected.refused or expected.refused not in str(error):
                verdict, reason = Verdict.REFUSED, str(error)
        except _FailsHere as error:
            verdict, reason = Verdict.FAILS_HERE, str(error)
        except _Wrong as error:
            verdict, reason = Verdict.WRONG, str(error)
        return Finding(name, verdict, reason, time.monotonic() - start)

    def _call(self, method: str, path: str, body: object = None) -> tuple[int, Json]:
        answer = self._http.request(method, f"{self._url}/{path}", json=body)
        return answer.status, cast("Json", answer.json())

    def _store(self, document: Json) -> None:
        path, key = _STORED[document["kind"]]
        document.setdefault("metadata", {}).pop("namespace", None)
        status, answer = self._call("POST", path, {key: document})
        if status != 200:
            self._refused[document["metadata"].get("name", "")] = _message(status, answer)

    def _run(self, document: Json, expected: Expected) -> None:
        kind = document.get("kind", "Workflow")
        document.setdefault("metadata", {}).pop("namespace", None)
        if kind == "Workflow":
            name = self._create(document, expected)
        elif kind in _STORED:
            found = self._submit(kind, document)
            if found is None:
                return
            name = found
        else:
            return
        self._check(self._finished(name, expected), expected)

    def _create(self, document: Json, expected: Expected) -> str:
        for parameter in _parameters(document["spec"].get("arguments")):
            if parameter["name"] in expected.arguments:
                parameter["value"] = expected.arguments[parameter["name"]]
        if document["metadata"].get("name"):  # several may have the same
            document["metadata"]["name"] += f"-{next(self._number)}"
        return self._created(*self._call("POST", f"workflows/{NAMESPACE}", {"workflow": document}))

    def _submit(self, kind: str, document: Json) -> str | None:
        """Submit from a stored object; None when it is a library of templates that is not to be run by itself."""
        name = document["metadata"]["name"]
        if kind == "CronWorkflow":
            self._store(document)
        if name in self._refused:
            raise _Refused(self._refused[name])
        spec = document["spec"].get("workflowSpec", document["spec"])
        values = _parameters(spec.get("arguments"))
        complete = all("value" in parameter or "valueFrom" in parameter for parameter in values)
        if not complete or not (spec.get("entrypoint") or spec.get("workflowTemplateRef")):
            return None
        body = {"resourceKind": kind, "resourceName": name, "submitOptions": {"generateName": f"{name}-"}}
        return self._created(*self._call("POST", f"workflows/{NAMESPACE}/submit", body))

    def _created(self, status: int, answer: Json) -> str:
        if status == 200:
            return str(answer["metadata"]["name"])
        message = _message(status, answer)
        if status not in (400, 404, 501):
            raise _Wrong(f"HTTP {message}")
        for name, reason in self._refused.items():
            if f'"{name}"' in message or f"'{name}'" in message or f"/{name} " in message:
                raise _Refused(f"the template {name}: {reason}")
        if status == 404:
            raise _Wrong(message)
        raise _Refused(message)

    def _finished(self, name: str, expected: Expected) -> Json:
        path = f"workflows/{NAMESPACE}/{name}"
        deadline, stopped = time.monotonic() + max(self._timeout, expected.timeout), False
        while True:
            status, workflow = self._call("GET", path)
            if status != 200:
                raise _Wrong(f"HTTP {_message(status, workflow)}")
            phase = workflow.get("status", {}).get("phase")
            if phase in _ENDED:
                return workflow
            nodes = list(cast("dict[str, Json]", workflow["status"].get("nodes") or {}).values())
            waiting = [n for n in nodes if n["type"] == "Suspend" and n["phase"] == "Running"]
            if waiting or workflow["spec"].get("suspend"):
                self._resume(path, waiting, expected)
            if expected.stop and not stopped and any(n["phase"] == "Running" and n["type"] == "Pod" for n in nodes):
                stopped = self._call("PUT", f"{path}/{expected.stop}", {})[0] == 200
            if time.monotonic() > deadline:
                self._call("PUT", f"{path}/terminate", {})
                raise _Wrong(f"still {phase or 'Pending'} after {self._timeout:.0f} s")
            time.sleep(0.25)

    def _resume(self, path: str, waiting: list[Json], expected: Expected) -> None:
        for node in waiting:
            wanted = [p["name"] for p in _parameters(node.get("outputs")) if "value" not in p]
            supplied = {name: expected.set.get(name, "") for name in wanted}
            if supplied:
                selector = f"displayName={node['displayName']}"
                body = {"nodeFieldSelector": selector, "outputParameters": json.dumps(supplied)}
                self._call("PUT", f"{path}/set", body)
        self._call("PUT", f"{path}/resume", {})

    def _check(self, workflow: Json, expected: Expected) -> None:
        status = cast("Json", workflow["status"])
        nodes = list(cast("dict[str, Json]", status.get("nodes") or {}).values())
        meant_to_fail = workflow["metadata"].get("labels", {}).get(_NO_TEST) == "expected-failure"
        wanted = expected.phase or ("Failed Error" if meant_to_fail else "Succeeded")
        if wanted != "*" and status["phase"] not in wanted.split():
            bad = [f"{n['displayName']}: {n.get('message', n['phase'])}" for n in nodes
                   if n["phase"] in ("Failed", "Error")]  # fmt: skip
            if expected.fails_here:
                raise _FailsHere(expected.fails_here)
            raise _Wrong(f"ended {status['phase']}: {status.get('message', '')} [{'; '.join(bad[:3])}]")
        for node in nodes:
            if node["phase"] not in _FULFILLED:
                raise _Wrong(f"ended with node {node['displayName']} {node['phase']}")
            self._check_node(workflow["metadata"]["name"], node, expected)
        by_name = {n["displayName"]: n for n in nodes}
        for name, values in expected.outputs.items():
            found = {p["name"]: p.get("value") for p in _parameters(by_name[name].get("outputs"))}
            if any(found.get(key) != value for key, value in values.items()):
                raise _Wrong(f"outputs of {name} are {found}, not {values}")
        for name, text in expected.logs.items():
            log = self._log(workflow["metadata"]["name"], by_name[name])
            if text not in log:
                raise _Wrong(f"the log of {name} has no {text!r}: {log[-200:]!r}")

    def _check_node(self, workflow: str, node: Json, expected: Expected) -> None:
        both = [*_parameters(node.get("inputs")), *_parameters(node.get("outputs"))]
        texts = [str(parameter.get("value", "")) for parameter in both]
        if any("{{" in text and "}}" in text for text in texts) and "{{" not in expected.why:
            raise _Wrong(f"node {node['displayName']} has an unresolved value: {texts}")
        if re.search(r"\b[A-Z]\w+Error: ", node.get("message", "")):  # the name of a Python exception
            raise _Wrong(f"node {node['displayName']}: {node['message']}")
        if node["phase"] == "Succeeded" and not (node.get("startedAt") and node.get("finishedAt")):
            raise _Wrong(f"node {node['displayName']} has no times")
        self._check_echo(workflow, node)

    def _check_echo(self, workflow: str, node: Json) -> None:
        """A pod whose one input is a message, of templates that print it: what it printed is that message."""
        inputs = _parameters(node.get("inputs"))
        if node["type"] != "Pod" or node["phase"] != "Succeeded" or [p["name"] for p in inputs] != ["message"]:
            return
        log, wanted = self._log(workflow, node), str(inputs[0].get("value", "")).split()
        if wanted and wanted[0] not in log:
            raise _Wrong(f"node {node['displayName']} was given {wanted} and printed {log[:200]!r}")

    def _log(self, workflow: str, node: Json) -> str:
        query = f"podName={_pod_name(workflow, node)}&logOptions.container=main"
        answer = self._http.request("GET", f"{self._url}/workflows/{NAMESPACE}/{workflow}/log?{query}")
        lines = [cast("Json", json.loads(line)) for line in answer.data.decode().splitlines()]
        return "\n".join(str(line["result"].get("content", "")) for line in lines if "result" in line)


def _pod_name(workflow: str, node: Json) -> str:
    """The pod's name in format v2 (workflow/util/pod_name.go)."""
    if node["name"] == workflow:
        return workflow
    hashed = 0x811C9DC5
    for byte in node["name"].encode():
        hashed = ((hashed ^ byte) * 0x01000193) & 0xFFFFFFFF
    template = node.get("templateName") or node.get("templateRef", {}).get("template", "")
    return f"{workflow}-{template}"[: 253 - 11] + f"-{hashed}"


def _message(status: int, answer: Json) -> str:
    return f"{status}: {answer.get('message', answer)}" if status != 400 else str(answer.get("message", answer))
