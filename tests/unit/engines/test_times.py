"""Time-outs of an engine that go together, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta.config import load_config
from workers.engines.times import PATIENCE, check_times, times_of
from workers.settings import ArgoSettings, HttpSettings
from workflows.errors import SettingsInvalid
from workflows.messages import SUBMIT_TIMEOUT

SECONDS = st.floats(0.1, 300)


def test_the_defaults_go_together() -> None:
    check_times("argo", ArgoSettings(url="http://a"))


@given(connect=SECONDS, request=SECONDS, settle=SECONDS)
def test_what_passes_fits_into_the_activity_and_outlasts_every_request(
    connect: float, request: float, settle: float
) -> None:
    settings = HttpSettings(url="x", connect_timeout=connect, request_timeout=request, settle_delay=settle)
    try:
        check_times("e", settings)
    except SettingsInvalid:
        return
    times = times_of(settings)
    assert settle > request
    assert PATIENCE + times.prepare + times.create < SUBMIT_TIMEOUT.total_seconds()
    assert times.whole >= 4 * (connect + request) + settle


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("settle_delay = 5", r"engines\.argo\.settle_delay is 5 s, not above request_timeout, 10 s"),
        ("request_timeout = 30\nsettle_delay = 31", r"engines\.argo: a submit may take 181 s .* than the 120 s"),
    ],
)
def test_a_configuration_whose_time_outs_do_not_go_together_is_refused(tmp_path: Path, lines: str, words: str) -> None:
    file = tmp_path / "meta.toml"
    file.write_text(f'[engines.argo]\nkind = "argo"\nurl = "http://a"\n{lines}\n')
    with pytest.raises(SettingsInvalid, match=words) as caught:
        load_config(file)
    assert "lower request_timeout" in caught.value.hint or "lower connect_timeout" in caught.value.hint
