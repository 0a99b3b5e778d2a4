"""`python -m kfp_run RUN_FOLDER`."""

import json
import os
import sys
import traceback
import types
from pathlib import Path

from .channel import Channel

# `import kfp` also imports its API client, and that Kubernetes': two thirds of the time until a run begins
_client = types.ModuleType("kfp.client")
_client.__dict__["Client"] = None
sys.modules["kfp.client"] = _client


def main() -> None:
    folder = Path(sys.argv[1])
    events = os.dup(1)  # not inherited by the components
    log = os.open(folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in ("replies", "logs", "s3", "local", "workspace"):
        (folder / name).mkdir(exist_ok=True)
    channel = Channel(events, folder / "replies")
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        from .runner import Runner

        Runner(folder, job, channel).run()
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        channel.tell("finished", state="FAILED", error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
