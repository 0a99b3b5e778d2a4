"""Runs one compiled pipeline with the official `kfp.local` runner and tells the server what happens.

Runs under the run's own interpreter, so: standard library and kfp only, nothing of ours is imported.

    python -m kfp_run RUN_FOLDER

`RUN_FOLDER/job.json` says what to run (see `session.py`). Events leave as JSON lines on the standard output that the
process was started with; kfp's own output goes to `RUN_FOLDER/run.log`. Two events are questions, which the server
answers with a file `RUN_FOLDER/replies/<number>.json`: `stage` (fetch these S3 objects) and `publish` (store these
outputs). So the run needs no credentials.

kfp.local runs each task; the DAGs are run by `orchestrator.py`. kfp.local has no call-backs: the hooks in `runner.py`
wrap the functions through which it passes a task, and change these things: artifacts have S3 URIs as on a cluster, each
component runs under the interpreter of its image, its `pip install` step is dropped, because the environment is ready,
and container components run as processes too (`components.py`).
"""
