"""What the pages point at is there: other pages, headings, pictures, files of the tree."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from tests.docs.pages import ALL, HERE, ROOT, anchors, backquoted, links, prose, read

TOP = ("workflows/", "workers/", "meta/", "tests/", "deploy/", "docs/", ".ci/")
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.png"))
DRAWINGS = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
LARGEST_PICTURE = 200 * 1024


@pytest.mark.parametrize("page", ALL)
def test_every_link_leads_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    broken: list[str] = []
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (folder / file).resolve() if file else ROOT / page
        if not target.exists():
            broken.append(link)
        elif anchor and anchor not in anchors(str(target.relative_to(ROOT))):
            broken.append(f"{link}: no such heading")
    assert broken == []


@pytest.mark.parametrize("page", HERE)
def test_every_file_that_is_named_is_in_the_tree(page: str) -> None:
    def named(word: str) -> str:
        last = word.rpartition(" ")[2]  # `python a/b.py` names a/b.py
        return last.partition("{")[0]  # `a/{b,c}` names a/

    names = {named(word) for word in backquoted(page)}
    assert [name for name in sorted(names) if name.startswith(TOP) and not (ROOT / name).exists()] == []


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = set(links("README.md"))
    assert [page for page in ALL if page != "README.md" and page not in linked] == []


def test_every_picture_is_shown_with_words_for_those_who_do_not_see_it() -> None:
    shown: set[Path] = set()
    for page in ALL:
        for words, file in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", prose(page)):
            assert len(words) > 20
            shown.add((ROOT / page).parent / file)
    assert shown == {*PICTURES, *DRAWINGS}


def test_every_picture_can_be_taken_again() -> None:
    taken: list[str] = re.findall(r'HERE / "([^"]+)"', read("docs/pictures/take.py"))
    assert set(taken) == {file.name for file in PICTURES}


@pytest.mark.parametrize("file", PICTURES, ids=lambda file: file.name)
def test_the_pictures_are_pngs_that_load_quickly_and_can_be_read(file: object) -> None:
    data = (ROOT / str(file)).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 1000
    assert height >= 400
    assert len(data) < LARGEST_PICTURE


def test_the_folders_of_the_map_are_those_of_the_tree() -> None:
    rows = re.findall(r"^\| (`.+?) \|", read("README.md").partition("## Where things are")[2], re.MULTILINE)
    names = {word.strip("`") for row in rows for word in row.split(", ")}
    packages = {f"{path.name}/" for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert {"workflows/", "workers/", "meta/", "tests/"} <= packages
    assert packages - names <= {"benchmarks/"}
    assert all((ROOT / name).exists() for name in names)
