"""Whether a step's `cache` can be kept: the service has to know what runs."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.errors import Problem
from workflows.manifests import ManifestInfo
from workflows.spec.locate import Locator, Path
from workflows.spec.sources import ArgoSource, KfpSource
from workflows.spec.steps import ENGINE_KINDS, Step


def check_cache(at: Path, step: Step, locate: Locator, manifest: ManifestInfo | None = None) -> Iterator[Problem]:
    """Problems of `cache` of a step, but those of the expressions in its key.

    Args:
        at: place of the step.
        step: may have a use case, and then what both kinds of engine are asked to run.
        locate: finds lines.
        manifest: what is known of the file that it submits.
    """
    caching = step.caching
    if caching is None:
        return
    path: Path = (*at, "cache")
    if step.kind not in ENGINE_KINDS:
        hint = "leave it out: only what an engine runs gives the same for the same"
        yield locate.problem(path, f"a step of kind {step.kind} cannot be cached", hint=hint)
        return
    if caching.ttl is not None and not caching.ttl:
        yield locate.problem((*path, "ttl"), "a ttl of nothing: no success is ever taken; write it as 1h, 7d")
    if caching.key is not None:
        return
    if manifest is not None and manifest.parameters is None:
        message = "the manifest refers to a template, which can change on its server"
        yield locate.problem(path, message, hint=f"give cache: {{key: ...}} {_TELLS}")
    for source in (step.argo, step.kfp):
        if source is not None and (named := _unknown(source)):
            version = ", or name a version of the pipeline" if isinstance(source, KfpSource) else ""
            hint = f"give cache: {{key: ...}} {_TELLS}{version}"
            message = f"{named} can change on its server, so the same name may not run the same"
            yield locate.problem(path, message, hint=hint)


_TELLS = 'with what tells its versions apart, as "${{ inputs.template_version }}"'


def _unknown(source: ArgoSource | KfpSource) -> str:
    """What a source names that can change without the definition; empty when there is nothing."""
    if isinstance(source, KfpSource):
        return f"pipeline '{source.pipeline}' without a version" if source.pipeline and source.version is None else ""
    named = {
        "template": source.template,
        "clusterTemplate": source.cluster_template,
        "cronWorkflow": source.cron_workflow,
    }
    return next((f"{key} '{name}'" for key, name in named.items() if name is not None), "")
