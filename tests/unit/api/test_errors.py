from __future__ import annotations

import grpc
import pytest

from meta.api.errors import by_code, pack, status_code, unpack
from workflows import errors
from workflows.errors import DefinitionInvalid, MetaError, Problem, ServiceUnavailable


@pytest.mark.parametrize("kind", [k for k in by_code().values() if k.__init__ is MetaError.__init__])
def test_every_error_of_the_tree_arrives_as_itself(kind: type[MetaError]) -> None:
    error = kind("what happened", hint="what to do")
    arrived = unpack(*pack(error))
    assert type(arrived) is kind
    assert (arrived.message, arrived.hint) == ("what happened", "what to do")


def test_codes_are_unique_so_that_none_arrives_as_another() -> None:
    tree = [errors.MetaError]
    for kind in tree:
        tree += kind.__subclasses__()
    assert len(by_code()) == sum("code" in vars(kind) for kind in tree)
    for kind in (errors.InputsInvalid, errors.EngineUnavailable, errors.PortTaken):
        assert by_code()[kind.code] is kind


def test_a_definitions_problems_arrive_with_their_places() -> None:
    problem = Problem("unknown step 'trian'", "chain.yaml", 12, 5, "steps.evaluate.needs", "did you mean 'train'?")
    arrived = unpack(*pack(DefinitionInvalid([problem])))
    assert isinstance(arrived, DefinitionInvalid)
    assert arrived.problems == (problem,)


def test_hundreds_of_problems_fit_into_grpcs_limit_for_headers() -> None:
    problems = [Problem(f"unknown key '{'k' * 40}{i}'", "chain.yaml", i, 1, f"steps.s{i}") for i in range(500)]
    code, message, details = pack(DefinitionInvalid(problems))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(message.encode()) * 1.2 + len(details) * 4 / 3 < 8192
    arrived = unpack(code, message, details)
    assert isinstance(arrived, DefinitionInvalid)
    assert arrived.problems == tuple(problems[: len(arrived.problems)])
    assert len(arrived.problems) > 5


def test_long_messages_with_umlauts_fit_too() -> None:
    _, message, details = pack(errors.Conflict("ü" * 100_000, hint="ö" * 100_000))
    assert 3 * len(message.encode()) + len(details) * 4 / 3 < 16_384, "gRPC's hard limit for headers"


def test_statuses_are_those_that_the_api_promises() -> None:
    promised = {
        errors.InputsInvalid: grpc.StatusCode.INVALID_ARGUMENT,
        errors.NotFound: grpc.StatusCode.NOT_FOUND,
        errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
        errors.EngineUnavailable: grpc.StatusCode.UNAVAILABLE,
        errors.ServiceUnavailable: grpc.StatusCode.UNAVAILABLE,
        MetaError: grpc.StatusCode.INTERNAL,
    }
    assert {kind: status_code(kind("x")) for kind in promised} == promised


def test_an_answer_that_is_not_the_services_is_put_into_our_words() -> None:
    away = unpack(grpc.StatusCode.UNAVAILABLE, "failed to connect", None)
    assert isinstance(away, ServiceUnavailable)
    assert "meta up" in away.hint
    assert isinstance(unpack(grpc.StatusCode.DEADLINE_EXCEEDED, "", None), ServiceUnavailable)
    assert isinstance(unpack(grpc.StatusCode.RESOURCE_EXHAUSTED, "40 MB", None), errors.InvalidInput)
    assert "UNIMPLEMENTED" in unpack(grpc.StatusCode.UNIMPLEMENTED, "no such method", None).message
