"""The kinds of objects that resource templates can act on, and kubectl's names for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meta.sandbox.argo.state.objects import Kind


class KubectlError(Exception):
    """What kubectl, or the API server behind it, refuses; in their words."""


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One kind.

    Attributes:
        title: `kind` of a manifest.
        version: `apiVersion` of a manifest.
        plural: as resources are called in messages, with the API group.
        words: what a user may write for it on kubectl's command line.
        template: which kind of template object it is, if any.
    """

    title: str
    version: str
    plural: str
    words: tuple[str, ...]
    template: Kind | None = None

    @property
    def custom(self) -> bool:
        """Whether it is one of Argo's, which know no strategic merge."""
        return self.version != "v1"

    def missing(self, name: str) -> KubectlError:
        return KubectlError(f'Error from server (NotFound): {self.plural} "{name}" not found')


def _argo(title: str, plural: str, *words: str, template: Kind | None = None) -> ResourceKind:
    known = (title.lower(), plural, f"{plural}.argoproj.io", *words)
    return ResourceKind(title, "argoproj.io/v1alpha1", f"{plural}.argoproj.io", known, template)


def _core(title: str, plural: str, *words: str) -> ResourceKind:
    return ResourceKind(title, "v1", plural, (title.lower(), plural, *words))


WORKFLOW = _argo("Workflow", "workflows", "wf")
KINDS: Mapping[str, ResourceKind] = {
    kind.title: kind
    for kind in (
        WORKFLOW,
        _argo("WorkflowTemplate", "workflowtemplates", "wftmpl", template=Kind.WORKFLOW_TEMPLATE),
        _argo(
            "ClusterWorkflowTemplate", "clusterworkflowtemplates", "clusterwftmpl", "cwft",
            template=Kind.CLUSTER_WORKFLOW_TEMPLATE,
        ),
        _argo("CronWorkflow", "cronworkflows", "cwf", "cronwf", template=Kind.CRON_WORKFLOW),
        _core("ConfigMap", "configmaps", "cm"),
        _core("Secret", "secrets"),
        _core("PersistentVolumeClaim", "persistentvolumeclaims", "pvc"),
    )
}  # fmt: skip
UNSUPPORTED = f"is not supported by the sandbox, which holds {', '.join(KINDS)} only"


def kind_called(word: str) -> ResourceKind:
    """The kind that a word on the command line means.

    Raises:
        KubectlError: none of the sandbox's.
    """
    for kind in KINDS.values():
        if word.lower() in kind.words:
            return kind
    raise KubectlError(f"kind {word} {UNSUPPORTED}")


def kind_of(version: object, title: object) -> ResourceKind:
    """The kind of a manifest.

    Raises:
        KubectlError: none of the sandbox's.
    """
    found = KINDS.get(str(title))
    if found is None or found.version != version:
        raise KubectlError(f"kind {title} of {version} {UNSUPPORTED}")
    return found
