"""Sensors, written here, and what an import makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent, indent

from meta.importing import Imported, Options, Weight, import_file, write
from meta.triggers.asking import ask, wants
from meta.triggers.event import Event
from workflows.bundle import Bundle, build_bundle
from workflows.spec.trigger_models import NatsTrigger
from workflows.values import JsonObject, JsonValue

SOURCE = """\
apiVersion: argoproj.io/v1alpha1
kind: EventSource
metadata: {name: lake}
spec:
  nats:
    arrivals: {subject: lake.arrived, jsonBody: true, metadata: {site: north}}
    removals: {subject: lake.removed, jsonBody: true}
"""

WORKFLOW = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: ingest-}
spec:
  entrypoint: main
  arguments:
    parameters:
      - {name: uri}
      - {name: mode, value: full}
  templates:
    - name: main
      container: {image: "busybox:1", command: [echo], args: ["{{workflow.parameters.uri}}"]}
"""

URI = "{src: {dependencyName: file, dataKey: body.uri}, dest: spec.arguments.parameters.0.value}"


def dependency(more: str = "", name: str = "file", event: str = "arrivals") -> str:
    return f"- name: {name}\n  eventSourceName: lake\n  eventName: {event}\n" + indent(dedent(more), "  ")


def create(
    *parameters: str, name: str = "ingest", template: str = "", trigger: str = "", manifest: str = WORKFLOW
) -> str:
    """A trigger that creates a Workflow."""
    listed = "".join(f"      - {one}\n" for one in parameters or (URI,))
    return (
        f"- template:\n    name: {name}\n{indent(dedent(template), '    ')}"
        f"    k8s:\n      operation: create\n      source:\n        resource:\n{indent(manifest, ' ' * 10)}"
        f"      parameters:\n{listed}{indent(dedent(trigger), '  ')}"
    )


def sensor(*triggers: str, dependencies: str = "", spec: str = "") -> str:
    return (
        "apiVersion: argoproj.io/v1alpha1\nkind: Sensor\nmetadata: {name: on-arrival}\nspec:\n"
        f"{indent(dedent(spec), '  ')}  dependencies:\n{indent(dependencies or dependency(), '  ')}"
        f"  triggers:\n{indent(''.join(triggers or (create(),)), '  ')}"
    )


NOON = "2026-05-01T12:00:00"


@dataclass(frozen=True)
class Made:
    """An import, written and read again."""

    imported: Imported
    bundle: Bundle
    folder: Path

    @property
    def trigger(self) -> NatsTrigger:
        (only,) = self.bundle.definition.triggers
        assert only.nats is not None
        return only.nats

    @property
    def triggers(self) -> list[NatsTrigger]:
        return [one.nats for one in self.bundle.definition.triggers if one.nats is not None]

    def parameters(self, step: str = "ingest") -> JsonObject:
        return self.bundle.definition.steps[step].parameters

    def lets_in(self, data: JsonValue, *, headers: dict[str, str] | None = None, at: str = NOON) -> bool:
        return wants(self.trigger, event(data, headers=headers, at=at))

    def inputs(self, data: JsonValue) -> JsonObject:
        return ask("x", self.trigger, [event(data)], "nats:id:1").inputs

    def words(self, weight: Weight) -> str:
        return "\n".join(map(str, self.imported.report.of(weight)))

    @property
    def left_out(self) -> str:
        return self.words(Weight.LEFT_OUT)

    @property
    def differs(self) -> str:
        return self.words(Weight.DIFFERS)


def event(data: JsonValue, *, headers: dict[str, str] | None = None, at: str = NOON) -> Event:
    time = datetime.fromisoformat(at).replace(tzinfo=UTC)
    return Event("lake.arrived", data, "nats:id:1", time, headers=headers or {})


def make(folder: Path, text: str, *, source: str = SOURCE, options: Options | None = None) -> Made:
    """Import a text, write it, and build the bundle, which must be valid."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sensor.yaml"
    file.write_text(f"{source}---\n{text}" if source else text)
    imported = import_file(file, options or Options())
    assert imported.problems == []
    write(imported, folder / "out")
    return Made(imported, build_bundle(folder / "out" / "workflow.yaml"), folder / "out")
