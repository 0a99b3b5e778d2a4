"""S3's multipart uploads, with what obstore has no face for: finding an upload that broke off, and its parts.

Calls: CreateMultipartUpload, ListMultipartUploads, ListParts, UploadPart, CompleteMultipartUpload and
AbortMultipartUpload of the S3 API. They run on urllib3 in threads, as the calls to the engines do.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from workers.artifacts.signing import Keys, Request, query_string, sign
from workers.settings import StoreSettings
from workflows.errors import ArtifactError, ArtifactStoreUnavailable

_TRY_AGAIN = frozenset({408, 425, 429})
_TIMEOUT = Timeout(connect=5.0, read=60.0)
_RETRY = Retry(
    3, status_forcelist=[500, 502, 503, 504], backoff_factor=0.3, allowed_methods=None, raise_on_status=False
)


class UploadGone(Exception):
    """The upload was completed or aborted by somebody else."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the store has. `etag` is the MD5 of its bytes, but where the store encrypts with keys of its own."""

    number: int
    size: int
    etag: str


class S3Uploads:
    """Multipart uploads into one bucket.

    Args:
        settings: of the store.
        bucket: must exist.
        keys: `workers.artifacts.signing.keys_of`.
    """

    def __init__(self, settings: StoreSettings, bucket: str, keys: Keys) -> None:
        self._region = settings.region
        self._keys = keys
        endpoint = (settings.endpoint or f"https://s3.{settings.region}.amazonaws.com").rstrip("/")
        parts = urlsplit(endpoint)
        self._origin, self._host, self._bucket = f"{parts.scheme}://{parts.netloc}", parts.netloc, bucket
        self._base = f"{parts.path}/{quote(bucket)}"
        self._http = PoolManager(retries=_RETRY, timeout=_TIMEOUT, maxsize=8)
        self._threads = ThreadPoolExecutor(8, thread_name_prefix=f"s3-{bucket}")

    async def find(self, key: str) -> str | None:
        """The newest upload to a key that was begun and neither completed nor aborted."""
        answer = await self._call("GET", "", {"uploads": "", "prefix": key})
        found = [
            (_text(upload, "Initiated"), _text(upload, "UploadId"))
            for upload in _all(_xml(answer), "Upload")
            if _text(upload, "Key") == key
        ]
        return max(found)[1] if found else None

    async def begin(self, key: str) -> str:
        return _text(_xml(await self._call("POST", key, {"uploads": ""})), "UploadId")

    async def parts(self, key: str, upload: str) -> dict[int, Part]:
        """Parts that the store has of an upload, by number.

        Raises:
            UploadGone: there is no such upload any more.
        """
        found: dict[int, Part] = {}
        marker = "0"
        while True:
            query = {"uploadId": upload, "part-number-marker": marker, "max-parts": "1000"}
            page = _xml(await self._call("GET", key, query))
            for part in _all(page, "Part"):
                number = int(_text(part, "PartNumber"))
                found[number] = Part(number, int(_text(part, "Size")), _text(part, "ETag").strip('"'))
            following = _text(page, "NextPartNumberMarker")
            if _text(page, "IsTruncated") != "true" or following in ("", marker):
                return found
            marker = following

    async def put(self, key: str, upload: str, number: int, data: bytes) -> Part:
        """Upload a part; one of this number that is there already is replaced.

        Raises:
            UploadGone: as `parts`.
        """
        md5 = hashlib.md5(data, usedforsecurity=False)
        headers = {"Content-MD5": base64.b64encode(md5.digest()).decode()}
        query = {"partNumber": str(number), "uploadId": upload}
        await self._call("PUT", key, query, data, headers)
        return Part(number, len(data), md5.hexdigest())

    async def complete(self, key: str, upload: str, parts: Mapping[int, Part]) -> None:
        """Make the object of its parts; only now does it show.

        Raises:
            UploadGone: as `parts`.
        """
        lines = [
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{escape(parts[number].etag)}"</ETag></Part>'
            for number in sorted(parts)
        ]
        body = f"<CompleteMultipartUpload>{''.join(lines)}</CompleteMultipartUpload>"
        answer = _xml(await self._call("POST", key, {"uploadId": upload}, body.encode()))
        if _tag(answer) == "Error":  # S3 answers 200 first and finds out afterwards
            raise ArtifactStoreUnavailable(
                f"the object store could not complete s3://{self._bucket}/{key}: {_text(answer, 'Message')}",
                hint="it is tried again",
            )

    async def abort(self, key: str, upload: str) -> None:
        """Forget an upload and its parts."""
        try:
            await self._call("DELETE", key, {"uploadId": upload})
        except UploadGone:
            pass

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    async def _call(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        def send() -> tuple[int, bytes]:
            path = f"{self._base}/{quote(key, safe='/~')}" if key else self._base
            request = Request(method, self._host, path, query)
            signed = sign(request, self._keys, self._region, datetime.now(UTC))
            url = f"{self._origin}{path}?{query_string(query)}"
            answer = self._http.request(method, url, body=body, headers={**signed, **(headers or {})})
            return answer.status, answer.data

        what = f"s3://{self._bucket}/{key} ({method} at {self._origin})"
        try:
            status, answer = await asyncio.get_running_loop().run_in_executor(self._threads, send)
        except HTTPError as error:
            raise ArtifactStoreUnavailable(
                f"the object store does not answer for {what}: {type(error).__name__}",
                hint="check that it is up; the copy goes on from the parts that it has",
            ) from error
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        if status == HTTPStatus.NOT_FOUND and b"NoSuchUpload" in answer:
            raise UploadGone(key)
        message = f"the object store answered {status} for {what}: {answer[:300].decode(errors='replace')}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRY_AGAIN:
            raise ArtifactStoreUnavailable(message, hint="the copy goes on from the parts that it has")
        raise ArtifactError(message, hint="check the store's keys in meta.toml, its `staging`, and the bucket's policy")


def _xml(answer: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(answer)
    except ElementTree.ParseError as error:
        raise ArtifactStoreUnavailable(
            f"the object store answered something that is not XML: {answer[:200]!r}",
            hint="is endpoint in meta.toml an S3 API, and not a page or a proxy before it?",
        ) from error


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: ElementTree.Element, tag: str) -> list[ElementTree.Element]:
    return [found for found in element if _tag(found) == tag]


def _text(element: ElementTree.Element, tag: str) -> str:
    found = _all(element, tag)
    return (found[0].text or "") if found else ""
