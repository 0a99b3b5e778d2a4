"""The pages on the cache and on retrying a run: their chains are valid, their commands exist, their lists are whole."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.docs.commands import parse
from tests.docs.pages import prose, read, snippets
from tests.integration.reuse.pages import CACHE, RETRYING, chain_of, write
from workers.caching import CHECK_S, work_of
from workflows import reuse
from workflows.bundle import build_bundle
from workflows.messages import ResolvedStep


@pytest.mark.parametrize("page", [CACHE, RETRYING])
def test_the_chain_of_the_page_is_valid_and_its_commands_are_commands(page: str, tmp_path: Path) -> None:
    assert build_bundle(write(tmp_path, chain_of(page))).definition.name == "chain"
    for block in snippets("console", pages=(page,)):
        for line in block.commands:
            parse(shlex.split(line.removeprefix("meta ")))


def test_the_table_of_what_is_the_same_work_lists_what_counts(tmp_path: Path) -> None:
    step = build_bundle(write(tmp_path, chain_of(CACHE))).definition.steps["train"]
    rows = re.findall(r"^\| `(\w+)` \|", read(CACHE).split("## What is the same work")[1], re.MULTILINE)
    assert rows == list(work_of(step, "text", ResolvedStep()))
    assert f"within {CHECK_S:.0f} s" in prose(CACHE)


def test_the_keys_that_do_not_count_for_a_retry_are_listed() -> None:
    [line] = [one for one in prose(RETRYING).split("\n3. ")[1].split("\n4. ")[:1]]
    named = set(re.findall(r"`(\w+)`", line))
    assert named == reuse._NOT_COMPARED  # pyright: ignore[reportPrivateUsage] -- the page lists them
    assert f"{reuse.MAX_REUSED >> 20} MiB" in prose(RETRYING)
