"""The Python SDK. Asynchronous here; `meta.client.sync` has the same calls for code that is not.

async with MetaClient("127.0.0.1:7400") as client:
    run = await client.start("chain.yaml", inputs={"learning_rate": 0.1}, request_id="2026-01-02")
    async for now in client.watch(run.id):
        print(now.state, [step.state for step in now.steps])
    print(await client.result(run.id))
"""

from meta.client.client import MetaClient
from meta.client.event_views import EventInfo, EventsPage, ReplayedInfo, TriggerInfo
from meta.client.views import (
    CircuitInfo,
    EndedOrphan,
    EngineCheckInfo,
    EngineInfo,
    EngineProblem,
    LogEntry,
    MissingInfo,
    OrphanInfo,
    PublishedInfo,
    RetriedRun,
    RunFailed,
    RunsPage,
    RunView,
    StartedRun,
    TraceView,
)

__all__ = [
    "CircuitInfo",
    "EndedOrphan",
    "EngineCheckInfo",
    "EngineInfo",
    "EngineProblem",
    "EventInfo",
    "EventsPage",
    "LogEntry",
    "MetaClient",
    "MissingInfo",
    "OrphanInfo",
    "PublishedInfo",
    "ReplayedInfo",
    "RetriedRun",
    "RunFailed",
    "RunView",
    "RunsPage",
    "StartedRun",
    "TraceView",
    "TriggerInfo",
]
