"""The activity that copies a step's artifacts to where its engine reads them."""

from __future__ import annotations

import asyncio
import logging

from temporalio import activity

from workers.artifacts import ArtifactStore, Progress
from workers.engines.waiting import with_life
from workflows.messages import StageArtifacts, StagedArtifacts
from workflows.outcome import Artifact

log = logging.getLogger(__name__)


async def stage_artifacts(objects: ArtifactStore, message: StageArtifacts) -> StagedArtifacts:
    """Copy one artifact after the other, telling Temporal how far it is.

    A worker that shuts down leaves what has been sent where it is, and the next one goes on from there. A
    cancellation forgets uploads that are not complete; whole objects stay, for whoever copies the same again.

    Raises:
        ArtifactError: an artifact is gone or not what it was, or there is no place for copies.
        ArtifactStoreUnavailable: a store does not answer; the next try goes on.
    """
    staged: dict[str, Artifact] = {}
    for name, artifact in message.artifacts.items():
        progress = Progress()

        def alive(name: str = name, progress: Progress = progress) -> None:
            activity.heartbeat(
                {
                    "artifact": name,
                    "bytes": progress.done,
                    "of": progress.total,
                    "kept": progress.kept,
                    "objects": progress.objects,
                }
            )

        copying = asyncio.ensure_future(objects.copy(artifact, message.engine, progress))
        try:
            staged[name] = await with_life(copying, alive)
        except asyncio.CancelledError:
            copying.cancel()
            await asyncio.wait({copying})
            if _wanted_no_more():
                await progress.abandon()
            raise
    return StagedArtifacts(artifacts=staged)


def _wanted_no_more() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested
