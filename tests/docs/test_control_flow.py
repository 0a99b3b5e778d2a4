"""The pages on control flow and compensation: their examples run, and the tables say what the code does."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
import yaml
from temporalio.client import WorkflowFailureError

from tests.docs.pages import prose, snippets
from tests.support.world import World, world
from workflows.expressions.references import OUTCOME_FIELDS
from workflows.messages import ResolveStep, RunSnapshot, StepView
from workflows.outcome import FailureClass, Outcome, StepState
from workflows.resolve import resolve_step
from workflows.spec import load_definition
from workflows.values import JsonObject

PAGES = ("docs/control-flow.md", "docs/compensation.md")
FAILED = Outcome(failure=FailureClass.FAILED, message="Error (exit code 1)")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncGenerator[World]:
    async with world() as w:
        yield w


async def run(w: World, page: str, script: dict[str, list[Outcome | None]]) -> RunSnapshot:
    """The page's example on an engine that ends as the script says; both kinds of steps run on it."""
    (snippet,) = snippets("yaml", pages=(page,))
    load_definition(snippet.text, str(snippet))
    body = yaml.safe_load(snippet.text.replace("kfp: {package:", "argo: {manifest:"))
    w.engine.forget()
    w.engine.script = script
    given: JsonObject = {name: "v2" for name in body.get("inputs", {})}
    handle = await w.start(
        body["steps"],
        given,
        declared=body.get("inputs"),
        outputs=body.get("outputs"),
        last=body.get("finally"),
        timeout=body["timeout"],
    )
    try:
        await handle.result()
    except WorkflowFailureError:
        pass
    return w.store.snapshots[handle.id]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_example_of_control_flow_goes_as_the_page_says(shared: World) -> None:
    ended = await run(shared, PAGES[0], {"fetch": [FAILED]})
    assert {step.name: step.state.value for step in ended.steps} == {
        "fetch": "failed",
        "train": "succeeded",
        "deploy": "succeeded",
        "alarm": "skipped",
    }
    train = next(one for one in shared.engine.submitted if one.key.step == "train")
    assert train.parameters == {"data": "yesterday", "note": "Error (exit code 1)"}
    assert (ended.state.value, ended.outputs) == ("succeeded", {"data": None})

    stopped = Outcome(failure=FailureClass.CANCELLED, message="stopped")
    ended = await run(shared, PAGES[0], {"fetch": [Outcome(outputs={"rows": 7})], "train": [stopped]})
    assert [step.state.value for step in ended.steps] == ["succeeded", "cancelled", "skipped", "succeeded"]
    assert ended.state.value == "failed"
    assert ended.message.startswith("step train cancelled: stopped")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_example_of_compensation_goes_as_the_page_says(shared: World) -> None:
    script: dict[str, list[Outcome | None]] = {
        "reserve": [Outcome(outputs={"nodes": "n1 n2"})],
        "deploy": [Outcome(outputs={"previous": "v1"})],
        "verify": [FAILED],
    }
    ended = await run(shared, PAGES[1], script)
    order = [one.key.step for one in shared.engine.submitted]
    assert order[:5] == ["reserve", "deploy", "verify", "compensate_deploy", "compensate_reserve"]
    assert sorted(order[5:]) == ["clean", "page", "report"]
    given = {one.key.step: one.parameters for one in shared.engine.submitted}
    message = "step verify failed: Error (exit code 1)"
    assert given["compensate_deploy"] == {"to": "v1", "why": f"verify failed: {message}"}
    assert given["compensate_reserve"] == {"nodes": "n1 n2"}
    assert given["report"] == {"text": f"{ended.id} failed {message}"}

    ended = await run(shared, PAGES[1], {})
    assert (ended.state.value, [one.key.step for one in shared.engine.submitted][3:]) == (
        "succeeded",
        ["clean", "report"],
    )


def rule() -> dict[str, tuple[str, str]]:
    page = prose(PAGES[0])
    lines = page[page.index("| It ended as |") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: (row[1], row[2]) for row in rows}


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize("state", [state for state in StepState if state.ended])
def test_the_table_of_the_rule_says_what_is_done(state: StepState, continued: bool, reads: bool) -> None:
    bad = state not in (StepState.SUCCEEDED, StepState.SKIPPED)
    if continued and not bad:
        return
    row = "the same, and" if continued else f"`{state.value}`"
    (said,) = [cells[reads] for name, cells in rule().items() if (name.startswith(row) if continued else row in name)]
    argo = {"argo": {"template": "t"}}
    for wanted in (True, False) if reads else (True,):
        when = {"when": f"(steps.a.state == '{state.value}') == {str(wanted).lower()}"} if reads else {}
        text = yaml.safe_dump(
            {
                "apiVersion": "meta/v1",
                "kind": "MetaWorkflow",
                "metadata": {"name": "x"},
                "steps": {"a": argo, "b": {**argo, "needs": ["a"], **when}},
            }
        )
        views = {"a": StepView(state=state, continued=continued)}
        message = ResolveStep(meta_run="r", definition=load_definition(text), step="b", inputs={}, steps=views)
        runs = not resolve_step(message).skip_reason
        expected = {"the step runs": True, "the step is skipped": False, "when decides": wanted}
        assert runs is expected[said.replace("`", "")], (said, state, continued)


def test_the_page_names_every_field_of_the_outcome() -> None:
    page = prose(PAGES[1])
    assert [word for word in OUTCOME_FIELDS if f"| `outcome.{word}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short(page: str) -> None:
    assert len((prose(page)).splitlines()) <= 200
