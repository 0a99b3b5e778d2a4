"""`meta` and `python -m meta`."""

from __future__ import annotations

import sys


def main() -> None:
    """Check that our packages are ours, run the command, and leave."""
    from meta.preflight import exit_if_shadowed

    exit_if_shadowed()
    from meta.cli.app import app

    code = 0
    try:
        app(prog_name="meta")
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1 if leaving.code else 0
    if "temporalio" in sys.modules:  # `meta up` and `meta demo` may have loaded it
        from meta.server_process import leave

        leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
