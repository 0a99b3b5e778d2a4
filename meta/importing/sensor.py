"""A Sensor of Argo Events as definitions.

Triggers of the sensor that the same events start become steps of one definition; others get a definition of their own.
Source: argo-events, `pkg/apis/events/v1alpha1/sensor_types.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meta.importing.actions import Context, step_of
from meta.importing.conditions import alternatives
from meta.importing.documents import At, ImportRefused
from meta.importing.draft import DefinitionDraft, TriggerDraft, free, label_of, name_of
from meta.importing.events import Dependency
from meta.importing.filters import when_of
from meta.importing.guarantees import Delivery, guarantees
from meta.importing.kfp_body import Pipelines
from meta.importing.logic import FALSE
from meta.importing.paths import NotCarried
from meta.importing.report import Report
from meta.importing.sources import Subjects, dependencies

_SPEC = frozenset(
    {"dependencies", "triggers", "template", "errorOnFailedRound", "eventBusName", "replicas", "revisionHistoryLimit",
     "loggingFields"}
)  # fmt: skip
_TRIGGER = frozenset(
    {"template", "parameters", "policy", "retryStrategy", "rateLimit", "atLeastOnce", "dlqTrigger"}
)  # fmt: skip
_UNITS = {"": "s", "Second": "s", "Minute": "m", "Hour": "h"}
_OWN = {
    "template": "the sensor's own pod; the service acts with the rights of its engines in meta.toml",
    "errorOnFailedRound": "the sensor stops after a failure; a trigger here goes on",
    "eventBusName": "the bus between event source and sensor; here messages come from NATS itself",
    "replicas": "of the sensor; any number of services share the triggers",
}


@dataclass(frozen=True)
class _Action:
    """A trigger of the sensor, and what starts it.

    Attributes:
        starters: dependencies that start it alone.
    """

    at: At
    name: str
    starters: tuple[str, ...]
    rate: str


def import_sensor(sensor: At, subjects: Subjects, pipelines: Pipelines, report: Report) -> list[DefinitionDraft]:
    """Turn a sensor into definitions.

    Raises:
        ImportRefused: none of its triggers starts an engine run, or a dependency waits for no NATS event.
    """
    spec, name = sensor["spec"], sensor["metadata"].text("name") or "sensor"
    report.unknown(spec, _SPEC, "a sensor")
    known = dependencies(spec["dependencies"], subjects, report)
    if not known:
        raise ImportRefused(f"{spec.place}: the sensor has no dependencies", hint="nothing would start it")
    actions = [_action(one, known, report) for one in spec["triggers"].items()]
    groups: dict[tuple[tuple[str, ...], str], list[_Action]] = {}
    for action in actions:
        groups.setdefault((action.starters, action.rate), []).append(action)
    drafts: list[DefinitionDraft] = []
    for (starters, rate), members in groups.items():
        draft = DefinitionDraft(label_of(f"{name}-{members[0].name}"), f"Imported from the Argo Events Sensor {name}")
        draft.triggers = _triggers([known[one] for one in starters], rate, subjects.stream, report)
        _steps(members, Context(known, draft, pipelines, report))
        if draft.steps:
            drafts.append(draft)
    if not drafts:
        reasons = "\n".join(str(remark) for remark in report.remarks)
        raise ImportRefused(
            f"{sensor.place}: no trigger of the sensor starts an Argo Workflow or a KFP run\n{reasons}",
            hint="other triggers (Slack, Kafka, e-mail ...) stay with the sensor",
        )
    if len(drafts) == 1:
        drafts[0].name = label_of(name)
    for key, why in _OWN.items():
        if key in spec:
            report.differs(spec[key], f"{key}: {why}")
    report.guarantees = guarantees(_delivery(actions))
    return drafts


def _action(at: At, known: Mapping[str, Dependency], report: Report) -> _Action:
    report.unknown(at, _TRIGGER, "a trigger")
    template = at["template"]
    name = template.text("name") or "trigger"
    starters: list[str] = []
    try:
        for one in alternatives(template.text("conditions"), list(known)):
            if len(one) == 1:
                starters.extend(one)
            else:
                together = " && ".join(dependency for dependency in known if dependency in one)
                report.left_out(
                    template["conditions"] if "conditions" in template else at,
                    f"'{name}' waits for events of several dependencies together: {together}",
                    "a trigger here reads one message: let a producer publish one when all have come",
                )
    except NotCarried as reason:
        report.left_out(template["conditions"], str(reason))
    if "conditionsReset" in template:
        report.left_out(
            template["conditionsReset"], "conditionsReset: nothing is remembered from event to event here, so there is"
            " nothing to forget"
        )  # fmt: skip
    _delivery_words(at, name, report)
    return _Action(at, name, tuple(sorted(starters)), _rate(at["rateLimit"], report))


def _delivery_words(at: At, name: str, report: Report) -> None:
    if "policy" in at:
        report.differs(at["policy"], f"'{name}' has a policy on how its action went; here the step waits for the end")
    if "dlqTrigger" in at:
        report.left_out(at["dlqTrigger"], "dlqTrigger: what it does with what cannot be acted on",
                        "a subscriber of meta.dead.<workflow> can do the same")  # fmt: skip
    if "retryStrategy" in at:
        words = "engines that are down are waited for; 'maxDeliver' and 'backoff' of the trigger say the rest"
        report.left_out(at["retryStrategy"], "retryStrategy: how often an action is tried", words)


def _rate(at: At, report: Report) -> str:
    if at.value is None:
        return ""
    unit, number = at.text("unit"), at["requestsPerUnit"].value
    if unit not in _UNITS or not isinstance(number, int) or not 0 < number < 1_000_000:
        report.left_out(at, "a rateLimit that is none: requestsPerUnit is a number, unit Second, Minute or Hour")
        return ""
    return f"{number}/{_UNITS[unit]}"


def _triggers(starters: Sequence[Dependency], rate: str, stream: str, report: Report) -> dict[str, TriggerDraft]:
    """A trigger for each dependency, by its name."""
    found: dict[str, TriggerDraft] = {}
    for one in starters:
        subject = one.source.subject
        when = when_of(one, report)
        if when != FALSE:
            alone = sum(other.source.subject == subject for other in starters) == 1
            name = "" if alone else label_of(one.name)
            found[one.name] = TriggerDraft(subject, when, rate=rate, stream=stream, name=name)
    return found


def _steps(members: Sequence[_Action], context: Context) -> None:
    steps = context.draft.steps
    for member in members:
        name = free(name_of(member.name), {step.name: step for step in steps})
        try:
            steps.append(step_of(member.at, name, context))
        except NotCarried as reason:
            why = f"trigger '{member.name}' is left out: {reason}"
            context.report.left_out(member.at, why, "leave it to the sensor")


def _delivery(actions: Sequence[_Action]) -> Delivery:
    return Delivery(
        at_least_once=any(action.at.flag("atLeastOnce") for action in actions),
        at_most_once=not all(action.at.flag("atLeastOnce") for action in actions),
        dlq=any("dlqTrigger" in action.at for action in actions),
        rate=any(action.rate for action in actions),
    )
