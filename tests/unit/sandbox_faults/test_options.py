"""The flags of both servers."""

from __future__ import annotations

import argparse
from types import ModuleType

import pytest

from meta.sandbox.argo import options as argo
from meta.sandbox.faults.options import plan_of
from meta.sandbox.kfp import options as kfp


def parsed(module: ModuleType, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_options(parser)
    return parser.parse_args(list(arguments))


@pytest.mark.parametrize("module", [argo, kfp])
def test_faults_and_their_seed_are_flags(module: ModuleType) -> None:
    options = parsed(
        module, "--fault", "slow:delay=1", "--fault", "lost-response:times=1,verb=retry", "--fault-seed", "7"
    )
    plan = plan_of(options)
    assert plan.seed == 7
    assert [str(rule) for rule in plan.rules] == ["slow:delay=1.0", "lost-response:times=1,verb=retry"]
    assert not options.admin
    assert parsed(module, "--admin").admin
    assert plan_of(parsed(module)).rules == ()


@pytest.mark.parametrize(("module", "kind", "name"), [(argo, "late-list", "argo"), (kfp, "watch-cut", "kfp")])
def test_a_fault_of_the_other_engine_is_no_flag(
    module: ModuleType, kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(module, "--fault", kind)
    assert f"{kind} is no fault of {name}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parsed(module, "--help")
    text = "".join(capsys.readouterr().out.split())  # argparse breaks lines at hyphens
    assert "lost-response" in text
    assert kind not in text
