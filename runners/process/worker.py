"""The process that foreign code runs in: loads one library, makes calls, expects the worst.

A worker is forked from the nursery and never outlives it. The library can do here whatever it likes to memory,
registers, files and processes: nothing in here decides. What counts lies in memory that the judge shares and reads
(:mod:`runners.library.arena`); the judge sees frames on a socket, the text on two pipes, and how it all ended. What a
call leaves in its process is told from here all the same: a library that hid it would gain nothing but a remark less.
"""

import contextlib
import ctypes
import gc
import mmap
import os
import platform
import resource
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NoReturn

from runners.calling import call as protocol
from runners.calling.call import Batch, Fault, Finding, Load, Mapping
from runners.process import stub
from runners.process.allocator import LibraryMemory
from runners.process.sandbox import ARENA
from runners.process.system import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_NORESERVE,
    PR_SET_DUMPABLE,
    PROT_NONE,
    die_with_parent,
    libc,
    map_pages,
)

SA_SIGINFO = 4
_SA_RESETHAND = 0x80000000
_IOLBF = 1
#: The C library's buffer of stdout, as long as the process lives.
_STDOUT_BUFFER = ctypes.create_string_buffer(1 << 16)
#: Of a process' state: timers, and what prctl(2) and setlocale(3) are asked.
_ITIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_PR_GET_PDEATHSIG, _PR_GET_CHILD_SUBREAPER, _LC_ALL = 2, 37, 6
_setlocale = libc.setlocale
_setlocale.restype = ctypes.c_char_p
_OnObject = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
#: Access to pages of the guards' file, the inputs' and the outputs'.
_ACCESS = (PROT_NONE, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE)


# Floating-point environment


class FloatingPoint:
    """Control bits of the thread's floating-point environment; the sticky status flags are ignored."""

    _NEAREST = ("to nearest", "downward", "upward", "toward zero")
    #: Machine -> (word's offset in fenv_t, format, first bit, bits, name, names of the values).
    FIELDS: ClassVar[dict[str, list[tuple[int, str, int, int, str, tuple[str, ...]]]]] = {
        "x86_64": [
            (28, "<I", 13, 2, "rounding mode", _NEAREST),
            (28, "<I", 15, 1, "flush-to-zero", ("off", "on")),
            (28, "<I", 6, 1, "denormals-are-zero", ("off", "on")),
            (28, "<I", 7, 6, "exception masks", ()),
            (0, "<H", 10, 2, "x87 rounding mode", _NEAREST),
            (0, "<H", 8, 2, "x87 precision", ("24 bits", "reserved", "53 bits", "64 bits")),
            (0, "<H", 0, 6, "x87 exception masks", ()),
        ],
        "aarch64": [
            (0, "<I", 22, 2, "rounding mode", ("to nearest", "upward", "downward", "toward zero")),
            (0, "<I", 24, 1, "flush-to-zero", ("off", "on")),
            (0, "<I", 19, 1, "fp16 flush-to-zero", ("off", "on")),
            (0, "<I", 25, 1, "default NaN", ("off", "on")),
            (0, "<I", 26, 1, "alternative half precision", ("off", "on")),
            (0, "<I", 8, 8, "exception traps", ()),
        ],
    }

    def __init__(self) -> None:
        try:
            libm = ctypes.CDLL("libm.so.6")
        except OSError:
            libm = ctypes.CDLL(None)
        self._get, self._set = libm.fegetenv, libm.fesetenv
        self._get.argtypes = self._set.argtypes = [ctypes.c_void_p]
        self._now = ctypes.create_string_buffer(128)
        self.keep()

    def get(self, address: int) -> object:
        """Store the environment at an address."""
        return self._get(address)

    def set(self, address: int) -> object:
        """Take the environment from an address."""
        return self._set(address)

    @property
    def kept(self) -> bytes:
        """The kept environment, as ``fenv_t``."""
        return self._kept[: stub.ENVIRONMENT]

    def keep(self) -> None:
        """Take the present environment for the one that calls have to leave behind."""
        self._get(self._now)
        self._kept = self._now.raw

    def changes(self) -> list[str]:
        """Say what differs from the kept environment, such as "rounding mode from to nearest to upward"."""
        self._get(self._now)
        return self.differences(self._kept, self._now.raw)

    @classmethod
    def differences(cls, before: bytes, after: bytes) -> list[str]:
        """Say what differs between two environments, each as ``fenv_t``."""
        found = []
        for at, form, shift, width, name, words in cls.FIELDS.get(platform.machine(), []):
            was, now = (struct.unpack_from(form, raw, at)[0] >> shift & (1 << width) - 1 for raw in (before, after))
            if was != now:
                found.append(f"{name} from {_name(words, was)} to {_name(words, now)}")
        return found

    def restore(self) -> None:
        """Go back to the kept environment, and keep what the C library does not set back (x87 precision)."""
        self._set(ctypes.create_string_buffer(self._kept))
        self.keep()


def _name(names: tuple[str, ...], value: int) -> str:
    return names[value] if names else f"{value:#x}"


# Signals


class SigAction(ctypes.Structure):
    """C's ``struct sigaction`` on Linux, x86-64 and AArch64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_uint),
        ("restorer", ctypes.c_void_p),
    )


def peek(address: int, form: str) -> Any:
    """Return what lies at an address, in a form of :mod:`struct`."""
    return struct.unpack(form, ctypes.string_at(address, struct.calcsize(form)))[0]


def fault_access(context: int) -> tuple[str, bool]:
    """Return "read", "write" or "" from a ``ucontext_t``, and whether the fault's address is known."""
    machine = platform.machine()
    if machine == "x86_64":
        if peek(context + 200, "<Q") == 13:  # trap number: a general protection fault carries no address
            return "", False
        return ("write" if peek(context + 192, "<Q") & 2 else "read"), True
    if machine == "aarch64":
        record, end = context + 464, context + 464 + 4096
        while record + 16 <= end and (size := peek(record + 4, "<I")):
            if peek(record, "<I") == 0x45535201:  # ESR_MAGIC: the syndrome register; bit 6 is "write, not read"
                return ("write" if peek(record + 8, "<Q") & 0x40 else "read"), True
            record += size
    return "", True


# The worker


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


class Worker:
    """Serves one judge on ``control`` until told to unload, or until the library ends it all.

    ``enter``: what restricts this process (:class:`runners.process.sandbox.Cage`), before foreign code is loaded.
    """

    def __init__(self, control: socket.socket, enter: Callable[[], None]) -> None:
        self._control = control
        self._enter = enter
        self._stream = control.makefile("rb", buffering=1 << 16)
        self._pid = os.getpid()
        self._fp = FloatingPoint()
        self._call = stub.caller(self._fp.get, self._fp.set)
        self._functions: dict[str, Callable[..., None]] = {}
        self._handle = 0
        self._files: list[int] = []
        self._base = self._frames = 0
        self._fixed: dict[int, tuple[int, int]] = {}
        self._memory: LibraryMemory | None = None
        self._plain = LibraryMemory(libc, "malloc", "free")

    def serve(self) -> NoReturn:
        """Answer requests for ever; the process ends in here."""
        request, self._files = self.first(protocol.decode_request)
        assert isinstance(request, Load)
        self._base = request.arena
        try:
            self._map_arena()
            for mapping in request.mappings:
                self._map(mapping)
        except MemoryError as error:
            self.send(protocol.Loaded({}, str(error), [], machine=True))
            os._exit(0)
        library, findings = self.load(request)
        try:
            if request.allocator:
                self._memory = LibraryMemory(library, *request.allocator)
        except AttributeError:
            missing = next(name for name in request.allocator if not hasattr(library, name))
            self.send(protocol.Loaded({}, f"it has no function {missing}, which --memory names", []))
            os._exit(0)
        addresses = {s: ctypes.cast(f, ctypes.c_void_p).value or 0 for s, f in self._functions.items()}  # type: ignore[arg-type]
        self._state = ProcessState()  # what loading has left is how it is
        self.send(protocol.Loaded(addresses, "", findings, self._fp.kept))
        while True:
            request = self.next(protocol.decode_request)
            if isinstance(request, Batch):
                self._run(request)
            else:
                if self._memory is not None:
                    self._memory.trim()
                if found := self._state.changes(thorough=True):
                    self.send(protocol.Done(-1, found, (0, 0)))
                loaded = self._state.libraries()
                libc.dlclose(self._handle)
                if self._state.libraries() == loaded:
                    stays = Finding("state-libraries", "The library stays in its process after it is unloaded.")
                    with contextlib.suppress(OSError):  # its destructors may have closed anything
                        self.send(protocol.Done(-1, [stays], (0, 0)))
                libc.exit(0)  # unlike os._exit it runs the handlers that the library has registered

    def first(self, decode: Callable[[bytes], Any]) -> tuple[Any, list[int]]:
        """Return the first request with the descriptors that come with it."""
        chunk, fds, _, _ = socket.recv_fds(self._control, 4, 16)
        for fd in fds:
            os.set_inheritable(fd, False)
        return decode(self._stream.read(protocol.frame_length(chunk))), fds

    def next(self, decode: Callable[[bytes], Any]) -> Any:
        """Return the next request; the process ends here if there will be none."""
        header = self._stream.read(4)
        if len(header) < 4:
            os._exit(0)  # the judge is gone; the nursery cleans up
        return decode(self._stream.read(protocol.frame_length(header)))

    def send(self, message: object) -> None:
        """Answer, unless this process is a copy that the library forked: that one ends here."""
        if os.getpid() != self._pid:
            os._exit(0)
        self._control.sendall(protocol.frame(message))

    def load(self, request: Load) -> tuple[Any, list[Finding]]:
        """Enter the cage and load a library; the process ends here, having said why, if it cannot be loaded."""
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (pathlib is slow to import)
            mapped = int(file.read().split()[0]) * mmap.PAGESIZE
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = mapped + request.memory
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
        self._enter()
        self._fp.keep()
        self._catch_faults()
        try:
            library = ctypes.CDLL(request.path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
        except OSError as error:
            self.send(protocol.Loaded({}, str(error) or "no reason given", []))
            os._exit(0)
        findings = [Finding("fp-environment", f"Loading the library changed {c}.") for c in self._fp.changes()]
        # Not set back: any program that loads this library computes in this environment from now on.
        self._fp.keep()
        self._catch_faults()  # in case the library has installed handlers of its own
        self._handle = library._handle
        for symbol in request.symbols:
            with contextlib.suppress(AttributeError):
                self._functions[symbol] = library[symbol]
                self._functions[symbol].restype = None  # type: ignore[attr-defined]
        libc.fflush(None)
        return library, findings

    def locate(self, address: int) -> tuple[str, int] | None:
        """Return the operand that an address lies in or near, with the element; here only the judge knows."""
        return None

    def _map_arena(self) -> None:
        """Reserve the range of addresses as guards, and map the frames."""
        flags = mmap.MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE
        map_pages(self._base, ARENA, PROT_NONE, flags, self._files[0])
        size = os.fstat(self._files[3]).st_size
        self._frames = map_pages(None, size, _ACCESS[2], mmap.MAP_SHARED, self._files[3])
        self._bank = size // protocol.BANKS

    def _map(self, mapping: Mapping) -> None:
        if mapping.lower:  # at a documented address, where guards have to be mapped, too
            if (there := self._fixed.pop(mapping.lower, None)) is not None:
                libc.munmap(*there)
            span = mapping.upper - mapping.lower
            offset = mapping.start - (mapping.address - mapping.lower)
            flags = mmap.MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE
            map_pages(mapping.lower, span, PROT_NONE, flags, self._files[0], offset)
            self._fixed[mapping.lower] = mapping.lower, span
        flags = mmap.MAP_SHARED | MAP_FIXED
        map_pages(mapping.address, mapping.size, _ACCESS[mapping.file], flags, self._files[mapping.file], mapping.start)

    def _run(self, batch: Batch) -> None:
        try:
            if batch.forget:
                for at, span in self._fixed.values():
                    libc.munmap(at, span)
                self._fixed = {}
                flags = mmap.MAP_SHARED | MAP_NORESERVE | MAP_FIXED
                map_pages(self._base, ARENA, PROT_NONE, flags, self._files[0])
            for mapping in batch.mappings:
                self._map(mapping)
        except MemoryError as error:
            self.send(protocol.Trouble(f"{error}"))
            os._exit(0)
        header = self._frames + batch.bank * self._bank
        memory = (self._memory or self._plain) if batch.copied else None
        if memory is not None:
            memory.enter(header + stub.HEADER, batch.copied)
        self._call(header, batch.calls)
        if memory is not None:
            memory.leave()
        if memory is self._plain:
            self._plain.trim()  # a library's own frees it at the next call, as programs may
        libc.fflush(None)
        findings = [*self._state.changes(), *self._children()]
        ours = sum(span for _, span in self._fixed.values())
        self.send(protocol.Done(batch.bank, findings, (self._state.heap, self._state.addresses - ours)))

    _knows_of_children = False

    def _children(self) -> list[Finding]:
        if self._knows_of_children:
            return []
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return []
        self._knows_of_children = True
        return [Finding("forked", "The call left a child process behind.")]

    # Faults

    def _catch_faults(self) -> None:
        """Install the handler that tells the judge which operand an access missed.

        Only for signals with a data address; the others say all they can by killing the process. There is no
        alternate stack: an overflow of the stack kills the process with the same signal, only without
        details.
        """
        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(self._on_fault)
        action = SigAction(ctypes.cast(self._handler, ctypes.c_void_p), flags=SA_SIGINFO | _SA_RESETHAND)
        for number in (signal.SIGSEGV, signal.SIGBUS):
            libc.sigaction(number, ctypes.byref(action), None)

    def _on_fault(self, number: int, info: int, context: int) -> None:
        # SA_RESETHAND has already set the default action: whatever goes wrong in here, the process dies.
        if os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                if peek(info + 8, "<i") <= 0:  # si_code: sent by raise() or kill(), so there is no address
                    self.send(Fault(number, None, "sent"))
                else:
                    access, known = fault_access(context)
                    address: int | None = peek(info + 16, "<Q") if known else None
                    near = None if address is None else self.locate(address)
                    self.send(Fault(number, address, access, *(near or ())))
        # Blocked until this handler returns, so the message is out first. Returning alone would repeat the
        # access, but not a signal that was sent by kill().
        os.kill(os.getpid(), number)


def run_worker(
    control: socket.socket, nursery: int, enter: Callable[[], None], kind: "type[Worker] | None" = None
) -> NoReturn:
    """Become a worker in a process that the nursery has just forked."""
    os.setsid()
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # the nursery may look at it, which it may not at the nursery
    control.set_inheritable(False)
    die_with_parent(nursery)
    gc.disable()  # nothing here makes cycles, and a collection would visit the whole heap
    with contextlib.suppress(ValueError):  # by lines: a crash then costs little of what was printed before it
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
        libc.setvbuf(stdout, _STDOUT_BUFFER, _IOLBF, ctypes.c_size_t(len(_STDOUT_BUFFER)))
    worker = (kind or Worker)(control, enter)
    try:
        worker.serve()
    except BaseException as error:
        # A MemoryError after the library took all memory, or a control socket that the library closed.
        with contextlib.suppress(BaseException):
            worker.send(protocol.Trouble(f"{type(error).__name__}: {error}"))
        os._exit(70)
