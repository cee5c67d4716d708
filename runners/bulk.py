"""Bulk calls of a library: operands in memory shared with the judge, and only a few bytes a call on the socket.

A worker as in :mod:`runners.worker` (a process of its own, operands between inaccessible pages, inputs read-only,
faults located, floating-point environment checked), for sweeps: the judge fills the operands of a block in shared
memory, tells the worker to run the calls, and judges one block while the worker computes the next. Runs as
``python -m runners.bulk FD PID`` beside the judge and dies with it.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from runners import protocol
from runners.calls import Gather, Job, caller
from runners.protocol import Fault, Finding, Load, Loaded, PointerArgument, ScalarArgument, Trouble
from runners.regions import GUARD, MAP_FIXED, PAGE, PROT_NONE, Placed, map_pages
from runners.worker import Worker, c_scalar, decoy_arguments, die_with_parent

#: Blocks that are in shared memory at once: one with the worker, one with the judge.
SLOTS = 2
#: F_SEAL_FUTURE_WRITE of Linux 5.1: no mapping that is made from now on can be written to.
_SEAL_FUTURE_WRITE = 0x10
#: Seconds for starting a process and loading the library.
PATIENCE = 30.0


class Operand(msgspec.Struct, frozen=True, array_like=True):
    """A pointer argument: ``count`` elements a slot, in the memory behind ``fd``; role as in PointerArgument."""

    name: str
    role: str
    itemsize: int
    count: int
    fd: int

    @property
    def span(self) -> int:
        """Whole pages of one slot, in bytes."""
        return max(1, -(-self.itemsize * self.count // PAGE)) * PAGE

    @property
    def start(self) -> int:
        """Offset of the first element in a slot: operands end at the inaccessible page."""
        return self.span - self.itemsize * self.count


class Map(msgspec.Struct, array_like=True, tag="map"):
    """Judge to worker: map the operands (in C order, with scalars between) of one entry point.

    ``helper``: see :func:`runners.calls.caller`.
    """

    symbol: str
    arguments: list[Operand | None]
    core_mask: int | None
    helper: str


class Run(msgspec.Struct, array_like=True, tag="run"):
    """Judge to worker: make ``calls`` calls on a slot; ``steps``: bytes that each argument moves by from call to call.

    ``gather`` > 0: the kernel writes ``written`` elements, every ``gather``-th of which goes to the output.
    """

    slot: int
    calls: int
    scalars: list[ScalarArgument | None]
    steps: list[int]
    width: int
    gather: int
    written: int


class Done(msgspec.Struct, array_like=True, tag="done"):
    """Worker to judge: the calls returned; ``seconds`` of processor time were spent in them."""

    seconds: float
    findings: list[Finding]


_decode_request = msgspec.msgpack.Decoder(Load | Map | Run).decode
_decode_reply = msgspec.msgpack.Decoder(Loaded | Done | Fault | Trouble).decode


class BulkError(Exception):
    """The library cannot go on: ``str(error)`` is a predicate, such as "crashed with SIGSEGV reading dy[7]"."""


class _Pages:
    """What :class:`runners.regions.Placed` needs to know of one operand's memory, to locate a fault."""

    def __init__(self, operand: Operand, fd: int, offset: int) -> None:
        self.span = operand.span + 2 * GUARD
        self.lower = map_pages(None, self.span, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        self.base = self.lower + GUARD
        access = mmap.PROT_READ | (mmap.PROT_WRITE if operand.role == "output" else 0)
        sharing = mmap.MAP_SHARED if fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        map_pages(self.base, operand.span, access, sharing | MAP_FIXED, fd, offset)


class BulkWorker(Worker):
    """Serves one judge with calls on shared memory."""

    def serve(self) -> NoReturn:
        """Answer requests until the judge is gone."""
        while True:
            header = self._stream.read(4)
            if len(header) < 4:
                os._exit(0)
            request = _decode_request(self._stream.read(protocol.frame_length(header)))
            if isinstance(request, Load):
                self._load(request)
            elif isinstance(request, Map):
                self._map(request)
            else:
                self._run(request)

    def _map(self, request: Map) -> None:
        self._request = request
        self._slots = [
            [Placed(_argument(a), _Pages(a, a.fd, slot * a.span), a.start, a.span) if a else None  # type: ignore[arg-type]
             for a in request.arguments]
            for slot in range(SLOTS)
        ]  # fmt: skip
        self._scratch: Placed | None = None
        self._make = caller(request.helper)
        self.send(Done(0.0, []))

    def _run(self, run: Run) -> None:
        slot = self._slots[run.slot]
        self._placed = [placed for placed in slot if placed is not None]
        output = next(placed for placed in self._placed if placed.argument.role == "output")
        size, gather = output.argument.itemsize, None
        if run.gather > 1:  # all of the output is taken from there, so that it need not be poisoned itself
            scratch = self._gathered(output, run.written)
            self._placed.append(scratch)
            written = _poisoned(scratch, run.written)
            gather = Gather(written, run.written, run.gather, output.region.base + output.start, size)
        else:
            written = _poisoned(output, run.calls * run.width)
        given = [s for s in run.scalars if s is not None]
        arguments: list[Any] = []
        for placed, scalar in zip(slot, run.scalars, strict=True):
            if scalar is not None:
                arguments.append(c_scalar(scalar))
            elif placed is output:
                arguments.append(ctypes.c_void_p(written))
            elif placed is not None:
                arguments.append(ctypes.c_void_p(placed.region.base + placed.start))
        steps = [0 if gather and placed is output else step for placed, step in zip(slot, run.steps, strict=True)]
        mask = self._request.core_mask
        tail = [*([] if mask is None else [ctypes.c_int(mask)]), *decoy_arguments(given)]
        function = self._functions[self._request.symbol]
        seconds = self._make(
            Job(function, run.calls, [*arguments, *tail], [*steps, *[0] * len(tail)], run.width, gather)
        )
        findings = [Finding("fp-environment", f"A call changed {c}.") for c in self._fp.changes()]
        if findings:
            self._fp.restore()
        self.send(Done(seconds, findings))

    def _gathered(self, output: Placed, written: int) -> Placed:
        """Return private memory for ``written`` output elements, between inaccessible pages."""
        if self._scratch is None or self._scratch.argument.count != written:
            operand = Operand(output.argument.name, "output", output.argument.itemsize, written, -1)
            pages: Any = _Pages(operand, -1, 0)
            self._scratch = Placed(_argument(operand), pages, operand.start, operand.span)
        return self._scratch


def _poisoned(placed: Placed, count: int) -> int:
    """Poison the first ``count`` elements of an operand; return their address."""
    address = placed.region.base + placed.start
    ctypes.memset(address, protocol.POISONS[0], count * placed.argument.itemsize)
    return address


def _seal(operand: Operand) -> None:
    """Leave it to the judge to change what it has mapped: the worker can neither resize it, nor write to an input.

    Where the system knows no such seal there is still the worker's mapping, which is read-only.
    """
    for seals in (fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW, 0 if operand.role == "output" else _SEAL_FUTURE_WRITE):
        with contextlib.suppress(OSError):
            fcntl.fcntl(operand.fd, fcntl.F_ADD_SEALS, seals)


def _argument(operand: Operand) -> PointerArgument:
    return PointerArgument(operand.name, operand.role, operand.itemsize, operand.count)  # type: ignore[arg-type]


class BulkLibrary:
    """A library in a bulk worker, set up for one entry point; the judge's side.

    ``arguments``: in C order, (name, role, itemsize, count) of pointers and None for scalars. :attr:`memory` has, by
    operand name, the shared memory of each slot. ``helper``: what makes the calls, as :func:`runners.calls.caller`
    takes it. Raises :class:`BulkError` if the library cannot be loaded.
    """

    def __init__(
        self,
        path: Path,
        symbol: str,
        arguments: Sequence[tuple[str, str, int, int] | None],
        core_mask: int | None,
        helper: str,
        timeout: float = 10.0,
    ) -> None:
        self.timeout = timeout
        self._closed = False
        self._frames = protocol.Frames()
        self._replies: list[Any] = []
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        files = [os.memfd_create(a[0], flags) if a else -1 for a in arguments]
        operands = [Operand(*a, fd) if a else None for a, fd in zip(arguments, files, strict=True)]
        self.memory: dict[str, list[memoryview]] = {}
        for operand in operands:
            if operand is None:
                continue
            os.ftruncate(operand.fd, SLOTS * operand.span)
            whole = memoryview(mmap.mmap(operand.fd, SLOTS * operand.span))
            _seal(operand)
            size, span = operand.itemsize * operand.count, operand.span
            starts = [slot * span + operand.start for slot in range(SLOTS)]
            self.memory[operand.name] = [whole[at : at + size] for at in starts]
        self._control, theirs = socket.socketpair()
        root = str(Path(__file__).parent.parent)
        search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "runners.bulk", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": search},
                pass_fds=[theirs.fileno(), *(o.fd for o in operands if o)],
                start_new_session=True,
            )
        for operand in filter(None, operands):
            os.close(operand.fd)
        try:
            self._send(Load(str(path.resolve()), [symbol], 4 << 30))
            loaded = self._receive(PATIENCE)
            if not isinstance(loaded, Loaded) or loaded.error or symbol not in loaded.symbols:
                raise BulkError(f"cannot be loaded ({getattr(loaded, 'error', '') or f'it has no {symbol}'})")
            self._send(Map(symbol, list(operands), core_mask, helper))
            self.findings: list[Finding] = list(loaded.findings)
            self._receive(PATIENCE)
        except BaseException:
            self.close()
            raise

    def start(self, run: Run) -> None:
        """Have the worker run calls; raises :class:`BulkError` if it is gone."""
        self._send(run)

    def wait(self) -> Done:
        """Wait for the oldest run; raises :class:`BulkError` for a crash, an exit, or silence beyond the time-out."""
        done = self._receive(self.timeout)
        if not isinstance(done, Done):
            raise BulkError("sent an answer that nobody asked for")
        return done

    def close(self) -> None:
        """End the worker with everything that the library has started; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._control.close()

    def _send(self, message: object) -> None:
        try:
            self._control.sendall(protocol.frame(message))
        except OSError:
            self._receive(PATIENCE)  # its last words

    def _receive(self, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while not self._replies:
            try:
                ready, _, _ = select.select([self._control], [], [], max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise BulkError(f"did not return within {timeout:g} s")
                chunk = self._control.recv(1 << 16)
            except ConnectionResetError:  # it died with runs unread
                chunk = b""
            except (OSError, ValueError) as error:  # another thread has closed the socket
                raise BulkError("was ended") from error
            try:
                self._replies += [_decode_reply(body) for body in self._frames.feed(chunk)]
            except (protocol.FrameError, msgspec.MsgspecError) as error:
                raise BulkError(f"wrote to a descriptor that is not its own ({error})") from error
            if not chunk and not self._replies:
                raise BulkError(self._ending())
        reply = self._replies.pop(0)
        if isinstance(reply, Fault):
            raise BulkError(f"crashed with {signal.Signals(reply.signal).name} {_access(reply)}")
        if isinstance(reply, Trouble):
            raise BulkError(f"left its process unable to go on ({reply.message})")
        return reply

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        code = self._process.returncode
        if code is not None and code < 0:
            return f"crashed with {signal.Signals(-code).name}"
        return f"ended its process with exit code {code}"


def _access(fault: Fault) -> str:
    verb = {"read": "reading", "write": "writing"}.get(fault.access, "accessing")
    if fault.operand:
        return f"{verb} {fault.operand}[{fault.element}]"
    return f"{verb} address {fault.address:#x}" if fault.address is not None else "at no address of its own"


def main() -> None:
    """Serve the judge at the other end of an inherited socket; arguments: its number, and the judge's process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    die_with_parent(int(sys.argv[2]))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whatever the judge's process has blocked
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    worker = BulkWorker(control)
    try:
        worker.serve()
    except BaseException as error:
        with contextlib.suppress(BaseException):
            worker.send(Trouble(f"{type(error).__name__}: {error}"))
        os._exit(70)


if __name__ == "__main__":
    main()
