"""Events to the server, and its answers."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

REPLY_POLL_S = 0.02


class Channel:
    """Events to the server, and its answers."""

    def __init__(self, out: int, replies: Path) -> None:
        self._out = os.fdopen(out, "w", encoding="utf-8")
        self._replies = replies
        self._lock = threading.Lock()
        self._asked = 0

    def tell(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, **fields}, default=str)
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()

    def ask(self, event: str, **fields: Any) -> None:
        """Ask the server and wait for its answer; the server ends us if it goes away.

        Raises:
            RuntimeError: the server could not do it; the message is the server's.
        """
        with self._lock:
            self._asked += 1
            number = self._asked
        self.tell(event, reply=number, **fields)
        answer = self._replies / f"{number}.json"
        while not answer.exists():
            time.sleep(REPLY_POLL_S)
        error = json.loads(answer.read_text(encoding="utf-8")).get("error")
        if error:
            raise RuntimeError(error)
