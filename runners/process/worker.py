"""The process that foreign code runs in: loads one library, makes calls, expects the worst.

A worker is forked from the supervisor and never outlives it. The library can do here whatever it likes to memory,
registers, files and processes: nothing in here decides. What counts lies in memory that the judge shares and reads
(:mod:`runners.library.arena`); the judge sees frames on a socket, the text on two pipes, and how it all ended. What a
call leaves in its process is told from here all the same: a library that hid it would gain nothing but a remark less.
"""

import contextlib
import ctypes
import gc
import mmap
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from runners.calling.call import Finding
from runners.process import messages, stub
from runners.process.allocator import LibraryMemory
from runners.process.faults import SA_RESETHAND, SA_SIGINFO, SigAction, fault_access, peek
from runners.process.fenv import FloatingPoint
from runners.process.messages import Batch, Fault, Load, Mapping
from runners.process.sandbox import ARENA
from runners.process.state import ProcessState
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

_IOLBF = 1
#: The C library's buffer of stdout, as long as the process lives.
_STDOUT_BUFFER = ctypes.create_string_buffer(1 << 16)
#: Access to pages of the guards' file, the inputs' and the outputs'.
_ACCESS = (PROT_NONE, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE)


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
        request, self._files = self.first(messages.decode_request)
        assert isinstance(request, Load)
        self._base = request.arena
        try:
            self._map_arena()
            for mapping in request.mappings:
                self._map(mapping)
        except MemoryError as error:
            self.send(messages.Loaded({}, str(error), [], machine=True))
            os._exit(0)
        library, findings = self.load(request)
        try:
            if request.allocator:
                self._memory = LibraryMemory(library, *request.allocator)
        except AttributeError:
            missing = next(name for name in request.allocator if not hasattr(library, name))
            self.send(messages.Loaded({}, f"it has no function {missing}, which --memory names", []))
            os._exit(0)
        addresses = {s: ctypes.cast(f, ctypes.c_void_p).value or 0 for s, f in self._functions.items()}  # type: ignore[arg-type]
        self._state = ProcessState()  # what loading has left is how it is
        self.send(messages.Loaded(addresses, "", findings, self._fp.kept))
        while True:
            request = self.next(messages.decode_request)
            if isinstance(request, Batch):
                self._run(request)
            else:
                if self._memory is not None:
                    self._memory.trim()
                if found := self._state.changes(thorough=True):
                    self.send(messages.Done(-1, found, (0, 0)))
                loaded = self._state.libraries()
                libc.dlclose(self._handle)
                if self._state.libraries() == loaded:
                    stays = Finding("state-libraries", "The library stays in its process after it is unloaded.")
                    with contextlib.suppress(OSError):  # its destructors may have closed anything
                        self.send(messages.Done(-1, [stays], (0, 0)))
                libc.exit(0)  # unlike os._exit it runs the handlers that the library has registered

    def first(self, decode: Callable[[bytes], Any]) -> tuple[Any, list[int]]:
        """Return the first request with the descriptors that come with it."""
        chunk, fds, _, _ = socket.recv_fds(self._control, 4, 16)
        for fd in fds:
            os.set_inheritable(fd, False)
        return decode(self._stream.read(messages.frame_length(chunk))), fds

    def next(self, decode: Callable[[bytes], Any]) -> Any:
        """Return the next request; the process ends here if there will be none."""
        header = self._stream.read(4)
        if len(header) < 4:
            os._exit(0)  # the judge is gone; the supervisor cleans up
        return decode(self._stream.read(messages.frame_length(header)))

    def send(self, message: object) -> None:
        """Answer, unless this process is a copy that the library forked: that one ends here."""
        if os.getpid() != self._pid:
            os._exit(0)
        self._control.sendall(messages.frame(message))

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
            self.send(messages.Loaded({}, str(error) or "no reason given", []))
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
        self._bank = size // messages.BANKS

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
            self.send(messages.Trouble(f"{error}"))
            os._exit(0)
        header = batch.header or self._frames + batch.bank * self._bank
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
        self.send(messages.Done(batch.bank, findings, (self._state.heap, self._state.addresses - ours)))

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
        action = SigAction(ctypes.cast(self._handler, ctypes.c_void_p), flags=SA_SIGINFO | SA_RESETHAND)
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


def run_worker(control: socket.socket, supervisor: int, enter: Callable[[], None], kind: type[Worker]) -> NoReturn:
    """Become a worker in a process that the supervisor has just forked."""
    os.setsid()
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # the supervisor may look at it, which it may not at that
    control.set_inheritable(False)
    die_with_parent(supervisor)
    gc.disable()  # nothing here makes cycles, and a collection would visit the whole heap
    with contextlib.suppress(ValueError):  # by lines: a crash then costs little of what was printed before it
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
        libc.setvbuf(stdout, _STDOUT_BUFFER, _IOLBF, ctypes.c_size_t(len(_STDOUT_BUFFER)))
    worker = kind(control, enter)
    try:
        worker.serve()
    except BaseException as error:
        # A MemoryError after the library took all memory, or a control socket that the library closed.
        with contextlib.suppress(BaseException):
            worker.send(messages.Trouble(f"{type(error).__name__}: {error}"))
        os._exit(70)
