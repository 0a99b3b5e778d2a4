"""Builds the definition of a Python file: a program of its own, so that a user's code never runs in ours.

    python -P -m workflows.dsl.compile_main FILE NAME RESULT

NAME may be empty when the file has one definition. RESULT becomes JSON: `{"data": definition, "lines": [[place, line]],
"file": path}`, or `{"error": message, "hint": ..., "line": n, "file": path}`.
"""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from types import ModuleType

from workflows.compile_main import Refused, load, place_of, words_of
from workflows.dsl.flow import MetaWorkflow


def main(file: Path, name: str) -> dict[str, object]:
    """Run the file, pick the definition, hand it over as data."""
    try:
        flow = _pick(load(file), file, name)
        lines = [[list(place), line] for place, line in flow.places.lines.items()]
        return {"data": flow.data(), "lines": lines, "file": flow.places.file}
    except Refused as error:
        return {"error": str(error), "hint": error.hint}
    except SyntaxError as error:
        return {"error": f"SyntaxError: {error.msg}", "file": error.filename or "", "line": error.lineno or 0}
    except BaseException as error:  # a user's code may also leave by SystemExit
        place, line = place_of(error.__traceback__, file.parent)
        return {"error": words_of(error), "file": place, "line": line}


def _pick(module: ModuleType, file: Path, name: str) -> MetaWorkflow:
    own = {n: value for n, value in vars(module).items() if isinstance(value, MetaWorkflow)}
    distinct = {id(value): n for n, value in reversed(own.items())}  # by its first name
    names = ", ".join(own)
    if name:
        if name not in own:
            near = difflib.get_close_matches(name, own, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has: {names or 'none'}"
            raise Refused(f"{file.name} has no MetaWorkflow '{name}'", hint)
        return own[name]
    if not own:
        hint = "write flow = MetaWorkflow(...) at the level of the module; MetaWorkflow is meta.dsl's"
        raise Refused(f"{file.name} has no MetaWorkflow", hint)
    if len(distinct) > 1:
        raise Refused(
            f"{file.name} has {len(distinct)} definitions",
            f"name one, as {file.name}:{next(iter(own))}; it has: {names}",
        )
    return next(iter(own.values()))


if __name__ == "__main__":
    source, wanted, target = sys.argv[1:]
    result = main(Path(source), wanted)
    Path(target).write_text(json.dumps(result), encoding="utf-8")
