"""The process that foreign code runs in: loads one library, serves calls, expects the worst.

A worker is forked from the nursery and never outlives it. The library can do here whatever it likes to
memory, registers, files and processes; the judge sees only frames on a socket, the text on two pipes, and how
it all ended.
"""

import contextlib
import ctypes
import gc
import os
import platform
import resource
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

from runners import protocol
from runners.allocator import LibraryMemory, disturbances
from runners.protocol import Call, Fault, Finding, Invocation, Load, PointerArgument, ScalarArgument
from runners.regions import AREA, PAGE, Memory, Placed, fill, libc, slack_findings

#: 1.0 by element size, for operands that must not matter.
_ONES = {2: b"\x00\x3c", 4: b"\x00\x00\x80\x3f", 8: b"\x00\x00\x00\x00\x00\x00\xf0\x3f"}

_PR_SET_PDEATHSIG = 1
_SA_SIGINFO = 4
_SA_RESETHAND = 0x80000000
_IOLBF = 1
#: The C library's buffer of stdout, as long as the process lives.
_STDOUT_BUFFER = ctypes.create_string_buffer(1 << 16)

libc.dlclose.argtypes = [ctypes.c_void_p]


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
        self._fields = self.FIELDS.get(platform.machine(), [])
        self._now = ctypes.create_string_buffer(128)
        self.keep()

    def keep(self) -> None:
        """Take the present environment for the one that calls have to leave behind."""
        self._get(self._now)
        self._kept = self._now.raw
        self._values = self._read()

    def changes(self) -> list[str]:
        """Say what differs from the kept environment, such as "rounding mode from to nearest to upward"."""
        self._get(self._now)
        values = self._read()
        if values == self._values:
            return []
        pairs = zip(self._fields, self._values, values, strict=True)
        return [f"{f[4]} from {_name(f[5], a)} to {_name(f[5], b)}" for f, a, b in pairs if a != b]

    def restore(self) -> None:
        """Go back to the kept environment, and keep what the C library does not set back (x87 precision)."""
        self._set(ctypes.create_string_buffer(self._kept))
        self.keep()

    def _read(self) -> list[int]:
        raw = self._now
        return [
            struct.unpack_from(form, raw, at)[0] >> shift & (1 << width) - 1
            for at, form, shift, width, _, _ in self._fields
        ]


def _name(names: tuple[str, ...], value: int) -> str:
    return names[value] if names else f"{value:#x}"


# Signals


class _SigAction(ctypes.Structure):
    """C's ``struct sigaction`` on Linux, x86-64 and AArch64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_uint),
        ("restorer", ctypes.c_void_p),
    )


def _peek(address: int, form: str) -> Any:
    return struct.unpack(form, ctypes.string_at(address, struct.calcsize(form)))[0]


def _fault_access(context: int) -> tuple[str, bool]:
    """Return "read", "write" or "" from a ``ucontext_t``, and whether the fault's address is known."""
    machine = platform.machine()
    if machine == "x86_64":
        if _peek(context + 200, "<Q") == 13:  # trap number: a general protection fault carries no address
            return "", False
        return ("write" if _peek(context + 192, "<Q") & 2 else "read"), True
    if machine == "aarch64":
        record, end = context + 464, context + 464 + 4096
        while record + 16 <= end and (size := _peek(record + 4, "<I")):
            if _peek(record, "<I") == 0x45535201:  # ESR_MAGIC: the syndrome register; bit 6 is "write, not read"
                return ("write" if _peek(record + 8, "<Q") & 0x40 else "read"), True
            record += size
    return "", True


# The worker


def c_scalar(argument: ScalarArgument) -> Any:
    """Return a ctypes value that reaches the callee with the wanted bits.

    ctypes has no fp16. A ``_Float16`` travels in the low 16 bits of a floating-point register (System V
    x86-64 psABI, AAPCS64), so a float of those bits does it; what is above them is zero here, as compilers
    leave it when they load from memory. Bits are copied, never converted: signalling NaNs arrive as they are.
    """
    if argument.ctype == "int32":
        return ctypes.c_int(argument.bits)
    if argument.ctype == "uint16":
        return ctypes.c_uint16(argument.bits)
    return ctypes.c_float.from_buffer_copy(argument.bits.to_bytes(4, "little"))


def decoy_arguments(scalars: Sequence[ScalarArgument]) -> list[Any]:
    """Return surplus arguments that load NaN where the other half convention would look for the value.

    Without them a wrong guess may go unnoticed: that register can still hold the value from its own passing.
    Surplus arguments do no harm in either ABI, where the caller cleans up.
    """
    types = {s.ctype for s in scalars}
    floating = [ctypes.c_float.from_buffer_copy(b"\x00\x7e\xc0\x7f")] if "uint16" in types else []
    return floating + ([ctypes.c_int(0x7E00)] if "float16" in types else [])


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, or end now if that has happened.

    ``parent``: number of the process with that thread.
    """
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


class Worker:
    """Serves one judge on ``control`` until told to unload, or until the library ends it all."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._stream = control.makefile("rb", buffering=1 << 16)
        self._pid = os.getpid()
        self._memory: Memory | LibraryMemory = Memory()
        self._fp = FloatingPoint()
        self._regions: dict[str, tuple[int, ...]] = {}
        self._functions: dict[str, Callable[..., None]] = {}
        self._handle = 0
        self._serial = 0
        self._placed: list[Placed] = []
        self._knows_of_children = False

    def serve(self) -> NoReturn:
        """Answer requests for ever; the process ends in here."""
        while True:
            header = self._stream.read(4)
            if len(header) < 4:
                os._exit(0)  # the judge is gone; the nursery cleans up
            request = protocol.decode_request(self._stream.read(protocol.frame_length(header)))
            if isinstance(request, Call):
                self._call(request)
            elif isinstance(request, Load):
                self._load(request)
            else:
                self._placed = []
                self._memory.trim()
                libc.dlclose(self._handle)
                libc.exit(0)  # unlike os._exit it runs the handlers that the library has registered

    def send(self, message: object) -> None:
        """Answer, unless this process is a copy that the library forked: that one ends here."""
        if os.getpid() != self._pid:
            os._exit(0)
        self._control.sendall(protocol.frame(message))

    def _load(self, request: Load) -> None:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (pathlib is slow to import)
            mapped = int(file.read().split()[0]) * PAGE
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = mapped + request.memory
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
        self._fp.keep()
        self._catch_faults()
        try:
            library = ctypes.CDLL(request.path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
        except OSError as error:
            self.send(protocol.Loaded([], str(error) or "no reason given", []))
            os._exit(0)
        findings = [Finding("fp-environment", f"Loading the library changed {c}.") for c in self._fp.changes()]
        # Not set back: any program that loads this library computes in this environment from now on.
        self._fp.keep()
        self._catch_faults()  # in case the library has installed handlers of its own
        self._handle = library._handle
        self._regions = request.regions
        for symbol in request.symbols:
            with contextlib.suppress(AttributeError):
                self._functions[symbol] = library[symbol]
                self._functions[symbol].restype = None  # type: ignore[attr-defined]
        try:
            if request.allocator:
                self._memory = LibraryMemory(library, *request.allocator)
        except AttributeError:
            missing = next(name for name in request.allocator if not hasattr(library, name))
            self.send(protocol.Loaded([], f"it has no function {missing}, which --memory names", []))
            os._exit(0)
        libc.fflush(None)
        self.send(protocol.Loaded(list(self._functions), "", findings))

    def _call(self, call: Call) -> None:
        function = self._functions[call.symbol]
        self._memory.trim()
        self._serial += 1
        scalars = [c_scalar(a) if isinstance(a, ScalarArgument) else None for a in call.arguments]
        decoys = decoy_arguments([a for a in call.arguments if isinstance(a, ScalarArgument)])
        geometry: object = None
        arguments: list[Any] = []
        previous: bytes | None = None
        for number, invocation in enumerate(call.invocations, 1):
            wanted = (
                invocation.placement,
                invocation.offset,
                invocation.skew,
                invocation.align,
                invocation.unreadable,
            )
            if wanted != geometry:
                geometry = wanted
                arguments = self._place(call, invocation, scalars)
            self._prepare(invocation)
            if invocation.core_mask is None:
                function(*arguments, *decoys)
            else:
                function(*arguments, ctypes.c_int(invocation.core_mask), *decoys)
            findings = [Finding("fp-environment", f"The call changed {c}.") for c in self._fp.changes()]
            if findings:
                self._fp.restore()
            output = b""
            for placed in self._placed:
                if placed.argument.role == "output" and placed.region.view:
                    output = bytes(placed.region.view[placed.start : placed.stop])
                    findings += slack_findings(placed)
                elif isinstance(self._memory, LibraryMemory):
                    findings += disturbances(placed, self._content(placed.argument, invocation))
            if number == len(call.invocations):
                libc.fflush(None)
                findings += self._child_findings()
            self.send(protocol.Ran(None if output == previous else output, findings))
            previous = output

    def _place(self, call: Call, invocation: Invocation, scalars: list[Any]) -> list[Any]:
        """Lay all operands out and return the C arguments."""
        self._placed = []
        arguments = []
        starts = self._regions.get(call.symbol, ())
        for slot, (argument, scalar) in enumerate(zip(call.arguments, scalars, strict=True)):
            if isinstance(argument, PointerArgument):
                number = len(self._placed)
                lower = starts[number % len(starts)] + number // len(starts) * AREA if starts else None
                placed = self._memory.place(slot, argument, invocation, lower)
                self._placed.append(placed)
                arguments.append(ctypes.c_void_p(placed.region.base + placed.start))
            else:
                arguments.append(scalar)
        return arguments

    def _prepare(self, invocation: Invocation) -> None:
        """Fill the operands with what an invocation wants to see in them."""
        for placed in self._placed:
            argument, region = placed.argument, placed.region
            if not region.view:
                continue
            if argument.role == "output":
                fill(placed, bytes([protocol.POISONS[invocation.poison]]) * argument.size)
                continue
            unread = argument.role == "unread"
            content = (
                invocation.unread if unread else self._serial,
                argument.itemsize,
                placed.start,
                placed.stop,
            )
            if region.content == content:
                continue
            region.content = content
            fill(placed, self._content(argument, invocation))

    def _content(self, argument: PointerArgument, invocation: Invocation) -> bytes | memoryview:
        """Return what an operand that is not the output holds in an invocation."""
        if argument.role != "unread":
            return argument.data
        return _ONES[argument.itemsize] * argument.count if invocation.unread == "ones" else b"\xff" * argument.size

    def _child_findings(self) -> list[Finding]:
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
        action = _SigAction(ctypes.cast(self._handler, ctypes.c_void_p), flags=_SA_SIGINFO | _SA_RESETHAND)
        for number in (signal.SIGSEGV, signal.SIGBUS):
            libc.sigaction(number, ctypes.byref(action), None)

    def _on_fault(self, number: int, info: int, context: int) -> None:
        # SA_RESETHAND has already set the default action: whatever goes wrong in here, the process dies.
        if os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                if _peek(info + 8, "<i") <= 0:  # si_code: sent by raise() or kill(), so there is no address
                    self.send(Fault(number, None, "sent", "", 0))
                else:
                    self.send(self._locate(number, _peek(info + 16, "<Q"), *_fault_access(context)))
        # Blocked until this handler returns, so the message is out first. Returning alone would repeat the
        # access, but not a signal that was sent by kill().
        os.kill(os.getpid(), number)

    def _locate(self, number: int, address: int, access: str, known: bool) -> Fault:
        if not known:
            return Fault(number, None, access, "", 0)
        for argument, region, start, _ in self._placed:
            if region.lower <= address < region.lower + region.span:
                element = (address - region.base - start) // argument.itemsize
                return Fault(number, address, access, argument.name, element)
        return Fault(number, address, access, "", 0)


def run_worker(control: socket.socket, nursery: int) -> NoReturn:
    """Become a worker in a process that the nursery has just forked."""
    os.setsid()
    control.set_inheritable(False)
    die_with_parent(nursery)
    gc.disable()  # nothing here makes cycles, and a collection would visit the whole heap
    with contextlib.suppress(ValueError):  # by lines: a crash then costs little of what was printed before it
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
        libc.setvbuf(stdout, _STDOUT_BUFFER, _IOLBF, ctypes.c_size_t(len(_STDOUT_BUFFER)))
    worker = Worker(control)
    try:
        worker.serve()
    except BaseException as error:
        # A MemoryError after the library took all memory, or a control socket that the library closed.
        with contextlib.suppress(BaseException):
            worker.send(protocol.Trouble(f"{type(error).__name__}: {error}"))
        os._exit(70)
