"""What the engines themselves say, asked over their REST APIs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

import urllib3
from pydantic import BaseModel

KFP_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
ARGO_ENDED = ("Succeeded", "Failed", "Error")


class _Metadata(BaseModel):
    name: str
    uid: str


class _Status(BaseModel):
    phase: str = ""
    startedAt: datetime | None = None
    finishedAt: datetime | None = None


class _Workflow(BaseModel):
    metadata: _Metadata
    status: _Status = _Status()


class _ArgoList(BaseModel):
    items: list[_Workflow] | None = None


class _Task(BaseModel):
    display_name: str = ""
    state: str = ""


class _Details(BaseModel):
    task_details: list[_Task] | None = None


class _KfpRun(BaseModel):
    run_id: str
    display_name: str
    state: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None
    run_details: _Details | None = None


class _KfpList(BaseModel):
    runs: list[_KfpRun] | None = None


@dataclass(frozen=True, slots=True)
class EngineRunView:
    name: str
    uid: str
    state: str
    ended: bool
    started_at: datetime | None = None
    finished_at: datetime | None = None


class EngineApis:
    """Asks both engines which runs they have.

    Args:
        argo: base URL of Argo's server.
        kfp: base URL of KFP's API server.
    """

    def __init__(self, argo: str, kfp: str) -> None:
        self._argo = argo
        self._kfp = kfp
        self._http = urllib3.PoolManager(retries=urllib3.Retry(5, backoff_factor=0.2))

    async def argo_runs(self) -> list[EngineRunView]:
        found = _ArgoList.model_validate_json(await self._get(f"{self._argo}/api/v1/workflows/argo"))
        return [
            EngineRunView(
                w.metadata.name,
                w.metadata.uid,
                w.status.phase,
                w.status.phase in ARGO_ENDED,
                w.status.startedAt,
                w.status.finishedAt,
            )
            for w in found.items or []
        ]

    async def kfp_runs(self) -> list[EngineRunView]:
        found = _KfpList.model_validate_json(await self._get(f"{self._kfp}/apis/v2beta1/runs?page_size=100"))
        return [
            EngineRunView(r.display_name, r.run_id, r.state, r.state in KFP_ENDED, r.created_at, r.finished_at)
            for r in found.runs or []
        ]

    async def kfp_task_running(self, run_id: str, task: str, timeout_s: float = 60.0) -> None:
        """Wait until a task of a KFP run is at work."""
        async with asyncio.timeout(timeout_s):
            while True:
                run = _KfpRun.model_validate_json(await self._get(f"{self._kfp}/apis/v2beta1/runs/{run_id}"))
                tasks = (run.run_details.task_details or []) if run.run_details is not None else []
                if any(t.display_name == task and t.state == "RUNNING" for t in tasks):
                    return
                await asyncio.sleep(0.1)

    async def _get(self, url: str) -> bytes:
        response = await asyncio.to_thread(self._http.request, "GET", url, timeout=10.0)
        assert response.status == 200, response.data
        return response.data
