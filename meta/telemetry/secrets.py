"""Keeps the configuration's secrets out of what is written for observers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

MASK = "***"
SHORTEST = 6
"""Characters; to mask a shorter one would spoil words that only look like it."""


class Mask:
    """Puts `MASK` for every secret in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one may be the beginning of another.
        self._secrets = sorted({one for one in secrets if len(one) >= SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def secrets_of(value: object) -> Iterator[str]:
    """All secrets in a configuration: what is declared as one, and passwords within addresses."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str):
        yield from _passwords(value)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_of(getattr(value, name))
    elif isinstance(value, Mapping):
        for one in value.values():  # pyright: ignore[reportUnknownVariableType] -- of whatever type
            yield from secrets_of(one)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:  # pyright: ignore[reportUnknownVariableType]
            yield from secrets_of(one)  # pyright: ignore[reportUnknownArgumentType]


def _passwords(text: str) -> Iterator[str]:
    for address in text.split(","):
        if "@" not in address or "://" not in address:
            continue
        try:
            parts = urlsplit(address.strip())
        except ValueError:  # no address at all
            continue
        if parts.password:
            yield from {parts.password, unquote(parts.password)}
