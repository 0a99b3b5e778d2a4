"""Runs a command in its own process group and kills the group when the parent dies. See `meta/processes.py`.

Usage: python -I -S guard.py LIFELINE_FD COMMAND [ARGUMENT ...]

The lifeline is one end of a socket pair: the guard writes the child's process id to it, then only waits for its end.
A SIGTERM that comes before the mask is set ends the guard by default, before there is a child: nothing is left then.
Standard library only, few imports: one of these runs beside every child.
"""

import contextlib
import os
import signal
import sys
import threading

PASSED_ON = {signal.SIGTERM, signal.SIGINT}


def main() -> int:
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(lifeline, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is a child to pass it to
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and exec would hand that down
            signal.signal(ignored, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)

    def pass_on(signum: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended a moment ago: the exit code is on its way
            os.kill(child, signum)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    with contextlib.suppress(OSError):  # the parent is gone already; the watch below sees it
        os.write(lifeline, b"%d\n" % child)

    def watch() -> None:
        with contextlib.suppress(OSError):  # a reset is an end too: the parent died with our line unread
            while os.read(lifeline, 1):
                pass
        os.killpg(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main())
