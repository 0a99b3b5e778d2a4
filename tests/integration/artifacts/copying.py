"""One copy in a process of its own, that says how much memory it took: `python -m ... JSON`."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any

from workers.artifacts import ArtifactStore, Progress
from workers.settings import ArgoSettings, NamedStore, StoreSettings
from workflows.outcome import Artifact


async def copy(given: dict[str, Any]) -> None:
    named = {name: NamedStore.model_validate(store) for name, store in given["stores"].items()}
    engines = {"argo": ArgoSettings(url="http://unused", stores=("lake",))}
    artifacts = ArtifactStore(StoreSettings.model_validate(given["objects"]), named, engines)
    artifact = Artifact.model_validate(given["artifact"])
    await artifacts.stat(given["warm"])  # the clients are open, and have read something
    before = peak_mb()
    progress = Progress()
    copied = await artifacts.copy(artifact, "argo", progress)
    await artifacts.check(copied.model_copy(update={"etag": None}))  # reads the copy through
    artifacts.close()
    told = {"copied": copied.model_dump(mode="json"), "grown_mb": peak_mb() - before, "done": progress.done}
    print(json.dumps(told))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    asyncio.run(copy(json.loads(sys.argv[1])))
