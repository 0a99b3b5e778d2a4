"""The catalogue's chains on the sandbox engines, all on one stack. `test_demo.py` runs the sixth, hybrid-training."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

import workflows
from meta.client import MetaClient, RunView
from meta.config import GrpcConfig, MetricsConfig, NatsConfig, TelemetryConfig, load_config
from meta.service import Service
from meta.stack import Addresses
from tests.support.chain import step_of
from tests.support.objects import ObjectServer
from tests.support.stack import StackCommand
from workflows.outcome import RunState, StepState
from workflows.values import JsonObject

CATALOG = Path(workflows.__file__).parent / "catalog"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with StackCommand(tmp_path_factory.mktemp("chains") / "stack") as command:
        yield command.up()


async def run(address: str, chain: str, inputs: JsonObject | None = None) -> RunView:
    """Run a chain of the catalogue to its end."""
    async with MetaClient(address) as client:
        started = await client.start(CATALOG / chain / "workflow.yaml", inputs or {})
        return [view async for view in client.watch(started.id)][-1]


def shown(chain: str) -> set[str]:
    """Names of the outputs that the chain's README shows as printed."""
    printed = (CATALOG / chain / "README.md").read_text().partition("    outputs\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^ {6}(\w+) = ", printed, re.MULTILINE))


def succeeded(ended: RunView) -> JsonObject:
    assert ended.state is RunState.SUCCEEDED, ended.message
    assert set(ended.outputs) == shown(ended.workflow)
    return ended.outputs


async def test_documents_are_cut_indexed_and_found_by_a_question(stack: Addresses, tmp_path: Path) -> None:
    outputs = succeeded(await run(stack.grpc, "document-ingestion", {"workers": 2}))
    assert cast("int", outputs["documents"]) > 70
    assert cast("int", outputs["chunks"]) > 500
    assert outputs["top_hit"] == "with"
    assert "statement" in str(outputs["passage"])

    keys = load_config(Path(stack.config)).objects
    assert keys.access_key is not None
    assert keys.secret_key is not None
    objects = ObjectServer(stack.s3, keys.access_key.get_secret_value(), keys.secret_key.get_secret_value())
    (tmp_path / "index.db").write_bytes(objects.read(str(outputs["index"])))
    with closing(sqlite3.connect(tmp_path / "index.db")) as index:
        (count,) = index.execute("SELECT count(*) FROM chunks").fetchone()
    assert count == outputs["chunks"]


@pytest.mark.parametrize(
    ("inputs", "branch", "rounds"),
    [
        ({}, "fast", 1),
        ({"topics": 10}, "small", 2),
        ({"goal": "fast", "topics": 10}, "fast", 1),
    ],
)
async def test_the_inputs_choose_the_branch(stack: Addresses, inputs: JsonObject, branch: str, rounds: int) -> None:
    outputs = succeeded(await run(stack.grpc, "branching-dag", inputs))
    assert outputs["branch"] == branch
    assert cast("int", outputs["rounds"]) >= rounds
    assert 0 < cast("int", outputs["packed"]) < cast("int", outputs["size"])
    assert str(outputs["report"]).startswith("Succeeded after ")


async def test_the_exit_handler_reports_a_failure_too(stack: Addresses) -> None:
    ended = await run(stack.grpc, "branching-dag", {"topics": 0})
    assert ended.state is RunState.FAILED
    async with MetaClient(stack.grpc) as client:
        lines = [line.text async for line in client.logs(ended.id)]
    assert any("there is nothing to pack" in line for line in lines)
    assert any(line.startswith("Failed after ") for line in lines)


@pytest.mark.prove
async def test_a_shard_that_fails_is_tried_again_by_argo_and_the_step_has_one_attempt(stack: Addresses) -> None:
    ended = await run(stack.grpc, "batch-inference", {"shards": 2, "fail_shard": 1})
    outputs = succeeded(ended)
    assert outputs["predictions"] == 899
    assert outputs["accuracy"] == pytest.approx(0.959, abs=0.02)  # pyright: ignore[reportUnknownMemberType]
    assert outputs["retried"] == 1
    assert step_of(ended, "predict").attempt == 1


@pytest.mark.prove
async def test_training_is_cached_as_far_as_nothing_has_changed(stack: Addresses) -> None:
    first, again, more = [await run(stack.grpc, "ml-training", {"trees": trees}) for trees in (20, 20, 50)]
    assert [step_of(one, "train").cached_nodes for one in (first, again, more)] == [0, 4, 2]
    outputs = succeeded(first)
    assert succeeded(again) == outputs, "the very same model"
    assert succeeded(more)["model"] != outputs["model"]
    assert outputs["rows"] == 124
    assert cast("float", outputs["accuracy"]) > 0.9
    assert outputs["chosen"] in ("linear", "forest")


@pytest.mark.prove
async def test_a_candidate_is_judged_alike_by_whichever_engine_its_use_case_goes_to(stack: Addresses) -> None:
    on_kfp = await run(stack.grpc, "model-evaluation")
    assert (step_of(on_kfp, "train").engine, step_of(on_kfp, "evaluate").engine) == ("kfp", "kfp")
    outputs = succeeded(on_kfp)
    assert outputs["verdict"] == "better"

    config = load_config(Path(stack.config))
    moved = {**config.use_cases, "model-evaluation": "argo"}
    update = {"use_cases": moved, "grpc": GrpcConfig(address="127.0.0.1:0"), "nats": NatsConfig(),
              "telemetry": TelemetryConfig(metrics=MetricsConfig())}  # fmt: skip
    async with Service(config.model_copy(update=update)) as service:
        on_argo = await run(service.address, "model-evaluation")
        assert (step_of(on_argo, "train").engine, step_of(on_argo, "evaluate").engine) == ("kfp", "argo")
        assert succeeded(on_argo) == outputs, "the definition is the same, and so is the judgement"
        assert step_of(on_argo, "train").cached_nodes == 2

        # The current model, given by its address, against itself trained on less.
        current = step_of(on_kfp, "train").artifacts["current"].uri
        worse = await run(service.address, "model-evaluation", {"images": 60, "candidate": "", "current": current})
        assert succeeded(worse)["verdict"] == "worse"
    assert all(step.state is StepState.SUCCEEDED for step in worse.steps)
