"""Errors across gRPC: one table of status codes, one form of details, both ways.

The status carries `google.rpc.Status` in the trailer `grpc-status-details-bin`, as gRPC's richer error model has it
(https://grpc.io/docs/guides/error/): ErrorInfo with our stable code and the mend, BadRequest with each place for
clients in any language, and our own Problem messages, from which the Python SDK builds the same exception again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from meta.api.v1 import meta_pb2 as pb
from workflows import errors
from workflows.errors import DefinitionInvalid, MetaError, Problem, ServiceUnavailable

DOMAIN = "meta-workflows"
DETAILS_KEY = "grpc-status-details-bin"
_MAX_MESSAGE = 2_000  # characters; gRPC percent-encodes the message into a header
_MAX_DETAILS = 3_500  # bytes; base64 makes a third more. Peers refuse headers above 8 KiB in all.

_CODES: list[tuple[type[MetaError], grpc.StatusCode]] = [
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.NotAllowed, grpc.StatusCode.PERMISSION_DENIED),
    (errors.EngineUnavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.ServiceUnavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.EngineError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ArtifactError, grpc.StatusCode.FAILED_PRECONDITION),
    (MetaError, grpc.StatusCode.INTERNAL),
]


def status_code(error: MetaError) -> grpc.StatusCode:
    """The gRPC status that an error of ours travels under."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def pack(error: MetaError) -> tuple[grpc.StatusCode, str, bytes]:
    """Make an error ready to travel.

    Returns:
        The status code, the message, and the bytes of the trailer. What does not fit into gRPC's limit for headers
        is left out from the end; `Validate` answers with every problem however many there are.
    """
    code = status_code(error)
    message = error.message if len(error.message) <= _MAX_MESSAGE else error.message[:_MAX_MESSAGE] + " ..."
    status = Status(code=_number(code), message=message[:500])
    _add(status, ErrorInfo(reason=error.code, domain=DOMAIN, metadata={"hint": error.hint[:1000]}))
    if isinstance(error, DefinitionInvalid):
        _add_problems(status, error.problems)
    return code, message, status.SerializeToString()


def unpack(code: grpc.StatusCode, message: str, details: bytes | None) -> MetaError:
    """Build the exception that the service raised, or the nearest one for an answer that is not the service's."""
    info, problems = _read(details)
    if info is not None:
        kind = by_code().get(info.reason, MetaError)
        if issubclass(kind, DefinitionInvalid):
            return DefinitionInvalid(problems or [Problem(message)])
        return kind(message, hint=info.metadata.get("hint", ""))
    if code is grpc.StatusCode.UNAVAILABLE:
        return ServiceUnavailable(
            f"the service does not answer: {message}",
            hint="is it running? `meta up` starts one; --address names another",
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServiceUnavailable(
            "the service did not answer in time", hint="try again; `meta doctor` checks its parts"
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.InvalidInput(f"too large for the service: {message}", hint="pass large data as artifacts")
    return MetaError(f"{code.name}: {message}", hint="the service's log says more")


def by_code() -> dict[str, type[MetaError]]:
    """Every class of the error tree by its stable code; a class without one of its own arrives as its parent."""
    return {kind.code: kind for kind in _tree(MetaError) if "code" in vars(kind)}


def _tree(kind: type[MetaError]) -> Iterator[type[MetaError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def _add(status: Status, detail: ErrorInfo | BadRequest | pb.Problem) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _add_problems(status: Status, problems: Sequence[Problem]) -> None:
    bad = BadRequest()
    room = _MAX_DETAILS - status.ByteSize()
    for problem in problems:
        violation = BadRequest.FieldViolation(field=problem.path or problem.file, description=str(problem))
        own = to_problem(problem)
        room -= violation.ByteSize() + own.ByteSize() + 60
        if room < 0:
            break
        bad.field_violations.append(violation)
        _add(status, own)
    _add(status, bad)


def _read(details: bytes | None) -> tuple[ErrorInfo | None, list[Problem]]:
    if not details:
        return None, []
    info: ErrorInfo | None = None
    problems: list[Problem] = []
    for packed in Status.FromString(details).details:
        candidate, problem = ErrorInfo(), pb.Problem()
        if packed.Unpack(candidate):
            info = candidate
        elif packed.Unpack(problem):
            problems.append(from_problem(problem))
    return (info if info is not None and info.domain == DOMAIN else None), problems


def to_problem(problem: Problem) -> pb.Problem:
    return pb.Problem(
        message=problem.message, file=problem.file, line=problem.line, column=problem.column, path=problem.path,
        hint=problem.hint,
    )  # fmt: skip


def from_problem(problem: pb.Problem) -> Problem:
    return Problem(problem.message, problem.file, problem.line, problem.column, problem.path, problem.hint)


def _number(code: grpc.StatusCode) -> int:
    number: tuple[int, str] = code.value
    return number[0]
