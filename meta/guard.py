"""Runs a command in its own process group and kills the group when the parent dies. See `meta/processes.py`.

Usage: python -I -S guard.py LIFELINE_FD[,reap][,memory=BYTES][,cores=NUMBER] COMMAND [ARGUMENT ...]

The lifeline is one end of a socket pair: the guard writes the child's process id to it, then only waits for its end.
With `reap` (Linux) whatever the child leaves behind ends with it, also what made itself a session of its own. With
`memory` the guard ends the child when it and all below it hold more, and writes `oom` to the lifeline; with `cores`
they run on that many of the machine's cores.
A SIGTERM that comes before it is blocked ends the guard by default, before there is a child: nothing is left then.
Standard library only, and little of it: one of these runs beside every child.
"""

import os
import sys
import time
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:  # what is behind it: `signal`, `threading` and `contextlib` double the time that a guard takes to start
    import _signal as signal

PASSED_ON = {signal.SIGTERM, signal.SIGINT}
WAITED_FOR = {*PASSED_ON, signal.SIGCHLD}
MEMORY_POLL_S = 0.1


def main() -> int:
    number, *settings = sys.argv[1].split(",")
    lifeline, command = int(number), sys.argv[2:]
    options = {key: value for key, _, value in (setting.partition("=") for setting in settings)}
    os.set_inheritable(lifeline, False)
    reaps = "reap" in options and become_reaper()
    if "cores" in options and hasattr(os, "sched_setaffinity"):
        take_cores(int(options["cores"]))
    # Blocked for good, in all threads, and waited for: a handler in Python runs when the main thread wakes up, and one
    # that sleeps in wait(2) is not woken by a signal that came just before, or that another thread was given.
    signal.signal(signal.SIGCHLD, ignore)  # a handler, so that it is kept while it is blocked
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED_FOR)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and exec would hand that down
            signal.signal(ignored, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)

    tell(lifeline, b"%d\n" % child)

    def watch() -> None:
        try:
            while os.read(lifeline, 1):
                pass
        except OSError:  # a reset is an end too: the parent died with our line unread
            pass
        if reaps:
            kill(descendants())
        os.killpg(os.getpid(), signal.SIGKILL)

    start_new_thread(watch, ())
    if "memory" in options:
        start_new_thread(watch_memory, (int(options["memory"]), lifeline))
    return wait_for(child, reaps)


def wait_for(child: int, reaps: bool) -> int:
    """The child's exit code, once it and, where we are the reaper, all that it left have ended."""
    status = None
    while status is None:
        signum = signal.sigwait(WAITED_FOR)
        if signum in PASSED_ON:
            kill([child], signum)
        else:
            status = reap(child)
    while reaps and (left := descendants()):
        kill(left)
        try:
            os.wait()
        except ChildProcessError:  # it was another's child and has ended
            pass
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def reap(child: int) -> int | None:
    """Take note of all that have ended; the child's status if it is among them. One SIGCHLD may stand for several."""
    status = None
    while True:
        try:
            ended, found = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # there are no others
            return status
        if ended == 0:
            return status
        if ended == child:
            status = found


def ignore(_signum: int, _frame: object) -> None:
    """It is only waited for."""


def watch_memory(limit: int, lifeline: int) -> None:
    """Kill all below us once it holds more than `limit` bytes, and say so."""
    family = descendants()
    while sum(map(resident, family)) <= limit:
        time.sleep(MEMORY_POLL_S)
        family = descendants()
    tell(lifeline, b"oom\n")
    kill(family)


def tell(lifeline: int, line: bytes) -> None:
    """Write to the parent."""
    try:
        os.write(lifeline, line)
    except OSError:  # it is gone: nobody needs to know, and the watch sees it
        pass


def take_cores(number: int) -> None:
    """Keep us, and so the child, on some of the cores."""
    allowed = sorted(os.sched_getaffinity(0))
    first = os.getpid() % len(allowed)  # so that several do not all sit on the first core
    os.sched_setaffinity(0, {allowed[(first + i) % len(allowed)] for i in range(number)})


def become_reaper() -> bool:
    """Let orphans below us become our children (prctl(2), PR_SET_CHILD_SUBREAPER); False where that does not exist."""
    if sys.platform != "linux":
        return False
    import ctypes  # here, because most guards do not need it

    return ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0


def descendants() -> list[int]:
    """All processes below this one; none where /proc does not tell."""
    found = [os.getpid()]
    for pid in found:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    found.extend(map(int, file.read().split()))
        except OSError:  # it has just ended
            continue
    return found[1:]


def resident(pid: int) -> int:
    """Bytes of memory that a process holds for itself: what is shared, as files and libraries are, does not count."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            _, held, shared, *_ = map(int, file.read().split())
    except OSError:  # it has just ended
        return 0
    return (held - shared) * os.sysconf("SC_PAGE_SIZE")


def kill(pids: list[int], sig: int = signal.SIGKILL) -> None:
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:  # it ended a moment ago
            continue


if __name__ == "__main__":
    os._exit(main())
