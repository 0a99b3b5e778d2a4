"""`python -m meta.stack up|down|status|doctor`: the same as `meta up` and so on, with nothing else of the command."""

from meta.preflight import exit_if_shadowed

exit_if_shadowed()

import typer  # noqa: E402 -- after the check

from meta.cli.common import MetaGroup  # noqa: E402
from meta.cli.stack import register  # noqa: E402


def main() -> None:
    app = typer.Typer(cls=MetaGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    register(app)
    app(prog_name="meta")


if __name__ == "__main__":
    main()
