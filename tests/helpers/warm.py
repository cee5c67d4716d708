"""Commands without their imports: a process that has made them forks for each, which saves a third of a second.

What a command does is all in the fork, a process of its own as any other: arguments, environment, folder, output and
exit code. ``python -m tests.helpers.warm FD`` is that process; FD is a socket of requests, at whose end it ends.
"""

import gc
import json
import os
import pty
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests import ROOT

#: What commands read of their environment while they run, rather than Python or a library when it starts.
LATE = {"COLUMNS", "NO_COLOR", "TERM", "PATH", "CC", "HOME", "XDG_CACHE_HOME", "GOLDEN_NO_NATIVE", "GITHUB_ACTIONS"}
LATE |= {"_GOLDEN_COMPLETE", "COMP_WORDS", "COMP_CWORD"}


class Done(subprocess.CompletedProcess[str]):
    """A command that has ended, and the largest memory that it held, in bytes."""

    memory: int


class Warm:
    """The forking process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    @property
    def pid(self) -> int:
        """The process whose children the commands are."""
        if not self._process:
            self._start()
        assert self._process
        return self._process.pid

    def run(
        self,
        program: str,
        arguments: list[str],
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        session: bool = False,
        terminal: bool = False,
    ) -> Done:
        """Run ``golden`` or ``pytest`` as :func:`subprocess.run` does.

        ``session``: in one of its own. ``terminal``: with one for its output, all of which is in ``stdout`` then.
        """
        requests = self._requests or self._start()
        request = {"words": [program, *arguments], "cwd": str(cwd), "env": dict(env), "session": session}
        if terminal:
            leader, follower = pty.openpty()
            reads, writes = [leader], [follower, os.dup(follower)]
        else:
            reads, writes = map(list, zip(os.pipe(), os.pipe(), strict=True))
        socket.send_fds(requests, [json.dumps(request).encode()], writes)
        for end in writes:
            os.close(end)
        child = int(requests.recv(32))
        try:
            out, *err = _read(reads, time.monotonic() + timeout)
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, timeout) from None
        finally:
            status, memory = map(int, requests.recv(64).split())
        done = Done(arguments, os.waitstatus_to_exitcode(status), out, "".join(err))
        done.memory = memory
        return done

    def _start(self) -> socket.socket:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-m", "tests.helpers.warm", str(theirs.fileno())]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(words, cwd=ROOT, env=environment, pass_fds=[theirs.fileno()])
        return self._requests

    def close(self) -> None:
        """End the process, if it was started."""
        if self._process and self._requests:
            self._requests.close()
            self._process.wait()
            self._process = self._requests = None


def _read(ends: list[int], deadline: float) -> list[str]:
    """Read pipes until nobody holds their other ends; raises TimeoutError."""
    written = dict.fromkeys(ends, b"")
    try:
        with selectors.DefaultSelector() as waiting:
            for end in ends:
                waiting.register(end, selectors.EVENT_READ)
            while waiting.get_map():
                if not (ready := waiting.select(max(0.0, deadline - time.monotonic()))):
                    raise TimeoutError
                for key, _ in ready:
                    try:
                        piece = os.read(key.fd, 1 << 16)
                    except OSError:  # how a terminal says that its last writer is gone
                        piece = b""
                    written[key.fd] += piece
                    if not piece:
                        waiting.unregister(key.fd)
    finally:
        for end in ends:
            os.close(end)
    return [text.decode().replace("\r\n", "\n") for text in written.values()]


def _serve(requests: socket.socket) -> list[str]:
    """Fork for each request, one after the other; returns in the forks alone, with the words of the command."""
    while True:
        text, ends, _, _ = socket.recv_fds(requests, 1 << 20, 2)
        if not text:
            sys.exit()
        child = os.fork()
        if child == 0:
            requests.close()
            request = json.loads(text)
            os.environ.clear()
            os.environ.update(request["env"])
            os.chdir(request["cwd"])
            if request["session"]:
                os.setsid()
            more = [p for p in request["env"].get("PYTHONPATH", "").split(os.pathsep) if p and p not in sys.path]
            sys.path[:1] = [request["cwd"], *more]
            for number, name, end in zip((1, 2), ("stdout", "stderr"), ends, strict=True):
                os.dup2(end, number)
                os.close(end)
                was = getattr(sys, name)  # and may have been made for a file, where this is a pipe
                lines, kept = number == 2, (was.encoding, was.errors)
                setattr(sys, name, os.fdopen(number, "w", 1 if lines else -1, *kept, closefd=False))
            return [*request["words"]]
        for end in ends:
            os.close(end)
        requests.send(b"%d" % child)
        _, status, used = os.wait4(child, 0)
        requests.send(b"%d %d" % (status, used.ru_maxrss << 10))


if __name__ == "__main__":
    # What most commands import, directly or not, when they run.
    import pytest

    import generators.suite  # noqa: F401
    import golden.cli
    import golden.commands.catalogue
    import reports.diff
    import reports.formats
    import reports.html
    import reports.terminal
    import runners.hunting.hunt
    import runners.judging.traits
    import runners.judging.validate
    import runners.sweeping.engine
    import runners.sweeping.processes
    import runners.targets
    import runners.toolchain.build  # noqa: F401

    reports.html._environment().get_template("report.html.j2")  # compiling it takes longer than a small validation
    gc.freeze()
    sys.argv = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit({"golden": golden.cli.main, "pytest": pytest.console_main}[sys.argv[0]]())
