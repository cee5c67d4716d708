"""Stands between the judge and a command: ``python -I -S keeper.py REPORTS ORDERS WORD...`` (numbers of two pipes).

Whatever the command starts, in whatever session or group, is this process's to adopt when its parent ends
(PR_SET_CHILD_SUBREAPER), and gone when this one is: it kills everything when the judge closes ORDERS, by ending too.
It imports nothing of ours: a start of it is a start of every harness.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
#: Seconds that cleaning up may take: killed processes go at once unless they hang in the kernel.
_PATIENCE = 2.0
#: What is reported: a kind and a number.
RECORD = struct.Struct("<ii")
#: It could not be started (errno); it runs (process id); it ended (wait status); so many processes were left.
FAILED, STARTED, ENDED, LEFT = range(4)


def parents() -> dict[int, int]:
    """Return the parent of every process that is visible and no zombie."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is slow to import
        if name.isdigit() and (parent := parent_of(int(name))):
            found[int(name)] = parent
    return found


def parent_of(pid: int) -> int:
    """Return a process's parent; 0 for one that is gone, or a zombie (/proc's ``children`` is not in every kernel)."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        state, parent = file.read().rpartition(b")")[2].split()[:2]
        return int(parent) if state not in b"ZX" else 0
    return 0


def kill_adopted(everybody: bool = False) -> int:
    """Kill and reap every child, and the children that these leave, until there are none; return how many.

    ``everybody``: this is the init of a namespace, and all that is in it goes at once.
    """
    killed, deadline = 0, time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            continue
        # -1: everything in its namespace but init
        for child in [-1] if everybody else [pid for pid, parent in parents().items() if parent == os.getpid()]:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.001)
    return killed


def _keep(reports: int, orders: int, words: list[str]) -> None:
    def report(kind: int, number: int) -> None:
        with contextlib.suppress(OSError):
            os.write(reports, RECORD.pack(kind, number))

    for fd in (reports, orders):
        os.set_inheritable(fd, False)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    wakeup, wake = socket.socketpair()
    for end in (wakeup, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    default = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
    try:
        main = os.posix_spawnp(words[0], words, os.environ, setsid=True, setsigdef=default)
    except OSError as error:
        report(FAILED, error.errno or 0)
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):  # the pipes are the command's alone: their ends are seen
        os.dup2(nothing, fd)
    report(STARTED, main)
    poll = select.poll()
    for fd in (orders, wakeup.fileno()):
        poll.register(fd, select.POLLIN)
    ended = False
    while orders not in {fd for fd, _ in poll.poll()}:
        with contextlib.suppress(BlockingIOError):
            wakeup.recv(4096)
        with contextlib.suppress(ChildProcessError):
            while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
                if reaped[0] == main:
                    ended = True
                    report(ENDED, reaped[1])
    if not ended:
        with contextlib.suppress(OSError):
            os.killpg(main, signal.SIGKILL)
    left = kill_adopted()
    report(LEFT, left if ended else 0)


if __name__ == "__main__":
    _keep(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
