"""The Engines call: what each configured engine says of itself and of what we may do there."""

from __future__ import annotations

import pytest

from meta.api.engines import EngineReport, Engines
from meta.cli.render import engines_table, use_cases_table
from meta.config import MetaConfig
from tests.integration.service.servers import Rig
from tests.stubs.argo import ArgoStub
from tests.stubs.kfp import KfpStub
from workers.settings import ArgoSettings, KfpSettings


async def test_every_question_to_an_engine_crosses_the_api(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ArgoStub() as argo, KfpStub() as kfp:
        argo.may_create, kfp.version = False, "9.1.0"
        settings = {"west": ArgoSettings(url=argo.url), "kfp": KfpSettings(url=kfp.url)}
        asked = Engines(
            MetaConfig(engines=settings, use_cases={"training": "kfp", "judging": "west", "scoring": "kfp"})
        )
        report = asked.report

        async def of_these(_self: Engines) -> list[EngineReport]:
            return await report()

        monkeypatch.setattr(Engines, "report", of_these)  # the rig's service has no engines in its settings
        async with rig.client() as client:
            west, other = await client.engines()
        await asked.close()
    assert (west.name, west.ok, other.name, other.ok, other.version) == ("west", False, "kfp", True, "9.1.0")
    checks = {check.name: check for check in west.checks}
    assert checks["create"].verdict == "fail"
    assert west.hint == checks["create"].hint
    assert {check.name: check.verdict for check in other.checks}["version"] == "warn"
    shown = [str(cell) for cell in engines_table([west, other]).columns[-1].cells]
    assert "cannot create resource" in shown[0]
    assert (west.use_cases, other.use_cases) == (("judging",), ("training", "scoring"))
    table = use_cases_table([west, other])
    assert table is not None
    assert [list(column.cells) for column in table.columns] == [
        ["judging", "scoring", "training"],
        ["west", "kfp", "kfp"],
    ]
    assert "version: Kubeflow Pipelines 9.1.0 is not a version that is known here" in shown[1]
