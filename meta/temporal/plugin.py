"""The plugin for a user's own Temporal client and worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from meta.temporal.request import END_ACTIVITY, RUN_ACTIVITY

if TYPE_CHECKING:
    from meta.config import MetaConfig

PASSED_THROUGH = ("meta", "workflows", "pydantic", "pydantic_core", "annotated_types", "typing_extensions")
"""What the calls need; the sandbox need not import it again for each workflow."""


class MetaPlugin(SimplePlugin):
    """Makes `argo`, `kfp`, `approval` and `meta_workflow` work on a worker.

        client = await Client.connect("temporal:7233", plugins=[MetaPlugin("meta.toml", files="manifests")])
        worker = Worker(client, task_queue="deployments", workflows=[Deploy])

    It adds two activities to the worker and lets the sandbox pass its modules through, and nothing else: the data
    converter, the interceptors and the namespace stay the user's. Give it to the client, whose workers then have it
    too, or to the worker; and to a `Replayer`.

    Args:
        config: `meta.toml`, or the service's address (`host:port`), or a configuration; by default what `meta` finds.
        files: folder of the manifests and packages that calls name; they are read when a call begins. By default the
            working directory.
        patience_s: seconds to wait for a service that does not answer, before a try is given up and made again.

    Raises:
        SettingsInvalid: the configuration cannot be read.
    """

    def __init__(
        self, config: str | Path | MetaConfig | None = None, *, files: str | Path = ".", patience_s: float = 10.0
    ) -> None:
        self.address = _address(config)
        self.files = Path(files).absolute()
        self._patience_s = patience_s
        super().__init__("meta-workflows", activities=self._with_ours, workflow_runner=_passing_through)

    def _with_ours(self, existing: Sequence[Callable[..., Any]] | None) -> Sequence[Callable[..., Any]]:
        from meta.temporal.activities import MetaActivities  # gRPC is loaded by workers alone

        ours = MetaActivities(self.address, self.files, self._patience_s)
        there = [getattr(getattr(one, "__temporal_activity_definition", None), "name", "") for one in existing or ()]
        if RUN_ACTIVITY in there or END_ACTIVITY in there:  # a client and its worker may both have the plugin
            return list(existing or ())
        return [*(existing or ()), ours.run, ours.end]


def _passing_through(runner: WorkflowRunner | None) -> WorkflowRunner:
    """The user's runner; a sandbox of his keeps its restrictions."""
    given = runner or SandboxedWorkflowRunner()
    if not isinstance(given, SandboxedWorkflowRunner):
        return given
    return dataclasses.replace(given, restrictions=given.restrictions.with_passthrough_modules(*PASSED_THROUGH))


def _address(config: str | Path | MetaConfig | None) -> str:
    from meta.config import MetaConfig, find_config, load_config

    if isinstance(config, MetaConfig):
        return config.grpc.address
    if config is None:
        return load_config(find_config(None)).grpc.address
    if isinstance(config, Path) or config.endswith(".toml"):
        return load_config(find_config(Path(config))).grpc.address
    return config
