"""Calls and outcomes.

The judge builds a :class:`Call`, a session (:mod:`runners.calling.session`) executes it once an :class:`Invocation` and
answers with one :class:`Outcome` each. This module imports no other part of the project and no NumPy: the process that
runs foreign code loads it, and has to start in milliseconds.
"""

import struct
from typing import Annotated, Literal

import msgspec

Status = Literal["ok", "crash", "timeout", "exit", "not-run"]
Placement = Literal["end", "begin", "plain"]
#: What operands hold that must not matter: kernels that read them compute something else with each.
Unread = Literal["nan", "ones", "zeros", "large", "negative", "numbers"]
UNREAD: tuple[Unread, ...] = ("nan", "ones", "zeros", "large", "negative", "numbers")
#: Layers around a library's process: all have to be there, those that are there are used, or none is.
Mode = Literal["require", "auto", "off"]
#: The core mask of calls whose result must not depend on it: the first core.
ONE_CORE = 1

#: What a library's process may say: it can be forged.
Text = Annotated[str, msgspec.Meta(max_length=1 << 14)]

#: Bytes that a harness fills the output with before a call. The first two are complements, so no byte and no unwritten
#: element can be the same under both. As numbers (fp16 -0.022 and 203, fp32 -2.9e-16 and 1.5e16) they are neither
#: zero nor of like size, so adding into the output shows as well; and not NaN, which would pass where the
#: result has to be NaN. Zeros are what fresh memory holds: they tell nothing of unwritten elements. What libraries get
#: is drawn anew for every run (:class:`runners.library.patterns.Patterns`).
FILLS = (0xA5, 0x5A, 0)


class Invocation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One execution of a call: everything that must not change a bit of the result.

    ``placement``: operands end exactly at an inaccessible page, begin right after one, or lie in memory as programs
    allocate it ("plain", where a session offers that). ``offset``: elements (0..15) that every operand is moved away
    from that page; ``skew``: further elements for each operand before it, modulo 16, so that operands are misaligned
    against each other; with ``alone``, only the operand of this name is moved. ``grid``: bytes that every operand is
    moved: with "begin" its address is a multiple of the power of two that divides them, and of no more. ``align``:
    bytes; with "end", operands are moved down to a multiple of it, for platforms whose kernels may require that.
    ``overread``: bytes beyond an operand that may be read, before an inaccessible page. ``fill`` selects from two fills
    of the output, and zeros; ``alias``: the output lies where this input does, and holds it before the call;
    ``unread`` is the content of operands that must not matter; operands named in ``unreadable`` lie on inaccessible
    pages. ``core_mask``: None for entry points that take none.
    """

    core_mask: int | None = None
    placement: Placement = "end"
    offset: int = 0
    skew: int = 0
    align: int = 1
    fill: Literal[0, 1, 2] = 0
    unread: Unread = "nan"
    unreadable: tuple[str, ...] = ()
    grid: int = 0
    alone: str = ""
    overread: int = 0
    alias: str = ""

    def shift(self, name: str, slot: int, itemsize: int) -> int:
        """Return the bytes that the operand of an argument is moved away from its page."""
        alone = self.offset if name == self.alone else 0
        return self.grid + (alone if self.alone else (self.offset + slot * self.skew) % 16) * itemsize

    def unit(self, least: int) -> int:
        """Return the bytes, ``least`` or more, modulo which addresses have to be as they are wanted."""
        return max(least, self.align, 1 << self.grid.bit_length())


_UNREAD_VALUES: dict[str, tuple[float, ...]] = {
    "ones": (1.0,),
    "zeros": (0.0,),
    "large": (30000.0,),
    "negative": (-1.5,),
    "numbers": (0.5, -3.0, 60.0, 0.0, 1000.0, -0.001953125, 7.0, -200.0),
}


def unread_content(kind: Unread, itemsize: int, size: int) -> bytes:
    """Return the bytes of an operand that must not matter."""
    if kind == "nan":
        return b"\xff" * size
    values = _UNREAD_VALUES[kind]
    some = struct.pack(f"<{len(values)}{'efd'[itemsize.bit_length() - 2]}", *values)
    return (some * (size // len(some) + 1))[:size]


class PointerArgument(msgspec.Struct, frozen=True, array_like=True, tag="pointer", gc=False):
    """An operand: ``count`` elements of ``itemsize`` bytes; ``data`` is the bytes of an input, else empty.

    A view, so that operands of hundreds of megabytes are not copied where a call is built, nor where it arrives.
    """

    name: str
    role: Literal["input", "output", "unread"]
    itemsize: int
    count: int
    data: memoryview = memoryview(b"")

    @property
    def size(self) -> int:
        """Bytes."""
        return self.itemsize * self.count


class ScalarArgument(msgspec.Struct, frozen=True, array_like=True, tag="scalar", gc=False):
    """A scalar by value, as bits. ``float16`` is C's ``_Float16``, ``uint16`` a half as an integer type."""

    name: str
    ctype: Literal["int32", "float16", "uint16", "float32"]
    bits: int


class Call(msgspec.Struct, frozen=True, array_like=True, tag="call", gc=False):
    """One kernel call with the ways to execute it. ``arguments`` are in C order, ``core_mask`` not included.

    ``timeout``: seconds an invocation; 0 means the session's. ``name``: what findings between calls know it by.
    """

    symbol: str
    arguments: tuple[PointerArgument | ScalarArgument, ...]
    invocations: tuple[Invocation, ...]
    timeout: float = 0.0
    name: str = ""

    @property
    def size(self) -> int:
        """Bytes of the operands."""
        return sum([a.itemsize * a.count for a in self.arguments if isinstance(a, PointerArgument)])


class Finding(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A broken contract in one sentence, with the operand and the element (relative to its first) concerned.

    Kinds: ``output-underrun``, ``output-overrun`` (bytes beside the output changed, or a write hit its
    guard), ``input-written``, ``guard`` (an access outside an operand), ``touched`` (an operand named
    ``unreadable``), ``fp-environment``, ``registers`` (what the calling convention preserves), ``printed``, ``forked``,
    ``left-process``, ``intrusion`` (a system call that reaches for other processes), ``refused`` (another one that no
    kernel needs), ``state-...`` (what a call leaves in its process), ``exception-flags``, ``unload``, ``crash``
    (between two calls, or after the last one). ``symbol`` and ``call``: the entry point that decides for, and the name
    of the :class:`Call` after which it was.
    """

    kind: Text
    message: Text
    operand: Text = ""
    element: int | None = None
    symbol: str = ""
    call: str = ""


#: Findings that a library's process may have at a time.
Findings = Annotated[list[Finding], msgspec.Meta(max_length=1000)]


class Outcome(msgspec.Struct, gc=False):
    """What one invocation did.

    ``output`` is empty unless ``status`` is "ok"; ``fill``: what it held before the call, where that was not one of
    FILLS throughout. ``exit``: the library ended the process without a signal;
    ``not-run``: skipped after earlier crashes or time-outs. ``message`` is one sentence unless "ok".
    ``stdout`` and ``stderr`` are the first 4 KiB of what was printed since the last call's end (calls that
    are queued behind this one may have begun to print into it).
    """

    status: Status
    output: bytes = b""
    findings: list[Finding] = []
    message: str = ""
    signal: str = ""
    stdout: str = ""
    stderr: str = ""
    fill: bytes = b""
