"""A harness at the other end of three pipes: started from a command, fed, listened to, killed."""

import contextlib
import errno
import os
import select
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from golden.errors import GoldenError, MachineError, TargetError, UsageError
from runners.harness.frames import FrameReader, HarnessError, Message, printable
from runners.process import keeper
from runners.process.endings import describe_kill, memory_kills, signal_name

#: Seconds that a process has to end, once it has closed its output.
_PATIENCE = 3.0
#: Seconds that starting a process may take.
_START = 30.0
#: Seconds between looks at the time.
_LOOK = 0.1
#: Bytes a second: a line that is slower counts as hung.
SLOWEST = 1024
_CHUNK = 1 << 16
#: Bytes of text that are kept: the first of a call, and the last before an end.
_KEPT = 4096


class Peer:
    """A process that speaks the protocol. It and what it has started are killed by :meth:`kill`, and when we end.

    ``pid``: of the process itself; :mod:`runners.process.keeper` stands between it and us.

    ``ended``: "" while it runs, then how it ended or what it did wrong, as a predicate ("crashed with SIGSEGV").
    ``signal``: the name of the signal that it died of; ``exit_code``: -1 where there is none. ``environment``: its
    variables, those of this process by default.

    Raises :class:`UsageError` for a command that cannot be read, :class:`TargetError` for one that cannot be run, and
    :class:`MachineError` where this machine has no process or memory for it.
    """

    def __init__(self, command: str, environment: Mapping[str, str] | None = None) -> None:
        words = split_command(command)
        self.ended = ""
        self.signal = ""
        self.exit_code = -1
        self.fault = ""  # the signal's name in its own last words
        self.reader = FrameReader()
        self._outgoing = bytearray()
        self._text, self._tail, self._printed = bytearray(), bytearray(), 0
        self._status: int | None = None  # as wait gives it, once the process has ended
        self._left = 0
        self.pid = 0
        self._memory_kills = memory_kills()
        self._reports, reports = os.pipe()
        orders, self._orders = os.pipe()
        try:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, str(reports), str(orders), *words],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                pass_fds=(reports, orders),
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._reports)
            os.close(self._orders)
            raise _not_startable(words[0], error.errno) from error
        finally:
            os.close(reports)
            os.close(orders)
        assert self._keeper.stdin and self._keeper.stdout and self._keeper.stderr
        self._stdin, self._stdout, self._stderr = (
            self._keeper.stdin.fileno(),
            self._keeper.stdout.fileno(),
            self._keeper.stderr.fileno(),
        )
        self._selector = selectors.DefaultSelector()
        for fd in (self._stdout, self._stderr, self._reports):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ)
        os.set_blocking(self._stdin, False)
        kind, number = self._report(_START) or (keeper.FAILED, errno.EAGAIN)
        if kind != keeper.STARTED:
            self.kill()
            raise _not_startable(words[0], number)
        self.pid = number
        self._family, self._seen, self._adopted = {self.pid}, set[int](), set[int]()

    def send(self, data: bytes) -> None:
        """Queue bytes; they leave in :meth:`wait`, and at once as far as the pipe takes them."""
        self._outgoing += data
        self._write()

    def wait(self, seconds: float) -> list[tuple[Message, bytes]]:
        """Return the next messages; none after that many seconds, or when the process is gone (see ``ended``).

        A slow line is no hung kernel: every byte that moves adds the time it takes at SLOWEST, up to ``seconds`` from
        now. So what is slower is late, however long it goes on, and what has stopped is late after ``seconds``.
        """
        left, before = seconds, time.monotonic()
        while not self.ended:
            gone = self._status is not None  # then all that it has written is there; children may hold its output open
            ready = {key.fd for key, _ in self._selector.select(0 if gone else max(min(left, _LOOK), 0))}
            moved = self._write() if self._stdin in ready else 0
            if self._stderr in ready:
                self._listen()
            if self._reports in ready:
                self._report(0)
            if self._stdout in ready:
                news, count = self._read()
                if news:
                    return news
                moved += count
            elif gone:
                self._describe_end()
            now = time.monotonic()
            left, before = min(left - (now - before) + moved / SLOWEST, seconds), now
            if left <= 0:
                break
        return []

    def orphans(self) -> int:
        """Return how many processes have lost the parents that this one, or a child of it, was since the last look."""
        try:
            now = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - once a call
        except OSError:
            return 0
        new = 0
        for pid in sorted(now - self._seen | self._family & now):
            parent = keeper.parent_of(pid)
            if parent == self._keeper.pid and pid not in self._adopted and pid != self.pid:
                self._adopted.add(pid)
                new += 1
            if parent in self._family:
                self._family.add(pid)
        self._seen = now
        return new

    def kill(self) -> int:
        """End the process and everything it has started; returns how many were there when it had ended by itself."""
        os.close(self._orders)
        deadline = time.monotonic() + 2 * _PATIENCE
        while (left := deadline - time.monotonic()) > 0 and self._report(left):
            pass
        if left <= 0 and self.pid:  # somebody holds the keeper up
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        self._keeper.kill()
        self._keeper.wait()
        self._listen()
        self._selector.close()
        os.close(self._reports)
        for stream in (self._keeper.stdin, self._keeper.stdout, self._keeper.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        self.ended = self.ended or "was killed"
        return self._left

    def take_text(self) -> tuple[str, int]:
        """Return the first 4 KiB that were printed since the last time, and how many bytes there were."""
        text, printed = printable(self._text), self._printed
        self._text, self._printed = bytearray(), 0
        return text, printed

    def last_lines(self, count: int = 3) -> str:
        """Return the last lines that were printed, as one."""
        lines = [line.strip() for line in printable(self._tail).splitlines() if line.strip()]
        return "; ".join(lines[-count:])[:400]

    def _watch_input(self, wanted: bool) -> None:
        watched = self._stdin in {key.fd for key in self._selector.get_map().values()}
        if wanted and not watched:
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        elif watched and not wanted:
            self._selector.unregister(self._stdin)

    def _write(self) -> int:
        """Write what the pipe takes, and return how much that was."""
        before = len(self._outgoing)
        with contextlib.suppress(BlockingIOError):
            try:
                while self._outgoing and (written := os.write(self._stdin, self._outgoing[: 1 << 20])):
                    del self._outgoing[:written]
            except (BrokenPipeError, ValueError):
                self._outgoing.clear()  # its end comes on its output
        self._watch_input(bool(self._outgoing))
        return before - len(self._outgoing)

    def _report(self, seconds: float) -> tuple[int, int] | None:
        """Take in what the keeper says, if it does in time; None also when it has nothing more to say."""
        if not select.select([self._reports], [], [], seconds)[0]:
            return None
        record = os.read(self._reports, keeper.RECORD.size)
        if len(record) < keeper.RECORD.size:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(self._reports)
            if self._status is None:
                self.ended = self.ended or "has lost the process that looks after it"
            return None
        kind, number = keeper.RECORD.unpack(record)
        if kind == keeper.ENDED:
            self._status = number
        elif kind == keeper.LEFT:
            self._left = number
        return kind, number

    def _listen(self) -> None:
        """Take what was printed; at most a few chunks, so that nobody who prints for ever holds us up."""
        for _ in range(16):
            try:
                chunk = os.read(self._stderr, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(self._stderr)
                return
            self._printed += len(chunk)
            self._text += chunk[: _KEPT - len(self._text)]
            self._tail = (self._tail + chunk)[-_KEPT:]

    def _read(self) -> tuple[list[tuple[Message, bytes]], int]:
        """Return the messages that have come, and how many bytes that was."""
        try:
            chunk = os.read(self._stdout, _CHUNK)
        except BlockingIOError:
            return [], 0
        if not chunk:
            self._describe_end()
            return [], 0
        news: list[tuple[Message, bytes]] = []
        try:
            for message in self.reader.feed(chunk):
                news.append(message)  # one by one: those before a bad one count
        except HarnessError as error:
            self.ended = str(error)
        return news, len(chunk)

    def _describe_end(self) -> None:
        """The output has ended: say how, once the process has."""
        self._selector.unregister(self._stdout)
        self._watch_input(False)
        deadline = time.monotonic() + _PATIENCE
        while self._status is None and not self.ended and (left := deadline - time.monotonic()) > 0:
            ready = {key.fd for key, _ in self._selector.select(left)}
            if self._stderr in ready:
                self._listen()
            if self._reports in ready:
                self._report(0)
        if self._status is None:
            self.ended = self.ended or "closed its output without ending"
            return
        self._listen()
        part = f" in the middle of a frame ({len(rest)} bytes of it had come)" if (rest := self.reader.rest) else ""
        code = os.waitstatus_to_exitcode(self._status)
        if code == -signal.SIGKILL:
            self.signal = "SIGKILL"
            self.ended = describe_kill(memory_kills() > self._memory_kills) + part
        elif code < 0 or self.fault:
            self.signal = self.fault or signal_name(-code)
            self.ended = f"crashed with {self.signal}{part}"
        else:
            self.exit_code = code
            self.ended = f"ended with exit code {code}{part}"


def _not_startable(word: str, number: int | None) -> GoldenError:
    """Return the error for a command that could not be started: the machine's, or its own."""
    number = number or errno.EAGAIN
    if number in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return MachineError(f"{word} cannot be started: {os.strerror(number)}. Free memory, processes or open files.")
    return TargetError(
        f"{word} cannot be run: {os.strerror(number)}. After exec: comes the command that starts the harness, "
        "as a shell would take it."
    )


def split_command(command: str) -> list[str]:
    """Return the words of a command; raises :class:`UsageError` where there are none or a quote is open."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"The command {command!r} after exec: cannot be read: {error}.") from error
    if not words:
        raise UsageError("After exec: comes the command that starts the harness, such as exec:./harness.")
    return words
