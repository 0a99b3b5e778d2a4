"""Engines by name; words of servers; delays."""

from __future__ import annotations

import pytest

from workers.artifacts import ArtifactStore
from workers.backoff import Backoff
from workers.engines.json_view import moment
from workers.engines.registry import build_engines, get_engine
from workers.http import server_message
from workers.settings import ArgoSettings, KfpSettings, StoreSettings
from workflows.errors import NotFound
from workflows.outcome import EngineKind


async def test_several_engines_of_a_kind_are_told_apart_by_name() -> None:
    settings = {
        "argo": ArgoSettings(url="http://a"),
        "argo-east": ArgoSettings(url="http://b"),
        "kfp": KfpSettings(url="http://c"),
    }
    engines = build_engines(settings, ArtifactStore(StoreSettings()))
    assert {name: engine.kind for name, engine in engines.items()} == {
        "argo": EngineKind.ARGO,
        "argo-east": EngineKind.ARGO,
        "kfp": EngineKind.KFP,
    }
    assert get_engine(engines, "argo-east").name == "argo-east"
    with pytest.raises(NotFound, match=r"no engine 'agro' is configured \(there are: argo, argo-east, kfp\)") as caught:
        get_engine(engines, "agro")
    assert caught.value.hint == "did you mean 'argo'?"
    for engine in engines.values():
        await engine.close()


def test_an_unknown_engine_without_any_says_where_to_add_it() -> None:
    with pytest.raises(NotFound) as caught:
        get_engine({}, "argo")
    assert "[engines.argo]" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"code":3,"message":"spec is wrong"}', "spec is wrong"),
        ('{"error":"no such run","code":5}', "no such run"),
        ('{"error":{"code":10,"message":"too old"}}', "too old"),
        ("<html>502</html>", "<html>502</html>"),
        (None, ""),
    ],
)
def test_the_servers_own_words_are_found_in_its_answer(body: bytes | str | None, words: str) -> None:
    assert server_message(body) == words


def test_delays_grow_to_the_limit_with_jitter_and_start_again() -> None:
    backoff = Backoff(first=1.0, limit=4.0)
    for bound in (1.0, 2.0, 4.0, 4.0):
        assert bound / 2 <= backoff.next() <= bound
    backoff.reset()
    assert backoff.next() <= 1.0


@pytest.mark.parametrize("value", ["1970-01-01T00:00:00Z", "", "soon", None, 7])
def test_a_time_that_is_not_yet_is_none(value: str | int | None) -> None:
    assert moment(value) is None
