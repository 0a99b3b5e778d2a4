"""When a fault happens: rules, as text (`lost-response:times=1,verb=create`) and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from meta.sandbox.faults.kinds import KINDS, VERBS, EngineName, Kind, KindInfo

_MATCH = ("verb", "name", "label")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Model):
    """What a rule is about.

    Attributes:
        verb: of the request; empty for the kind's own, which for most is any.
        name: glob of the run's name (KFP: its display name).
        label: `key` or `key=value` that the run must bear; Argo only, KFP's runs have no labels.
    """

    verb: str = ""
    name: str = "*"
    label: str = ""


class FaultRule(_Model):
    """One fault and when it happens. Without `probability`, `every` and `times` it happens each time.

    Attributes:
        kind: what happens.
        match: to which requests.
        probability: of happening, from 0 to 1; drawn for each run by itself.
        every: each such-and-such time: 3 is the third, the sixth, ...
        times: at most so often.
        after: not the first so many times.
        per: what `every`, `times` and `after` count: all of the server's requests together, or each run's own.
        delay: seconds; what they mean depends on the kind.
        message: instead of the kind's own words.
        partial: watch-cut in the middle of a line.
        stream: watch-too-old inside the stream.
    """

    kind: Kind
    match: Match = Match()
    probability: float | None = Field(default=None, ge=0, le=1)
    every: int | None = Field(default=None, ge=1)
    times: int | None = Field(default=None, ge=1)
    after: int = Field(default=0, ge=0)
    per: Literal["server", "run"] = "server"
    delay: float | None = Field(default=None, ge=0, le=3600)
    message: str = ""
    partial: bool = False
    stream: bool = False

    @property
    def info(self) -> KindInfo:
        return KINDS[self.kind]

    @property
    def seconds(self) -> float:
        return self.delay if self.delay is not None else self.info.delay or 0.0

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        info, verb = self.info, self.match.verb
        for option in ("message", "partial", "stream"):
            if getattr(self, option) and option not in info.options:
                raise ValueError(f"{self.kind} has no {option}")
        if self.delay is not None and info.delay is None:
            raise ValueError(f"{self.kind} has no delay")
        if verb and info.verbs and verb not in info.verbs:
            raise ValueError(f"{self.kind} is about {' and '.join(info.verbs)} only, not {verb}")
        if self.kind in (Kind.LOST_RESPONSE, Kind.LOST_REQUEST) and verb in ("watch", "log"):
            raise ValueError(f"{self.kind} is not for streams; use watch-cut")
        return self

    def check(self, engine: EngineName, *, on_run: bool = False) -> None:
        """Refuse what the engine cannot do.

        Args:
            engine: whose server it is.
            on_run: whether the rule is set on one run.

        Raises:
            ValueError: with the reason.
        """
        if engine not in self.info.engines:
            raise ValueError(f"{self.kind} is no fault of {engine}")
        if self.match.verb and self.match.verb not in VERBS[engine]:
            raise ValueError(f"{engine} has no verb {self.match.verb}; it has {', '.join(sorted(VERBS[engine]))}")
        if self.match.label and engine is EngineName.KFP:
            raise ValueError("runs of KFP have no labels: match them by name")
        if on_run and not self.info.on_run:
            raise ValueError(f"{self.kind} cannot be set on one run: it is not about one")
        if on_run and (self.match.name != "*" or self.match.label):
            raise ValueError(f"{self.kind} on a run is about that run: take out name and label")

    def __str__(self) -> str:
        """The rule as text that `parse_rule` reads."""
        fields = cast("dict[str, object]", self.model_dump(exclude_defaults=True, exclude={"kind", "match"}))
        fields |= self.match.model_dump(exclude_defaults=True)
        words = (f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in fields.items())
        return ":".join(part for part in (self.kind.value, ",".join(words)) if part)


def parse_rule(text: str) -> FaultRule:
    """Read a rule: a kind, then options after a colon, apart by commas.

    Raises:
        ValueError: with the reason, and what there is.
    """
    name, _, rest = text.strip().partition(":")
    if name not in KINDS:
        raise ValueError(f'there is no fault "{name}"; there are {", ".join(KINDS)}')
    fields: dict[str, object] = {}
    match: dict[str, str] = {}
    for option in filter(None, (part.strip() for part in rest.split(","))):
        key, given, value = option.partition("=")
        if key in fields or key in match:
            raise ValueError(f'fault "{text.strip()}": {key} stands twice; give two rules')
        if key in _MATCH:
            match[key] = value
        else:
            fields[key] = value if given else True
    try:
        return FaultRule.model_validate({"kind": name, "match": match, **fields})
    except ValidationError as error:
        raise ValueError(f'fault "{text.strip()}": {problems(error)}') from error


def parse_rules(text: str) -> tuple[FaultRule, ...]:
    """Read rules that stand apart by semicolons.

    Raises:
        ValueError: as `parse_rule`.
    """
    return tuple(parse_rule(part) for part in text.split(";") if part.strip())


def parse_kinds(text: str) -> tuple[FaultRule, ...]:
    """Read kinds joined by dots, as a Kubernetes label can hold them; each happens once.

    Raises:
        ValueError: as `parse_rule`.
    """
    return tuple(parse_rule(f"{part}:times=1") for part in text.split(".") if part)


def problems(error: ValidationError) -> str:
    """What is wrong, in one line."""
    found = ((".".join(str(p) for p in e["loc"]), e["msg"].removeprefix("Value error, ")) for e in error.errors())
    return "; ".join(f"{place}: {said}" if place else said for place, said in found)


def _rule(value: object) -> object:
    return parse_rule(value) if isinstance(value, str) else value


class FaultPlan(_Model):
    """All rules of a server, and the seed of its draws. In JSON a rule is an object or a text."""

    seed: int = 0
    rules: tuple[Annotated[FaultRule, BeforeValidator(_rule)], ...] = ()

    def check(self, engine: EngineName) -> None:
        """Refuse rules that the engine cannot follow.

        Raises:
            ValueError: with the reason.
        """
        for rule in self.rules:
            rule.check(engine)


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether `key` or `key=value` is among the labels; an empty wish always is."""
    key, given, value = wanted.partition("=")
    return not key or (key in labels and (not given or labels[key] == value))
