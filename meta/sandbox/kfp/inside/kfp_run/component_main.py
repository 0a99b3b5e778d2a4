"""Starts a component with the official executor, with S3 artifacts under a folder of the run instead of /s3.

On a cluster the launcher puts the object `s3://bucket/key` at the path `/s3/bucket/key` of the component's container.
A laptop has no /s3, and runs must not see each other's, so the run's own folder takes its place: the component
sees the same `artifact.uri` as on a cluster, and an `artifact.path` of the same shape.

Runs under the run's interpreter: standard library and kfp only. Usage: as `python -m kfp.dsl.executor_main`.
"""

import os

from kfp.dsl import executor_main
from kfp.dsl.types import artifact_types

if __name__ == "__main__":
    mount = os.environ.pop("META_SANDBOX_S3_MOUNT")
    if not hasattr(artifact_types, "_S3_LOCAL_MOUNT_PREFIX"):
        raise SystemExit("this kfp does not know /s3: the run's environment needs the kfp of the sandbox server")
    setattr(artifact_types, "_S3_LOCAL_MOUNT_PREFIX", mount.rstrip("/") + "/")  # noqa: B010 - private to kfp
    executor_main.executor_main()
