"""Runs every manifest of a folder through a sandbox engine: as intended, refused with a named reason, or wrong.

    python tests/sandbox_corpus.py FOLDER

Argo's `examples/` and KFP's `test_data/sdk_compiled_pipelines/valid` are such folders. Whatever is not refused must end
as it is written to: Succeeded, or as tests/corpus/*.toml says and why. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.corpus.argo import ArgoCorpus
from tests.corpus.kfp import KfpCorpus
from tests.corpus.verdict import Finding, Verdict, read_expected, report
from tests.support.chain import environments_folder

HERE = Path(__file__).parent


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _terminated)
    kind = options.kind or _kind(options.folder)
    expected = read_expected(options.expected or HERE / f"{kind}.toml")
    with tempfile.TemporaryDirectory(prefix="corpus-", ignore_cleanup_errors=True) as scratch:
        arguments = _server_arguments(kind, options, Path(scratch))
        with _sandbox(kind, Path(scratch), arguments) as addresses:
            make = ArgoCorpus if kind == "argo" else KfpCorpus
            corpus = make(options.folder, expected, addresses, options.timeout)
            names = [name for name in corpus.files() if Path(name).match(options.only)]

            def judge(name: str) -> Finding:
                finding = corpus.judge(name)
                print(f"{finding.verdict:<12} {finding.file} {finding.reason}".rstrip(), file=sys.stderr, flush=True)
                return finding

            with ThreadPoolExecutor(options.jobs) as pool:
                findings = list(pool.map(judge, names))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(report(findings, verbose=options.verbose))
    return 1 if any(finding.verdict is Verdict.WRONG for finding in findings) else 0


def _terminated(signum: int, frame: object) -> None:
    """Leave by way of the `finally`, which stops the sandbox."""
    sys.exit(128 + signum)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/sandbox_corpus.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=("argo", "kfp"), help="found out from the manifests when not given")
    parser.add_argument(
        "--expected", type=Path, help="table of what manifests are meant to do (tests/corpus/KIND.toml)"
    )
    parser.add_argument("--only", default="*", metavar="GLOB", help="only the files that match")
    parser.add_argument("--jobs", type=int, default=6, help="manifests at once")
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds for one manifest")
    parser.add_argument("--verbose", "-v", action="store_true", help="list every manifest in the report")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _kind(folder: Path) -> str:
    texts = (file.read_text(errors="replace") for file in sorted(folder.rglob("*.yaml")))
    return "argo" if any("argoproj.io/" in text and "pipelineInfo" not in text for text in texts) else "kfp"


def _server_arguments(kind: str, options: argparse.Namespace, scratch: Path) -> list[str]:
    objects = scratch / "objects"
    objects.mkdir()
    if kind == "argo":
        for number, text in enumerate(ArgoCorpus.kubernetes_objects(options.folder)):
            (objects / f"{number}.yaml").write_text(text)
        more = ["--objects", str(objects)]
        return ["--images", str(HERE / "argo-images.toml"), "--max-concurrent-pods", "8", *more]
    return [
        "--images",
        str(HERE / "kfp-images.toml"),
        "--max-concurrent-runs",
        str(options.jobs),
        "--objects",
        str(HERE / "kfp-objects.yaml"),
    ]


@contextmanager
def _sandbox(kind: str, scratch: Path, arguments: list[str]) -> Generator[dict[str, str]]:
    command = [
        sys.executable, "-m", "meta", "sandbox", kind, "--data-dir", str(scratch / "data"), "--output", "json",
        "--environments", str(environments_folder()), *arguments,
    ]  # fmt: skip
    log = (scratch / "sandbox.log").open("w")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (scratch / "sandbox.log").read_text()
        yield json.loads(line)
    finally:
        process.terminate()
        process.communicate(timeout=60)
        log.close()
