"""Names in OpenLineage: of datasets, jobs and runs (https://openlineage.io/docs/spec/naming)."""

from __future__ import annotations

from uuid import UUID, uuid5

from workflows.naming import RunKey

_RUNS = UUID("6f1d1c0a-6a0e-5e0b-9a52-1c8b7d9c3f54")  # made once, at random; another would name all runs anew


def run_uuid(namespace: str, run: str | RunKey) -> str:
    """OpenLineage knows runs by UUIDs; ours are functions of the ids, so that a repeat is of the same run.

    Args:
        namespace: of jobs; two installations with namespaces of their own never share a run.
        run: id of a meta-run, or key of an attempt.
    """
    return str(uuid5(_RUNS, f"{namespace}/{run}"))


def job_name(workflow: str, step: str = "") -> str:
    """`chain`, `chain.train`."""
    return f"{workflow}.{step}" if step else workflow


def dataset_name(uri: str) -> tuple[str, str]:
    """Namespace and name of what is at a URI: the store, and the path in it.

    `s3://bucket/a/b` is `a/b` in `s3://bucket`, as with every other producer, so that lineages join; a
    file is its path in `file`.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return scheme, rest.rstrip("/") or "/"
    authority, _, path = rest.partition("/")
    return f"{scheme}://{authority}", path.strip("/") or "/"
