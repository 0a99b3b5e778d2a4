"""WorkflowTemplates, ClusterWorkflowTemplates and CronWorkflows: kept, checked, submitted from, referred to."""

from __future__ import annotations

from typing import cast

import pytest
from pydantic import JsonValue

from meta.sandbox.argo import ArgoSandboxSettings
from meta.sandbox.argo.state.status import JsonObject
from tests.integration.sandbox_argo.conftest import NAMESPACE, Argo, nodes_of, serve, shell, workflow

TEMPLATES = f"/workflow-templates/{NAMESPACE}"
CLUSTER = "/cluster-workflow-templates"
CRON = f"/cron-workflows/{NAMESPACE}"
WORD: JsonObject = {"parameters": [{"name": "word"}]}
SAY = shell("say", "echo {{inputs.parameters.word}}", inputs=WORD)


def template(
    name: str, /, *templates: JsonObject, labels: dict[str, str] | None = None, **spec: JsonValue
) -> JsonObject:
    metadata = cast("JsonObject", {"name": name, **({"labels": labels} if labels else {})})
    return {"metadata": metadata, "spec": {"templates": [*templates], **spec}}


def keep(argo: Argo, body: JsonObject, path: str = TEMPLATES) -> JsonObject:
    status, answer = argo.call("POST", path, {"template": body})
    assert status == 200, answer
    return answer


def put(argo: Argo, path: str, body: JsonObject) -> tuple[int, JsonObject]:
    return argo.call("PUT", path, {"template": body})


def word(value: str) -> JsonObject:
    return {"parameters": [{"name": "word", "value": value}]}


def call(name: str, holder: str, wanted: str, text: str | None = None, *, cluster: bool = False) -> JsonObject:
    reference: JsonObject = {"name": holder, "template": wanted, **({"clusterScope": True} if cluster else {})}
    return {"name": name, "templateRef": reference, **({"arguments": word(text)} if text else {})}


def steps(name: str, *calls: JsonObject, **more: JsonValue) -> JsonObject:
    return {"name": name, "steps": [[one] for one in calls], **more}


def submit(argo: Argo, kind: str, resource: str, /, **options: JsonValue) -> tuple[int, JsonObject]:
    body: JsonObject = {"resourceKind": kind, "resourceName": resource, "submitOptions": options}
    return argo.call("POST", f"/workflows/{NAMESPACE}/submit", body)


def meta(body: JsonObject) -> JsonObject:
    return cast("JsonObject", body["metadata"])


def status_of(body: JsonObject) -> JsonObject:
    return cast("JsonObject", body["status"])


@pytest.mark.parametrize(("path", "plural"), [(TEMPLATES, "workflowtemplates"), (CLUSTER, "clusterworkflowtemplates")])
def test_a_template_is_kept_changed_and_deleted(argo: Argo, path: str, plural: str) -> None:
    made = keep(argo, template("one", SAY, labels={"team": "red"}), path)
    assert ("namespace" in meta(made)) == (path == TEMPLATES)
    assert argo.call("GET", f"{path}/one") == (200, made)
    assert argo.call("POST", path, {"template": template("one", SAY)}) == (
        409, {"code": 6, "message": f'{plural}.argoproj.io "one" already exists'},
    )  # fmt: skip
    changed: JsonObject = {**made, "spec": {"templates": [SAY], "entrypoint": "say"}}
    status, second = put(argo, f"{path}/one", changed)
    assert (status, cast("JsonObject", second["spec"])["entrypoint"]) == (200, "say")
    assert meta(second)["uid"] == meta(made)["uid"]
    assert meta(second)["resourceVersion"] != meta(made)["resourceVersion"]
    status, body = put(argo, f"{path}/one", changed)
    assert (status, body["code"]) == (409, 6)
    assert "the object has been modified; please apply your changes to the latest version" in str(body["message"])
    status, body = argo.call("PUT", f"{path}/one", {"template": template("one", SAY)})
    assert (status, body["code"]) == (400, 3)
    assert "must be specified for an update" in str(body["message"])
    assert argo.call("DELETE", f"{path}/one") == (200, {})
    answer = (404, {"code": 5, "message": f'{plural}.argoproj.io "one" not found'})
    assert argo.call("GET", f"{path}/one") == answer == argo.call("DELETE", f"{path}/one")
    assert put(argo, f"{path}/one", changed) == answer


def test_templates_are_listed_by_label_and_pattern_in_pages_and_survive_a_restart(
    settings: ArgoSandboxSettings,
) -> None:
    with serve(settings) as argo:
        for name, team in (("b-two", "red"), ("a-one", "red"), ("c-other", "blue")):
            keep(argo, template(name, SAY, labels={"team": team}))
    with serve(settings) as argo:

        def names(**query: str) -> tuple[list[str], str | None]:
            status, body = argo.call("GET", TEMPLATES, **query)
            assert status == 200, body
            items = cast("list[JsonObject]", body["items"] or [])
            return [str(meta(item)["name"]) for item in items], cast("str | None", meta(body).get("continue"))

        assert names(listOptions__labelSelector="team in (red)") == (["a-one", "b-two"], None)
        assert names(listOptions__labelSelector="!team") == ([], None)
        assert names(namePattern="-o") == (["a-one", "c-other"], None)
        first, more = names(listOptions__limit="2")
        assert more is not None
        assert (first, names(listOptions__limit="2", listOptions__continue=more)) == (
            ["a-one", "b-two"], (["c-other"], None),
        )  # fmt: skip
        newest, more = names(namePattern="-", listOptions__limit="1")
        assert more is not None
        assert (newest, names(namePattern="-", listOptions__limit="2", listOptions__continue=more)[0]) == (
            ["c-other"], ["a-one", "b-two"],
        )  # fmt: skip


def test_a_template_is_checked_when_it_is_made(argo: Argo) -> None:
    cases = {
        "template name 'no' undefined": template("x", steps("main", {"name": "a", "template": "no"})),
        "templates.main.a template reference other.t not found": template("x", steps("main", call("a", "other", "t"))),
        "spec.templates[say].daemon is not supported": template("x", SAY | {"daemon": True}),
        'workflow template name "': template("x" * 64, SAY),
        "failed to resolve {{inputs.parameters.no}}": template("x", shell("main", "{{inputs.parameters.no}}")),
    }
    for reason, body in cases.items():
        for path in (TEMPLATES, f"{TEMPLATES}/lint"):
            status, answer = argo.call("POST", path, {"template": body})
            assert (status, answer["code"]) == (400, 3)
            assert reason.replace("main.a", "main.steps.a") in str(answer["message"])
    # what its users bring is not known yet
    open_ended = template(
        "open", shell("main", "echo {{workflow.parameters.theirs}}"), arguments={"parameters": [{"name": "later"}]}
    )
    assert argo.call("POST", f"{TEMPLATES}/lint", {"template": open_ended}) == (200, open_ended)
    assert argo.call("GET", f"{TEMPLATES}/open")[0] == 404


def test_a_workflow_from_a_template_keeps_the_templates_spec_as_it_was(argo: Argo) -> None:
    slow = shell("main", "sleep 1; echo {{workflow.parameters.word}} {{workflow.labels.colour}}")
    made = keep(
        argo,
        template(
            "base", slow, entrypoint="main", onExit="main",
            arguments={"parameters": [{"name": "word", "value": "theirs"}, {"name": "more", "value": "kept"}]},
            workflowMetadata={"labels": {"colour": "green"}, "annotations": {"note": "from the template"}},
        ),
    )  # fmt: skip
    body = workflow("from", "", arguments=word("mine"), workflowTemplateRef={"name": "base"})
    created = argo.create(body)
    assert "storedWorkflowTemplateSpec" not in status_of(created)
    argo.until("from", lambda status: status.get("phase") == "Running")
    changed: JsonObject = {**made, "spec": {"entrypoint": "main", "templates": [shell("main", "exit 1")]}}
    assert put(argo, f"{TEMPLATES}/base", changed)[0] == 200
    done = argo.finished("from", "Succeeded")
    assert argo.logs("from") == ["mine green", "mine green"]
    stored = cast("JsonObject", status_of(done)["storedWorkflowTemplateSpec"])
    assert stored["workflowTemplateRef"] == {"name": "base"}
    assert cast("JsonObject", stored["arguments"])["parameters"] == [
        {"name": "word", "value": "mine"}, {"name": "more", "value": "kept"},
    ]  # fmt: skip
    assert cast("JsonObject", done["spec"]).keys() == {"arguments", "workflowTemplateRef"}
    assert cast("JsonObject", meta(done)["labels"])["colour"] == "green"
    assert meta(done)["annotations"] == {"note": "from the template", "workflows.argoproj.io/pod-name-format": "v2"}
    assert nodes_of(done)["from"]["templateScope"] == "local/"


def test_labels_come_from_expressions(argo: Argo) -> None:
    labels: JsonObject = {"who": {"expression": "workflow.parameters.word + '-' + workflow.labels.plain"}}
    given: JsonObject = {"labels": {"plain": "p"}, "labelsFrom": labels}
    done = argo.run(
        workflow("labels", "main", shell("main", "echo {{workflow.labels.who}}"), arguments=word("w"),
                 workflowMetadata=given)
    )  # fmt: skip
    assert cast("JsonObject", meta(done)["labels"])["who"] == "w-p"
    assert argo.logs("labels") == ["w-p"]
    wrong = workflow("wrong", "main", shell("main", "true"), arguments=word("a b"), workflowMetadata=given)
    done = argo.run(wrong, "Error")
    assert status_of(done)["message"] == 'invalid label value "a b-p" for label "who"'


def test_a_missing_template_is_not_found_and_one_that_goes_meanwhile_ends_the_workflow(argo: Argo) -> None:
    status, body = argo.call(
        "POST", f"/workflows/{NAMESPACE}", {"workflow": workflow("w", "", workflowTemplateRef={"name": "none"})}
    )
    assert (status, body) == (404, {"code": 5, "message": 'workflowtemplates.argoproj.io "none" not found'})
    status, body = submit(argo, "ClusterWorkflowTemplate", "none")
    assert (status, body) == (404, {"code": 5, "message": 'clusterworkflowtemplates.argoproj.io "none" not found'})
    status, body = submit(argo, "CronWorkflow", "none")
    assert (status, body) == (404, {"code": 5, "message": 'cronworkflows.argoproj.io "none" not found'})
    status, body = submit(argo, "Pod", "none")
    assert (status, body["message"]) == (400, "Resource kind 'Pod' is not supported for submitting")
    keep(argo, template("gone", SAY))
    main = steps("main", {"name": "a", "template": "wait"}, call("b", "gone", "say", "x"))
    argo.create(workflow("late", "main", main, shell("wait", "sleep 1")))
    assert argo.call("DELETE", f"{TEMPLATES}/gone")[0] == 200
    done = argo.finished("late", "Failed")
    assert "workflow template gone not found" in str(nodes_of(done)["b"]["message"])


def test_a_reference_resolves_names_where_it_leads_and_stays_as_it_was_read(argo: Argo) -> None:
    keep(argo, template("deep", shell("say", "echo deep {{inputs.parameters.word}}", inputs=WORD)), CLUSTER)
    inner = steps(
        "outer", {"name": "local", "template": "say", "arguments": word("{{inputs.parameters.word}}")},
        call("far", "deep", "say", "{{steps.local.outputs.result}}", cluster=True), inputs=WORD,
    )  # fmt: skip
    made = keep(argo, template("lib", shell("say", "echo lib {{inputs.parameters.word}}", inputs=WORD), inner))
    tasks: list[JsonValue] = [call("one", "lib", "outer", "1"), {**call("two", "lib", "outer", "2"), "depends": "one"}]
    argo.create(workflow("refs", "main", {"name": "main", "dag": {"tasks": tasks}}, shell("say", "echo wrong")))
    argo.until("refs", lambda status: "namespaced/lib/say" in str(status))
    assert argo.call("PUT", f"{TEMPLATES}/lib", {"template": {**made, "spec": {"templates": [SAY]}}})[0] == 200
    done = argo.finished("refs", "Succeeded")
    assert argo.logs("refs") == ["lib 1", "deep lib 1", "lib 2", "deep lib 2"]
    stored = cast("JsonObject", status_of(done)["storedTemplates"])
    assert stored.keys() == {"namespaced/lib/outer", "namespaced/lib/say", "cluster/deep/say"}
    nodes = nodes_of(done)
    assert (nodes["one"]["templateRef"], nodes["one"]["templateScope"]) == (
        {"name": "lib", "template": "outer"}, "local/refs",
    )  # fmt: skip
    assert "templateName" not in nodes["one"]
    assert (nodes["local"]["templateName"], nodes["local"]["templateScope"]) == ("say", "namespaced/lib")
    assert (nodes["far"]["templateRef"], nodes["far"]["templateScope"]) == (
        {"name": "deep", "template": "say", "clusterScope": True}, "namespaced/lib",
    )  # fmt: skip
    assert nodes["[0]"]["templateScope"] == "namespaced/lib"


def test_a_reference_can_be_made_of_tags_and_its_templates_see_the_callers_parameters(argo: Argo) -> None:
    keep(argo, template("a", shell("say", "echo a {{workflow.parameters.word}}")))
    keep(argo, template("b", shell("say", "echo b {{workflow.parameters.word}}")))
    step: JsonObject = {
        "name": "x", "templateRef": {"name": "{{item}}", "template": "{{workflow.parameters.which}}"},
        "withItems": ["a", "b"],
    }  # fmt: skip
    arguments: JsonObject = {"parameters": [{"name": "word", "value": "w"}, {"name": "which", "value": "say"}]}
    argo.run(workflow("tags", "main", steps("main", step), arguments=arguments))
    assert sorted(argo.logs("tags")) == ["a w", "b w"]
    assert "failed to resolve {{workflow.parameters.word}}" in argo.refuse(
        workflow("lacks", "main", steps("main", call("x", "a", "say")))
    )


def test_a_template_written_in_place_runs_with_the_callers_tags_replaced(argo: Argo) -> None:
    container: JsonObject = {"image": "alpine:3", "command": ["echo"], "args": ["{{item}} {{inputs.parameters.word}}"]}
    step: JsonObject = {"name": "x", "inline": {"container": container}, "withItems": ["1", "2"]}
    made: JsonObject = {
        "script": {"image": "alpine:3", "command": ["sh"], "source": "echo {{inputs.parameters.own}}"},
        "inputs": {"parameters": [{"name": "own"}]},
    }
    second: JsonObject = {
        "name": "y", "inline": made,
        "arguments": {"parameters": [{"name": "own", "value": "{{steps.x.outputs.parameters}}"}]},
    }  # fmt: skip
    main = steps("main", step, second, inputs={"parameters": [{"name": "word", "value": "w"}]})
    done = argo.run(workflow("inline", "main", main))
    assert sorted(argo.logs("inline")) == ["1 w", "2 w", "[]"]
    node = nodes_of(done)["x(0:1)"]
    assert node.keys().isdisjoint({"templateName", "templateRef"})
    assert node["templateScope"] == "local/inline"
    assert str(argo.logs("inline", podName=f"inline-{str(node['id']).removeprefix('inline-')}")) == "['1 w']"
    keep(argo, template("holder", main), CLUSTER)
    done = argo.run(workflow("inline2", "go", steps("go", call("c", "holder", "main", cluster=True))))
    stored = cast("JsonObject", status_of(done)["storedTemplates"])
    assert stored.keys() == {"cluster/holder/main", *(f"cluster/holder/inline/{x}" for x in ("x(0:1)", "x(1:2)", "y"))}
    for reason, wrong in (
        ("template and templateRef cannot be specified with inline", {**step, "template": "main"}),
        ("inline.steps is not supported", {"name": "x", "inline": {"steps": [[{"name": "a", "template": "main"}]]}}),
        ("templates.main.x.inline: failed to resolve {{inputs.parameters.no}}", {"name": "x", "inline": {
            "container": {**container, "args": ["{{inputs.parameters.no}}"]}}}),
    ):  # fmt: skip
        assert reason in argo.refuse(workflow("x", "main", steps("main", cast("JsonObject", wrong))))


@pytest.mark.parametrize("kind", ["WorkflowTemplate", "clusterworkflowtemplates"])
def test_a_template_is_submitted_with_options(argo: Argo, kind: str) -> None:
    path = CLUSTER if kind.startswith("cluster") else TEMPLATES
    both = template("sub", SAY, shell("other", "echo other {{workflow.parameters.word}}"), entrypoint="say",
                    arguments=word("default"))  # fmt: skip
    keep(argo, both, path)
    status, body = submit(
        argo, kind, "sub", generateName="mine-", entryPoint="other", parameters=["word=a=b"], labels="x=1,y=2",
        annotations="note=here", serviceAccount="me",
    )  # fmt: skip
    assert status == 200, body
    name = str(meta(body)["name"])
    done = argo.finished(name, "Succeeded")
    assert name.startswith("mine-")
    label = "cluster-workflow-template" if path == CLUSTER else "workflow-template"
    labels = cast("JsonObject", meta(done)["labels"])
    assert (labels[f"workflows.argoproj.io/{label}"], labels["x"], labels["y"]) == ("sub", "1", "2")
    assert cast("JsonObject", meta(done)["annotations"])["note"] == "here"
    assert argo.logs(name) == ["other a=b"]
    status, body = submit(argo, kind, "sub", name="named")
    assert (status, meta(body)["name"]) == (200, "named")
    assert submit(argo, kind, "sub", name="named")[0] == 409
    status, body = submit(argo, kind, "sub", name="dry", serverDryRun=True)
    assert (status, argo.call("GET", f"/workflows/{NAMESPACE}/dry")[0]) == (200, 404)
    status, body = submit(argo, kind, "sub", labels="nonsense")
    assert (status, body["code"]) == (500, 13)
    status, body = submit(argo, kind, "sub", ownerReference={"name": "x"})
    assert (status, body["message"]) == (400, "submitOptions.ownerReference is not supported by the sandbox")


def test_a_cron_workflow_is_kept_suspended_submitted_from_and_takes_its_workflows_along(argo: Argo) -> None:
    spec: JsonObject = {
        "schedules": ["*/5 1-3 * jan,mar MON-FRI", "@every 1h30m"], "timezone": "Europe/Paris",
        "workflowMetadata": {"labels": {"from": "cron"}},
        "workflowSpec": {"entrypoint": "say", "templates": [shell("say", "echo {{workflow.scheduledTime}}")]},
    }  # fmt: skip
    status, made = argo.call("POST", CRON, {"cronWorkflow": {"metadata": {"name": "nightly"}, "spec": spec}})
    assert status == 200, made
    conditions = cast("list[JsonObject]", status_of(made)["conditions"])
    assert "does not fire schedules" in str(conditions[0]["message"])
    assert "spec.timezone" in str(conditions[0]["message"])
    assert argo.call("GET", CRON)[1]["items"] == [made]
    status, body = argo.call("PUT", f"{CRON}/nightly/suspend", {})
    assert (status, cast("JsonObject", body["spec"])["suspend"]) == (200, True)
    status, body = argo.call("PUT", f"{CRON}/nightly/resume", {})
    assert (status, cast("JsonObject", body["spec"])["suspend"]) == (200, False)
    status, body = argo.call("PUT", f"{CRON}/nightly", {"cronWorkflow": body})
    assert status == 200, body
    status, body = submit(argo, "CronWorkflow", "nightly")
    assert status == 200, body
    name = str(meta(body)["name"])
    done = argo.finished(name, "Succeeded")
    labels = cast("JsonObject", meta(done)["labels"])
    assert (labels["workflows.argoproj.io/cron-workflow"], labels["from"]) == ("nightly", "cron")
    scheduled = cast("JsonObject", meta(done)["annotations"])["workflows.argoproj.io/scheduled-time"]
    assert argo.logs(name) == [scheduled]
    assert cast("list[JsonObject]", meta(done)["ownerReferences"])[0]["uid"] == meta(made)["uid"]
    assert argo.call("DELETE", f"{CRON}/nightly")[0] == 200
    assert argo.call("GET", f"/workflows/{NAMESPACE}", listOptions__fieldSelector=f"metadata.name={name}")[0] == 200


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schedules": []}, "cron workflow must have at least one schedule"),
        ({"schedules": ["* * * *"]}, "cron schedule * * * * is malformed"),
        ({"schedules": ["61 * * * *"]}, "cron schedule 61 * * * * is malformed"),
        ({"timezone": "Mars/Base"}, 'invalid timezone "Mars/Base"'),
        ({"concurrencyPolicy": "Never"}, "'Never' is not a valid concurrencyPolicy"),
        ({"workflowSpec": {"entrypoint": "no", "templates": []}}, "cannot validate Workflow: spec.entrypoint template"),
        ({"schedule": "* * * * *"}, "spec.schedule is not supported"),
    ],
)
def test_a_wrong_cron_workflow_is_refused(argo: Argo, change: JsonObject, reason: str) -> None:
    spec: JsonObject = {
        "schedules": ["0 0 * * *"], "workflowSpec": {"entrypoint": "say", "templates": [shell("say", "true")]},
    }  # fmt: skip
    body: JsonObject = {"cronWorkflow": {"metadata": {"name": "bad"}, "spec": {**spec, **change}}}
    for path in (CRON, f"{CRON}/lint"):
        status, answer = argo.call("POST", path, body)
        assert (status, answer["code"]) == (400, 3)
        assert reason in str(answer["message"])


def test_resubmit_makes_a_new_workflow_of_the_same_spec(argo: Argo) -> None:
    body = workflow("first", "main", shell("main", "echo {{workflow.parameters.word}}"), arguments=word("one"))
    meta(body)["labels"] = {"team": "red"}
    argo.run(body)
    status, answer = argo.call("PUT", f"/workflows/{NAMESPACE}/first/resubmit", {"parameters": ["word=two"]})
    assert status == 200, answer
    name = str(meta(answer)["name"])
    assert name.startswith("first-")
    done = argo.finished(name, "Succeeded")
    labels = cast("JsonObject", meta(done)["labels"])
    assert (labels["team"], labels["workflows.argoproj.io/resubmitted-from-workflow"]) == ("red", "first")
    assert argo.logs(name) == ["two"]
    status, answer = argo.call("PUT", f"/workflows/{NAMESPACE}/first/resubmit", {"memoized": True})
    assert (status, str(answer["message"]).split(":")[0]) == (400, "memoized is not supported by the sandbox")


def test_lint_checks_without_keeping_and_without_wanting_values(argo: Argo) -> None:
    body = workflow("lint", "main", shell("main", "echo {{workflow.parameters.word}}"), arguments=WORD)
    assert argo.call("POST", f"/workflows/{NAMESPACE}/lint", {"workflow": body}) == (200, body)
    assert "spec.arguments.word.value" in argo.refuse(body)
    wrong = workflow("lint", "no", shell("main", "true"))
    assert argo.call("POST", f"/workflows/{NAMESPACE}/lint", {"workflow": wrong})[0] == 400
    assert argo.call("GET", f"/workflows/{NAMESPACE}/lint")[0] == 404
