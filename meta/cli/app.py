"""The `meta` command, put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meta.cli import (
    approvals,
    backfill,
    compiling,
    definitions,
    demo,
    events,
    importing,
    orphans,
    plan,
    retrying,
    runs,
    sandbox,
    schedules,
    send,
    stack,
    trace,
    triggers,
)
from meta.cli.common import Globals, MetaGroup

app = typer.Typer(
    name="meta",
    cls=MetaGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="meta.toml. Default: ./meta.toml, .meta/meta.toml.")
    ] = None,
    address: Annotated[str, typer.Option("--address", metavar="HOST:PORT", help="The service's gRPC.")] = "",
) -> None:
    """Chains of whole Argo Workflows and Kubeflow Pipelines runs, kept alive by Temporal.

    Example: meta up --detach; meta run hybrid-training --follow

    Exit codes: 0 fine; 1 a run, a check or something unforeseen failed; 2 wrong input or usage; 3 the service cannot be
    reached; 130 interrupted with Ctrl-C.
    """
    context.obj = Globals(config=config, address=address)


runs.register(app)
plan.register(app)
approvals.register(app)
retrying.register(app)
trace.register(app)
definitions.register(app)
compiling.register(app)
triggers.register(app)
schedules.register(app)
backfill.register(app)
events.register(app)
send.register(app)
importing.register(app)
orphans.register(app)
stack.register(app)
sandbox.register(app)
demo.register(app)
