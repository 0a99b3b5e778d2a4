"""Takes the pictures of the documentation: runs in the Temporal Web UI.

    make screenshots

starts an embedded stack in a folder of its own, runs chains that succeed, fail and last, and writes the pictures beside
this file. Needs Chromium, pngquant (which makes them small) and a font with emoji for the signs of the states; on
Debian: apt-get install chromium pngquant fonts-noto-color-emoji.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from browser import Page, browser

from meta.cli.shipped import catalog
from meta.client import MetaClient
from meta.stack import EmbeddedStack, StackOptions
from workflows.outcome import RunState, StepState

HERE = Path(__file__).parent
CHAIN = HERE.joinpath("chains", "nightly.yaml")
ENVIRONMENTS = Path(os.environ.get("META_ENVIRONMENTS") or Path.home() / ".cache" / "meta-workflows" / "environments")
ENGINE_PAGES = {"argo": "https://argo.example.com", "kfp": "https://kubeflow.example.com"}
COLUMNS = ("Status", "Workflow ID", "MetaWorkflow", "MetaEngine", "MetaTrigger", "MetaFailedStep", "Start")
FOUND_BY = "MetaTrigger='api' AND MetaEngine='argo'"

MENU = "Math.ceil(document.querySelector('main').getBoundingClientRect().left)"
BOTTOM_OF_TIMELINE = """(() => {
  if (!document.body.innerText.includes('Submit')) return 0;
  const top = [...document.querySelectorAll('h2')].find(e => e.innerText.includes('Timeline')).getBoundingClientRect();
  const signs = [...document.querySelectorAll('main svg')]
    .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}))
    .map(e => e.getBoundingClientRect()).filter(r => r.left >= top.left && r.top > top.bottom);
  return Math.ceil(Math.max(0, ...signs.map(r => r.bottom)));
})()"""
TOP_OF_TIMELINE = """Math.floor([...document.querySelectorAll('h2')]
  .find(e => e.innerText.includes('Timeline')).getBoundingClientRect().top) - 16"""
BOTTOM_OF_DETAILS = """(() => {
  const frames = [...document.querySelectorAll('iframe')];
  const tables = frames.filter(f => f.contentDocument && f.contentDocument.querySelectorAll('table tr').length > 4);
  return tables.length ? Math.ceil(Math.max(...frames.map(f => f.getBoundingClientRect().bottom))) : 0;
})()"""
BOTTOM_OF_LIST = """(() => {
  const rows = [...document.querySelectorAll('main tbody tr')].filter(e => e.innerText.includes('hybrid-training'));
  const all = [...document.querySelectorAll('main tbody tr')].map(e => e.getBoundingClientRect().bottom);
  return rows.length ? Math.ceil(Math.max(...all)) : 0;
})()"""
ASK = """(() => {
  const button = [...document.querySelectorAll('main button')].find(e => e.innerText.trim() == 'Run Query');
  const chosen = [...document.querySelectorAll('main input')].some(e => e.value == 'plan');
  if (button && chosen && !window.asked) { window.asked = true; button.click(); }
  return document.body.innerText.includes('"after"');
})()"""


async def take_all(folder: str) -> None:
    options = StackOptions(data_dir=Path(folder), environments=ENVIRONMENTS)
    hybrid = next(chain.file for chain in catalog() if chain.name == "hybrid-training")
    async with EmbeddedStack(options) as stack, MetaClient(stack.addresses.grpc) as client:
        await give_engines_pages(stack)
        await run(client, CHAIN, RunState.SUCCEEDED, fate="succeeds")
        failed = await run(client, CHAIN, RunState.FAILED, fate="fails")
        good = await run(client, hybrid, RunState.SUCCEEDED)
        lasting = await client.start(CHAIN, {"fate": "lasts"})
        async for seen in client.watch(lasting.id):
            if any(step.name == "score" and step.state is StepState.RUNNING and step.run for step in seen.steps):
                await asyncio.to_thread(take, good, failed, seen.temporal_url)
                break


async def give_engines_pages(stack: EmbeddedStack) -> None:
    """The sandbox engines have no pages of their own: those of a cluster stand in for them, so that there are links."""
    text = stack.config_file.read_text()
    for engine, url in ENGINE_PAGES.items():
        text = text.replace(f"[engines.{engine}]", f"[engines.{engine}]\nui_url = {json.dumps(url)}")
    stack.config_file.write_text(text)
    await stack.restart("worker")


async def run(client: MetaClient, chain: Path, end: RunState, **inputs: str) -> str:
    """Run a chain to the end that is meant for it.

    Returns:
        The run's page.
    """
    ended = await client.wait((await client.start(chain, dict(inputs))).id)
    if ended.state is not end:
        raise SystemExit(f"{ended.id} is {ended.state.value}: {ended.message}")
    return ended.temporal_url


def take(good: str, failed: str, lasting: str) -> None:
    """Write all pictures.

    Args:
        good: page of a run that has succeeded.
        failed: of one that has failed.
        lasting: of one that is running.
    """
    with browser() as page:
        tabs = open_run(page, good, width=1440)
        picture(page, HERE / "run.png", BOTTOM_OF_TIMELINE)
        page.show(f"{tabs}/user-metadata", width=1600, height=1000)
        picture(page, HERE / "details.png", BOTTOM_OF_DETAILS)
        page.show(f"{open_run(page, lasting)}/user-metadata", width=1600, height=1000)
        picture(page, HERE / "running.png", BOTTOM_OF_DETAILS)
        tabs = open_run(page, failed)
        page.wait_for(BOTTOM_OF_TIMELINE)
        picture(page, HERE / "sentences.png", BOTTOM_OF_TIMELINE, TOP_OF_TIMELINE)
        page.show(f"{tabs}/user-metadata", width=1600, height=1000)
        picture(page, HERE / "failed.png", BOTTOM_OF_DETAILS)
        page.show(f"{tabs}/query", width=1440, height=1000)
        page.wait_for(ASK)
        picture(page, HERE / "queries.png", "880")
        columns = [{"label": label, "pinned": False} for label in COLUMNS]
        stored = json.dumps({"default": columns})
        page.run(f"localStorage.setItem('namespace-workflow-table-columns', {json.dumps(stored)})")
        page.show(f"{good.rpartition('/')[0]}?query={quote(FOUND_BY)}", width=1700, height=800)
        picture(page, HERE / "runs.png", BOTTOM_OF_LIST)


def open_run(page: Page, url: str, *, width: int = 1440) -> str:
    """Go to a run's page; it leads on to the timeline.

    Returns:
        The address that its tabs are below.
    """
    page.show(url, width=width, height=1600)
    page.wait_for(f"location.href.startsWith({json.dumps(url)}) && location.href.endsWith('/timeline')")
    return str(page.run("location.href")).removesuffix("/timeline")


def picture(page: Page, file: Path, bottom: str, top: str = "0") -> None:
    """Write a page's part, without the menu at its left, once it has stopped growing.

    Args:
        page: which shows what is wanted, or will soon.
        file: where to.
        bottom: script for the last interesting pixel; 0 until it is there.
        top: script for the first one.
    """
    height, before = int(page.wait_for(bottom)), 0
    while height != before:
        page.run("new Promise(done => setTimeout(done, 1500))")  # the page grows as its parts come in
        before, height = height, int(page.wait_for(bottom))
    page.picture(file, left=int(page.run(MENU)), top=int(page.run(top)), height=height + 24)
    subprocess.run(["pngquant", "--force", "--ext", ".png", "--speed", "1", "64", str(file)], check=True)
    print(f"{file.name}: {file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    if shutil.which("pngquant") is None:
        raise SystemExit("pngquant is not on PATH; Debian: apt-get install pngquant")
    with tempfile.TemporaryDirectory(prefix="meta-pictures-") as data_dir:
        asyncio.run(take_all(data_dir))
