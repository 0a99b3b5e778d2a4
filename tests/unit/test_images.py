from pathlib import Path

import pytest

from meta.sandbox.images import ImageTable
from workflows.errors import SettingsInvalid


def table(folder: Path, text: str, name: str = "images.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_an_image_is_found_by_name_and_its_requirements_are_relative_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "digits.txt").write_text("", encoding="utf-8")
    file = table(tmp_path, '[images."meta-workflows/digits:1"]\nrequirements = "digits.txt"\n')
    image = ImageTable.load([file]).lookup("meta-workflows/digits:1")
    assert image is not None
    assert image.requirements == (tmp_path / "digits.txt").resolve()
    assert image.command is None


def test_a_command_is_a_tuple_of_words(tmp_path: Path) -> None:
    file = table(tmp_path, '[images."alpine/curl:8"]\ncommand = ["curl", "-s"]\n')
    image = ImageTable.load([file]).lookup("alpine/curl:8")
    assert image is not None
    assert image.command == ("curl", "-s")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("docker.io/alpine/curl:8", True),
        ("localhost:5000/alpine/curl:8", True),
        ("other/curl:8", False),
        ("docker.io/library/python:3.11", True),
        ("alpine/curl:9", False),
    ],
)
def test_a_registry_host_in_front_of_the_name_does_not_matter(tmp_path: Path, asked: str, found: bool) -> None:
    file = table(tmp_path, '[images."alpine/curl:8"]\ncommand = ["curl"]\n[images."python:3.11"]\n')
    assert (ImageTable.load([file]).lookup(asked) is not None) is found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[images."a:1"]\nrequirement = "x.txt"\n', 'images."a:1".requirement'),
        ('[images."a:1"]\nrequirements = "gone.txt"\n', "there is no file"),
        ('[images."a:1"]\ncommand = "curl"\n', 'images."a:1".command'),
        ('[images."a:1"]\ncommand = []\n', "is empty"),
        ('[image."a:1"]\n', 'unknown key "image"'),
        ("images = 3\n", '"images" must be a table'),
        ("[images\n", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_table_is_named_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    file = table(tmp_path, text)
    with pytest.raises(SettingsInvalid) as caught:
        ImageTable.load([file])
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"gone\.toml: there is no such images table"):
        ImageTable.load([tmp_path / "gone.toml"])


def test_a_name_in_two_tables_is_refused_with_both_files(tmp_path: Path) -> None:
    first = table(tmp_path, '[images."a:1"]\n', "first.toml")
    second = table(tmp_path, '[images."a:1"]\n', "second.toml")
    with pytest.raises(SettingsInvalid, match=r"second\.toml.*first\.toml"):
        ImageTable.load([first, second])
