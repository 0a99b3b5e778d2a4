from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta.bridge.parameters import convert, inputs_of, names_of
from workflows.errors import InputsInvalid
from workflows.inputs import type_mismatch
from workflows.spec import load_definition
from workflows.spec.models import MetaWorkflow
from workflows.values import JsonValue, ValueType

DEFINITION = """\
apiVersion: meta/v1
kind: MetaWorkflow
metadata: {name: ingest}
inputs:
  source_url: {type: string}
  chunk_size: {type: integer, default: 512}
  overlap: {type: number, default: 0.1}
  dry_run: {type: boolean, default: false}
  tags: {type: list, default: []}
  options: {type: object, default: {}}
  max_tokens: {type: integer, default: 1}
steps:
  run: {argo: {template: ingest}}
"""


@pytest.fixture(scope="module")
def definition() -> MetaWorkflow:
    return load_definition(DEFINITION)


def test_hyphens_are_underscores_and_texts_become_the_declared_types(definition: MetaWorkflow) -> None:
    parameters: dict[str, JsonValue] = {
        "source-url": "s3://bucket/docs/",
        "chunk-size": "1024",
        "overlap": "0.25",
        "dry-run": "true",
        "tags": '["a", "b"]',
        "options": '{"lang": "de"}',
    }
    assert inputs_of(definition, parameters, {}) == {
        "source_url": "s3://bucket/docs/",
        "chunk_size": 1024,
        "overlap": 0.25,
        "dry_run": True,
        "tags": ["a", "b"],
        "options": {"lang": "de"},
    }


def test_the_catalogue_s_own_names_count_and_the_usual_spelling_is_theirs_no_more(definition: MetaWorkflow) -> None:
    names = {"source_url": "input", "max_tokens": "maxTokens"}
    assert inputs_of(definition, {"input": "x", "maxTokens": 5}, names) == {"source_url": "x", "max_tokens": 5}
    with pytest.raises(InputsInvalid, match="no parameter 'source-url'"):
        inputs_of(definition, {"source-url": "x"}, names)


def test_everything_that_is_wrong_is_said_at_once_in_the_client_s_names(definition: MetaWorkflow) -> None:
    with pytest.raises(InputsInvalid) as caught:
        inputs_of(definition, {"sorce-url": "x", "chunk-size": "many", "zzz": 1, "overlap": 1, "Overlap": 2}, {})
    message = caught.value.message
    assert "there is no parameter 'sorce-url', did you mean 'source-url'?" in message
    assert "parameter 'chunk-size': expected an integer, got \"many\"" in message
    assert "there is no parameter 'zzz'; there are: source-url, chunk-size, overlap" in message
    assert "parameters 'overlap' and 'Overlap' are the same input 'overlap'" in message
    assert "parameter 'source-url' is required" in message


@pytest.mark.parametrize(
    ("value", "declared", "expected"),
    [
        ("5", ValueType.INTEGER, 5),
        (" -5 ", ValueType.INTEGER, -5),
        (5.0, ValueType.INTEGER, 5),
        ("5.0", ValueType.INTEGER, 5),
        ("5.5", ValueType.INTEGER, "5.5"),
        ("1e-3", ValueType.NUMBER, 0.001),
        ("2", ValueType.NUMBER, 2),
        ("fast", ValueType.NUMBER, "fast"),
        ("False", ValueType.BOOLEAN, False),
        ("yes", ValueType.BOOLEAN, True),
        (1, ValueType.BOOLEAN, True),
        (2, ValueType.BOOLEAN, 2),
        (5, ValueType.STRING, "5"),
        (True, ValueType.STRING, "true"),
        ([1], ValueType.STRING, "[1]"),
        (None, ValueType.STRING, None),
        ("a,b", ValueType.LIST, "a,b"),
        ("[1]", ValueType.LIST, [1]),
    ],
)
def test_values_are_read_as_text_only_clients_write_them(
    value: JsonValue, declared: ValueType, expected: JsonValue
) -> None:
    converted = convert(value, declared)
    assert (converted, type(converted)) == (expected, type(expected))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(ValueType),
)
def test_what_fits_already_stays_as_it_is(value: JsonValue, declared: ValueType) -> None:
    if type_mismatch(value, declared) is None and not (declared is ValueType.OBJECT and isinstance(value, str)):
        assert convert(value, declared) == value


def test_an_unknown_pipeline_is_told_which_there_are() -> None:
    assert names_of({"ingest": 1, "train": 2}, "ingset") == (
        "there is no pipeline \"ingset\", did you mean 'ingest'? There are: ingest, train"
    )
    assert names_of({}, "x") == 'there is no pipeline "x"; there are: none'
