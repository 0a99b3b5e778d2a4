"""Which store a URI is in, which engine reads it where it is, and settings that do not fit together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from meta.config import load_config
from tests.docs.pages import ROOT, snippets
from workers.artifacts import ArtifactStore, parse_uri
from workers.artifacts.copies import PAGE
from workers.artifacts.facts import MAX_OBJECTS
from workers.artifacts.signing import Keys, Request, keys_of, sign
from workers.artifacts.store import ALWAYS_READ, ALWAYS_READ_OBJECTS
from workers.artifacts.stores import Stores
from workers.artifacts.transfer import PART, part_size
from workers.settings import ArgoSettings, KfpSettings, NamedStore, StoreSettings, StoreType
from workflows.errors import ArtifactError, SettingsInvalid
from workflows.messages import ResolveStep, StepView
from workflows.outcome import Artifact, StepState
from workflows.resolve import resolve_step
from workflows.spec import load_definition
from workflows.values import JsonObject

LAKE = NamedStore(serves=("s3://lake/", "minio://old"))
IMAGES = NamedStore(serves=("s3://lake/images/",))
DISK = NamedStore(type=StoreType.FILE, serves=("file:///mnt/my data",))
GOOGLE = NamedStore(type=StoreType.GCS, serves=("gs://bucket",))
AZURE = NamedStore(type=StoreType.AZURE, serves=("az://container",), account="me", secret_key="a2V5")  # pyright: ignore[reportArgumentType] -- pydantic makes the secret
NAMED = {"lake": LAKE, "images": IMAGES, "disk": DISK, "google": GOOGLE, "azure": AZURE}


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://lake/x", "lake"),
        ("s3://lakes/x", "objects"),
        ("s3://lake/images/cat", "images"),
        ("s3://lake/images", "images"),
        ("s3://old/x", "lake"),
        ("minio://old/x", "lake"),
        ("minio://lake/x", "lake"),
        ("s3://other/x", "objects"),
        ("file:///mnt/my%20data/x", "disk"),
        ("file:///mnt/x", "objects"),
        ("gs://bucket/x", "google"),
        ("az://container/x", "azure"),
    ],
)
def test_the_longest_beginning_decides_which_store_a_uri_is_in(uri: str, name: str) -> None:
    assert Stores(StoreSettings(), NAMED).name_of(parse_uri(uri)) == name


@pytest.mark.parametrize("uri", ["gs://other/x", "az://other/x"])
def test_what_no_store_serves_is_said_with_the_mend(uri: str) -> None:
    with pytest.raises(ArtifactError, match="no store of the configuration serves") as caught:
        Stores(StoreSettings(), NAMED).name_of(parse_uri(uri))
    assert f'type = "{parse_uri(uri).scheme}"' in caught.value.hint


def test_a_client_of_every_type_can_be_made_and_is_kept(tmp_path: Path) -> None:
    stores = Stores(StoreSettings(), NAMED)
    for uri in ("s3://lake/x", "gs://bucket/x", "az://container/x", f"file://{tmp_path}/x"):
        assert stores.open(parse_uri(uri)) is stores.open(parse_uri(uri + "y"))
    with pytest.raises(ArtifactError, match="there is no folder /mnt/my data"):
        stores.open(parse_uri("file:///mnt/my%20data/x"))


def test_an_engine_reads_the_common_store_unless_it_says_otherwise() -> None:
    engines = {
        "argo": ArgoSettings(url="http://a", stores=("objects", "lake")),
        "kfp": KfpSettings(url="http://k", stores=("lake",)),
        "plain": KfpSettings(url="http://k"),
    }
    objects = ArtifactStore(StoreSettings(), NAMED, engines)
    needs = {
        (engine, uri): objects.needs_copy(engine, Artifact(name="x", uri=uri))
        for engine in (*engines, "unknown")
        for uri in ("s3://lake/x", "s3://other/x", "gs://bucket/x", "nonsense")
    }
    assert {key for key, needed in needs.items() if needed} == {
        ("argo", "gs://bucket/x"),
        ("kfp", "s3://other/x"),
        ("kfp", "gs://bucket/x"),
        ("plain", "s3://lake/x"),
        ("plain", "gs://bucket/x"),
        ("unknown", "s3://lake/x"),
        ("unknown", "gs://bucket/x"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[stores.lake]\ntype = "s3"\nserves = ["gs://x"]', "'gs://x' is no place in a store of type s3"),
        ('[stores.lake]\ntype = "s3"', "serves"),
        ('[stores.lake]\nserves = ["s3://x"]\nstaging = "s3://y/copies"', "is not among what the store serves"),
        ('[stores.objects]\nserves = ["s3://x"]', "this name is the common store's"),
        ('[engines.argo]\nkind = "argo"\nurl = "u"\nstores = ["lake"]', "there is no store 'lake'"),
        ('[engines.argo]\nkind = "argo"\nurl = "u"\ncopy_into = "lake"', "there is no store 'lake'"),
        (
            '[stores.lake]\nserves = ["s3://x"]\n[engines.argo]\nkind = "argo"\nurl = "u"\ncopy_into = "lake"',
            "copy_into is 'lake', which is not among its stores",
        ),
        (
            '[objects]\nstaging = "s3://x/copies"\n[stores.lake]\nserves = ["s3://x"]',
            "staging of [objects] is in the store 'lake'",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "meta.toml"
    file.write_text(text)
    with pytest.raises(SettingsInvalid) as caught:
        load_config(file)
    assert message in caught.value.message


def test_parts_are_as_large_as_the_most_parts_of_an_object_ask_for() -> None:
    assert part_size(PART + 1) == PART
    assert part_size(70 * 1024**3) == PART
    largest = 5 * 1024**4
    assert largest / part_size(largest) <= 10_000
    assert part_size(largest) % 1024**2 == 0


def test_the_page_on_artifacts_has_the_numbers_of_the_code() -> None:
    page = " ".join((ROOT / "docs" / "artifacts.md").read_text().split())
    assert f"parts of {PART // 1024**2} MiB" in page
    assert f"up to {PART // 1024**2} MiB" in page
    assert f"up to {ALWAYS_READ // 1024**2} MB and {ALWAYS_READ_OBJECTS} objects" in page
    assert f"at most {MAX_OBJECTS:,} objects" in page
    assert page.count(f"page of {PAGE} objects") == 2


def test_a_step_can_ask_how_argo_packed_an_artifact() -> None:
    """The definition of the page, on an artifact that is packed and on one that is not."""
    (text,) = [one for one in snippets("yaml", pages=("docs/artifacts.md",)) if "MetaWorkflow" in one.text]
    definition = load_definition(text.text, str(text))
    packings: list[JsonObject] = [{"archive": "tar+gzip"}, {}]
    reasons = [
        resolve_step(
            ResolveStep(
                meta_run="forms-1",
                definition=definition,
                step="train",
                inputs={},
                steps={
                    "prepare": StepView(
                        state=StepState.SUCCEEDED,
                        artifacts={"dataset": Artifact(name="dataset", uri="s3://b/k", metadata=metadata)},
                    )
                },
            )
        ).skip_reason
        for metadata in packings
    ]
    assert reasons[0].startswith("when is false")
    assert reasons[1] == ""


def test_requests_are_signed_in_the_form_that_aws_describes_and_secrets_stay_out_of_sight() -> None:
    """Whether signatures are right, the real server of the integration tests says."""
    keys = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    now = datetime(2013, 5, 24, tzinfo=UTC)
    request = Request("GET", "examplebucket.s3.amazonaws.com", "/", {"prefix": "J", "max-keys": "2"})
    headers = sign(request, keys, "us-east-1", now)
    assert headers["x-amz-date"] == "20130524T000000Z"
    scope = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
    assert headers["authorization"].startswith(
        f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
    )
    assert "x-amz-security-token" in sign(request, Keys("a", "b", "token"), "us-east-1", now)
    assert "wJalr" not in repr(keys)


def test_keys_come_from_the_settings_then_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert keys_of(StoreSettings()) is None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert keys_of(StoreSettings()) == Keys("a", "b")
    own = StoreSettings.model_validate({"access_key": "c", "secret_key": "d"})
    assert keys_of(own) == Keys("c", "d")
