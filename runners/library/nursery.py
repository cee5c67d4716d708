"""The judge's end of the process that supervises libraries (:mod:`runners.process.supervisor`), and of their worker."""

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runners.calling.call import Finding
from runners.process import messages
from runners.process.messages import Allow, Ended, Event, Kill, Ready, Refused, Spawn, Started
from runners.process.supervisor import MESSAGE, Setting, kill_group

#: Bytes of the library's own text that are kept an outcome and stream.
KEPT_TEXT = 4096
#: How a refused system call, by what it was for, is found; what is not here is a remark.
_REFUSED = {
    "start a process": "forked",
    "look into or change another process": "intrusion",
    "send a signal to another process": "intrusion",
    "change mounts or namespaces": "intrusion",
    "change the system": "intrusion",
    "change the memory that operands lie in": "guard",
    "handle the signal of a bad access itself": "guard",
}
#: Seconds that cleaning up may take: killed processes go at once unless they hang in the kernel.
_PATIENCE = 2.0
#: Seconds for starting a process, which waits for nothing but the machine.
START = 30.0

#: Note of the end of a worker whose nursery was killed.
LOST = "lost the process that supervises it"

News = messages.Reply | Event


class Text:
    """One output stream of a library: kept at the beginning, counted to the end."""

    def __init__(self) -> None:
        self.fd, self.writer = os.pipe()
        os.set_blocking(self.fd, False)
        self._kept = bytearray()
        self._total = 0

    def __bool__(self) -> bool:
        return bool(self._total)

    def drain(self) -> None:
        """Take what is there now, one pipe's content at most: some libraries never stop printing."""
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(self.fd, 1 << 20)
            self._total += len(chunk)
            self._kept += chunk[: KEPT_TEXT - len(self._kept)]

    def take(self) -> tuple[str, int]:
        """Return the kept text and the number of bytes there were, and begin anew."""
        if not self._total:
            return "", 0
        taken = self._kept.decode("utf-8", "replace"), self._total
        self._kept, self._total = bytearray(), 0
        return taken


class Nursery:
    """The judge's handle of a nursery process of its own, and of the one worker that it has at a time.

    ``stdout`` and ``stderr`` hold what workers have printed; ``lost``: the process was killed, start another
    one.
    """

    def __init__(
        self, setting: Setting, descriptors: Sequence[int] = (), decode: Callable[[Any], Any] = messages.decode_reply
    ) -> None:
        self._decode = decode
        self.stdout, self.stderr = Text(), Text()
        self.lost = False
        self.layers: frozenset[str] = frozenset()
        self._events, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._events.setblocking(False)
        self._control: socket.socket | None = None
        self._frames = messages.Frames()
        self._outgoing: deque[memoryview] = deque()
        self._poll_out = False  # something could not be sent yet
        self._poll = select.poll()
        self._worker = 0
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        # -P: modules of the current folder must not be imported in place of the standard ones. A session of
        # its own: a terminal's interrupt is for the judge, which then ends this process.
        command = [sys.executable, "-P", "-m", "runners.process.supervisor", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                [*command, msgspec.json.encode(setting).decode()],
                stdin=subprocess.DEVNULL,
                stdout=self.stdout.writer,
                stderr=self.stderr.writer,
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=[theirs.fileno(), *descriptors],
                start_new_session=True,
            )
        os.close(self.stdout.writer)
        os.close(self.stderr.writer)
        if select.select([self._events], [], [], START)[0] and isinstance(event := self._event(), Ready):
            self.layers = frozenset(event.layers)
        else:
            from golden.errors import MachineError  # noqa: PLC0415 - what a library's process must not have

            self.stderr.drain()
            said = self.stderr.take()[0].strip()
            self.close()
            reason = f" ({said.splitlines()[-1]})" if said else ""
            raise MachineError(
                f"The process that supervises libraries does not start{reason}: the machine lacks memory or processes. "
                "See 'golden doctor'."
            )

    @property
    def pid(self) -> int:
        """Number of the nursery process."""
        return self._process.pid

    @property
    def worker(self) -> int:
        """Number of the worker's process and process group; 0 while there is none or it is not known yet."""
        return self._worker

    @property
    def printed(self) -> bool:
        """Tell whether workers have printed anything that was not taken."""
        return bool(self.stdout or self.stderr)

    def spawn(self) -> None:
        """Start a worker, once the one before it has ended; raises OSError when the nursery is gone."""
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        with theirs:
            socket.send_fds(self._events, [messages.encode(Spawn())], [theirs.fileno()])
        self._frames = messages.Frames()
        self._outgoing.clear()
        self._poll_out = False
        self._poll = select.poll()
        for fd in (self._control, self._events, self.stdout.fd, self.stderr.fd):
            self._poll.register(fd, select.POLLIN)

    def allow(self, ranges: list[tuple[int, int]]) -> None:
        """Let the worker map these ranges of the memory that is watched."""
        with contextlib.suppress(OSError):  # a nursery that is gone is noticed in :meth:`wait`
            self._events.setblocking(True)
            self._events.send(messages.encode(Allow(ranges)))
        self._events.setblocking(False)

    def hand_over(self, message: object, descriptors: Sequence[int]) -> None:
        """Send a worker its first message, with descriptors."""
        assert self._control is not None
        frame = messages.frame(message)
        with contextlib.suppress(OSError):
            self._control.setblocking(True)
            sent = socket.send_fds(self._control, [frame], descriptors)
            self._control.sendall(frame[sent:])
        self._control.setblocking(False)

    def send(self, *requests: object) -> None:
        """Queue messages, and send what the socket takes now; a worker that is gone gets nothing."""
        self._outgoing.append(memoryview(b"".join(map(messages.frame, requests))))
        self._flush()

    def wait(self, timeout: float) -> list[News]:
        """Return what is new, a worker's end always last; an empty list after ``timeout`` seconds without."""
        deadline = time.monotonic() + timeout
        while True:
            ready = dict(self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            news: list[News] = []
            ended: Ended | None = None
            try:
                if self._events.fileno() in ready:
                    while (event := self._event()) is not None:
                        if isinstance(event, Ended):
                            ended = event
                            break
                        news.append(event)  # refusals come before the answer of the call that they were part of
                if self._control is not None and (mask := ready.get(self._control.fileno())):
                    if mask & select.POLLOUT:
                        self._flush()
                    news += self._receive()
                if ended is not None:
                    news += [*self._receive(to_the_end=True), ended]
            except messages.FrameError as error:
                if self._control is not None:
                    self._poll.unregister(self._control)
                    self._control.close()
                    self._control = None
                if ended is None:
                    self.kill()
                return [*news, Ended(0, 0, 0, 0, f"wrote to a descriptor that is not its own ({error})")]
            # Now: what a call has printed was there before the news of its end, if perhaps not when we looked.
            for text in (self.stdout, self.stderr):
                if news or text.fd in ready:
                    text.drain()
            if news or time.monotonic() >= deadline:
                return news

    def kill(self) -> list[News]:
        """End the worker with all it has started; return what is new, and last its end."""
        with contextlib.suppress(OSError):
            self._events.send(messages.encode(Kill()))
        news: list[News] = []
        deadline = time.monotonic() + 2 * _PATIENCE
        while not (news and isinstance(news[-1], Ended)):
            if time.monotonic() > deadline:
                self._process.kill()  # stopped or stuck: its end is noticed as below
            news += self.wait(_PATIENCE)
        return news

    def destroy(self) -> None:
        """Kill the nursery with everything that it has started, while another thread may be in :meth:`wait`."""
        self._process.kill()
        self._process.wait()
        if self._worker and "namespaces" not in self.layers:
            kill_group(self._worker)

    def close(self) -> None:
        """End the nursery, and with it its worker."""
        self._events.close()
        if self._control is not None:
            self._control.close()
        try:
            self._process.wait(2 * _PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            if self._worker:
                kill_group(self._worker)
        for text in (self.stdout, self.stderr):
            os.close(text.fd)

    def _flush(self) -> None:
        control = self._control
        if control is None:
            return
        try:
            while self._outgoing:
                sent = control.send(self._outgoing[0])
                self._outgoing[0] = self._outgoing[0][sent:]
                if not self._outgoing[0]:
                    self._outgoing.popleft()
        except BlockingIOError:
            self._poll.modify(control, select.POLLIN | select.POLLOUT)
            self._poll_out = True
            return
        except OSError:  # the worker is gone or going: its end will be reported
            self._outgoing.clear()
        if self._poll_out:
            self._poll_out = False
            with contextlib.suppress(OSError):
                self._poll.modify(control, select.POLLIN)

    def _receive(self, to_the_end: bool = False) -> list[messages.Reply]:
        """Return the messages that have arrived; raises FrameError for garbage."""
        news: list[messages.Reply] = []
        while self._control is not None:
            try:
                chunk = self._control.recv(1 << 20)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:  # the worker is gone, or the library has closed a descriptor that is not its own
                with contextlib.suppress(KeyError):
                    self._poll.unregister(self._control)
                break
            news += [self._decode(body) for body in self._frames.feed(chunk)]
            if not to_the_end:
                break
        return news

    def _event(self) -> Event | None:
        try:
            message = self._events.recv(MESSAGE)
        except BlockingIOError:
            return None
        except OSError:
            message = b""
        if not message:
            # The nursery was killed. The kernel has killed the worker with it; without namespaces its group is ours.
            if self._worker and "namespaces" not in self.layers:
                kill_group(self._worker)
            ended = Ended(self._worker, 0, 0, 0, LOST)
            self._worker = 0
            self.lost = True
            return ended
        event: Event = messages.decode_event(message)
        if isinstance(event, Started | Ended):
            self._worker = event.pid if isinstance(event, Started) else 0
        return event


def refusal(event: Refused) -> Finding:
    """Return what the supervisor has told of a system call as a finding."""
    done = "" if event.allowed else ", and was refused"
    return Finding(_REFUSED.get(event.what, "refused"), f"The library tried to {event.what} ({event.call}){done}.")
