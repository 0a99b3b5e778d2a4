"""`python -m meta.stack up|down|status|doctor`: the same as `meta up` and so on, with nothing else of the command."""

import typer

from meta.cli.common import MetaGroup
from meta.cli.stack import register


def main() -> None:
    app = typer.Typer(cls=MetaGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    register(app)
    app(prog_name="meta")


if __name__ == "__main__":
    main()
