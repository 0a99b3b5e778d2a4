import asyncio
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from meta.processes import spawn
from meta.sandbox.environments import EnvironmentCache
from workflows.errors import HostError, SettingsInvalid


def wheel(folder: Path) -> tuple[Path, str]:
    """A tiny package of our own, so that no test asks the network."""
    path = folder / "tiny_thing-1.0-py3-none-any.whl"
    info = "tiny_thing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_thing.py", "ANSWER = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntiny = tiny_thing:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def requirements(folder: Path, *, digest: str | None = None) -> Path:
    path, real = wheel(folder)
    file = folder / "tiny.txt"
    file.write_text(f"tiny-thing @ {path.as_uri()} --hash=sha256:{digest or real}\n", encoding="utf-8")
    return file


def ask(folder: Path, code: str) -> str:
    return subprocess.run(
        [folder / "bin" / "python", "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout


async def test_an_environment_holds_its_requirements_and_nothing_of_ours(tmp_path: Path) -> None:
    cache = EnvironmentCache(tmp_path / "envs")
    file = requirements(tmp_path)
    assert cache.find(file) is None
    folder = await cache.prepare(file)
    assert cache.find(file) == folder
    assert ask(folder, "import tiny_thing; print(tiny_thing.ANSWER)") == "42\n"
    assert ask(folder, "import importlib.util as u; print(u.find_spec('pydantic'))") == "None\n"


async def test_scripts_find_their_interpreter_after_the_rename(tmp_path: Path) -> None:
    folder = await EnvironmentCache(tmp_path / "envs").prepare(requirements(tmp_path))
    script = (folder / "bin" / "tiny").read_text(encoding="utf-8")
    assert "/.tiny-" not in script  # no trace of the temporary folder


async def test_the_same_content_is_built_once_and_other_content_elsewhere(tmp_path: Path) -> None:
    cache = EnvironmentCache(tmp_path / "envs")
    file = requirements(tmp_path)
    folder = await cache.prepare(file)
    (folder / "mark").touch()
    copy = tmp_path / "other" / "tiny.txt"
    copy.parent.mkdir()
    copy.write_bytes(file.read_bytes())
    assert await cache.prepare(copy) == folder
    assert (folder / "mark").exists()
    copy.write_bytes(file.read_bytes() + b"# changed\n")
    assert cache.find(copy) is None


async def test_no_requirements_is_the_standard_library_alone(tmp_path: Path) -> None:
    folder = await EnvironmentCache(tmp_path / "envs").prepare(None)
    assert ask(folder, "import sys; print(sys.prefix)").strip() == str(folder)
    assert ask(folder, "import importlib.metadata as m; print(len(list(m.distributions())))") == "0\n"


async def test_a_wrong_hash_fails_with_the_reason_and_leaves_nothing(tmp_path: Path) -> None:
    cache = EnvironmentCache(tmp_path / "envs")
    file = requirements(tmp_path, digest="0" * 64)
    with pytest.raises(HostError, match="Hash mismatch"):
        await cache.prepare(file)
    assert cache.find(file) is None
    assert [path for path in cache.root.iterdir() if path.is_dir()] == []


async def test_one_hash_makes_hashes_required_for_all(tmp_path: Path) -> None:
    file = requirements(tmp_path)
    with file.open("a", encoding="utf-8") as handle:
        handle.write("six\n")
    with pytest.raises(HostError, match="--require-hashes"):
        await EnvironmentCache(tmp_path / "envs").prepare(file)


async def test_an_environment_whose_interpreter_is_gone_is_made_again(tmp_path: Path) -> None:
    cache = EnvironmentCache(tmp_path / "envs")
    folder = await cache.prepare(None)
    (folder / "bin" / "python").unlink()
    assert cache.find(None) is None
    assert await cache.prepare(None) == folder
    assert ask(folder, "print(1)") == "1\n"


async def test_a_missing_requirements_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"gone\.txt"):
        await EnvironmentCache(tmp_path / "envs").prepare(tmp_path / "gone.txt")


async def test_two_processes_that_prepare_one_table_make_each_environment_once(tmp_path: Path) -> None:
    requirements(tmp_path)
    table = tmp_path / "images.toml"
    table.write_text('[images."tiny:1"]\nrequirements = "tiny.txt"\n', encoding="utf-8")
    root = tmp_path / "envs"
    command = [sys.executable, "-m", "meta.sandbox.environments", "--root", str(root), "--images", str(table)]
    both = [await spawn(command, stdout=asyncio.subprocess.PIPE) for _ in range(2)]
    output = [await process.process.stdout.read() for process in both if process.process.stdout is not None]
    assert [await process.wait() for process in both] == [0, 0]
    assert all(b"[2/2] tiny:1: " in text for text in output)
    assert len([path for path in root.iterdir() if path.is_dir()]) == 2
    assert not list(root.glob(".*"))  # no temporary folder is left
