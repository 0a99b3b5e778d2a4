"""What a fan-out runs over, how it is divided, and what is told of it."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.errors import ExpressionFailed, InputsInvalid
from workflows.expressions.references import Reference, references
from workflows.fanout import INLINE_ITEMS, _shares, _words  # pyright: ignore[reportPrivateUsage]
from workflows.fanout_messages import FailedItem, ItemRecord
from workflows.foreach_items import MAX_ITEM_BYTES, items_of, label
from workflows.item_lists import lists_of
from workflows.messages import ItemCounts
from workflows.outcome import Artifact, StepState
from workflows.plan import step_expressions
from workflows.spec.steps import Foreach, Step
from workflows.values import JsonValue

VALUES: dict[str, JsonValue] = {
    "xs": [1, 2],
    "n": 3,
    "half": 2.5,
    "whole": 4.0,
    "word": "abc",
    "many": list[JsonValue](range(101)),
}


def items(foreach: object) -> list[JsonValue]:
    return items_of("train", Foreach.model_validate(foreach), lambda _: VALUES.__getitem__)


@pytest.mark.parametrize(
    ("foreach", "expected"),
    [
        (["a", {"b": 1}, None], ["a", {"b": 1}, None]),
        ("${{ xs }}", [1, 2]),
        ({"items": ["${{ n }}", "x${{ word }}"]}, [3, "xabc"]),
        ({"range": 3}, [0, 1, 2]),
        ({"range": {"from": 5, "to": 1}}, []),
        ({"range": {"from": "${{ n }}", "to": "${{ whole }}"}}, [3]),
        ({"range": {"to": 10, "step": 4}}, [0, 4, 8]),
        ({"matrix": {"a": [1, 2], "b": "${{ xs }}"}}, [{"a": a, "b": b} for a, b in product([1, 2], [1, 2])]),
        ({"matrix": {"a": [1, 2], "b": []}}, []),
    ],
)
def test_a_list_a_range_and_a_matrix_give_items_in_order(foreach: object, expected: list[JsonValue]) -> None:
    assert items(foreach) == expected


@pytest.mark.parametrize(
    ("foreach", "error", "words"),
    [
        ("${{ word }}", ExpressionFailed, "step 'train', foreach: \"abc\" is no list"),
        ({"range": {"to": "${{ half }}"}}, ExpressionFailed, "foreach.range.to: 2.5 is no integer"),
        ({"matrix": {"a": "${{ n }}"}}, ExpressionFailed, "foreach.matrix.a: 3 is no list"),
        ({"range": 10_001}, InputsInvalid, "10,001 items, 10,000 at most"),
        ({"range": {"to": 10**15}}, InputsInvalid, "items, 10,000 at most"),
        ({"matrix": {"a": "${{ many }}", "b": "${{ many }}"}}, InputsInvalid, "10,201 items"),
        ({"items": ["x" * MAX_ITEM_BYTES]}, InputsInvalid, "the items have"),
    ],
)
def test_what_is_no_list_or_too_much_says_where_and_what_to_do(
    foreach: object, error: type[ExpressionFailed | InputsInvalid], words: str
) -> None:
    with pytest.raises(error) as raised:
        items(foreach)
    assert words in raised.value.message
    assert raised.value.hint


def test_a_step_depends_on_what_its_items_read() -> None:
    step = Step.model_validate(
        {
            "argo": {"template": "t"},
            "foreach": {"matrix": {"a": "${{ steps.one.outputs.x }}", "b": ["${{ steps.two.outputs.y }}"]}},
        }
    )
    found = {r.step for text in step_expressions(step) for r in references(text)}
    assert found == {"one", "two"}
    ranged = step.model_copy(update={"foreach": Foreach.model_validate({"range": {"to": "${{ steps.n.outputs.z }}"}})})
    assert {r.step for text in step_expressions(ranged) for r in references(text)} == {"n"}


def test_item_and_index_are_read_unless_the_expression_uses_the_words_itself() -> None:
    assert references("item.rate * index") == {Reference("item"), Reference("index")}
    assert references("inputs.sizes.map(item, item * 2).all(index, index > 0)") == {Reference("inputs", "sizes")}
    assert references("steps.a.outputs.x.item") == {Reference("steps", "a", "outputs", "x")}


@given(parallelism=st.integers(1, 1000), chunks=st.integers(1, 10))
def test_chunks_side_by_side_share_the_parallelism_to_the_last_one(parallelism: int, chunks: int) -> None:
    shares = _shares(parallelism, chunks)
    assert sum(shares) == parallelism
    assert 1 <= len(shares) <= chunks
    assert min(shares) >= 1 and max(shares) - min(shares) <= 1


@given(st.dictionaries(st.integers(0, 30), st.sampled_from([StepState.SUCCEEDED, StepState.FAILED]), max_size=20))
def test_lists_hold_each_items_value_at_its_place_and_nothing_for_those_that_failed(
    states: dict[int, StepState],
) -> None:
    records = {
        at: ItemRecord(
            position=at + 1,
            state=state,
            outputs={"x": at},
            artifacts={"m": Artifact(name="m", uri=f"s3://b/{at}")},
        )
        for at, state in states.items()
    }
    lists = lists_of(records, 0, 31)
    done = {at for at, state in states.items() if state is StepState.SUCCEEDED}
    for at in range(31):
        assert lists.outputs.get("x", [None] * 31)[at] == (at if at in done else None)
        artifact = lists.artifacts.get("m", [None] * 31)[at]
        assert (artifact.uri if artifact else None) == (f"s3://b/{at}" if at in done else None)
    assert INLINE_ITEMS == 200


def test_an_item_is_told_in_a_few_words() -> None:
    assert label({"lr": 0.1, "name": "x"}) == 'lr=0.1, name="x"'
    assert label(7) == "7"
    assert len(label("x" * 100)) == 60


def test_a_failed_fan_out_says_which_item_why_and_how_far_it_was() -> None:
    failure = FailedItem(index=7, label="lr=0.1", state=StepState.FAILED, message="boom")
    counts = ItemCounts(total=50, succeeded=12, failed=1)
    assert _words(counts, [failure], fast=True) == (
        "item 7 (lr=0.1): boom\n12 of 50 items had succeeded; the other 37 were ended or not begun"
    )
