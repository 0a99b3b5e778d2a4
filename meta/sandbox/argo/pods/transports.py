"""How artifacts are carried, by kind of place: object stores, HTTP, git (workflow/artifacts/*)."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import obstore
import urllib3
from hera.workflows import models as m
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from meta.processes import spawn
from meta.sandbox.kubernetes_objects import KubernetesObjects, MissingObjectError

ObjectStore = S3Store | LocalStore
_CHUNK = 5 * 1024 * 1024
_TIMEOUT = urllib3.Timeout(connect=30, read=60)
_NOT_FOUND, _OK, _REDIRECT = 404, 200, 300


class ArtifactError(Exception):
    """An artifact cannot be loaded or saved; the message goes into the node's status."""


class ArtifactNotFoundError(ArtifactError):
    """There is nothing at the artifact's place."""


class Budget:
    """Counts the bytes of one artifact."""

    def __init__(self, limit: int) -> None:
        self._limit, self._left = limit, limit

    def spend(self, size: int) -> None:
        """Take a part into account.

        Raises:
            ArtifactError: the artifact is larger than allowed.
        """
        self._left -= size
        if self._left < 0:
            raise ArtifactError(f"larger than the {self._limit} bytes that this sandbox allows an artifact to have")


async def download(store: ObjectStore, key: str, target: Path, budget: Budget) -> None:
    """Bring an object to a file, or all objects below the key into a folder.

    Raises:
        ArtifactNotFoundError: there is neither.
        ArtifactError: the store cannot be read.
    """
    try:
        try:
            await _fetch(store, key, target, budget)
            return
        except FileNotFoundError:
            pass
        found, prefix = False, key.rstrip("/") + "/"
        async for batch in obstore.list(store, prefix):
            for item in batch:
                found = True
                path = target / item["path"].removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                await _fetch(store, item["path"], path, budget)
    except BaseError as error:
        raise ArtifactError(f"cannot read {key}: {_reason(error)}") from error
    if not found:
        raise ArtifactNotFoundError(f"The specified key does not exist: {key}")


def _reason(error: Exception) -> str:
    """What the store said, without the library's dump of its own state."""
    return str(error).split("\n\nDebug source", maxsplit=1)[0]


async def _fetch(store: ObjectStore, key: str, target: Path, budget: Budget) -> None:
    answer = await obstore.get_async(store, key)
    with target.open("wb") as file:
        async for chunk in answer.stream(min_chunk_size=_CHUNK):
            budget.spend(len(chunk))
            file.write(chunk)


async def upload(store: ObjectStore, key: str, source: Path, budget: Budget) -> None:
    """Make an object of a file, or one of each file of a folder.

    Raises:
        ArtifactError: the store cannot be written.
    """
    paths = sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
    for path in paths:
        budget.spend(path.stat().st_size)
    try:
        for path in paths:
            name = key if path is source else f"{key.rstrip('/')}/{path.relative_to(source).as_posix()}"
            await obstore.put_async(store, name, path, chunk_size=_CHUNK)
    except (BaseError, OSError) as error:
        raise ArtifactError(f"cannot write {key}: {_reason(error)}") from error


async def ensure_bucket(store: ObjectStore) -> None:
    """Make a bucket unless it is there (`createBucketIfNotPresent`). A local store's is a folder, made already.

    Raises:
        ArtifactError: the server refuses.
    """
    if isinstance(store, LocalStore):
        return
    url = await obstore.sign_async(store, "PUT", "", timedelta(minutes=1))
    answer = await asyncio.to_thread(urllib3.request, "PUT", url, timeout=_TIMEOUT, retries=False)
    if answer.status >= _REDIRECT and b"BucketAlready" not in answer.data:
        said = answer.data[:500].decode(errors="replace")
        raise ArtifactError(f"failed to create the bucket: {answer.status} {said}")


def http_headers(http: m.HTTPArtifact, objects: KubernetesObjects) -> dict[str, str]:
    """The headers of a request, with basic authentication from Secrets.

    Raises:
        ArtifactError: a Secret is not there.
    """
    headers = {header.name: header.value for header in http.headers or []}
    basic = http.auth.basic_auth if http.auth else None
    if basic is not None and basic.username_secret is not None and basic.password_secret is not None:
        try:
            user, password = (objects.value("Secret", s) or b"" for s in (basic.username_secret, basic.password_secret))
        except MissingObjectError as error:
            raise ArtifactError(str(error)) from error
        headers |= urllib3.make_headers(basic_auth=f"{user.decode()}:{password.decode()}")
    return headers


def http_get(url: str, headers: Mapping[str, str], target: Path, budget: Budget) -> None:
    """GET a file.

    Raises:
        ArtifactNotFoundError: the status is 404.
        ArtifactError: any other but 2xx, or no answer.
    """
    try:
        with urllib3.request("GET", url, headers=headers, preload_content=False, timeout=_TIMEOUT) as answer:
            if answer.status == _NOT_FOUND:
                raise ArtifactNotFoundError(f"{answer.status} {answer.reason}")
            if not _OK <= answer.status < _REDIRECT:
                reason = f"{answer.status} {answer.reason}"
                raise ArtifactError(f"loading content from {url} failed with reason: {reason}")
            with target.open("wb") as file:
                for chunk in answer.stream(_CHUNK):
                    budget.spend(len(chunk))
                    file.write(chunk)
    except urllib3.exceptions.HTTPError as error:
        raise ArtifactError(f"loading content from {url} failed: {error}") from error


def http_put(url: str, headers: Mapping[str, str], source: Path, budget: Budget) -> None:
    """PUT a file.

    Raises:
        ArtifactError: the status is not 2xx, or there is no answer.
    """
    size = source.stat().st_size
    budget.spend(size)
    headers = {**headers, "Content-Length": str(size)}
    try:
        with source.open("rb") as file:
            answer = urllib3.request("PUT", url, headers=headers, body=file, timeout=_TIMEOUT)
    except urllib3.exceptions.HTTPError as error:
        raise ArtifactError(f"saving file {source.name} to {url} failed: {error}") from error
    if not _OK <= answer.status < _REDIRECT:
        reason = f"{answer.status} {answer.reason}"
        raise ArtifactError(f"saving file {source.name} to {url} failed with reason: {reason}")


async def git_clone(git: m.GitArtifact, target: Path) -> None:
    """Clone a public repository with the machine's git, and check out the revision.

    Raises:
        ArtifactError: there is no git, or it failed.
    """
    clone = ["clone", "--quiet"]
    if git.depth:
        clone.append(f"--depth={git.depth}")
    if git.single_branch:
        clone.append("--single-branch")
    if git.branch:
        clone.append(f"--branch={git.branch}")
    await _git([*clone, "--", git.repo, str(target)], target.parent)
    if git.revision:
        await _git(["-C", str(target), "checkout", "--quiet", git.revision, "--"], target.parent)
    if not git.disable_submodules:
        await _git(["-C", str(target), "submodule", "update", "--init", "--recursive", "--quiet"], target.parent)


async def _git(arguments: list[str], folder: Path) -> None:
    program = shutil.which("git")
    if program is None:
        raise ArtifactError("git is not installed on this machine")
    log = folder / "git.log"
    environment = {
        "PATH": f"{Path(program).parent}:/usr/bin:/bin", "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https",
    }  # fmt: skip
    with log.open("wb") as output:
        process = await spawn(
            [program, *arguments], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )  # fmt: skip
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await process.stop(grace_s=2)
            raise
    if code:
        said = log.read_text(encoding="utf-8", errors="replace").strip()
        raise ArtifactError(f"git failed with exit code {code}: {said[-1000:]}")
