"""`meta doctor`: looks at everything that a run needs and says what to do about what is missing.

It works on the configuration in force, so on a real installation as on the embedded stack.
"""

from __future__ import annotations

from pathlib import Path

from meta.config import find_config, load_config
from meta.stack import bridge_check, checks
from meta.stack.checks import Finding, Verdict
from meta.stack.config_file import BUCKET
from meta.stack.names import PartName
from meta.stack.state import DataFolder
from workflows.errors import SettingsInvalid


async def examine(config_file: Path | None, data_dir: Path, bucket: str = "") -> list[Finding]:
    """Ask every question.

    Args:
        config_file: a configuration that was named; None looks it up.
        data_dir: of the embedded stack.
        bucket: to put and get an object in; by default the embedded stack's own, if the configuration is its.

    Returns:
        The findings, this machine first, then the servers.
    """
    folder = DataFolder(data_dir)
    found = [checks.python_version(), checks.packages()]
    try:
        file = find_config(config_file, folder.folder)
        config = load_config(file)
    except SettingsInvalid as error:
        return [*found, Finding("configuration", Verdict.FAIL, error.message, error.hint)]
    embedded = file is None or file.absolute().parent == folder.folder
    found += checks.programs(needed=embedded)
    if embedded:
        found += [checks.data_folder(folder), checks.disk(folder.folder), checks.stack(folder)]
        if not folder.is_locked():  # then nothing of it can answer
            return [*found, checks.ports()]
    found.append(Finding("configuration", Verdict.OK, str(file or "defaults and the environment")))
    started = set(folder.load().parts) if embedded else set(PartName)  # a stack may have been asked for some parts only
    if PartName.TEMPORAL in started:
        found.append(await checks.temporal(config))
    if PartName.WORKER in started:
        found.append(await checks.worker(config))
    if PartName.NATS in started:
        found.append(await checks.nats(config))
        found += await bridge_check.bridge(config)
    if PartName.S3 in started:
        found.append(await checks.objects(config, bucket or (BUCKET if embedded else "")))
    if started & {PartName.ARGO, PartName.KFP}:
        found += await checks.engines(config)
    found += await checks.collector(config)
    if PartName.SERVICE in started:
        found.append(service := await checks.service(config))
        if service.verdict is Verdict.OK:
            found += await checks.circuits(config)
    if started & {PartName.SERVICE, PartName.WORKER}:
        found.append(checks.metrics(config))
    return found


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.verdict is not Verdict.FAIL for finding in findings)
