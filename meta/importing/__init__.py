"""`meta import`: an Argo Events Sensor, or a WorkflowTemplate that starts KFP runs, as a definition with a trigger."""

from __future__ import annotations

from meta.importing.documents import ImportRefused
from meta.importing.importer import Imported, import_file, write
from meta.importing.options import Options
from meta.importing.report import Remark, Report, Weight

__all__ = ["ImportRefused", "Imported", "Options", "Remark", "Report", "Weight", "import_file", "write"]
