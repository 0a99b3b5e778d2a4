"""Checks that the packages Python finds are ours, before anything else of ours is imported.

Our three import names are common words. Another `workflows` earlier on `sys.path` (a folder of that name where the
command runs, say) would otherwise show as a puzzling ImportError deep inside. Standard library only at the top: this
module must work exactly when our own packages cannot be imported.
"""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

DISTRIBUTION = "meta-workflows"
PACKAGES = ("workflows", "workers", "meta")
_HERE = Path(__file__).resolve().parent.parent
_MARK = f'PACKAGE_OF = "{DISTRIBUTION}"'


def check_packages() -> None:
    """Make sure that `workflows`, `workers` and `meta` are this project's.

    Packages are found, not imported: a foreign one runs none of its code.

    Raises:
        PackageShadowed: (of `workflows.errors`, or a look-alike when that cannot be imported) another package of the
            same name is in the way; the message names its file.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None:
            _refuse(
                f"the package '{name}' of {DISTRIBUTION} is not installed beside {_HERE / 'meta'}",
                f"install it again, into an environment of its own: pip install --force-reinstall {DISTRIBUTION}",
            )
        elif not _ours(spec):
            _refuse(
                f"another package named '{name}' is in the way of {DISTRIBUTION}'s: {_place(spec)}",
                f"give {DISTRIBUTION} an environment of its own; or, if that is a folder of yours, rename it, "
                "or do not run from there (nor put it on PYTHONPATH)",
            )


def exit_if_shadowed() -> None:
    """`check_packages` for the command line: says what is in the way and leaves with exit code 1."""
    try:
        check_packages()
    except Exception as error:  # the class may be a look-alike, see check_packages
        if getattr(error, "code", "") != "PACKAGE_SHADOWED":
            raise
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error


def _ours(spec: importlib.machinery.ModuleSpec) -> bool:
    if spec.origin is None:  # a namespace package: a folder without __init__.py
        return False
    try:
        return _MARK in Path(spec.origin).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # no readable source: not ours, which ships as source
        return False


def _place(spec: importlib.machinery.ModuleSpec) -> str:
    folders = list(spec.submodule_search_locations or [])
    return spec.origin or (folders[0] if folders else "an unknown place")


def _refuse(message: str, hint: str) -> None:
    raise _error_class()(message, hint=hint)


def _error_class() -> Callable[..., Exception]:
    """The error tree's class, read from the file beside us, whatever else is named `workflows`."""
    file = _HERE / "workflows" / "errors.py"
    spec = importlib.util.find_spec("workflows")
    if spec is not None and spec.origin is not None and _ours(spec):
        from workflows.errors import PackageShadowed

        return PackageShadowed
    if file.is_file():
        own = importlib.util.spec_from_file_location("meta._errors_of_ours", file)
        if own is not None and own.loader is not None:
            module = importlib.util.module_from_spec(own)
            sys.modules[own.name] = module  # dataclasses look their module up
            own.loader.exec_module(module)
            return module.PackageShadowed
    return _Shadowed


class _Shadowed(Exception):
    """Stands in for `workflows.errors.PackageShadowed` when not even its file can be found."""

    code = "PACKAGE_SHADOWED"
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}"
