"""The compose file: its shape, that all it names exists, and that our own parts understand what it gives them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import cast

import jsonschema
import pytest
import yaml

from meta.config import load_config
from workflows.values import JsonObject, JsonValue

ROOT = Path(__file__).parents[2]

STRINGS: JsonObject = {"type": "array", "items": {"type": "string"}, "minItems": 1}
DURATION: JsonObject = {"type": "string", "pattern": r"^(\d+(us|ms|s|m|h))+$"}
# The part of the compose specification that the file uses; anything else is refused, so a slip of a key shows.
SCHEMA: JsonObject = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "services", "volumes", "configs"],
    "patternProperties": {"^x-": {"type": "object"}},
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "volumes": {"type": "object", "additionalProperties": {"type": "object", "maxProperties": 0}},
        "configs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "oneOf": [{"required": ["content"]}, {"required": ["file"]}],
                "properties": {
                    "content": {"type": "string", "minLength": 1},
                    "file": {"type": "string", "pattern": "^deploy/"},
                },
            },
        },
        "services": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-zA-Z0-9._-]+$"},
            "additionalProperties": {"$ref": "#/$defs/service"},
        },
    },
    "$defs": {
        "service": {
            "type": "object",
            "additionalProperties": False,
            "required": ["image"],
            "properties": {
                "image": {"type": "string"},
                "build": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["context", "dockerfile"],
                    "properties": {"context": {"type": "string"}, "dockerfile": {"type": "string"}},
                },
                "command": STRINGS,
                "entrypoint": STRINGS,
                "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                "depends_on": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["condition"],
                        "properties": {
                            "condition": {
                                "enum": ["service_started", "service_healthy", "service_completed_successfully"]
                            }
                        },
                    },
                },
                "configs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["source", "target"],
                        "properties": {"source": {"type": "string"}, "target": {"type": "string", "pattern": "^/"}},
                    },
                },
                "profiles": {**STRINGS, "items": {"enum": ["metrics"]}},
                "ports": {**STRINGS, "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
                "volumes": {**STRINGS, "items": {"type": "string", "pattern": r"^[a-z0-9]+:/[a-z/]+$"}},
                "healthcheck": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["test", "interval", "timeout", "retries"],
                    "properties": {
                        "test": {"type": "array", "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}], "minItems": 2},
                        "interval": DURATION,
                        "timeout": DURATION,
                        "retries": {"type": "integer", "minimum": 1},
                    },
                },
                "init": {"type": "boolean"},
                "restart": {"type": "string", "pattern": r"^(no|always|unless-stopped|on-failure(:\d+)?)$"},
                "stop_grace_period": DURATION,
            },
        }
    },
}
VARIABLE = re.compile(r"\$\$|\$\{([A-Z0-9_]+)(?::-([^}]*))?\}")


def interpolate(value: JsonValue) -> JsonValue:
    """What compose makes of the file with an empty environment."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda match: "$" if match[0] == "$$" else match[2] or "", value)
    if isinstance(value, list):
        return [interpolate(item) for item in value]
    if isinstance(value, dict):
        return {key: interpolate(item) for key, item in value.items()}
    return value


TEXT = (ROOT / "docker-compose.yml").read_text()
FILE = cast("JsonObject", interpolate(cast("JsonValue", yaml.safe_load(TEXT))))
SERVICES = cast("dict[str, dict[str, JsonValue]]", FILE["services"])
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def strings(service: dict[str, JsonValue], key: str) -> list[str]:
    return cast("list[str]", service.get(key, []))


def test_the_file_has_the_shape_of_a_compose_file() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    errors = jsonschema.Draft202012Validator(SCHEMA).iter_errors(FILE)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_a_slip_of_a_key_is_refused() -> None:
    wrong = {**FILE, "services": {"nats": {**SERVICES["nats"], "helthcheck": {}}}}
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(wrong)


def test_all_the_parts_are_there() -> None:
    parts = {"postgres", "temporal", "temporal-ui", "nats", "s3", "argo", "kfp", "worker", "service"}
    assert parts <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_everything_a_service_names_exists(name: str) -> None:
    service = SERVICES[name]
    for other, how in cast("dict[str, dict[str, str]]", service.get("depends_on", {})).items():
        assert other in SERVICES
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other], f"{name} waits for {other}'s health for ever"
        if how["condition"] == "service_completed_successfully":
            assert SERVICES[other]["restart"] == "on-failure", f"{other} would be started again after it is done"
    for volume in strings(service, "volumes"):
        assert volume.partition(":")[0] in cast("JsonObject", FILE["volumes"])
    for config in cast("list[dict[str, str]]", service.get("configs", [])):
        assert config["source"] in cast("JsonObject", FILE["configs"])
    if "build" in service:
        build = cast("dict[str, str]", service["build"])
        assert (ROOT / build["context"] / build["dockerfile"]).is_file()


def test_no_volume_or_config_is_left_over() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in strings(service, "volumes")}
    assert used == set(cast("JsonObject", FILE["volumes"]))
    sources = {
        config["source"]
        for service in SERVICES.values()
        for config in cast("list[dict[str, str]]", service.get("configs", []))
    }
    configs = cast("dict[str, dict[str, str]]", FILE["configs"])
    assert sources == set(configs)
    assert [
        config["file"] for config in configs.values() if "file" in config and not (ROOT / config["file"]).is_file()
    ] == []


def test_prometheus_scrapes_where_our_parts_tell_their_metrics() -> None:
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    asked = {job["job_name"]: job["dns_sd_configs"][0] for job in scrape["scrape_configs"]}
    for name in ("service", "worker"):
        assert asked[f"meta-{name}"]["names"] == [name]
        environment = cast("dict[str, str]", SERVICES[name]["environment"])
        assert environment[f"META_TELEMETRY__METRICS__{name.upper()}"] == f"0.0.0.0:{asked[f'meta-{name}']['port']}"
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    image = cast("str", SERVICES[name]["image"])
    assert re.fullmatch(r"[a-z0-9/-]+:v?\d+(\.\d+)+(-[a-z]+)?", image), image


@pytest.mark.parametrize("name", [name for name in SERVICES if SERVICES[name]["restart"] != "on-failure"])
def test_what_runs_for_ever_says_whether_it_is_well(name: str) -> None:
    assert name == "worker" or "healthcheck" in SERVICES[name], "the worker alone has nothing to be asked at"


def test_no_two_services_take_one_port() -> None:
    ports = [port.split(":")[1] for service in SERVICES.values() for port in strings(service, "ports")]
    assert len(ports) == len(set(ports))


def test_passwords_can_all_be_given_by_variable() -> None:
    for line in TEXT.splitlines():
        if re.match(r"\s*[A-Z_]*(PASSWORD|PWD|SECRET|TOKEN|KEY(_ID)?):", line):
            # an engine of one's own may ask for a token, the sandboxes do not
            default = "" if "ENGINES" in line else "meta-development"
            assert re.search(rf"\$\{{[A-Z0-9_]+:-{default}\}}", line), line


@pytest.mark.parametrize("name", ["worker", "service"])
def test_the_configuration_understands_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in cast("dict[str, str]", SERVICES[name]["environment"]).items():
        monkeypatch.setenv(key, value)
    config = load_config(None)
    assert config.temporal.address == "temporal:7233"
    assert config.store.url.startswith("postgresql+asyncpg://meta:meta-development@postgres:5432/")
    assert {engine: settings.kind for engine, settings in config.engines.items()} == {"argo": "argo", "kfp": "kfp"}
    hosts = [config.temporal.address, config.nats.url, config.objects.endpoint or "", config.store.url]
    hosts += [settings.url for settings in config.engines.values()]
    for address in hosts:
        host = re.sub(r"^[a-z+]+://([^@/]*@)?", "", address).partition(":")[0]
        assert host in SERVICES, f"{address} names no service"


@pytest.mark.parametrize("name", [name for name in OURS if "command" in OURS[name]])
def test_our_programs_know_the_options_they_are_given(name: str) -> None:
    module = strings(OURS[name], "entrypoint")[2]
    usage = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True).stdout
    options = {word.partition("=")[0] for word in strings(OURS[name], "command") if word.startswith("--")}
    assert options
    assert {option for option in options if option not in usage.split() and f"{option} " not in usage} == set()
