"""The command `meta send`: publishes a message that starts a run, and waits for the run's end."""

from __future__ import annotations

import sys
import uuid
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer
from rich.text import Text

from meta.cli.common import EXIT_FAILED, Globals, Output, OutputOption, print_json, run_async, stderr, stdout
from meta.cli.results import Results, ResultsOption
from meta.sending import Message, Sent, Told, sending
from meta.triggers.event import MAX_IDENTITY, identity_of
from workflows.errors import InputsInvalid, MetaError
from workflows.naming import request_run_id
from workflows.outcome import RunState
from workflows.spec.durations import parse_duration
from workflows.spec.subjects import subject_fault
from workflows.values import JsonObject


class RunTimedOut(MetaError):
    """No end of the run has come in time; the run, if there is one, goes on."""

    code = "RUN_TIMED_OUT"


def send(  # noqa: PLR0917 -- typer makes options of them
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="A stream must have it, as a trigger's does.")],
    data: Annotated[str, typer.Option("--data", metavar="TEXT", help="The message; - reads standard input.")] = "{}",
    message_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Its Nats-Msg-Id: the same again starts no second run.")
    ] = "",
    headers: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A header; may be repeated.")
    ] = None,
    wait: Annotated[
        str, typer.Option("--wait", metavar="WORKFLOW", help="Wait for the end of the run of this workflow.")
    ] = "",
    key: Annotated[
        str, typer.Option("--key", metavar="VALUE", help="What the trigger's 'id' gives for it, if it has one.")
    ] = "",
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="How long to wait, as 30s, 2h.")] = "1h",
    results: ResultsOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Publish a message on NATS; with --wait, wait until the run that it starts has ended.

    Where NATS is, and who we are there, says [nats] of meta.toml, or META_NATS__URL and the like.

    Example: meta send ml.datasets.digits.ready --data '{"rows": 1797}' --id digits-7 --wait hybrid-training

    Exit code: 0, or 1 when the run does not succeed or does not end in time; 2 when no stream has the subject; 3 when
    NATS cannot be reached.
    """
    if fault := subject_fault(subject, wildcards=False):
        raise InputsInvalid(fault, hint="a message goes to one subject")
    message = Message(subject, _bytes(data), _id(message_id), _headers(headers or []))
    identity = identity_of("key", key) if key else identity_of("nats:id", message.id)
    config = (context.find_object(Globals) or Globals()).configuration().nats
    written = Results(results)

    async def body() -> tuple[Sent, Told | None]:
        async with sending(config) as sender:
            if not wait:
                return await sender.publish(message), None
            run_id = request_run_id(wait, identity)
            written.awaited(run_id)
            async with sender.listening(wait, run_id, identity) as listener:
                sent = await sender.publish(message)
                if output is Output.TEXT:
                    _say(sent, message)
                return sent, await listener.end(_duration(timeout))

    sent, told = run_async(body())
    if told is None and wait:
        late = f"no run of {wait} has ended in {timeout}"
        written.unknown(late)
        hint = (
            f"`meta list --workflow {wait}` shows its runs, `meta events` what started none; nothing comes when the"
            " trigger has an 'id' and --key is not what it gives, when its 'when' is false, or when it gathers messages"
        )
        raise RunTimedOut(late, hint=hint)
    if told is not None:
        written.ended(told.state, told.message, told.outputs)
    _print(sent, told, message, output)
    if told is not None and told.state is not RunState.SUCCEEDED:
        who = f"run {told.run} {told.state.value}" if told.run else told.state.value
        stderr().print(Text(f"{who}: {told.message}".rstrip(": "), style="red"), soft_wrap=True)
        raise typer.Exit(EXIT_FAILED)


def _say(sent: Sent, message: Message) -> None:
    again = ", which has this id already: NATS did not take this one" if sent.duplicate else ""
    words = f"published {message.id} to stream {sent.stream}, message {sent.sequence}{again}"
    stdout().print(Text(words), soft_wrap=True)


def _print(sent: Sent, told: Told | None, message: Message, output: Output) -> None:
    if output is Output.JSON:
        ended: JsonObject = {**asdict(told)} if told is not None else {}
        print_json({"id": message.id, **asdict(sent), **ended})
        return
    if told is None:
        _say(sent, message)
        return
    console = stdout()
    console.print(Text(f"{told.run} {told.state.value}".strip()), soft_wrap=True)
    for name, value in told.outputs.items():
        console.print(Text(f"  {name} = {value}"), soft_wrap=True)


def _bytes(data: str) -> bytes:
    return sys.stdin.buffer.read() if data == "-" else data.encode()


def _id(given: str) -> str:
    """What makes the message one: given, or made up."""
    if len(given) > MAX_IDENTITY or not (given.isprintable() and given.isascii()):
        raise InputsInvalid(f"--id has {len(given)} characters; it is {MAX_IDENTITY} of ASCII at most, without breaks")
    return given or uuid.uuid4().hex


def _headers(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or not name.isascii() or any(c in name for c in " :\r\n") or "\n" in value:
            raise InputsInvalid(f"--header {pair!r} is not NAME=VALUE", hint="as in --header Content-Type=text/plain")
        found[name] = value
    return found


def _duration(text: str) -> float:
    """Seconds."""
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise InputsInvalid(f"--timeout: {error}", hint="as in --timeout 30m") from error
    assert isinstance(found, timedelta)
    return found.total_seconds()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(send)
