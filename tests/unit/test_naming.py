import re

from hypothesis import given
from hypothesis import strategies as st

from workflows.naming import MAX_NAME, RunKey, engine_run_name, key_of_name

workflow_names = st.from_regex(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
step_names = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)


@given(workflow_names, step_names, st.text(min_size=1, max_size=80), st.integers(1, 100))
def test_names_are_dns_labels_that_fit(workflow: str, step: str, run: str, attempt: int) -> None:
    name = engine_run_name(workflow, RunKey(meta_run=run, step=step, attempt=attempt))
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= MAX_NAME


def test_names_differ_by_every_part_of_the_key() -> None:
    key = RunKey(meta_run="r", step="train")
    others = [
        key,
        key.model_copy(update={"meta_run": "s"}),
        key.model_copy(update={"index": 1}),
        key.model_copy(update={"attempt": 2}),
    ]
    assert len({engine_run_name("chain", k) for k in others}) == len(others)


def test_a_repeated_key_gives_the_name_that_was_given_before() -> None:
    key = RunKey(meta_run="hybrid-1", step="train_model", attempt=2)
    assert engine_run_name("hybrid-training", key) == "hybrid-training-train-model-" + key.hash
    assert key.hash == "4b8fa5a295"


@given(workflow_names, step_names, st.text(min_size=1, max_size=80), st.integers(0, 5), st.integers(1, 100))
def test_the_key_that_a_run_carries_is_known_by_its_name(
    workflow: str, step: str, run: str, index: int, attempt: int
) -> None:
    key = RunKey(meta_run=run, step=step, index=index, attempt=attempt)
    name = engine_run_name(workflow, key)
    assert key_of_name(name, str(key)) == key
    assert key_of_name(name, str(key.model_copy(update={"attempt": attempt + 1}))) is None
    assert key_of_name(name, run) is None


@given(st.text(min_size=1), st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True), st.integers(0, 999), st.integers(1, 99))
def test_a_run_key_comes_back_from_its_text(meta_run: str, step: str, index: int, attempt: int) -> None:
    key = RunKey(meta_run=meta_run, step=step, index=index, attempt=attempt)
    assert RunKey.parse(str(key)) == key
