"""The digest that says whether a run of our name is what we would submit."""

from __future__ import annotations

from tests.integration.engines.submissions import key
from workers.submission import make_submission
from workflows.bundle import Bundle
from workflows.messages import ResolvedStep, SubmitStep
from workflows.spec.models import MetaWorkflow


def digest(**source: object) -> str:
    definition = MetaWorkflow.model_validate(
        {
            "apiVersion": "meta/v1",
            "kind": "MetaWorkflow",
            "metadata": {"name": "chain"},
            "steps": {"prepare": {"argo": {"template": "t", **source}}},
        }
    )
    message = SubmitStep(
        bundle_digest="sha256:x", definition_name="chain", key=key(), name="n",
        resolved=ResolvedStep(parameters={"a": 1}),
    )  # fmt: skip
    return make_submission(message, Bundle(definition=definition, files={})).spec_digest


def test_the_digest_of_a_source_without_newer_keys_never_changes() -> None:
    """Runs that an older worker submitted carry it."""
    assert digest() == "sha256:4c8cc15923910b3b8c9f0d628213e9549f196668d931912fc6406a00d9bb90c5"


def test_what_a_source_says_counts() -> None:
    assert len({digest(), digest(serviceAccount="own"), digest(serviceAccount="other")}) == 3
