"""An artifact store of plain files, for tests in which one step writes and another looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workers.artifacts import ArtifactStore
from workers.settings import HttpSettings, NamedStore, StoreSettings, StoreType
from workflows.outcome import Artifact


@dataclass(frozen=True)
class FileStore:
    """Artifacts below a folder; engine `argo` reads them where they are."""

    folder: Path

    @property
    def named(self) -> dict[str, NamedStore]:
        """As in the configuration's `stores`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return {"lake": NamedStore(type=StoreType.FILE, serves=(self.folder.as_uri(),))}

    def open(self) -> ArtifactStore:
        engine = HttpSettings(url="http://127.0.0.1:1", stores=("lake",))
        return ArtifactStore(StoreSettings(), self.named, {"argo": engine, "kfp": engine})

    def write(self, name: str, text: str) -> str:
        """Write an object, or write over it; its URI."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file.as_uri()

    async def artifact(self, name: str, text: str) -> Artifact:
        """Write an object, and describe it as an engine's adapter does."""
        return await self.open().describe(name, self.write(name, text))
