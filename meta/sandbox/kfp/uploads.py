"""Uploaded packages: plain HTTP handlers on the real server too, with errors of a shape of their own.

Source: kubeflow/pipelines, backend/src/apiserver/server/{pipeline_upload_server.go,util.go}. Nothing of an archive is
ever written to a disk: one member is read into memory, up to a limit, and parsed. So a link or a path with `..` in an
archive leads nowhere; a package that is one is refused.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meta.sandbox.kfp import catalog, views
from meta.sandbox.kfp.errors import ApiError, Code, invalid_input
from meta.sandbox.kfp.pipeline import Json, parse, read_package
from meta.sandbox.kfp.services import services

LARGEST_BYTES = 32 * 1024 * 1024  # common.MaxFileLength; here of what is unpacked too
_MOST_MEMBERS = 10_000
_TAGS = TypeAdapter(dict[str, str])
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)


def routes() -> list[Route]:
    base = "/apis/v2beta1/pipelines"
    return [
        Route(f"{base}/upload", upload, methods=["POST"]),
        Route(f"{base}/upload_version", upload_version, methods=["POST"]),
    ]


async def upload(request: Request) -> Response:
    """A pipeline with its first version."""
    server = services(request)
    try:
        given = await _read(request)
        parse(given.document, server.images, server.objects)
        with server.database.transaction():
            row = server.catalog.create_pipeline(given.name, given.display_name, given.description, given.tags)
            server.catalog.create_version(
                row["id"], name=given.name, document=given.document, display_name=given.display_name,
                description=given.description,
            )  # fmt: skip
    except ApiError as error:
        return _refused(error, "Failed to create a pipeline and a pipeline version")
    return JSONResponse(views.pipeline(row))


async def upload_version(request: Request) -> Response:
    """Another version of a pipeline."""
    server = services(request)
    try:
        given = await _read(request)
        pipeline_id = request.query_params.get("pipelineid", "")
        if not pipeline_id:
            raise invalid_input("Failed to create a pipeline version: pipelineid is empty")
        catalog.check_length("PipelineVersion", "Name", given.name)
        if not server.catalog.has_pipeline(pipeline_id):  # 400 on the real server, not 404
            raise invalid_input(f"Failed to create a pipeline version: Pipeline {pipeline_id} not found")
        parse(given.document, server.images, server.objects)
        row = server.catalog.create_version(
            pipeline_id, name=given.name, document=given.document, display_name=given.display_name,
            description=given.description, tags=given.tags,
        )  # fmt: skip
    except ApiError as error:
        return _refused(error, "Failed to create a pipeline version")
    return JSONResponse(views.version(row))


def _refused(error: ApiError, doing: str) -> Response:
    """An error as the upload handlers write it; a taken name and a fault of the server get few words there."""
    invalid = error.code is Code.INVALID_ARGUMENT
    status = 400 if invalid else 409 if error.code is Code.ALREADY_EXISTS else 500
    said = error.external if invalid else doing
    return JSONResponse({"error_message": said, "error_details": error.message}, status)


@dataclass(frozen=True, slots=True)
class _Upload:
    name: str
    display_name: str
    description: str
    tags: dict[str, str] | None
    document: Json


async def _read(request: Request) -> _Upload:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > 2 * LARGEST_BYTES:  # before any of it is read
        raise too_large(int(length))
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("uploadfile")
        if not isinstance(file, UploadFile):
            raise invalid_input("Failed to read pipeline from file")
        content = await file.read(LARGEST_BYTES + 1)
        file_name = file.filename or ""
    query = request.query_params
    tags: dict[str, str] | None = None
    if query.get("tags"):
        try:
            tags = _TAGS.validate_json(query["tags"])
        except ValidationError as error:
            raise invalid_input(
                "Failed to parse tags query parameter. Expected JSON object with string keys and values"
            ) from error
    display_name = query.get("display_name", "")
    return _Upload(
        name=query.get("name") or display_name or file_name,
        display_name=display_name,
        description=query.get("description", ""),
        tags=tags,
        document=read_package(unpack(file_name, content)),
    )


def too_large(size: int) -> ApiError:
    return invalid_input(
        f"File size too large ({size} bytes). Maximum supported size: {LARGEST_BYTES}. Consider moving large embedded "
        "artifacts or notebooks or Python code into a container image or object store."
    )


def unpack(name: str, content: bytes) -> str:
    """The text of a package: of a file that is YAML or JSON by its name, or out of a zip or tar.gz by its first bytes.

    Raises:
        ApiError: it is none of them, it is damaged, or it is too large.
    """
    if len(content) > LARGEST_BYTES:
        raise too_large(len(content))
    try:
        if name.endswith((".yaml", ".yml", ".json")):
            pass
        elif content.startswith(b"PK"):
            content = _from_zip(content)
        elif content.startswith(b"\x1f\x8b"):
            content = _from_tarball(content)
        else:
            raise invalid_input("Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML")
        return content.decode()
    except UnicodeDecodeError as error:
        raise invalid_input(f"Failed to read a pipeline spec file: {error}") from error


def _from_zip(content: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if not members:
                raise invalid_input("Error extracting pipeline from the zip file. Empty zip file")
            if len(members) > _MOST_MEMBERS:
                raise invalid_input(f"Error extracting pipeline from the zip file. More than {_MOST_MEMBERS} files")
            chosen = next((member for member in members if member.filename == "pipeline.yaml"), members[0])
            _must_be_yaml("zip", chosen.filename)
            with archive.open(chosen) as file:
                return _limited(file)
    except (*_DAMAGED, RuntimeError) as error:  # RuntimeError: it is encrypted
        raise invalid_input("Error extracting pipeline from the zip file. Not a valid zip file") from error


def _from_tarball(content: bytes) -> bytes:
    broken = "Error extracting pipeline from the tarball file. Not a valid tarball file"
    try:
        # Unpacked as a whole and limited first: what stands before the wanted member is unpacked by a reader anyhow.
        with gzip.open(io.BytesIO(content)) as unzipped:
            whole = _limited(unzipped)
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as archive:
            first: tarfile.TarInfo | None = None
            for number, member in enumerate(archive):
                if number >= _MOST_MEMBERS:
                    raise invalid_input(f"{broken}: more than {_MOST_MEMBERS} files")
                if member.name == "pipeline.yaml":
                    first = member
                    break
                first = first or member
            if first is None:
                raise invalid_input(broken)
            _must_be_yaml("tarball", first.name)
            if not first.isreg():
                raise invalid_input(f"{broken}: {first.name} is not a file")
            file = archive.extractfile(first)
            return _limited(file) if file else b""
    except _DAMAGED as error:
        raise invalid_input(broken) from error


def _must_be_yaml(kind: str, name: str) -> None:
    if not name.endswith((".yaml", ".yml")):
        raise invalid_input(
            f"Error extracting pipeline from the {kind} file. Expecting a pipeline.yaml file inside the {kind}. "
            f"Got: {json.dumps(name)[1:-1]}"
        )


def _limited(file: IO[bytes] | gzip.GzipFile) -> bytes:
    content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise too_large(len(content))
    return content
