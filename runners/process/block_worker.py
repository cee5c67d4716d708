"""The process that a library runs in for sweeps: calls on blocks of operands that lie in memory shared with the judge.

A worker as in :mod:`runners.process.worker` (sandboxed, operands between inaccessible pages, inputs read-only, faults
located). What calls leave in the floating-point units is looked at after every block. Of every eighth one and of the
last, the first call is made by :mod:`runners.process.stub`, which looks at the registers, and then it is looked at what
is left in the process.
"""

import ctypes
import mmap
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import msgspec

from runners.calling.call import FILLS, Finding, Findings, ScalarArgument
from runners.process import messages, stub
from runners.process.call_loop import Gather, Loop, caller, in_python
from runners.process.checked import Checked
from runners.process.messages import Fault, Load, Loaded, Trouble
from runners.process.state import ProcessState
from runners.process.system import MAP_FIXED, PROT_NONE, map_pages
from runners.process.worker import Worker

PAGE = mmap.PAGESIZE
#: Inaccessible bytes on either side of an operand.
GUARD = 64 * PAGE
#: Blocks that are in shared memory at once: one with the worker, one with the judge.
SLOTS = 2
#: Of so many blocks one is looked at: it costs some 40 µs, as much as a tenth of a block's calls.
_LOOK_EVERY = 8


class Operand(msgspec.Struct, frozen=True, array_like=True):
    """A pointer argument: ``count`` elements a slot; role as in PointerArgument.

    ``fd``: which of the files that come with Load has its memory; -1 for memory of the worker's own. ``align``: bytes
    that the first element is aligned to; ``overread``: bytes beyond the last one that may be read.
    """

    name: str
    role: str
    itemsize: int
    count: int
    fd: int
    align: int = 1
    overread: int = 0

    @property
    def span(self) -> int:
        """Whole pages of one slot, in bytes."""
        size = self.itemsize * self.count + self.overread + self.align - 1
        return max(1, -(-size // PAGE)) * PAGE

    @property
    def start(self) -> int:
        """Offset of the first element in a slot: operands end at the inaccessible page, or as near as they may."""
        start = self.span - self.overread - self.itemsize * self.count
        return start - start % self.align


class Map(msgspec.Struct, array_like=True, tag="map"):
    """Judge to worker: map the operands (in C order, with scalars between) of one entry point.

    ``helper``: see :func:`runners.process.call_loop.caller`.
    """

    symbol: str
    arguments: list[Operand | None]
    core_mask: int | None
    helper: str


class Run(msgspec.Struct, array_like=True, tag="run"):
    """Judge to worker: make ``calls`` calls on a slot; ``steps``: bytes that each argument moves by from call to call.

    ``gather`` > 0: the kernel writes ``written`` elements, every ``gather``-th of which goes to the output. ``last``:
    no other run may follow.
    """

    slot: int
    calls: int
    scalars: list[ScalarArgument | None]
    steps: list[int]
    width: int
    gather: int
    written: int
    last: bool = False


class Done(msgspec.Struct, array_like=True, tag="done"):
    """Worker to judge: the calls returned; ``seconds`` of processor time were spent in them."""

    seconds: messages.Seconds
    findings: Findings


_decode_request = messages.decoder(Load | Map | Run)
decode_reply = messages.decoder(Loaded | Done | Fault | Trouble)


class _Pages(NamedTuple):
    """One operand's memory in the worker: what calls are given, and what a fault is located by."""

    operand: Operand
    base: int
    start: int

    @classmethod
    def of(cls, operand: Operand, fd: int, offset: int) -> "_Pages":
        """Map a slot of an operand."""
        span = operand.span + 2 * GUARD
        base = map_pages(None, span, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0) + GUARD
        access = mmap.PROT_READ | (mmap.PROT_WRITE if operand.role == "output" else 0)
        sharing = mmap.MAP_SHARED if fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        map_pages(base, operand.span, access, sharing | MAP_FIXED, fd, offset)
        return cls(operand, base, base + operand.start)

    def element(self, address: int) -> int | None:
        """Return which element an address would be of, if it lies here or in a guard."""
        if self.base - GUARD <= address < self.base + self.operand.span + GUARD:
            return (address - self.start) // self.operand.itemsize
        return None


class BlockWorker(Worker):
    """Serves one judge with calls on shared memory."""

    def serve(self) -> NoReturn:
        """Answer requests until the judge is gone."""
        request, self._files = self.first(_decode_request)
        findings = self.load(request)[1]
        self.send(Loaded(dict.fromkeys(self._functions, 1), "", findings))
        while True:
            request = self.next(_decode_request)
            if isinstance(request, Map):
                self._map_operands(request)
            else:
                self._run_block(request)

    def _map_operands(self, request: Map) -> None:
        self._request = request
        self._slots = [
            [_Pages.of(a, self._files[a.fd], slot * a.span) if a else None for a in request.arguments]
            for slot in range(SLOTS)
        ]
        self._pages = [p for slot in self._slots for p in slot if p]
        self._scratch: _Pages | None = None
        self._make = caller(request.helper)
        self._now = ctypes.create_string_buffer(128)
        self._checked = Checked(self._functions[request.symbol], self._call, self._fp.kept)
        self._turn, self._broken = 0, False
        self._state = ProcessState()  # what loading has left is how it is
        self.send(Done(0.0, []))

    def _run_block(self, run: Run) -> None:
        slot = self._slots[run.slot]
        output = next(p for p in slot if p is not None and p.operand.role == "output")
        size, gather = output.operand.itemsize, None
        if run.gather > 1:  # all of the output is taken from there, so that it need not be filled itself
            scratch = self._gathered(output, run.written)
            written = _filled(scratch, run.written)
            gather = Gather(written, run.written, run.gather, output.start, size)
        else:
            written = _filled(output, run.calls * run.width)
        given = [s for s in run.scalars if s is not None]
        arguments: list[Any] = []
        for pages, scalar in zip(slot, run.scalars, strict=True):
            if scalar is not None:
                arguments.append(c_scalar(scalar))
            elif pages is output:
                arguments.append(ctypes.c_void_p(written))
            elif pages is not None:
                arguments.append(ctypes.c_void_p(pages.start))
        steps = [0 if gather and pages is output else step for pages, step in zip(slot, run.steps, strict=True)]
        mask = self._request.core_mask
        tail = [*([] if mask is None else [ctypes.c_int(mask)]), *decoy_arguments(given)]
        function = self._functions[self._request.symbol]
        loop = Loop(function, run.calls, [*arguments, *tail], [*steps, *[0] * len(tail)], run.width, gather)
        looked_at = run.last or self._turn % _LOOK_EVERY == 0 or self._broken
        self._turn += 1
        seconds = self._make_checked(loop) if looked_at and stub.NATIVE else self._make(loop)
        findings = [*self._checked.findings, *self._units()]
        if looked_at:
            findings += [*self._state.changes(run.last), *self._children()]
            self._broken |= bool(self._checked.findings)  # C would trip over what it leaves
            self._checked.findings = []
        self.send(Done(seconds, findings))

    def _make_checked(self, loop: Loop) -> float:
        """Make calls, the first one checked; and the others, too, if it broke something that C relies on."""
        first = loop._replace(function=self._checked, calls=1)
        seconds = in_python(first)  # which moves the pointers on
        if loop.calls == 1:
            return seconds
        if (gather := loop.gather) is not None:
            gather = gather._replace(sink=gather.sink + loop.width * gather.itemsize)
        if self._checked.findings:
            return seconds + in_python(first._replace(calls=loop.calls - 1, gather=gather))
        return seconds + self._make(loop._replace(calls=loop.calls - 1, gather=gather))

    def _units(self) -> list[Finding]:
        """Look at what calls have left in the floating-point units, and set them back."""
        self._fp.get(ctypes.addressof(self._now))
        findings = [Finding("registers", f"The call did not preserve {name}.") for name in stub.occupied(self._now.raw)]
        findings += [Finding("fp-environment", f"The call changed {c}.") for c in self._fp.changes()]
        if findings:
            self._fp.restore()
        return findings

    def _gathered(self, output: _Pages, written: int) -> _Pages:
        """Return private memory for ``written`` output elements, between inaccessible pages."""
        if self._scratch is None or self._scratch.operand.count != written:
            operand = Operand(output.operand.name, "output", output.operand.itemsize, written, -1, output.operand.align)
            self._scratch = _Pages.of(operand, -1, 0)
            self._pages.append(self._scratch)
        return self._scratch

    def locate(self, address: int) -> tuple[str, int] | None:
        """Return the operand that an address lies in or near, with the element."""
        for pages in self._pages:
            if (element := pages.element(address)) is not None:
                return pages.operand.name, element
        return None


def c_scalar(argument: ScalarArgument) -> Any:
    """Return a ctypes value that reaches the callee with the wanted bits; see :mod:`runners.library.session`."""
    if argument.ctype == "int32":
        return ctypes.c_int(argument.bits)
    if argument.ctype == "uint16":
        return ctypes.c_uint16(argument.bits)
    return ctypes.c_float.from_buffer_copy(argument.bits.to_bytes(4, "little"))


def decoy_arguments(scalars: Sequence[ScalarArgument]) -> list[Any]:
    """Return surplus arguments that load NaN where the other half convention would look for the value."""
    types = {s.ctype for s in scalars}
    floating = [ctypes.c_float.from_buffer_copy(b"\x00\x7e\xc0\x7f")] if "uint16" in types else []
    return floating + ([ctypes.c_int(0x7E00)] if "float16" in types else [])


def _filled(pages: _Pages, count: int) -> int:
    """Fill the first ``count`` elements of an operand; return their address."""
    ctypes.memset(pages.start, FILLS[0], count * pages.operand.itemsize)
    return pages.start
