"""Starts workers and cleans up after them: runs as ``python -m runners.nursery FD`` beside the judge.

Forking a worker from here takes a millisecond where starting an interpreter takes fifty. The nursery never
runs foreign code itself. It holds the workers together: whatever dies first (worker, nursery or judge),
nothing that a library has started stays behind. Three things see to that: the kernel kills a worker when its
parent dies (PR_SET_PDEATHSIG); the nursery kills the worker's process group and adopts what has left that
group (PR_SET_CHILD_SUBREAPER); and it ends when the judge's socket does.
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
from collections import deque
from pathlib import Path

import msgspec

from runners import protocol
from runners.protocol import Ended, Started
from runners.regions import libc
from runners.worker import run_worker

_PR_SET_CHILD_SUBREAPER = 36
#: Seconds after which the nursery looks whether the judge still lives, should its socket have been inherited.
_HEARTBEAT = 1.0
#: Bytes of the library's own text that are kept an outcome and stream.
KEPT_TEXT = 4096
#: Seconds that cleaning up may take: killed processes go at once unless they hang in the kernel.
_PATIENCE = 2.0


#: Note of the end of a worker whose nursery was killed.
LOST = "lost the process that supervises it"

News = protocol.Reply | Started | Ended


class Text:
    """One output stream of a library: kept at the beginning, counted to the end."""

    def __init__(self) -> None:
        self.fd, self.writer = os.pipe()
        os.set_blocking(self.fd, False)
        self._kept = bytearray()
        self._total = 0

    def drain(self) -> None:
        """Take what is there now, one pipe's content at most: some libraries never stop printing."""
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(self.fd, 1 << 20)
            self._total += len(chunk)
            self._kept += chunk[: KEPT_TEXT - len(self._kept)]

    def take(self) -> tuple[str, int]:
        """Return the kept text and the number of bytes there were, and begin anew."""
        self.drain()
        taken = self._kept.decode("utf-8", "replace"), self._total
        if self._total:
            self._kept, self._total = bytearray(), 0
        return taken


class Nursery:
    """The judge's handle of a nursery process of its own, and of the one worker that it has at a time.

    ``stdout`` and ``stderr`` hold what workers have printed; ``lost``: the process was killed, start another
    one.
    """

    def __init__(self) -> None:
        self.stdout, self.stderr = Text(), Text()
        self.lost = False
        self._events, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._events.setblocking(False)
        self._control: socket.socket | None = None
        self._frames = protocol.Frames()
        self._outgoing: deque[memoryview] = deque()
        self._poll = select.poll()
        self._worker = 0
        root = str(Path(__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        # -P: modules of the current folder must not be imported in place of the standard ones. A session of
        # its own: a terminal's interrupt is for the judge, which then ends this process.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "runners.nursery", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self.stdout.writer,
                stderr=self.stderr.writer,
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        os.close(self.stdout.writer)
        os.close(self.stderr.writer)

    @property
    def pid(self) -> int:
        """Number of the nursery process."""
        return self._process.pid

    @property
    def worker(self) -> int:
        """Number of the worker's process and process group; 0 while there is none or it is not known yet."""
        return self._worker

    def spawn(self) -> None:
        """Start a worker, once the one before it has ended; raises OSError when the nursery is gone."""
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        with theirs:
            socket.send_fds(self._events, [protocol.SPAWN], [theirs.fileno()])
        self._frames = protocol.Frames()
        self._outgoing.clear()
        self._poll = select.poll()
        for fd in (self._control, self._events, self.stdout.fd, self.stderr.fd):
            self._poll.register(fd, select.POLLIN)

    def send(self, message: object) -> None:
        """Queue a message, and send what the socket takes now; a worker that is gone gets nothing."""
        self._outgoing.append(memoryview(protocol.frame(message)))
        self._flush()

    def wait(self, timeout: float) -> list[News]:
        """Return what is new, a worker's end always last; an empty list after ``timeout`` seconds without."""
        deadline = time.monotonic() + timeout
        while True:
            ready = dict(self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            for text in (self.stdout, self.stderr):
                if text.fd in ready:
                    text.drain()
            news: list[News] = []
            event: Started | Ended | None = None
            try:
                if self._control is not None and (mask := ready.get(self._control.fileno())):
                    if mask & select.POLLOUT:
                        self._flush()
                    news += self._receive()
                if self._events.fileno() in ready and (event := self._event()) is not None:
                    news += [*self._receive(to_the_end=isinstance(event, Ended)), event]
            except (protocol.FrameError, msgspec.MsgspecError) as error:
                if self._control is not None:
                    self._poll.unregister(self._control)
                    self._control.close()
                    self._control = None
                if not isinstance(event, Ended):
                    self.kill()
                return [*news, Ended(0, 0, 0, 0, f"wrote to a descriptor that is not its own ({error})")]
            if news or time.monotonic() >= deadline:
                return news

    def kill(self) -> list[News]:
        """End the worker with all it has started; return what is new, and last its end."""
        with contextlib.suppress(OSError):
            self._events.send(protocol.KILL)
        news: list[News] = []
        deadline = time.monotonic() + 2 * _PATIENCE
        while not (news and isinstance(news[-1], Ended)):
            if time.monotonic() > deadline:
                self._process.kill()  # stopped or stuck: its end is noticed as below
            news += self.wait(_PATIENCE)
        return news

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
            return
        except OSError:  # the worker is gone or going: its end will be reported
            self._outgoing.clear()
        with contextlib.suppress(OSError):
            self._poll.modify(control, select.POLLIN)

    def _receive(self, to_the_end: bool = False) -> list[protocol.Reply]:
        """Return the messages that have arrived; raises FrameError or MsgspecError for garbage."""
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
            news += [protocol.decode_reply(body) for body in self._frames.feed(chunk)]
            if not to_the_end:
                break
        return news

    def _event(self) -> Started | Ended | None:
        try:
            message = self._events.recv(256)
        except BlockingIOError:
            return None
        except OSError:
            message = b""
        if not message:
            # The nursery was killed. The kernel has killed the worker with it; its group is ours to end.
            if self._worker:
                _kill_group(self._worker)
            ended = Ended(self._worker, 0, 0, 0, LOST)
            self._worker = 0
            self.lost = True
            return ended
        event: Started | Ended = protocol.decode_event(message)
        self._worker = event.pid if isinstance(event, Started) else 0
        return event


class _Supervisor:
    def __init__(self, judge: socket.socket) -> None:
        self._judge = judge
        self._judge_pid = os.getppid()
        self._pid = os.getpid()
        self._worker = 0
        self._wakeup, wake = socket.socketpair()
        self._wake = wake
        for end in (self._wakeup, self._wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve the judge until it is gone."""
        poll = select.poll()
        for end in (self._judge, self._wakeup):
            poll.register(end, select.POLLIN)
        try:
            while os.getppid() == self._judge_pid:
                ready = {fd for fd, _ in poll.poll(_HEARTBEAT * 1000)}
                if self._wakeup.fileno() in ready:
                    self._wakeup.recv(4096)
                    self._look_at_children()
                if self._judge.fileno() in ready and not self._obey():
                    break
        finally:
            self._end_worker()

    def _obey(self) -> bool:
        """Do what the judge asks for; return False when it is gone."""
        try:
            request, fds, _, _ = socket.recv_fds(self._judge, 64, 1)
        except OSError:
            return False
        if request == protocol.KILL:
            if self._worker:
                _kill_group(self._worker)
        elif request == protocol.SPAWN and fds:
            self._spawn(fds[0])
        return bool(request)

    def _spawn(self, control: int) -> None:
        self._end_worker()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._judge, self._wakeup, self._wake):
                end.close()
            run_worker(socket.socket(fileno=control), self._pid)
        os.close(control)
        self._worker = pid
        self._tell(Started(pid))

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
        _kill_group(worker)
        _, status = os.waitpid(worker, 0)
        left = _kill_adopted(self._pid)
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self._tell(Ended(worker, os.WEXITSTATUS(status) if not killer else 0, killer, left))

    def _tell(self, event: Started | Ended) -> None:
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


def _kill_adopted(parent: int) -> int:
    """Kill and reap every child that is left, group member or not; return how many were still alive."""
    killed = 0
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            continue
        for child in _children(parent):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.001)
    return killed


def _children(parent: int) -> list[int]:
    """Return the children of a process from /proc (its ``children`` file is not built into every kernel)."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib is slow to import)
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                    found.append(int(name))
    return found


def main() -> None:
    """Serve the judge at the other end of the inherited socket whose number is the argument."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    gc.freeze()  # keeps pages shared after a fork
    _Supervisor(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
