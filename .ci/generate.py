"""Writes the generated files of the tree, or with --check says which are not what would be written."""

from __future__ import annotations

import argparse
import difflib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ("meta/api/v1/meta.proto", "workers/engines/kfp/proto/metadata_store.proto")
PIPELINES = tuple(
    f"workflows/catalog/{chain}/pipelines.py" for chain in ("hybrid-training", "ml-training", "model-evaluation")
)
SCHEMA = "docs/definition.schema.json"


def stubs() -> Iterator[tuple[str, bytes]]:
    """GRPC stubs and their types, from the .proto files."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *PROTOS]
        command += [f"--{kind}_out={folder}" for kind in ("python", "mypy", "grpc_python", "mypy_grpc")]
        tools = {"PATH": str(Path(sys.executable).parent)}  # where protoc finds its mypy plug-ins
        subprocess.run(command, cwd=ROOT, check=True, env=tools, stderr=subprocess.DEVNULL)
        for path in sorted(Path(folder).rglob("*_pb2*")):
            if path.is_file():
                yield str(path.relative_to(folder)), path.read_bytes()


def schema() -> Iterator[tuple[str, bytes]]:
    """The JSON Schema of definitions, from the models."""
    from workflows.spec.schema import json_schema

    yield SCHEMA, (json.dumps(json_schema(), indent=2) + "\n").encode()


def pipelines() -> Iterator[tuple[str, bytes]]:
    """Compiled Kubeflow pipelines, from their Python."""
    for source in PIPELINES:
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([sys.executable, ROOT / source, out], check=True)
            for path in sorted(Path(out).iterdir()):
                yield str(Path(source).with_name(path.name)), path.read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is out of date")
    check = parser.parse_args().check
    stale = 0
    for produce in (stubs, schema, pipelines):
        for name, content in produce():
            path = ROOT / name
            old = path.read_bytes() if path.exists() else b""
            if old == content:
                continue
            stale += 1
            if check:
                print(f"{name} is out of date; run: make generate")
                lines = difflib.unified_diff(old.decode().splitlines(), content.decode().splitlines(), lineterm="", n=1)
                print("\n".join(list(lines)[:20]))
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
