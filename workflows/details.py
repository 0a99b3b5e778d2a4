"""How a meta-run reads in the Temporal Web UI: a live table of its steps, and what it was started as; no Temporal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from workflows.markdown import DETAILS_LIMIT, NBSP, SUMMARY_LIMIT, block, code, cut, fit, link, plain, size
from workflows.messages import RunSnapshot, StartRun, StepRole, StepSnapshot
from workflows.outcome import FailedNode, RunState, StepState
from workflows.plan import make_plan
from workflows.spec.sources import ActivitySource, ApprovalSource, ArgoSource, KfpSource, WaitSource, WorkflowSource
from workflows.spec.steps import Step
from workflows.trace import trace_id
from workflows.values import JsonValue, canonical_json

_ICON = {
    StepState.PENDING: "⚪",
    StepState.RUNNING: "🔵",
    StepState.SUCCEEDED: "🟢",
    StepState.FAILED: "🔴",
    StepState.LOST: "❓",
    StepState.TIMED_OUT: "⏰",
    StepState.CANCELLED: "⛔",
    StepState.SKIPPED: "⏭️",
}
_VERB = {
    RunState.RUNNING: "is running",
    RunState.SUCCEEDED: "has succeeded",
    RunState.FAILED: "has failed",
    RunState.CANCELED: "was cancelled",
    RunState.TERMINATED: "was terminated",
}
_GOOD = (StepState.SUCCEEDED, StepState.SKIPPED)
_COLUMNS = ("step", "engine", "state", "attempt", "time", "outputs, or why")
_GAP = NBSP * 2  # the UI puts cells side by side without one
_TABLE = f"| {' | '.join(f'{name}{_GAP}' for name in _COLUMNS)} |\n{'|:--' * len(_COLUMNS)}|"
_SUMMARY = 200
_NOTE = 80  # characters of a row's last words
_VALUE = 40  # characters of one output
_MESSAGE = 600
_LOG_LINES = 10
_LOG_WIDTH = 160
_LOGS_LIMIT = 6_000  # bytes of all logs together
_NAMED = 5  # steps that the headline names
_FOR_SUMMARY = 300  # bytes that the line takes which stands for the steps that are left out


@dataclass(frozen=True, slots=True)
class _Row:
    """A step as it was drawn, and its line of the table; `size` is bytes."""

    step: StepSnapshot
    text: str
    size: int


class Details:
    """Draws a run again and again. What has not changed since is not drawn anew: a run can have hundreds of steps."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def draw(self, run: RunSnapshot) -> str:
        """The run in Markdown, for Temporal's current details; at most `DETAILS_LIMIT` bytes as JSON.

        A run of many steps shows those that people look for: what went wrong, what is running, what ended last.
        """
        head = f"{headline(run)}\n\n{_TABLE}"
        tail = "\n".join(_tail(run))
        rows = [self._row(step) for step in run.steps]
        left = DETAILS_LIMIT - size(head) - size(tail)
        if sum(row.size for row in rows) > left:
            return "\n".join([head, *_most_wanted(rows, left), tail])
        return "\n".join([head, *(row.text for row in rows), tail])

    def _row(self, step: StepSnapshot) -> _Row:
        drawn = self._rows.get(step.name)
        if drawn is None or drawn.step is not step:
            text = _line(step)
            drawn = self._rows[step.name] = _Row(step, text, size(text))
        return drawn


def markdown(run: RunSnapshot) -> str:
    """The run in Markdown, once."""
    return Details().draw(run)


def headline(run: RunSnapshot) -> str:
    """One sentence: how far the run is."""
    ended = sum(step.state.ended for step in run.steps)
    of = f"{ended} of {len(run.steps)} steps {'has' if ended == 1 else 'have'} ended"
    running = [step.name for step in run.steps if step.state is StepState.RUNNING]
    line = f"**{run.workflow}** {_VERB[run.state]}: {of}"
    if not running:
        return line
    return f"{line}, {_listed(running)} {'is' if len(running) == 1 else 'are'} running"


def static_summary(start: StartRun) -> str:
    """What the definition says that it is for, on one line within `SUMMARY_LIMIT`; empty when it says nothing."""
    return fit(cut(start.definition.metadata.description, _SUMMARY), SUMMARY_LIMIT)


def static_details(start: StartRun) -> str:
    """What the run was started as, in Markdown, for Temporal's static details; within `DETAILS_LIMIT`."""
    definition = start.definition
    about = definition.metadata.description
    more = f": {plain(about, _MESSAGE)}" if about != static_summary(start) else ""  # it stands above already
    lines = [f"Meta-workflow **{definition.name}**{more}", ""]
    lines.append(f"- started by {_cause(start)}")
    if start.request_id:
        lines.append(f"- request id: {plain(start.request_id, _NOTE)}")
    if start.retry_of:
        lines.append(f"- retries run {plain(start.retry_of, _NOTE)}, of which it takes over {len(start.reuse)} steps")
    if start.inputs:
        lines.append(f"- inputs: {plain(_values(start.inputs), _MESSAGE)}")
    lines.append(f"- definition: {start.bundle_digest[:19]}")
    lines += ["", "Its steps:", ""]
    plan = make_plan(definition)
    for planned in (*plan.steps, *plan.finally_):
        step = definition.step(planned.name)
        after = f", after {_listed(planned.dependencies)}" if planned.dependencies else ""
        purpose = f": {plain(step.description, _NOTE)}" if step.description else ""
        on = f" on {step.engine}" if step.engine else ""
        last = ", at the end" if planned in plan.finally_ else ""
        lines.append(f"- **{planned.name}**{purpose} ({plain(source_of(step), _NOTE)}{on}{after}{last})")
        if step.compensate is not None:
            undo = step.compensate.as_step()
            on = f" on {undo.engine}" if undo.engine else ""
            lines.append(f"  - taken back by {plain(source_of(undo), _NOTE)}{on}")
    return fit("\n".join(lines), DETAILS_LIMIT)


def source_of(step: Step) -> str:
    """What a step runs, in words: the file of the bundle, or what the engine has."""
    source = step.source
    match source:
        case ApprovalSource():
            return "an approval"
        case WaitSource():
            return "a wait"
        case WorkflowSource():
            return f"meta-workflow {source.name}"
        case ActivitySource():
            return f"activity {source.name} of task queue {source.task_queue}"
        case ArgoSource() | KfpSource():
            return _engine_source(source)


def _engine_source(source: ArgoSource | KfpSource) -> str:
    if isinstance(source, ArgoSource):
        named = {
            "WorkflowTemplate": source.template,
            "ClusterWorkflowTemplate": source.cluster_template,
            "CronWorkflow": source.cron_workflow,
        }
        return next((f"{kind} {name}" for kind, name in named.items() if name is not None), source.manifest or "")
    if source.pipeline is not None:
        return f"pipeline {source.pipeline}, {source.version or 'its newest version'}"
    return source.package or ""


def _most_wanted(rows: list[_Row], left: int) -> list[str]:
    """The rows that fit, in the definition's order, and a sentence about the others."""
    left -= _FOR_SUMMARY
    shown: set[str] = set()
    for row in sorted(rows, key=_urgency):
        if row.size > left:
            break
        left -= row.size
        shown.add(row.step.name)
    others = Counter(row.step.state.value for row in rows if row.step.name not in shown)
    count = ", ".join(f"{number} {state}" for state, number in others.items())
    return [*(row.text for row in rows if row.step.name in shown), "", f"… and {others.total()} more steps: {count}."]


def _urgency(row: _Row) -> tuple[int, float]:
    """Sorts first what people look for."""
    step = row.step
    if step.state.ended and step.state not in _GOOD:
        return (0, 0.0)
    if step.state is StepState.RUNNING:
        return (1, 0.0)
    ended = step.finished_at.timestamp() if step.finished_at is not None else 0.0
    return (2, -ended) if step.state.ended else (3, 0.0)


def _line(step: StepSnapshot) -> str:
    url = "" if step.run is None else step.run.url
    state = f"{_ICON[step.state]}{NBSP}{step.state.value.replace('_', NBSP)}"
    if step.items is not None:
        state += f"{NBSP}{step.items.succeeded + step.items.failed}/{step.items.total}"
        state += f", {step.items.failed} failed" if step.items.failed and not step.state.ended else ""
    if step.cached_nodes:
        state += f", {step.cached_nodes} of {step.nodes} nodes cached"
    if step.continued:
        state += ", continued"
    cells = [
        step.name if step.role is not StepRole.FINALLY else f"{step.name} (finally)",
        link(step.engine or step.kind.value, url),
        state,
        str(step.attempt or ""),
        _time(step),
        plain(step.message, _NOTE) if step.message else _results(step),
    ]
    return f"| {' | '.join(f'{cell}{_GAP}' if cell else '' for cell in cells)} |"


def _time(step: StepSnapshot) -> str:
    """How long it took; of a step that goes on, since when: a picture that nobody draws again cannot count."""
    if step.duration is not None and step.attempt:
        return f"{step.duration.total_seconds():.1f}{NBSP}s"
    if step.state is StepState.RUNNING and step.started_at is not None:
        return f"since{NBSP}{step.started_at:%H:%M:%S}{NBSP}UTC"
    return ""


def _results(step: StepSnapshot) -> str:
    words = [plain(step.taken_from.words(step.name), _NOTE)] if step.taken_from is not None else []
    words += [plain(step.note, _NOTE)] if step.note else []
    words += [f"run {plain(step.child, _NOTE)}"] if step.child and not step.outputs else []
    return "; ".join([*words, *([_outputs(step)] if step.outputs else [])])


def _outputs(step: StepSnapshot) -> str:
    if step.items is not None:
        return ", ".join(f"{name}: {len(found)} values" for name, found in _lists(step)[:_NAMED])
    values = [f"{name} = {plain(_short(value), _VALUE)}" for name, value in list(step.outputs.items())[:_NAMED]]
    more = len(step.outputs) - _NAMED
    return ", ".join(values) + (f" and {more} more" if more > 0 else "")


def _lists(step: StepSnapshot) -> list[tuple[str, list[JsonValue]]]:
    return [(name, value) for name, value in step.outputs.items() if isinstance(value, list)]


def _tail(run: RunSnapshot) -> list[str]:
    lines: list[str] = []
    if run.message:
        lines += ["", plain(run.message, _MESSAGE)]
    if run.outputs:
        lines += ["", f"Outputs: {plain(_values(run.outputs), _MESSAGE)}"]
    for step in [one for one in run.steps if one.asked is not None][-_NAMED:]:
        lines += _asked(run.id, step)
    left = _LOGS_LIMIT
    for step in run.steps:
        if not step.failed_nodes:
            continue
        words = _last_lines(run.id, step)
        length = size("\n".join(words))
        if length > left:
            lines += ["", f"More of what went wrong: {_command('get', run.id)}"]
            break
        left -= length
        lines += words
    return [*lines, "", f"Trace {code(trace_id(run.id, run.trace), 32)}, drawn by {_command('trace', run.id)}"]


def _asked(run_id: str, step: StepSnapshot) -> list[str]:
    """What a step asks, and how to decide it; or who decided."""
    if (decision := step.decision) is not None:
        word = "approved" if decision.approved else "rejected"
        why = f": {plain(decision.reason, _NOTE)}" if decision.reason else ""
        by = plain(decision.by, _NOTE) or "its time-out"
        return ["", f"**{step.name}** was {word} by {by} at {decision.at:%Y-%m-%d %H:%M:%S} UTC{why}"]
    if step.asked is None or step.state is not StepState.RUNNING:
        return []
    asked = step.asked
    values = f" ({plain(_values(asked.parameters), _MESSAGE)})" if asked.parameters else ""
    things = [f"{name} {plain(one.uri, _MESSAGE)}" for name, one in list(asked.artifacts.items())[:_NAMED]]
    about = f", about {_listed(things)}" if things else ""
    return [
        "",
        f"**{step.name}** asks: {plain(asked.prompt, _MESSAGE)}{values}{about}",
        "",
        f"To decide: {_command('approve', run_id, '--step', step.name)} or {_command('reject', run_id)},"
        f" or the update {code('decide', 10)} here",
    ]


def _last_lines(run_id: str, step: StepSnapshot) -> list[str]:
    """The last words of the first node that a step failed by, and where the others are."""
    node = next((node for node in step.failed_nodes if node.log), None)
    if node is None:
        return []
    return [
        "",
        f"Last lines of {_node(node)} in **{step.name}**; all of them: {_command('logs', run_id, step.name)}",
        "",
        *block(node.log[-_LOG_LINES:], _LOG_WIDTH),
    ]


def _command(*words: str) -> str:
    return code(" ".join(("meta", *words)), 1100)  # Temporal lets an id have a thousand characters


def _node(node: FailedNode) -> str:
    code = "" if node.exit_code is None else f" (exit code {node.exit_code})"
    return f"{plain(node.name, _NOTE)}{code}"


def _cause(start: StartRun) -> str:
    ways = {
        "api": "a call of the API",
        "nats": "a message on NATS",
        "bridge": "a message from another engine's event",
        "schedule": "a schedule",
        "backfill": "a backfill",
        "workflow": "another meta-run",
    }
    way = ways.get(start.trigger, plain(start.trigger, _NOTE))
    cause = start.cause
    if cause is None:
        return way
    at = f", {cause.at:%Y-%m-%d %H:%M:%S} UTC" if cause.at is not None else ""
    return f"{way}: {plain(cause.name, _NOTE)}{at}"


def _values(values: dict[str, JsonValue]) -> str:
    return ", ".join(f"{name} = {cut(_short(value), _NOTE)}" for name, value in values.items())


def _short(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else canonical_json(value).decode()


def _listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; of many the first and how many more."""
    all_names = list(names)
    if len(all_names) > _NAMED:
        return f"{', '.join(all_names[:_NAMED])} and {len(all_names) - _NAMED} more"
    *first, last = all_names
    return f"{', '.join(first)} and {last}" if first else last
