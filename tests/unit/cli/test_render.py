from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from meta.cli.failures import kubectl_logs
from meta.cli.progress import follow
from meta.cli.render import duration_text, print_run, runs_table
from meta.client import MetaClient, RunView
from workflows.messages import OtherRun, StepRole, StepSnapshot
from workflows.outcome import Artifact, EngineKind, EngineRunRef, FailedNode, RunState, StepKind, StepState

AT = datetime(2026, 1, 2, tzinfo=UTC)


def run(state: RunState, train: StepState, **changes: object) -> RunView:
    step = StepSnapshot(
        name="train",
        kind=StepKind.KFP,
        engine="kfp",
        state=train,
        attempt=2,
        message="[red]not markup[/red]",
        nodes=4,
        cached_nodes=3,
        artifacts={"model": Artifact(name="model", uri="s3://meta/m", sha256="abcdef0123456789", size=12345)},
        started_at=AT,
        finished_at=AT + timedelta(seconds=75) if train.ended else None,
    )
    view = RunView(id="chain-1", workflow="chain", bundle_digest="d", state=state, steps=[step], started_at=AT)
    return view.model_copy(update=changes)


def console(*, terminal: bool = False) -> tuple[Console, StringIO]:
    out = StringIO()
    return Console(file=out, width=160, force_terminal=terminal, highlight=False), out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (9.94, "9.9s"), (59, "59s"), (75, "1m15s"), (3600 * 26 + 61, "26h01m")]
)
def test_durations_read_as_people_write_them(seconds: float, text: str) -> None:
    assert duration_text(timedelta(seconds=seconds)) == text


def test_engine_runs_ended_beside_the_adopted_one_are_said_in_one_line_and_only_if_there_are_any() -> None:
    screen, out = console()
    plain = run(RunState.SUCCEEDED, StepState.SUCCEEDED)
    print_run(screen, plain)
    assert "beside" not in out.getvalue()
    ref = EngineRunRef(engine="kfp", kind=EngineKind.KFP, name="chain-train-1", uid="v")
    others = [OtherRun(ref=ref, attempt=attempt, stays="u", at=AT) for attempt in (1, 2)]
    screen, out = console()
    print_run(screen, plain.model_copy(update={"steps": [plain.steps[0].model_copy(update={"other_runs": others})]}))
    assert "2 engine runs beside the adopted one ended: train\n" in out.getvalue()


def test_a_run_shows_steps_outputs_and_artifacts() -> None:
    screen, out = console()
    ended = run(
        RunState.FAILED,
        StepState.FAILED,
        message="step train failed",
        outputs={"a": [1, "ü"]},
        temporal_url="http://ui/x",
    )
    print_run(screen, ended)
    text = out.getvalue()
    for words in (
        "chain-1 failed", "step train failed", "train  kfp", "1m15s", "[red]not markup[/red]", 'a = [1, "ü"]',
        "train.model s3://meta/m sha256:abcdef012345 12,345 bytes", "http://ui/x",
    ):  # fmt: skip
        assert words in text


def test_a_failed_step_shows_the_last_lines_of_its_nodes_and_the_command_for_the_rest() -> None:
    screen, out = console()
    nodes = [
        FailedNode(name="fit", message="Error (exit code 1)", exit_code=1, log=["Traceback", "ValueError: [bold]no"]),
        FailedNode(name="load", phase="Error", message="pod deleted\nby somebody", exit_code=137),
    ]
    ref = EngineRunRef(engine="argo", kind=EngineKind.ARGO, name="chain-train-1", uid="u", url="http://argo/u")
    print_run(screen, failed(failed_nodes=nodes, kind=EngineKind.ARGO, run=ref))
    shown = out.getvalue()
    assert "train: last lines of fit (exit code 1)\n  | Traceback\n  | ValueError: [bold]no\n" in shown
    assert "train: load (exit code 137) Error: pod deleted\n" in shown
    assert "  all of them: meta logs chain-1 train\n  at the engine: http://argo/u\n" in shown


def test_a_failed_step_of_kfp_says_how_to_see_the_logs_that_its_api_has_not() -> None:
    screen, out = console()
    ref = EngineRunRef(engine="kfp", kind=EngineKind.KFP, name="chain-train-1", uid="u-1", namespace="team a")
    print_run(screen, failed(failed_nodes=[FailedNode(name="fit", phase="FAILED")], run=ref))
    shown = out.getvalue()
    assert "train: fit FAILED\n" in shown
    assert "what KFP says of its tasks: meta logs chain-1 train" in shown
    assert "kubectl logs -n 'team a' -l pipeline/runid=u-1 --all-containers --prefix --tail=-1" in shown
    assert "kubectl logs -n kubeflow " in kubectl_logs(ref.model_copy(update={"namespace": ""}))


def test_what_no_engine_has_run_and_what_has_not_failed_points_to_no_logs() -> None:
    screen, out = console()
    print_run(screen, failed())
    print_run(screen, run(RunState.SUCCEEDED, StepState.SUCCEEDED))
    assert "logs" not in out.getvalue()


def failed(**changes: object) -> RunView:
    ended = run(RunState.FAILED, StepState.FAILED)
    return ended.model_copy(update={"steps": [ended.steps[0].model_copy(update=changes)]})


def test_a_list_of_runs_has_a_line_each() -> None:
    screen, out = console()
    screen.print(runs_table([run(RunState.RUNNING, StepState.RUNNING), run(RunState.SUCCEEDED, StepState.SUCCEEDED)]))
    assert out.getvalue().count("chain-1") == 2


class Scripted(MetaClient):
    async def watch(self, run_id: str) -> AsyncGenerator[RunView]:
        yield run(RunState.RUNNING, StepState.RUNNING)
        yield run(RunState.RUNNING, StepState.RUNNING, message="nothing new of the step")
        yield run(RunState.SUCCEEDED, StepState.SUCCEEDED)


async def test_outside_a_terminal_each_change_is_one_line() -> None:
    screen, out = console()
    ended = await follow(Scripted(), "chain-1", screen)
    assert ended.state is RunState.SUCCEEDED
    lines = [line.split(maxsplit=1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        "train running (kfp, attempt 2) 3 of 4 nodes cached [red]not markup[/red]",
        "train succeeded (kfp, attempt 2) 3 of 4 nodes cached in 1m15s [red]not markup[/red]",
        "chain-1 succeeded",
    ]


async def test_in_a_terminal_the_table_is_live_and_its_last_state_stays() -> None:
    screen, out = console(terminal=True)
    await follow(Scripted(), "chain-1", screen)
    assert "succeeded" in out.getvalue().split("\x1b[2K")[-1]


def test_compensations_and_last_steps_stand_in_groups_of_their_own_and_a_continued_step_says_so() -> None:
    step = run(RunState.FAILED, StepState.FAILED).steps[0]
    steps = [
        step.model_copy(update={"continued": True}),
        step.model_copy(update={"name": "compensate_load", "role": StepRole.COMPENSATION}),
        step.model_copy(update={"name": "compensate_make", "role": StepRole.COMPENSATION}),
        step.model_copy(update={"name": "tell", "role": StepRole.FINALLY}),
    ]
    screen, out = console()
    print_run(screen, run(RunState.FAILED, StepState.FAILED, steps=steps))
    lines = [line.split()[0] for line in out.getvalue().splitlines()[1:8]]
    assert lines == ["step", "train", "compensations", "compensate_load", "compensate_make", "finally", "tell"]
    assert "failed, continued" in out.getvalue().splitlines()[2]
