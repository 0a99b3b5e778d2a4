"""Headless Chromium by its DevTools protocol, over the pipe that the browser itself offers: no library is needed.

`--remote-debugging-pipe` makes the browser read commands from file descriptor 3 and write answers to 4, each a JSON
object that a zero byte ends. Protocol: https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
Reply = dict[str, Any]
SCALE = 1.2
_LAUNCH = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])  # out of the way of 3 and 4
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """One page, with commands that wait for their answer.

    Args:
        commands: the browser reads from it.
        answers: the browser writes to it.
    """

    def __init__(self, commands: IO[bytes], answers: IO[bytes]) -> None:
        self._commands = commands
        self._answers = answers
        self._number = 0
        self._width = 0
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def show(self, url: str, *, width: int, height: int) -> None:
        """Go to a page in a window of this size (CSS pixels), drawn larger by `SCALE`."""
        self._width = width
        size = {"width": width, "height": height, "deviceScaleFactor": SCALE, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited.

        Raises:
            RuntimeError: the script threw.
        """
        reply = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            raise RuntimeError(f"{script}: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    def wait_for(self, script: str, timeout: float = 60.0) -> Any:
        """Ask until an expression is true. One that throws is not true yet: a page begins without a body.

        Raises:
            TimeoutError: it is not, after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                if value := self.run(script):
                    return value
                problem = "it is false"
            except RuntimeError as error:
                problem = str(error)
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout:.0f} s, {script}: {problem}")
            time.sleep(0.2)

    def picture(self, file: Path, *, left: int, height: int, top: int = 0) -> None:
        """Write a part of the page as a PNG: from `left` to the right edge, from `top` down to `height`."""
        clip = {"x": left, "y": top, "width": self._width - left, "height": height - top, "scale": 1}
        data = self._call("Page.captureScreenshot", format="png", clip=clip)["data"]
        file.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **parameters: object) -> Reply:
        self._number += 1
        message: Reply = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = self._read()
            if answer.get("id") != self._number:
                continue  # an event, which nobody here waits for
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            return answer["result"]

    def _read(self) -> Reply:
        data = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser has ended")
            data += byte
        return json.loads(data)


@contextmanager
def browser() -> Generator[Page]:
    """A browser of its own, with a profile of its own; both are gone afterwards.

    Raises:
        RuntimeError: there is no Chromium on PATH.
    """
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        raise RuntimeError(f"none of {', '.join(NAMES)} is on PATH; Debian: apt-get install chromium")
    from_us, commands = os.pipe()
    answers, to_us = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, open(os.devnull, "wb") as nothing:
        process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(from_us), str(to_us), program, "--remote-debugging-pipe", *FLAGS,
             f"--user-data-dir={profile}"],
            pass_fds=(from_us, to_us), stdout=nothing, stderr=nothing, start_new_session=True,
        )  # fmt: skip
        os.close(from_us)
        os.close(to_us)
        try:
            with os.fdopen(commands, "wb") as writer, os.fdopen(answers, "rb") as reader:
                yield Page(writer, reader)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
