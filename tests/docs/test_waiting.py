"""The page on waiting says what the code does."""

from __future__ import annotations

import tomllib

from meta.config import MetaConfig
from meta.store.circuits import FRESH
from tests.docs.pages import prose, snippets
from workers import circuit, circuit_report, limits
from workers.engines.kfp import watcher

PAGE = "docs/waiting.md"


def test_its_numbers_are_those_of_the_code() -> None:
    page = " ".join(prose(PAGE).split())
    for words in (
        f"{circuit.FAILURES} failures in a row",
        f"after {circuit.FIRST_PAUSE:.0f} s one call goes through",
        f"up to {circuit.LONGEST_PAUSE:.0f} s, jittered",
        f"on every change and every {circuit_report.WRITE:.0f} s",
        f"has not written for {FRESH.total_seconds():.0f} s",
        f"after {limits.ASK_AGAIN:.0f} s, later every {limits.LONGEST:.0f} s",
        f"less {watcher.NEAR_OVERLAP.total_seconds():.0f} s",
        f"reaches back {watcher.OVERLAP.total_seconds():.0f} s",
    ):
        assert words in page, words


def test_its_settings_are_taken() -> None:
    (block,) = snippets("toml", pages=(PAGE,))
    settings = MetaConfig.model_validate(tomllib.loads(block.text)).engines["argo"]
    assert settings.max_concurrent_runs == 20
    assert settings.submit_rate == 2.0
