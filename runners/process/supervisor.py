"""The process that libraries' processes are forked from: ``python -m runners.process.supervisor FD SETTING``.

Forking a worker from here takes a millisecond where starting an interpreter takes fifty. This process never runs
foreign code itself, and holds nothing that the judge knows. It is the init of its workers' namespaces where the system
has such (:mod:`runners.process.sandbox`), answers what seccomp asks about them, and holds them together: whatever dies
first (worker, this process or judge), nothing that a library has started stays behind. Where there are no namespaces,
three things see to that: the kernel kills a worker when its parent dies (PR_SET_PDEATHSIG); this process kills the
worker's process group and adopts what has left that group (PR_SET_CHILD_SUBREAPER); and it ends when the judge's
socket does.
"""

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import sys
from collections import Counter

import msgspec

from runners.calling.call import Mode
from runners.process import block_worker, messages, sandbox, worker
from runners.process.keeper import PR_SET_CHILD_SUBREAPER, kill_adopted
from runners.process.messages import Allow, Ended, Event, Kill, Ready, Refused, Started
from runners.process.system import prctl

#: Seconds after which it looks whether the judge still lives, should its socket have been inherited.
_HEARTBEAT = 1.0
#: Refusals that are told of one worker.
_TOLD = 1000
#: Bytes of one command or event.
MESSAGE = 1 << 16


class Setting(msgspec.Struct, array_like=True):
    """What this process is started with. ``kind``: of its workers; see :mod:`runners.process.sandbox` for the rest."""

    kind: str
    mode: Mode
    arena: int
    readable: list[str]
    hidden: list[str]


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
            request, fds, _, _ = socket.recv_fds(self._judge, MESSAGE, 1)
        except OSError:
            return False
        if not request:
            return False
        command = messages.decode_command(request)
        if isinstance(command, Kill):
            if self._worker:
                kill_group(self._worker)
        elif isinstance(command, Allow):
            self._loading = False
            self._allowed.update(command.ranges)
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
        kind = block_worker.BlockWorker if self._kind == "blocks" else worker.Worker
        worker.run_worker(control, self._pid, self._enter, kind)

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
        kill_group(worker)
        _, status = os.waitpid(worker, 0)
        left = kill_adopted(self._isolated)
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self._tell(Ended(worker, os.WEXITSTATUS(status) if not killer else 0, killer, left))

    def _tell(self, event: Event) -> None:
        with contextlib.suppress(OSError):
            self._judge.send(messages.encode(event))


def _peek_ended() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def kill_group(worker: int) -> None:
    """Kill a worker, with the process group that it has made or is about to make."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)  # it may not have made its group yet


def main() -> None:
    """Serve the judge at the other end of the inherited socket whose number is the first argument."""
    judge = socket.socket(fileno=int(sys.argv[1]))
    setting = msgspec.json.decode(sys.argv[2], type=Setting)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    layers = sandbox.isolate(setting.mode, setting.hidden)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.freeze()  # keeps pages shared after a fork
    _Supervisor(judge, setting, layers).run()


if __name__ == "__main__":
    main()
