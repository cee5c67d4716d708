"""Starts workers and cleans up after them: runs as ``python -m runners.library.nursery FD ...`` beside the judge.

Forking a worker from here takes a millisecond where starting an interpreter takes fifty. The nursery never
runs foreign code itself, and holds nothing that the judge knows. It is the init of its workers' namespaces where the
system has such (:mod:`runners.process.sandbox`), answers what seccomp asks about them, and holds them together:
whatever dies first (worker, nursery or judge), nothing that a library has started stays behind. Where there are no
namespaces, three things see to that: the kernel kills a worker when its parent dies (PR_SET_PDEATHSIG); the nursery
kills the worker's process group and adopts what has left that group (PR_SET_CHILD_SUBREAPER); and it ends when the
judge's socket does.
"""

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runners.calling import call as protocol
from runners.calling.call import Allow, Ended, Event, Kill, Ready, Refused, Spawn, Started
from runners.process import sandbox
from runners.process.keeper import PR_SET_CHILD_SUBREAPER, kill_adopted
from runners.process.system import prctl

#: Seconds after which the nursery looks whether the judge still lives, should its socket have been inherited.
_HEARTBEAT = 1.0
#: Bytes of the library's own text that are kept an outcome and stream.
KEPT_TEXT = 4096
#: Seconds that cleaning up may take: killed processes go at once unless they hang in the kernel.
_PATIENCE = 2.0
#: Seconds for starting a nursery.
_START = 30.0
#: Refusals that are told of one worker.
_TOLD = 1000
#: Bytes of one order or event.
_MESSAGE = 1 << 16

#: Note of the end of a worker whose nursery was killed.
LOST = "lost the process that supervises it"

News = protocol.Reply | Event


class Setting(msgspec.Struct, array_like=True):
    """What a nursery is started with. ``kind``: of its workers; see :mod:`runners.process.sandbox` for the rest."""

    kind: str
    mode: sandbox.Mode
    arena: int
    readable: list[str]
    hidden: list[str]


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
        self, setting: Setting, descriptors: Sequence[int] = (), decode: Callable[[Any], Any] = protocol.decode_reply
    ) -> None:
        self._decode = decode
        self.stdout, self.stderr = Text(), Text()
        self.lost = False
        self.layers: frozenset[str] = frozenset()
        self._events, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._events.setblocking(False)
        self._control: socket.socket | None = None
        self._frames = protocol.Frames()
        self._outgoing: deque[memoryview] = deque()
        self._poll_out = False  # something could not be sent yet
        self._poll = select.poll()
        self._worker = 0
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        # -P: modules of the current folder must not be imported in place of the standard ones. A session of
        # its own: a terminal's interrupt is for the judge, which then ends this process.
        command = [sys.executable, "-P", "-m", "runners.library.nursery", str(theirs.fileno())]
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
        if select.select([self._events], [], [], _START)[0] and isinstance(event := self._event(), Ready):
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
            socket.send_fds(self._events, [protocol.encode(Spawn())], [theirs.fileno()])
        self._frames = protocol.Frames()
        self._outgoing.clear()
        self._poll_out = False
        self._poll = select.poll()
        for fd in (self._control, self._events, self.stdout.fd, self.stderr.fd):
            self._poll.register(fd, select.POLLIN)

    def allow(self, ranges: list[tuple[int, int]]) -> None:
        """Let the worker map these ranges of the memory that is watched."""
        with contextlib.suppress(OSError):  # a nursery that is gone is noticed in :meth:`wait`
            self._events.setblocking(True)
            self._events.send(protocol.encode(Allow(ranges)))
        self._events.setblocking(False)

    def hand_over(self, message: object, descriptors: Sequence[int]) -> None:
        """Send a worker its first message, with descriptors."""
        assert self._control is not None
        frame = protocol.frame(message)
        with contextlib.suppress(OSError):
            self._control.setblocking(True)
            sent = socket.send_fds(self._control, [frame], descriptors)
            self._control.sendall(frame[sent:])
        self._control.setblocking(False)

    def send(self, *messages: object) -> None:
        """Queue messages, and send what the socket takes now; a worker that is gone gets nothing."""
        self._outgoing.append(memoryview(b"".join(map(protocol.frame, messages))))
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
            except protocol.FrameError as error:
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
            self._events.send(protocol.encode(Kill()))
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
            _kill_group(self._worker)

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
                _kill_group(self._worker)
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

    def _receive(self, to_the_end: bool = False) -> list[protocol.Reply]:
        """Return the messages that have arrived; raises FrameError for garbage."""
        news: list[protocol.Reply] = []
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
            message = self._events.recv(_MESSAGE)
        except BlockingIOError:
            return None
        except OSError:
            message = b""
        if not message:
            # The nursery was killed. The kernel has killed the worker with it; without namespaces its group is ours.
            if self._worker and "namespaces" not in self.layers:
                _kill_group(self._worker)
            ended = Ended(self._worker, 0, 0, 0, LOST)
            self._worker = 0
            self.lost = True
            return ended
        event: Event = protocol.decode_event(message)
        if isinstance(event, Started | Ended):
            self._worker = event.pid if isinstance(event, Started) else 0
        return event


class _Supervisor:
    def __init__(self, judge: socket.socket, setting: Setting, layers: frozenset[str]) -> None:
        self._judge = judge
        self._judge_pid = os.getppid()
        self._pid = os.getpid()
        self._kind = setting.kind
        self._isolated = "namespaces" in layers
        self._cage = None
        if setting.mode != "off":
            self._cage = sandbox.Cage(setting.readable, setting.hidden, setting.arena)
            layers |= self._cage.layers
        self._worker = 0
        self._listener = -1  # seccomp's, of the worker
        self._loading = True
        self._allowed: Counter[tuple[int, int]] = Counter()
        self._told = 0
        self._handover, self._hand = socket.socketpair()
        self._wakeup, self._wake = socket.socketpair()
        for end in (self._wakeup, self._wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._poll = select.poll()
        for end in (self._judge, self._wakeup, self._handover):
            self._poll.register(end, select.POLLIN)
        self._tell(Ready(sorted(layers)))

    def run(self) -> None:
        """Serve the judge until it is gone."""
        try:
            while os.getppid() == self._judge_pid:
                ready = {fd for fd, _ in self._poll.poll(_HEARTBEAT * 1000)}
                # The judge first: it announces what its worker is about to ask for.
                while select.select([self._judge], [], [], 0)[0]:
                    if not self._obey():
                        return
                if self._listener in ready:
                    self._reply()
                if self._handover.fileno() in ready:
                    self._listen()
                if self._wakeup.fileno() in ready:
                    self._wakeup.recv(4096)
                    self._look_at_children()
        finally:
            self._end_worker()

    def _obey(self) -> bool:
        """Do what the judge asks for; return False when it is gone."""
        try:
            request, fds, _, _ = socket.recv_fds(self._judge, _MESSAGE, 1)
        except OSError:
            return False
        if not request:
            return False
        order = protocol.decode_order(request)
        if isinstance(order, Kill):
            if self._worker:
                _kill_group(self._worker)
        elif isinstance(order, Allow):
            self._loading = False
            self._allowed.update(order.ranges)
        elif fds:
            self._spawn(fds[0])
        return True

    def _spawn(self, control: int) -> None:
        self._end_worker()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._judge, self._wakeup, self._wake, self._handover):
                end.close()
            self._become_worker(socket.socket(fileno=control))
        os.close(control)
        self._worker, self._loading, self._told = pid, True, 0
        self._tell(Started(pid))

    def _become_worker(self, control: socket.socket) -> None:
        from runners.library import shared_memory  # noqa: PLC0415 - imports this module
        from runners.process import worker  # noqa: PLC0415 - only this process needs it

        start = shared_memory.run_worker if self._kind == "bulk" else worker.run_worker
        start(control, self._pid, self._enter)

    def _enter(self) -> None:
        """In a worker: enter the cage, and hand seccomp's descriptor over."""
        if self._cage is not None and (listener := self._cage.enter()) >= 0:
            socket.send_fds(self._hand, [b"-"], [listener])
            os.close(listener)
        self._hand.close()

    def _listen(self) -> None:
        _, fds, _, _ = socket.recv_fds(self._handover, 1, 1)
        if fds:
            self._deafen()
            self._listener = fds[0]
            self._poll.register(self._listener, select.POLLIN)

    def _deafen(self) -> None:
        if self._listener >= 0:
            self._poll.unregister(self._listener)
            os.close(self._listener)
            self._listener = -1

    def _reply(self) -> None:
        """Answer a system call of the worker, and tell the judge of it."""
        assert self._cage is not None
        asked = self._cage.receive(self._listener)
        if asked is None:  # its thread is gone, and with the last one the descriptor is of no more use
            if select.select([self._listener], [], [], 0)[0]:
                self._look_at_children()
            return
        allowed, told = self._decide(asked)
        if told and self._told < _TOLD:
            self._told += 1
            self._tell(Refused(asked.what, asked.name, allowed))
        sandbox.answer(self._listener, asked, allowed)

    def _decide(self, asked: sandbox.Asked) -> tuple[bool, bool]:
        """Return whether a system call may go on, and whether the judge is told."""
        first, second = asked.arguments[:2]
        if asked.name == "mmap" and self._allowed[first, second]:  # the worker's own, announced by the judge
            self._allowed[first, second] -= 1
            return True, False
        if asked.name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
            mine = first in (0, self._worker) or os.path.exists(f"/proc/{self._worker}/task/{first}")  # noqa: PTH110
            return mine, not mine
        if asked.name == "prlimit64" and not asked.arguments[2]:  # it only asks
            mine = first in (0, self._worker)
            return mine, not mine
        if asked.name == "rt_sigaction":
            harmless = self._loading or not second
            return harmless, not harmless
        if asked.name in ("open", "openat"):  # Landlock decides
            return True, True
        return False, True

    def _look_at_children(self) -> None:
        """Reap what has ended; peek first, because the number of a worker not yet reaped is not reused."""
        while (ended := _peek_ended()) is not None:
            if ended == self._worker:
                self._end_worker()
            else:
                os.waitpid(ended, 0)

    def _end_worker(self) -> None:
        """Kill the worker with everything it started, reap it and report, if there is one."""
        if not self._worker:
            return
        worker, self._worker = self._worker, 0
        self._deafen()
        self._allowed.clear()
        _kill_group(worker)
        _, status = os.waitpid(worker, 0)
        left = kill_adopted(self._isolated)
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self._tell(Ended(worker, os.WEXITSTATUS(status) if not killer else 0, killer, left))

    def _tell(self, event: Event) -> None:
        with contextlib.suppress(OSError):
            self._judge.send(protocol.encode(event))


def _peek_ended() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _kill_group(worker: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)  # it may not have made its group yet


def main() -> None:
    """Serve the judge at the other end of the inherited socket whose number is the first argument."""
    judge = socket.socket(fileno=int(sys.argv[1]))
    setting = msgspec.json.decode(sys.argv[2], type=Setting)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from runners.library import shared_memory  # noqa: F401, PLC0415 - before anything is hidden, once for all workers
    from runners.process import worker  # noqa: F401, PLC0415 - before anything is hidden, and once for all workers

    layers = sandbox.isolate(setting.mode, setting.hidden)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.freeze()  # keeps pages shared after a fork
    _Supervisor(judge, setting, layers).run()


if __name__ == "__main__":
    main()
