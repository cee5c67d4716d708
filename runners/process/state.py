"""What calls leave in their process beside memory and the floating-point environment."""

import contextlib
import ctypes
import os
import resource
import signal
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from runners.calling.call import Finding
from runners.process.faults import peek
from runners.process.system import libc

#: Timers, and what prctl(2) and setlocale(3) are asked.
_ITIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_PR_GET_PDEATHSIG, _PR_GET_CHILD_SUBREAPER, _LC_ALL = 2, 37, 6
_setlocale = libc.setlocale
_setlocale.restype = ctypes.c_char_p
_OnObject = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class _MallInfo(ctypes.Structure):
    """C's ``struct mallinfo2``: bytes in blocks mapped one by one, and bytes allocated otherwise."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class ProcessState:
    """What calls can leave in their process beside memory and the floating-point environment.

    A glance costs some 25 µs and is taken after every batch; what takes longer, after every so many, and at the end.
    Group and session are not looked at: their leader, which a worker is, can change neither.
    """

    _EVERY = 16
    #: Kinds of findings, and what has changed, as a glance and a longer look return them.
    _GLANCE = (
        ("state-directory", "the current folder"),
        ("state-environment", "the table of the environment's variables"),
        ("state-timers", "a timer that is running"),
        ("state-timers", "timers"),
        ("state-descriptors", "open descriptors: the lowest free one"),
        ("forked", "processes that have ended since"),
        ("state-name", "the name of its process"),
        ("state-threads", "the number of threads"),
        ("state-signals", "which signals are blocked"),
        ("state-signals", "which signals are ignored"),
        ("state-signals", "which signals are caught"),
        ("state-scheduling", "the scheduling policy"),
    )
    _LOOK = (
        ("state-descriptors", "open descriptors"),
        ("state-output", "standard input and output"),
        ("state-umask", "the mask of file permissions"),
        ("state-limits", "limits of the process"),
        ("state-scheduling", "its priority"),
        ("state-scheduling", "the processors that it may use"),
        ("state-parent", "the signal that ends it with its parent"),
        ("state-parent", "whether it adopts orphans of its children"),
        ("state-signals", "the stack that signals are handled on"),
        ("state-locale", "the locale"),
        ("state-locked", "how much of its memory is locked"),
        ("state-libraries", "which libraries are loaded"),
    )

    def __init__(self) -> None:
        self._stat = os.open("/proc/self/stat", os.O_RDONLY)
        self._status = os.open("/proc/self/status", os.O_RDONLY)
        self._loaded = 0, 0
        self._note_loaded = _OnObject(self._on_object)
        try:
            self._timers = os.open("/proc/self/timers", os.O_RDONLY)
        except OSError:  # not built into every kernel
            self._timers = -1
        self._environ = ctypes.c_void_p.in_dll(libc, "environ")
        self._variables = 0
        table = ctypes.cast(self._environ, ctypes.POINTER(ctypes.c_void_p))
        while table and table[self._variables]:
            self._variables += 1
        self._heap = getattr(libc, "mallinfo2", None)
        if self._heap is not None:
            self._heap.restype = _MallInfo
        #: Bytes of addresses that the process had at the last glance.
        self.addresses = 0
        self._turn = 0
        self._last = self._glance()
        self._last_look = self._look()

    @property
    def heap(self) -> int:
        """Bytes that are allocated and not freed."""
        if self._heap is None:
            return 0
        info = self._heap()
        return int(info.hblkhd + info.uordblks)

    def changes(self, thorough: bool = False) -> list[Finding]:
        """Return what has changed since the last time, or the beginning."""
        found = []
        now = self._glance()
        if now != self._last:
            found += _changed(self._GLANCE, self._last, now)
            self._last = now
        self._turn += 1
        if thorough or found or self._turn % self._EVERY == 0:
            look = self._look()
            if look != self._last_look:
                found += _changed(self._LOOK, self._last_look, look)
                self._last_look = look
        return found

    def libraries(self) -> tuple[int, int]:
        """Return how many libraries the process has loaded so far, and how many of them unloaded."""
        libc.dl_iterate_phdr(self._note_loaded, None)
        return self._loaded

    def _on_object(self, info: int, _size: int, _data: int) -> int:
        self._loaded = peek(info + 32, "<Q"), peek(info + 40, "<Q")
        return 1  # the numbers are the same for all objects: no more of them

    def _glance(self) -> tuple[object, ...]:
        name, _, rest = os.pread(self._stat, 4096, 0).rpartition(b")")
        fields = rest.split(None, 39)
        self.addresses = int(fields[20])
        table = self._environ.value
        free = -1
        with contextlib.suppress(OSError):
            os.close(free := os.dup(self._stat))
        return (
            _or_none(os.getcwd),
            ctypes.string_at(table, 8 * self._variables + 8) if table else b"",
            any(signal.getitimer(which)[0] > 0 for which in _ITIMERS),
            os.pread(self._timers, 4096, 0).count(b"ID:") if self._timers >= 0 else 0,
            free,
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt > 0,
            name.partition(b"(")[2].decode("ascii", "replace"),
            int(fields[17]),
            *fields[29:32],
            int(fields[38]),
        )

    def _look(self) -> tuple[object, ...]:
        os.umask(mask := os.umask(0))
        limits = (resource.RLIMIT_STACK, resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_CORE)
        streams = [_or_none(partial(_identity, fd)) for fd in range(3)]
        return (
            _or_none(lambda: len(os.listdir("/proc/self/fd"))),  # noqa: PTH208 (pathlib is slow to import)
            tuple(streams),
            f"{mask:#o}",
            tuple(resource.getrlimit(k) for k in limits),
            os.getpriority(os.PRIO_PROCESS, 0),
            tuple(sorted(os.sched_getaffinity(0))),
            _asked(_PR_GET_PDEATHSIG),
            _asked(_PR_GET_CHILD_SUBREAPER),
            _alternate_stack(),
            _setlocale(_LC_ALL, None) or b"",
            next(line for line in os.pread(self._status, 8192, 0).splitlines() if line.startswith(b"VmLck:")),
            self.libraries(),
        )


def _asked(option: int) -> int:
    """Return what prctl(2) stores in a number."""
    number = ctypes.c_int(-1)
    libc.prctl(option, ctypes.byref(number), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    return number.value


def _alternate_stack() -> tuple[int, ...]:
    stack = ctypes.create_string_buffer(24)
    libc.sigaltstack(None, stack)
    address, flags, size = struct.unpack("<QixxxxQ", stack.raw)
    return address, flags, size


def _changed(kinds: Sequence[tuple[str, str]], before: Sequence[object], now: Sequence[object]) -> list[Finding]:
    return [
        Finding(kind, f"The call changed {what}" + ("." if isinstance(new, bytes | tuple) else f" (now {new})."))
        for (kind, what), was, new in zip(kinds, before, now, strict=True)
        if was != new
    ]


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _or_none(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except OSError:
        return "none"
