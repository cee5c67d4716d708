"""Calls and outcomes: the one interface that every way of running a kernel implements, and its framing.

The judge builds a :class:`Call`, a :class:`Session` executes it once an :class:`Invocation` and answers with
one :class:`Outcome` each. This module imports no other part of the project and no NumPy: the process that
runs foreign code loads it, and has to start in milliseconds.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Protocol

import msgspec

Status = Literal["ok", "crash", "timeout", "exit", "not-run"]
Placement = Literal["end", "begin", "plain"]

#: Largest frame that is accepted, in bytes: operands go by files, and what is said of them is short. The other one is
#: for where a library may be the one that sends.
MAX_FRAME, MAX_REPLY = 1 << 24, 1 << 20
#: What a library's process may say: it can be forged.
Text = Annotated[str, msgspec.Meta(max_length=1 << 14)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]

#: Bytes that a harness fills the output with before a call. The first two are complements, so no byte and no unwritten
#: element can be the same under both. As numbers (fp16 -0.022 and 203, fp32 -2.9e-16 and 1.5e16) they are neither
#: zero nor of like size, so adding into the output shows as well; and not NaN, which would pass where the
#: result has to be NaN. Zeros are what fresh memory holds: they tell nothing of unwritten elements. What libraries get
#: is drawn anew for every run (:class:`runners.library.patterns.Patterns`).
POISONS = (0xA5, 0x5A, 0)


#: Batches of calls that can be under way at once, each in memory of its own.
BANKS = 3


class Invocation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One execution of a call: everything that must not change a bit of the result.

    ``placement``: operands end exactly at an inaccessible page, begin right after one, or lie in memory as programs
    allocate it ("plain", where a session offers that). ``offset``: elements (0..15) that every operand is moved away
    from that page; ``skew``: further elements for each operand before it, modulo 16, so that operands are misaligned
    against each other. ``align``: bytes; with "end", operands are moved down to a multiple of it, for platforms whose
    kernels may require that. ``poison`` selects from two fills of the output, and zeros; ``unread`` is the content of
    operands that must not matter; operands named in ``unreadable`` lie on inaccessible pages. ``core_mask``: None for
    entry points that take none.
    """

    core_mask: int | None = None
    placement: Placement = "end"
    offset: int = 0
    skew: int = 0
    align: int = 1
    poison: Literal[0, 1, 2] = 0
    unread: Literal["nan", "ones"] = "nan"
    unreadable: tuple[str, ...] = ()


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
    POISONS throughout. ``exit``: the library ended the process without a signal;
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


class Session(Protocol):
    """A target that is ready to be called."""

    #: Entry points that the target has, out of those asked for.
    symbols: frozenset[str]
    #: What loading the target did that it should not.
    load_findings: list[Finding]
    #: Contracts (:data:`golden.results.CONTRACTS`) that this way of running cannot see broken.
    unobservable: frozenset[str]
    #: How the target takes ``half`` by value, where it says so: "float16", "uint16", "none"; else "".
    stated_half_abi: str
    #: What this way of running cannot observe, each as a plural noun; it is stated in the results.
    blind: tuple[str, ...]
    #: Whether it makes calls with operands in plain memory.
    plain: bool
    #: Times that something was tried again, for a fault that was not the target's.
    retries: int

    def submit(self, call: Call) -> None:
        """Queue a call; calls run in order while the caller does other work."""

    def collect(self) -> list[Outcome]:
        """Return the outcomes of the oldest call not yet collected, one an invocation."""

    def run(self, call: Call) -> list[Outcome]:
        """Submit a call and collect it; raises ValueError while others are queued."""

    def restart(self) -> None:
        """Make the next call the first one of a fresh process; raises ValueError while calls are queued."""

    def close(self) -> list[Finding]:
        """End the target and return what ending it showed, and what was seen between calls; again it does nothing.

        What names a ``symbol`` decides for that entry point.
        """


# What judge and worker tell each other on the control socket


class Mapping(msgspec.Struct, frozen=True, array_like=True):
    """Pages of a file at an address; ``lower``: where guards around them have to be mapped as well, up to ``upper``."""

    file: int
    start: int
    size: int
    address: int
    lower: int
    upper: int


class Load(msgspec.Struct, array_like=True, tag="load"):
    """Judge to worker, first: load a library and look for symbols. ``memory``: bytes it may map.

    ``descriptor``: the library's sealed copy, and ``path`` what to load it by; ``arena``: where its memory goes; the
    files of :mod:`runners.library.arena` come with this message. ``allocator``: names of the library's functions that
    allocate and free operands, or none. ``mappings``: pages that small calls find there.
    """

    path: str
    symbols: list[str]
    memory: int
    arena: int = 0
    allocator: tuple[str, ...] = ()
    mappings: list[Mapping] = []


class Copied(msgspec.Struct, frozen=True, array_like=True):
    """An operand that is copied to memory that is allocated for it, and back.

    The frame and its argument, where the copy's source lies, and what it is aligned to.
    """

    frame: int
    argument: int
    address: int
    size: int
    unit: int
    start: int


class Batch(msgspec.Struct, array_like=True, tag="batch"):
    """Judge to worker: map, then make the calls of a bank. ``forget``: all that was mapped before is gone."""

    bank: int
    calls: int
    mappings: list[Mapping]
    forget: bool = False
    copied: list[Copied] = []


class Unload(msgspec.Struct, array_like=True, tag="unload"):
    """Judge to worker, last: unload the library and exit."""


class Loaded(msgspec.Struct, array_like=True, tag="loaded"):
    """Worker to judge: addresses of the symbols found, or why the library cannot be loaded.

    ``environment``: the floating-point environment that loading has left, as ``fenv_t``. ``machine``: it is not the
    library that failed.
    """

    symbols: dict[Text, Natural]
    error: Text
    findings: Findings
    environment: bytes = b""
    machine: bool = False


class Done(msgspec.Struct, array_like=True, tag="done"):
    """Worker to judge: the calls of a bank have returned; what they have left in the process, as findings.

    ``memory``: bytes that the library's process has allocated and not freed, as far as the C library knows, and bytes
    of addresses that it has.
    """

    bank: int
    findings: Findings
    memory: tuple[Natural, Natural]


class Fault(msgspec.Struct, array_like=True, tag="fault"):
    """Worker to judge, from the signal handler: an access failed; the process is about to die.

    ``address`` None: the processor did not say (a general protection fault). ``access``: "read", "write", "sent" (by
    raise or kill: there was no access) or unknown "". ``operand``: the one that the address lies in or whose guard it
    hit, with the element relative to its first, from a worker that knows it.
    """

    signal: int
    address: int | None
    access: Text
    operand: Text = ""
    element: int = 0


class Trouble(msgspec.Struct, array_like=True, tag="trouble"):
    """Worker to judge: the worker itself cannot go on."""

    message: Text


Request = Load | Batch | Unload
Reply = Loaded | Done | Fault | Trouble


# What judge and nursery tell each other


class Spawn(msgspec.Struct, array_like=True, tag="spawn"):
    """Judge to nursery: start a worker; its end of the control socket comes with this message."""


class Kill(msgspec.Struct, array_like=True, tag="kill"):
    """Judge to nursery: end the worker."""


class Allow(msgspec.Struct, array_like=True, tag="allow"):
    """Judge to nursery: the worker is about to map these ranges (address, bytes) of the memory that is watched."""

    ranges: list[tuple[int, int]]


class Ready(msgspec.Struct, array_like=True, tag="ready"):
    """Nursery to judge, first: the layers of :mod:`runners.process.sandbox` that are in force."""

    layers: list[str]


class Started(msgspec.Struct, array_like=True, tag="started"):
    """A worker runs; its process group has the same number, by the nursery's count of processes."""

    pid: int


class Refused(msgspec.Struct, array_like=True, tag="refused"):
    """A worker's library wanted to do ``what``, by a system call, and may or may not have been let."""

    what: str
    call: str
    allowed: bool


class Ended(msgspec.Struct, array_like=True, tag="ended"):
    """A worker is gone with everything it started. ``left``: processes that had to be killed after it.

    ``signal`` is 0 for a worker that exited, with ``code``. ``note``: the judge's own reason to take it for
    ended, as a predicate.
    """

    pid: int
    code: int
    signal: int
    left: int
    note: str = ""


Order = Spawn | Kill | Allow
Event = Ready | Started | Refused | Ended


class FrameError(Exception):
    """Bytes on a control socket that are no frame; ``str(error)`` completes "the peer ..."."""


def decoder(kind: Any) -> Callable[[bytes | memoryview], Any]:
    """Return what decodes a message of one kind of several; it raises :class:`FrameError` for anything else."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def decoded(body: bytes | memoryview) -> Any:
        try:
            return decode(body)
        except (ValueError, RecursionError) as error:  # no text, nested too deep, another structure
            raise FrameError(f"sent what is no message ({error})") from error

    return decoded


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_request, decode_reply = decoder(Request), decoder(Reply)
decode_order, decode_event = decoder(Order), decoder(Event)


def frame(message: Any) -> bytearray:
    """Return a message as a frame: four bytes of length, little-endian, then msgpack."""
    whole = bytearray(4)
    _encoder.encode_into(message, whole, 4)  # once: the operands of a large case are hundreds of megabytes
    length = len(whole) - 4
    if length > MAX_FRAME:
        raise FrameError(f"cannot be sent {length} bytes at once (limit {MAX_FRAME})")
    whole[:4] = length.to_bytes(4, "little")
    return whole


def frame_length(header: bytes | bytearray, limit: int = MAX_FRAME) -> int:
    """Return the body's length that a four-byte header announces; raises :class:`FrameError`."""
    length = int.from_bytes(header[:4], "little")
    if length > limit:
        raise FrameError(f"announced a frame of {length} bytes (limit {limit})")
    return length


class Frames:
    """Cuts what a library's process sends into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[memoryview]:
        """Take bytes as they come and yield the bodies of the frames they complete; raises FrameError.

        A body is there until the next one is asked for: who wants it longer copies it, as decoding does.
        """
        self._buffer += chunk
        start = 0
        while len(self._buffer) - start >= 4:
            stop = start + 4 + frame_length(self._buffer[start : start + 4], MAX_REPLY)
            if len(self._buffer) < stop:
                break
            with memoryview(self._buffer) as whole, whole[start + 4 : stop] as body:
                yield body
            start = stop
        del self._buffer[:start]
