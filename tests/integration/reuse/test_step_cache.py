"""A step whose work has succeeded before is not run again, in the workflow with a scripted engine."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowFailureError

from tests.support.engine import ScriptedEngine
from tests.support.files import FileStore
from tests.support.world import World
from tests.support.world import world as make_world
from workflows.messages import RunSnapshot
from workflows.outcome import Artifact, FailureClass, Outcome, StepState
from workflows.values import JsonObject

ARGO: dict[str, object] = {"argo": {"manifest": "m.yaml"}}
CACHED = {**ARGO, "cache": True}


async def run(world: World, step: dict[str, object], inputs: JsonObject | None = None, **more: object) -> RunSnapshot:
    """A run of a chain with one step, `train`."""
    declared = {"rate": {"type": "number", "default": 1}, "note": {"type": "string", "default": ""}}
    given: JsonObject = {"rate": 1, "note": "", **(inputs or {})}
    handle = await world.start({"train": step}, given, declared, **more)  # pyright: ignore[reportArgumentType]
    return await handle.result()


async def test_the_same_work_is_not_run_again_and_says_whose_success_it_is(world: World, lake: FileStore) -> None:
    model = await lake.artifact("model", "weights")
    world.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": model})]
    step = {**CACHED, "parameters": {"rate": "${{ inputs.rate }}"}, "outputs": {"accuracy": "number"}}
    first = await run(world, step)
    second = await run(world, step)
    [train] = second.steps
    assert world.engine.steps() == ["train"]
    assert (train.state, train.attempt, train.run) == (StepState.SUCCEEDED, 0, None)
    assert train.outputs == {"accuracy": 0.93}
    assert train.artifacts["model"].uri == model.uri
    assert train.taken_from is not None
    assert (train.taken_from.how, train.taken_from.run, train.taken_from.step) == ("cache", first.id, "train")
    assert train.taken_from.at is not None
    assert first.steps[0].taken_from is None
    assert world.store.snapshots[second.id].steps[0].taken_from == train.taken_from


async def test_work_that_another_run_has_done_is_not_taken_back(world: World) -> None:
    failed = Outcome(failure=FailureClass.FAILED, message="Error (exit code 1)")
    train, deploy = {**CACHED, "compensate": ARGO}, {**ARGO, "needs": ["train"]}
    each = {**train, "foreach": {"range": 2}, "parameters": {"rate": "${{ index }}"}}
    for steps in ({"train": train, "deploy": deploy}, {"train": each, "deploy": deploy}):
        for undone in (1, 0):
            world.engine.forget()
            world.engine.script["deploy"] = [failed]
            handle = await world.start(dict(steps))
            with pytest.raises(WorkflowFailureError):
                await handle.result()
            assert world.engine.steps().count("compensate_train") == undone


async def test_other_work_is_run(world: World) -> None:
    await run(world, CACHED)
    others: list[tuple[dict[str, object], JsonObject, dict[str, str]]] = [
        ({"parameters": {"rate": "${{ inputs.rate }}"}}, {"rate": 2}, {}),
        ({"parameters": {"rate": "${{ inputs.rate }}"}}, {"rate": 3}, {}),
        ({"cache": {"key": "v2"}}, {}, {}),
        ({"cache": {"key": "${{ inputs.note }}"}}, {"note": "x"}, {}),
        ({}, {}, {"m.yaml": "another manifest"}),
        ({"argo": {"manifest": "m.yaml", "serviceAccount": "other"}}, {}, {}),
    ]
    for number, (other, inputs, files) in enumerate(others, 2):
        one = await run(world, {**CACHED, **other}, inputs, files=files)
        assert one.steps[0].taken_from is None
        assert world.engine.steps() == ["train"] * number


async def test_name_of_the_file_and_engine_do_not_count(lake: FileStore) -> None:
    here, there = ScriptedEngine("argo"), ScriptedEngine("far")
    async with make_world({"argo": here, "far": there}, lake.open()) as world:
        await run(world, CACHED)
        moved = await run(world, {"argo": {"manifest": "renamed.yaml", "engine": "far"}, "cache": True})
        await here.close()
        await there.close()
    assert moved.steps[0].taken_from is not None
    assert there.steps() == []


async def test_a_failure_is_never_taken(world: World) -> None:
    world.engine.script["train"] = [Outcome(failure=FailureClass.FAILED, message="exit 1"), Outcome()]
    again = await run(world, {**CACHED, "retry": {"attempts": 2, "backoff": "1ms"}})
    assert again.steps[0].attempt == 2
    taken = await run(world, CACHED)
    assert taken.steps[0].taken_from is not None


async def test_a_step_without_cache_neither_takes_nor_gives(world: World) -> None:
    await run(world, ARGO)
    assert world.store.successes == {}
    await run(world, CACHED)
    await run(world, ARGO)
    assert world.engine.steps() == ["train"] * 3


async def test_a_success_older_than_the_ttl_is_not_taken(world: World) -> None:
    await run(world, CACHED)
    old = await run(world, {**ARGO, "cache": {"ttl": "1ms"}})
    assert world.engine.steps() == ["train"] * 2
    assert "its ttl is 1ms" in old.steps[0].note
    young = await run(world, {**ARGO, "cache": {"ttl": "1h"}})
    assert young.steps[0].taken_from is not None
    assert young.steps[0].taken_from.run == old.id  # the newest of the key


async def test_an_artifact_that_has_changed_or_gone_makes_the_step_run(world: World, lake: FileStore) -> None:
    model = await lake.artifact("model", "weights")
    world.engine.script["train"] = [Outcome(artifacts={"model": model})]
    first = await run(world, CACHED)
    lake.write("model", "other w")
    changed = await run(world, CACHED)
    assert changed.steps[0].taken_from is None
    assert f"the success of step train of run {first.id} was not taken" in changed.steps[0].note
    assert "sha256" in changed.steps[0].note
    (lake.folder / "model").unlink()
    gone = await run(world, CACHED)
    assert "does not exist" in gone.steps[0].note
    assert world.engine.steps() == ["train"] * 3


async def test_artifacts_count_by_digest_and_not_by_place(world: World, lake: FileStore) -> None:
    world.engine.script["prepare"] = [
        Outcome(artifacts={"data": await lake.artifact(name, text)})
        for name, text in (("a", "rows"), ("b", "rows"), ("c", "other"))
    ]
    steps = {"prepare": ARGO, "train": {**CACHED, "artifacts": {"data": "${{ steps.prepare.artifacts.data }}"}}}
    runs = [await (await world.start(dict(steps))).result() for _ in range(3)]
    assert [one.steps[1].taken_from is not None for one in runs] == [False, True, False]


async def test_an_input_without_a_digest_is_said_and_the_step_runs(world: World, lake: FileStore) -> None:
    step = {**CACHED, "artifacts": {"data": lake.write("data", "rows")}}
    for _ in range(2):
        one = await run(world, step)
        assert one.steps[0].note == "cannot be cached: artifact 'data' that it reads has no digest"
    assert world.engine.steps() == ["train", "train"]


async def test_outputs_are_converted_to_the_types_that_are_declared_now(world: World) -> None:
    world.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"})]
    await run(world, {**CACHED, "outputs": {"accuracy": "number"}})
    as_text = await run(world, CACHED)
    assert as_text.steps[0].outputs == {"accuracy": "0.93"}
    wrong = await run(world, {**CACHED, "outputs": {"accuracy": "string"}})
    assert wrong.steps[0].outputs == {"accuracy": "0.93"}
    assert world.engine.steps() == ["train"]


async def test_what_follows_reads_what_was_taken(world: World, lake: FileStore) -> None:
    model = Artifact.model_validate((await lake.artifact("model", "weights")).model_dump())
    world.engine.script["train"] = [Outcome(outputs={"accuracy": "0.93"}, artifacts={"model": model})]
    follow = {
        **ARGO,
        "parameters": {"accuracy": "${{ steps.train.outputs.accuracy }}"},
        "artifacts": {"model": "${{ steps.train.artifacts.model }}"},
    }
    for _ in range(2):
        await (await world.start({"train": CACHED, "deploy": follow})).result()
    assert world.engine.steps() == ["train", "deploy", "deploy"]
    assert world.engine.submitted[-1].parameters == {"accuracy": "0.93"}
    assert world.engine.submitted[-1].artifacts["model"].uri == model.uri
