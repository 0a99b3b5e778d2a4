"""Packages are read in memory, and what could hurt a server is refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest

from meta.sandbox.kfp import uploads
from meta.sandbox.kfp.errors import ApiError, Code

TEXT = "pipelineInfo: {name: packed}\n"


def zipped(*files: tuple[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files:
            archive.writestr(name, text)
    return buffer.getvalue()


def tarred(*files: tuple[str, str], link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files:
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, link
            member.size = 0 if link else len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.yaml", TEXT.encode()),
        ("p.json", TEXT.encode()),
        ("p.zip", zipped(("other.txt", "x"), ("pipeline.yaml", TEXT))),
        ("p.zip", zipped(("mine.yml", TEXT), ("readme.md", "x"))),
        ("p.tar.gz", tarred(("other.txt", "x"), ("pipeline.yaml", TEXT))),
        ("no-extension", tarred(("mine.yaml", TEXT))),  # it is told by its first bytes
        ("p.zip", zipped(("../../outside.yaml", TEXT))),  # read, never written: the path leads nowhere
    ],
)
def test_a_package_is_read_in_each_of_its_forms(name: str, content: bytes) -> None:
    assert uploads.unpack(name, content) == TEXT


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.txt", TEXT.encode(), "Unexpected pipeline file format"),
        ("p.zip", b"PK\x03\x04 and no more", "Not a valid zip file"),
        ("p.tar.gz", b"\x1f\x8b and no more", "Not a valid tarball file"),
        ("p.tar.gz", gzip.compress(b"no tarball", mtime=0), "Not a valid tarball file"),
        ("p.tar.gz", tarred(("pipeline.yaml", TEXT))[:-20], "Not a valid tarball file"),
        ("p.zip", zipped(), "Empty zip file"),
        ("p.zip", zipped(("readme.md", TEXT)), "Expecting a pipeline.yaml file inside the zip. Got: readme.md"),
        ("p.tar.gz", tarred(("readme.md", TEXT)), "Expecting a pipeline.yaml file inside the tarball"),
        ("p.tar.gz", tarred(("pipeline.yaml", ""), link="/etc/passwd"), "pipeline.yaml is not a file"),
        ("p.yaml", b"\xff\xfe", "Failed to read a pipeline spec file"),
    ],
)
def test_what_is_no_package_is_refused(name: str, content: bytes, said: str) -> None:
    with pytest.raises(ApiError) as caught:
        uploads.unpack(name, content)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert said in caught.value.external


@pytest.mark.parametrize("form", ["zip", "tarball", "before the pipeline", "plain"])
def test_a_package_that_unpacks_to_too_much_is_refused_before_it_has(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "LARGEST_BYTES", 100_000)
    zeros = "0" * 5_000_000
    content = {
        "zip": zipped(("pipeline.yaml", zeros)),
        "tarball": tarred(("pipeline.yaml", zeros)),
        "before the pipeline": tarred(("zeros", zeros), ("pipeline.yaml", TEXT)),
        "plain": zeros.encode(),
    }[form]
    assert form == "plain" or len(content) < 100_000
    with pytest.raises(ApiError, match="File size too large"):
        uploads.unpack("p.yaml" if form == "plain" else "p", content)


def test_an_archive_of_very_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_MOST_MEMBERS", 3)
    files = [(f"{number}.yaml", TEXT) for number in range(5)]
    for content in (zipped(*files), tarred(*files)):
        with pytest.raises(ApiError, match="ore than 3 files"):
            uploads.unpack("p", content)
