"""What the rest of the package asks of JetStream, in our words.

Sources: https://docs.nats.io/reference/reference-protocols/nats_api_reference and the server's ADRs 13 (pulls), 15
(subjects of the acknowledgements) and 22 (publish retries).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import cast

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from meta.nats import describe
from workflows.errors import Conflict, ServiceUnavailable

API_TIMEOUT_S = 5.0
_API = "$JS.API"


class NoJetStream(ServiceUnavailable):
    """NATS answers, and JetStream does not."""


async def find_stream(js: JetStreamContext, name: str) -> StreamInfo | None:
    """A stream by name; None when there is none."""
    try:
        return await js.stream_info(name)
    except NotFoundError:
        return None


async def stream_names(client: Client, subject: str) -> list[str]:
    """Streams with a subject that overlaps this one; the server answers in pages."""
    names: list[str] = []
    while True:
        request = json.dumps({"subject": subject, "offset": len(names)}).encode()
        answer = await client.request(f"{_API}.STREAM.NAMES", request, timeout=API_TIMEOUT_S)
        body = cast(dict[str, object], json.loads(answer.data))
        if isinstance(error := body.get("error"), dict):
            raise APIError.from_error(cast(dict[str, object], error))
        page = cast(list[str], body.get("streams") or [])
        names += page
        if not page or len(names) >= cast(int, body.get("total", 0)):
            return names


class NoRight(ServiceUnavailable):
    """NATS answers, and does not let us do what we must."""


@contextmanager
def refusals(what: str, denied: Callable[[], str] = lambda: "") -> Generator[None]:
    """Say in the words of the error tree what NATS answers.

    Args:
        what: is being done, as "making the consumer".
        denied: gives what the server last said about rights; a request that one has no right to make is not answered.

    Raises:
        MetaError: in place of NATS's own errors.
    """
    try:
        yield
    except (ServiceUnavailableError, NoRespondersError) as error:
        hint = "start nats-server with -js, and give the account JetStream"
        raise NoJetStream(f"{what}: {describe(error)}", hint=hint) from error
    except APIError as error:
        raise Conflict(f"{what}: NATS refuses: {describe(error)} ({error.err_code})") from error
    except TimeoutError as error:
        if said := denied():
            raise NoRight(f"{what}: {said}", hint="give the right to the service's user at NATS") from error
        raise ServiceUnavailable(f"{what}: NATS did not answer in time", hint="is JetStream's leader there?") from error
    except (NatsError, OSError) as error:
        raise ServiceUnavailable(f"{what}: {describe(error)}") from error
