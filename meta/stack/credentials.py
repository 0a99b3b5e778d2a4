"""Keys of the embedded object store, made once per data folder and readable by its owner alone."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from meta.stack.files import write_private
from workflows.errors import DataDirBroken


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    access_key: str
    secret_key: str
    admin_password: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of the S3 server, and the password of its own administration port, which nobody uses."""

    access_key: str
    secret_key: str
    admin_password: str

    @classmethod
    def of(cls, folder: Path) -> Credentials:
        """Read the folder's keys, or make them.

        Raises:
            DataDirBroken: the file is there and is not what we wrote.
        """
        file = folder / "credentials.json"
        if not file.exists():
            made = _File(
                access_key=secrets.token_hex(10), secret_key=secrets.token_hex(20), admin_password=secrets.token_hex(16)
            )
            write_private(file, made.model_dump_json(indent=2) + "\n")
        try:
            found = _File.model_validate_json(file.read_text())
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise DataDirBroken(
                f"{file}: not readable as the object store's keys: {error}",
                hint=f"restore the file, or remove {folder} (this removes all runs and artifacts of this stack)",
            ) from error
        return cls(found.access_key, found.secret_key, found.admin_password)

    def weed_identities(self) -> str:
        """Content of weed's `-s3.config` file."""
        keys = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        return json.dumps({"identities": [{"name": "meta", "credentials": keys, "actions": actions}]}, indent=2)
