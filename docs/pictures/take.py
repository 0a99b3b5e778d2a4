"""Takes the pictures of the documentation: a run of hybrid-training in the Temporal Web UI.

    python docs/pictures/take.py

starts an embedded stack in a folder of its own, runs the chain, and writes run.png and details.png beside this file.
Needs Chromium on PATH, and a font with emoji for the signs of the states (Debian: fonts-noto-color-emoji).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from browser import Page, browser

from meta.cli.shipped import catalog
from meta.client import MetaClient
from meta.stack import EmbeddedStack, StackOptions
from workflows.outcome import RunState

HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get("META_ENVIRONMENTS") or Path.home() / ".cache" / "meta-workflows" / "environments")
MENU = "Math.ceil(document.querySelector('main').getBoundingClientRect().left)"

BOTTOM_OF_TIMELINE = """(() => {
  if (!document.body.innerText.includes('Submit prepare')) return 0;
  const top = [...document.querySelectorAll('h2')].find(e => e.innerText.includes('Timeline')).getBoundingClientRect();
  const signs = [...document.querySelectorAll('main svg')]
    .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}))
    .map(e => e.getBoundingClientRect()).filter(r => r.left >= top.left && r.top > top.bottom);
  return Math.ceil(Math.max(0, ...signs.map(r => r.bottom)));
})()"""
BOTTOM_OF_DETAILS = """(() => {
  const frames = [...document.querySelectorAll('iframe')];
  const tables = frames.filter(f => f.contentDocument && f.contentDocument.querySelectorAll('table tr').length > 4);
  return tables.length ? Math.ceil(tables[0].getBoundingClientRect().bottom) : 0;
})()"""


async def run_chain(folder: str) -> None:
    options = StackOptions(data_dir=Path(folder), environments=ENVIRONMENTS)
    chain = next(chain.file for chain in catalog() if chain.name == "hybrid-training")
    async with EmbeddedStack(options) as stack, MetaClient(stack.addresses.grpc) as client:
        started = await client.start(chain)
        ended = await client.wait(started.id)
        if ended.state is not RunState.SUCCEEDED:
            raise SystemExit(f"the run is {ended.state.value}: {ended.message}")
        await asyncio.to_thread(take, ended.temporal_url)


def take(url: str) -> None:
    """Write both pictures.

    Args:
        url: the run's page.
    """
    with browser() as page:
        page.show(url, width=1440, height=1600)
        page.wait_for("location.href.endsWith('/timeline')")
        run = str(page.run("location.href")).removesuffix("/timeline")
        picture(page, HERE / "run.png", BOTTOM_OF_TIMELINE)
        page.show(f"{run}/user-metadata", width=1700, height=1000)
        picture(page, HERE / "details.png", BOTTOM_OF_DETAILS)


def picture(page: Page, file: Path, bottom: str) -> None:
    """Write a page's top, without the menu at its left, once it has stopped growing.

    Args:
        page: which shows what is wanted, or will soon.
        file: where to.
        bottom: script for the last interesting pixel; 0 until it is there.
    """
    height, before = int(page.wait_for(bottom)), 0
    while height != before:
        page.run("new Promise(done => setTimeout(done, 1500))")  # the page grows as its parts come in
        before, height = height, int(page.wait_for(bottom))
    page.picture(file, left=int(page.run(MENU)), height=height + 24)
    print(f"{file.name}: {file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="meta-pictures-") as data_dir:
        asyncio.run(run_chain(data_dir))
