"""Unmodified hera, as its users write it, against the server."""

# no `from __future__ import annotations`: hera reads the annotations of scripts

import pytest
from hera.exceptions import NotFound
from hera.shared import global_config
from hera.workflows import (
    DAG,
    Artifact,
    Container,
    CronWorkflow,
    NoneArchiveStrategy,
    Parameter,
    Steps,
    Suspend,
    Workflow,
    WorkflowsService,
    WorkflowTemplate,
    script,  # pyright: ignore[reportUnknownVariableType]
)
from hera.workflows import models as m
from hera.workflows.models import WorkflowTemplateRef

from meta.sandbox.argo import ArgoSandboxSettings
from tests.integration.sandbox_argo.conftest import NAMESPACE, Argo, until

pytestmark = [
    pytest.mark.filterwarnings("ignore:The `json` method is deprecated"),  # hera's own use of pydantic
    pytest.mark.filterwarnings("ignore:The `dict` method is deprecated"),
]


@pytest.fixture
def service(argo: Argo, monkeypatch: pytest.MonkeyPatch) -> WorkflowsService:
    monkeypatch.setattr(global_config, "image", "python:3.12")
    return WorkflowsService(host=argo.url, namespace=NAMESPACE, verify_ssl=False)


@script(outputs=[Parameter(name="square", value_from=m.ValueFrom(path="/tmp/square"))])
def square(number: int):  # pyright: ignore
    with open("/tmp/square", "w") as file:
        file.write(str(number * number))
    print("done", number)


def nodes(workflow: m.Workflow) -> dict[str, m.NodeStatus]:
    assert workflow.status is not None and workflow.status.nodes is not None
    return {str(node.display_name): node for node in workflow.status.nodes.values()}


def phase(workflow: m.Workflow) -> str | None:
    return workflow.status.phase if workflow.status else None


def test_a_dag_of_scripts_and_artifacts_is_created_waited_for_and_its_logs_are_read(
    service: WorkflowsService, argo: Argo
) -> None:
    with Workflow(generate_name="dag-", entrypoint="main", namespace=NAMESPACE, workflows_service=service) as built:
        make = Container(
            name="make", image="alpine:3", command=["sh", "-c"], args=["echo {{inputs.parameters.text}} > /tmp/out"],
            inputs=[Parameter(name="text")],
            outputs=[Artifact(name="out", path="/tmp/out", archive=NoneArchiveStrategy())],
        )  # fmt: skip
        show = Container(
            name="show", image="alpine:3", command=["cat", "/tmp/in"], inputs=[Artifact(name="in", path="/tmp/in")]
        )
        with DAG(name="main"):
            first = square(arguments={"number": 4})  # pyright: ignore
            text = make(arguments={"text": first.get_parameter("square")})  # pyright: ignore
            last = show(arguments=Artifact(name="in", from_="{{tasks.make.outputs.artifacts.out}}"))
            first >> text >> last  # pyright: ignore
    created = built.create(wait=True, poll_interval=1)
    assert created.metadata.name is not None
    done = service.get_workflow(created.metadata.name)
    assert phase(done) == "Succeeded"
    assert {name: node.phase for name, node in nodes(done).items() if node.type == "Pod"} == dict.fromkeys(
        ("square", "make", "show"), "Succeeded"
    )
    assert sorted(argo.logs(created.metadata.name)) == ["16", "done 4"]
    listed = service.list_workflows(label_selector="workflows.argoproj.io/phase=Succeeded")
    assert [item.metadata.name for item in listed.items or []] == [created.metadata.name]


def test_templates_are_created_updated_linted_and_referred_to(service: WorkflowsService, argo: Argo) -> None:
    def holder(text: str) -> WorkflowTemplate:
        with WorkflowTemplate(
            name="holder", entrypoint="say", namespace=NAMESPACE, workflows_service=service,
            arguments=Parameter(name="who", value="world"),
        ) as built:  # fmt: skip
            Container(name="say", image="alpine:3", command=["echo"], args=[f"{text} {{{{workflow.parameters.who}}}}"])
        return built

    holder("hello").lint()
    with pytest.raises(NotFound):
        service.get_workflow_template("holder")
    holder("hello").create()
    holder("goodbye").update()
    reference = Workflow(
        generate_name="ref-", namespace=NAMESPACE, workflows_service=service,
        arguments=Parameter(name="who", value="me"),
        workflow_template_ref=WorkflowTemplateRef(name="holder"),
    )  # fmt: skip
    reference.lint()
    created = reference.create(wait=True, poll_interval=1)
    assert argo.logs(str(created.metadata.name)) == ["goodbye me"]
    submitted = service.submit_workflow(
        m.WorkflowSubmitRequest(
            resource_kind="WorkflowTemplate", resource_name="holder",
            submit_options=m.SubmitOpts(parameters=["who=you"], labels="via=submit"),
        )
    )  # fmt: skip
    argo.finished(str(submitted.metadata.name), "Succeeded")
    assert argo.logs(str(submitted.metadata.name)) == ["goodbye you"]
    assert (submitted.metadata.labels or {})["via"] == "submit"
    templates = service.list_workflow_templates()
    assert [item.metadata.name for item in templates.items or []] == ["holder"]
    service.delete_workflow_template("holder")


def test_a_cron_workflow_is_created_and_suspended(service: WorkflowsService) -> None:
    with CronWorkflow(
        name="nightly", entrypoint="say", schedules=["0 3 * * *"], namespace=NAMESPACE, workflows_service=service
    ) as built:
        Container(name="say", image="alpine:3", command=["echo"], args=["hello"])
    built.create()
    service.suspend_cron_workflow("nightly", m.CronWorkflowSuspendRequest(name="nightly", namespace=NAMESPACE))
    assert service.get_cron_workflow("nightly").spec.suspend is True


def test_a_run_is_retried_resubmitted_and_found_in_the_archive(
    service: WorkflowsService, argo: Argo, settings: ArgoSandboxSettings
) -> None:
    flag = settings.data_dir / "flag"
    with Workflow(name="flaky", entrypoint="main", namespace=NAMESPACE, workflows_service=service) as built:
        ok = Container(name="ok", image="alpine:3", command=["true"])
        bad = Container(name="try", image="alpine:3", command=["cat"], args=[str(flag)])
        with Steps(name="main"):
            ok()
            bad()
    built.create()
    argo.finished("flaky", "Failed")
    flag.write_text("")
    service.retry_workflow("flaky", m.WorkflowRetryRequest())
    argo.finished("flaky", "Succeeded")
    again = service.resubmit_workflow("flaky", m.WorkflowResubmitRequest())
    argo.finished(str(again.metadata.name), "Succeeded")
    uid = str(service.get_workflow("flaky").metadata.uid)
    until(lambda: any(w.metadata.uid == uid for w in service.list_archived_workflows().items or []))
    service.delete_workflow("flaky")
    assert phase(service.get_archived_workflow(uid)) == "Succeeded"
    assert "workflows.argoproj.io/phase" in (service.list_archived_workflow_label_keys().items or [])
    service.delete_archived_workflow(uid)
    with pytest.raises(NotFound):
        service.get_workflow("flaky")


@pytest.mark.parametrize("verb", ["stop", "terminate"])
def test_a_run_is_ended(service: WorkflowsService, argo: Argo, verb: str) -> None:
    with Workflow(name="long", entrypoint="main", namespace=NAMESPACE, workflows_service=service) as built:
        Container(name="main", image="alpine:3", command=["sleep", "300"])
    built.create()
    argo.until("long", lambda status: status.get("phase") == "Running")
    if verb == "stop":
        service.stop_workflow("long", m.WorkflowStopRequest())
    else:
        service.terminate_workflow("long", m.WorkflowTerminateRequest())
    argo.finished("long", "Failed")


def test_a_run_waits_until_it_is_resumed(service: WorkflowsService, argo: Argo) -> None:
    with Workflow(name="gate", entrypoint="main", namespace=NAMESPACE, workflows_service=service) as built:
        gate = Suspend(name="approve")
        say = Container(name="say", image="alpine:3", command=["echo", "approved"])
        with Steps(name="main"):
            gate()
            say()
    built.create()
    argo.until("gate", lambda status: "Suspend" in str(status.get("nodes", "")))
    service.resume_workflow("gate", m.WorkflowResumeRequest())
    argo.finished("gate", "Succeeded")
    assert argo.logs("gate") == ["approved"]
    with Workflow(name="held", entrypoint="main", namespace=NAMESPACE, workflows_service=service) as built:
        step = Container(name="nap", image="alpine:3", command=["sleep", "0.5"])
        with Steps(name="main"):
            step(name="a")
            step(name="b")
    built.create()
    service.suspend_workflow("held", m.WorkflowSuspendRequest())
    assert service.get_workflow("held").spec.suspend is True
    service.resume_workflow("held", m.WorkflowResumeRequest())
    argo.finished("held", "Succeeded")
