"""From a manifest to a workflow that runs, as create, submit and resubmit share it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from meta.sandbox.argo.api.errors import ApiError, Code
from meta.sandbox.argo.api.request import Server
from meta.sandbox.argo.manifest.check import STRICT, Rules
from meta.sandbox.argo.manifest.create import create_workflow
from meta.sandbox.argo.manifest.read import ManifestError, MissingTemplateError
from meta.sandbox.argo.state.status import JsonObject
from meta.sandbox.argo.state.store import NameTakenError
from meta.sandbox.argo.state.workflow import Workflow


@contextmanager
def refusals() -> Generator[None]:
    """A manifest's refusal as the API's answer.

    Raises:
        ApiError: NotFound for a template object that is not there, InvalidArgument for the rest.
    """
    try:
        yield
    except MissingTemplateError as error:
        raise ApiError(Code.NOT_FOUND, str(error)) from error
    except ManifestError as error:
        raise ApiError(Code.INVALID_ARGUMENT, str(error)) from error


def check(server: Server, namespace: str, manifest: JsonObject, rules: Rules = STRICT) -> Workflow:
    """Make a workflow that is not kept.

    Raises:
        ApiError: the manifest is refused.
    """
    with refusals():
        return create_workflow(
            manifest, namespace, server.images, server.repository.status(),
            find=server.store.objects.finder(namespace), rules=rules,
        )  # fmt: skip


def start(
    server: Server,
    namespace: str,
    manifest: JsonObject,
    *,
    dry_run: bool = False,
    owners: list[JsonObject] | None = None,
    uid: str | None = None,
) -> Workflow:
    """Make a workflow and begin it; `uid`: the identity that it gets.

    Raises:
        ApiError: the manifest is refused, or the name is taken.
    """
    workflow = check(server, namespace, manifest)
    workflow.metadata.owner_references = owners or []
    if uid is not None:
        workflow.metadata.uid = uid
    if not dry_run:
        try:
            server.controller.submit(workflow)
        except NameTakenError as error:
            message = f'workflows.argoproj.io "{workflow.name}" already exists'
            raise ApiError(Code.ALREADY_EXISTS, message) from error
    return workflow
