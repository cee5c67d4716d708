"""A harness at the other end of three pipes: started from a command, fed, listened to, killed."""

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping

from golden.errors import TargetError, UsageError
from runners.endings import signal_name
from runners.frames import FrameReader, HarnessError, Message

#: Seconds that a process has to end, once it has closed its output.
_PATIENCE = 3.0
#: Seconds between looks at whether the process still runs.
_LOOK = 0.1
_CHUNK = 1 << 16
#: Bytes of text that are kept: the first of a call, and the last before an end.
_KEPT = 4096


class Peer:
    """A process that speaks the protocol. It and its children are killed by :meth:`kill`.

    ``ended``: "" while it runs, then how it ended or what it did wrong, as a predicate ("crashed with SIGSEGV").
    ``signal``: the name of the signal that it died of; ``exit_code``: -1 where there is none. ``environment``: its
    variables, those of this process by default.

    Raises :class:`UsageError` for a command that cannot be read and :class:`TargetError` for one that cannot be run.
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
        try:
            self._process = subprocess.Popen(
                words,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise TargetError(
                f"{words[0]} cannot be run: {error.strerror}. After exec: comes the command that starts the harness, "
                "as a shell would take it."
            ) from error
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin, self._stdout, self._stderr = (
            self._process.stdin.fileno(),
            self._process.stdout.fileno(),
            self._process.stderr.fileno(),
        )
        self._selector = selectors.DefaultSelector()
        for fd in (self._stdout, self._stderr):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ)
        os.set_blocking(self._stdin, False)

    def send(self, data: bytes) -> None:
        """Queue bytes; they leave in :meth:`wait`, and at once as far as the pipe takes them."""
        self._outgoing += data
        self._write()

    def wait(self, seconds: float) -> list[tuple[Message, bytes]]:
        """Return the next messages; none after that many seconds, or when the process is gone (see ``ended``)."""
        deadline = time.monotonic() + seconds
        while not self.ended:
            left = max(deadline - time.monotonic(), 0.0)
            ready = {key.fd for key, _ in self._selector.select(min(left, _LOOK))}
            if not ready and self._process.poll() is not None:  # children that it left hold its output open
                self._describe_end()
            if self._stdin in ready:
                self._write()
            if ready & {self._stdin, self._stdout}:  # a slow line is no hung kernel: what moves gets more time
                deadline = time.monotonic() + seconds
            if self._stderr in ready:
                self._listen()
            if self._stdout in ready and (news := self._read()):
                return news
            if left == 0.0 and not ready:
                break
        return []

    def kill(self) -> bool:
        """End the process and all of its group; returns whether others of the group were left when it had ended."""
        left = False
        if self._process.poll() is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, 0)
                left = True
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listen()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        self.ended = self.ended or "was killed"
        return left

    def take_text(self) -> tuple[str, int]:
        """Return the first 4 KiB that were printed since the last time, and how many bytes there were."""
        text, printed = self._text.decode("utf-8", "replace"), self._printed
        self._text, self._printed = bytearray(), 0
        return text, printed

    def last_lines(self, count: int = 3) -> str:
        """Return the last lines that were printed, as one."""
        lines = [line.strip() for line in self._tail.decode("utf-8", "replace").splitlines() if line.strip()]
        return "; ".join(lines[-count:])[:400]

    def _watch_input(self, wanted: bool) -> None:
        watched = self._stdin in {key.fd for key in self._selector.get_map().values()}
        if wanted and not watched:
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        elif watched and not wanted:
            self._selector.unregister(self._stdin)

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                while self._outgoing and (written := os.write(self._stdin, self._outgoing[: 1 << 20])):
                    del self._outgoing[:written]
            except (BrokenPipeError, ValueError):
                self._outgoing.clear()  # its end comes on its output
        self._watch_input(bool(self._outgoing))

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

    def _read(self) -> list[tuple[Message, bytes]]:
        try:
            chunk = os.read(self._stdout, _CHUNK)
        except BlockingIOError:
            return []
        if not chunk:
            self._describe_end()
            return []
        news: list[tuple[Message, bytes]] = []
        try:
            for message in self.reader.feed(chunk):
                news.append(message)  # one by one: those before a bad one count
        except HarnessError as error:
            self.ended = str(error)
        return news

    def _describe_end(self) -> None:
        """The output has ended: say how, once the process has."""
        self._selector.unregister(self._stdout)
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.ended = "closed its output without ending"
            return
        self._listen()
        part = f" in the middle of a frame ({len(rest)} bytes of it had come)" if (rest := self.reader.rest) else ""
        if code < 0 or self.fault:
            self.signal = self.fault or signal_name(-code)
            self.ended = f"crashed with {self.signal}{part}"
        else:
            self.exit_code = code
            self.ended = f"ended with exit code {code}{part}"


def split_command(command: str) -> list[str]:
    """Return the words of a command; raises :class:`UsageError` where there are none or a quote is open."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"The command {command!r} after exec: cannot be read: {error}.") from error
    if not words:
        raise UsageError("After exec: comes the command that starts the harness, such as exec:./harness.")
    return words
