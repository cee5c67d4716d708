"""What the judge, the supervisor and a library's process tell each other: structures in msgpack, in frames.

Imports nothing that a library's process has no other use for. What comes from that process can be forged: it is checked
for size and sense where it is decoded.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec

from runners.calling.call import Findings, Text

#: Largest frame that is accepted, in bytes: operands go by files, and what is said of them is short. The other one is
#: for where a library may be the one that sends.
MAX_FRAME, MAX_REPLY = 1 << 24, 1 << 20
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
#: Batches of calls that can be under way at once, each in memory of its own.
BANKS = 3


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
    """Judge to worker: map, then make the calls of a bank. ``forget``: all that was mapped before is gone.

    ``header``: the address of the header that the frames follow, where they do not lie in a bank.
    """

    bank: int
    calls: int
    mappings: list[Mapping]
    forget: bool = False
    copied: list[Copied] = []
    header: int = 0


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


# What judge and supervisor tell each other


class Spawn(msgspec.Struct, array_like=True, tag="spawn"):
    """Judge to supervisor: start a worker; its end of the control socket comes with this message."""


class Kill(msgspec.Struct, array_like=True, tag="kill"):
    """Judge to supervisor: end the worker."""


class Allow(msgspec.Struct, array_like=True, tag="allow"):
    """Judge to supervisor: the worker is about to map these ranges (address, bytes) of the memory that is watched."""

    ranges: list[tuple[int, int]]


class Ready(msgspec.Struct, array_like=True, tag="ready"):
    """Supervisor to judge, first: the layers of :mod:`runners.process.sandbox` that are in force."""

    layers: list[str]


class Started(msgspec.Struct, array_like=True, tag="started"):
    """A worker runs; its process group has the same number, by the supervisor's count of processes."""

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


Command = Spawn | Kill | Allow
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
decode_command, decode_event = decoder(Command), decoder(Event)


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
