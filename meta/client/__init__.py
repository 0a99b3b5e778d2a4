"""The Python SDK. Asynchronous here; `meta.client.sync` has the same calls for code that is not.

async with MetaClient("127.0.0.1:7400") as client:
    run = await client.start("chain.yaml", inputs={"learning_rate": 0.1}, request_id="2026-01-02")
    async for now in client.watch(run.id):
        print(now.state, [step.state for step in now.steps])
    print(await client.result(run.id))
"""

from meta.client.client import MetaClient
from meta.client.event_views import EventInfo, EventsPage, ReplayedInfo, TriggerInfo
from meta.client.plans import PlanInfo, PlannedStepInfo
from meta.client.schedule_views import BackfillInfo, ScheduleInfo
from meta.client.views import (
    CircuitInfo,
    DecidedInfo,
    EndedOrphan,
    EngineCheckInfo,
    EngineInfo,
    EngineProblem,
    ItemInfo,
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
    WaitingApproval,
)

__all__ = [
    "BackfillInfo",
    "CircuitInfo",
    "DecidedInfo",
    "EndedOrphan",
    "EngineCheckInfo",
    "EngineInfo",
    "EngineProblem",
    "EventInfo",
    "EventsPage",
    "ItemInfo",
    "LogEntry",
    "MetaClient",
    "MissingInfo",
    "OrphanInfo",
    "PlanInfo",
    "PlannedStepInfo",
    "PublishedInfo",
    "ReplayedInfo",
    "RetriedRun",
    "RunFailed",
    "RunView",
    "RunsPage",
    "ScheduleInfo",
    "StartedRun",
    "TraceView",
    "TriggerInfo",
    "WaitingApproval",
]
