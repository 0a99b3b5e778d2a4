"""A cache is refused where the service cannot know what runs."""

from __future__ import annotations

import pytest

from workflows.manifests import ManifestInfo
from workflows.outcome import EngineKind
from workflows.spec.caching import check_cache
from workflows.spec.loading import parse_definition
from workflows.spec.locate import NOWHERE
from workflows.spec.models import MetaWorkflow
from workflows.spec.validation import validate

HEAD = (
    "apiVersion: meta/v1\nkind: MetaWorkflow\nmetadata: {name: chain}\ninputs: {v: {type: string}}\nsteps:\n  train:\n"
)


def problems(step: str) -> list[str]:
    parsed = parse_definition(HEAD + step)
    assert parsed.definition is not None, parsed.problems
    return [f"{one.line}: {one.message} ({one.hint})" for one in validate(parsed.definition, parsed.locator)]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("argo: {template: t}", "template 't'"),
        ("argo: {clusterTemplate: t}", "clusterTemplate 't'"),
        ("argo: {cronWorkflow: t}", "cronWorkflow 't'"),
        ("kfp: {pipeline: p}", "pipeline 'p' without a version"),
    ],
)
def test_what_can_change_on_its_server_needs_a_key(source: str, named: str) -> None:
    [problem] = problems(f"    {source}\n    cache: true\n")
    assert problem.startswith(f"8: {named} can change on its server")
    assert "give cache: {key: ...}" in problem
    assert ("name a version" in problem) is ("pipeline" in source)
    assert problems(f'    {source}\n    cache: {{key: "${{{{ inputs.v }}}}", ttl: 1h}}\n') == []


def test_what_the_bundle_or_a_version_says_needs_none() -> None:
    assert problems("    argo: {manifest: m.yaml}\n    cache: true\n") == []
    assert problems("    kfp: {pipeline: p, version: v3}\n    cache: {ttl: 7d}\n") == []
    assert problems("    argo: {template: t}\n    cache: false\n") == []


def test_a_manifest_that_refers_to_a_template_needs_one() -> None:
    step = MetaWorkflow.model_validate(
        {"apiVersion": "meta/v1", "kind": "MetaWorkflow", "metadata": {"name": "c"},
         "steps": {"a": {"argo": {"manifest": "m.yaml"}, "cache": True}}}
    ).steps["a"]  # fmt: skip
    elsewhere = ManifestInfo(EngineKind.ARGO, parameters=None)
    [problem] = check_cache(("steps", "a"), step, NOWHERE, elsewhere)
    assert "refers to a template" in problem.message
    assert list(check_cache(("steps", "a"), step, NOWHERE, ManifestInfo(EngineKind.ARGO))) == []


def test_other_kinds_of_steps_and_a_ttl_of_nothing_are_refused() -> None:
    assert "a step of kind wait cannot be cached" in problems("    wait: {duration: 1s}\n    cache: true\n")[0]
    assert "a ttl of nothing" in problems("    argo: {manifest: m.yaml}\n    cache: {ttl: 0s}\n")[0]


def test_expressions_of_a_key_are_checked() -> None:
    [problem] = problems('    argo: {manifest: m.yaml}\n    cache: {key: "${{ inputs.nope }}"}\n')
    assert "nope" in problem
