"""Commands on approvals: approve, reject, approvals."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.text import Text

from meta.cli.asking import asked_lines, command, decision_words
from meta.cli.common import Output, OutputOption, client_of, print_json, run_async, stdout
from meta.cli.runs import RunArgument
from meta.client import DecidedInfo, WaitingApproval
from workflows.errors import InvalidInput

StepOption = Annotated[str, typer.Option("--step", "-s", help="The approval. Default: the only one that waits.")]
ByOption = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides. Default: the user of this machine.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Stands with the decision.")]
DigestOption = Annotated[
    str,
    typer.Option("--digest", metavar="sha256:...", help="What you have seen; refused if it asks for another thing."),
]


def approve(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    run_id: RunArgument,
    step: StepOption = "",
    by: ByOption = "",
    reason: ReasonOption = "",
    digest: DigestOption = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Approve what a run waits for; its step then succeeds. `meta get RUN` shows what it asks.

    Example: meta approve hybrid-training-1f0c2a9b3d --reason "numbers checked"

    The same decision again is fine; another one by then is refused (exit code 2).
    """
    _decide(context, run_id, step, True, by=by, reason=reason, digest=digest, output=output)


def reject(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    run_id: RunArgument,
    step: StepOption = "",
    by: ByOption = "",
    reason: ReasonOption = "",
    digest: DigestOption = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Reject what a run waits for; its step then fails.

    Example: meta reject hybrid-training-1f0c2a9b3d --step approve --reason "accuracy fell"

    The same decision again is fine; another one by then is refused (exit code 2).
    """
    _decide(context, run_id, step, False, by=by, reason=reason, digest=digest, output=output)


def approvals(
    context: typer.Context,
    workflow: Annotated[str, typer.Option("--workflow", "-w", help="Only of runs of this workflow.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """List what waits for a decision, over all running runs.

    Example: meta approvals --workflow hybrid-training
    """

    async def body() -> list[WaitingApproval]:
        async with client_of(context) as client:
            return [one async for one in client.approvals(workflow)]

    waiting = run_async(body())
    if output is Output.JSON:
        print_json([one.model_dump(mode="json") for one in waiting])
        return
    console = stdout()
    if not waiting:
        console.print(Text("nothing waits for a decision"))
    for one in waiting:
        since = f" since {one.since:%Y-%m-%d %H:%M:%S} UTC" if one.since is not None else ""
        console.print(Text.assemble((one.run, "bold"), f" {one.step}{since}"), soft_wrap=True)
        for line in asked_lines(one.asked):
            console.print(line, soft_wrap=True)
        console.print(Text(f"  {command(one.run, one.step, one.asked)}", style="yellow"), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(approve)
    app.command()(reject)
    app.command()(approvals)


def _decide(
    context: typer.Context, run_id: str, step: str, approved: bool, *, by: str, reason: str, digest: str, output: Output
) -> None:
    async def body() -> DecidedInfo:
        async with client_of(context) as client:
            return await client.decide(run_id, approved, by=by or _user(), step=step, reason=reason, digest=digest)

    answer = run_async(body())
    if output is Output.JSON:
        print_json(answer.model_dump(mode="json"))
        return
    again = "" if answer.decided else " (as before)"
    stdout().print(Text(f"{run_id} {answer.step}: {decision_words(answer.decision)}{again}"), soft_wrap=True)


def _user() -> str:
    """The name of the user of this machine.

    Raises:
        InvalidInput: it has none, as in a container.
    """
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise InvalidInput("this user has no name", hint="say who decides: --by NAME") from error
