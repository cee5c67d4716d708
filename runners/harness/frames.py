"""The messages between judge and harness as bytes; docs/running-on-a-board.md has them in full.

A frame is a header (magic, type, length of the payload, CRC-32 of these), the payload, and its CRC-32. Numbers of
messages are little-endian; the elements of operands are in the target's byte order and converted here.
"""

import re
import struct
from collections.abc import Container, Iterator, Sequence
from enum import IntEnum
from zlib import crc32

import msgspec
import numpy as np

from runners.calling.call import FILLS, UNREAD, Call, PointerArgument

VERSION = 1
MAGIC = b"GLDH"
HEADER = struct.Struct("<4sIII")
#: Largest payload before anything is known of the harness.
HELLO_LIMIT = 1 << 16
#: Arguments of a call, canary bytes, and bytes of text, at most.
_ARGUMENTS, _GUARD_LIMIT, _TEXT_LIMIT = 16, 1 << 24, 2000

_KINDS = {"int32": "i", "float16": "h", "uint16": "h", "float32": "f"}
_ROLES = {"input": 0, "output": 1, "unread": 2}
_HALF_ABIS = {0: "none", 1: "float16", 2: "uint16"}
_ENVIRONMENTS = range(1 << 5)
_ROUNDING = {0b001: "to nearest", 0b011: "upward", 0b100: "downward", 0b000: "toward zero"}


class HarnessError(Exception):
    """What came from a harness is not what the protocol allows; ``str(error)`` completes "the harness ..."."""


class Message(IntEnum):
    """Types of frames; the first two are the judge's."""

    CALL = 1
    BYE = 2
    HELLO = 16
    RESULT = 17
    FAULT = 18
    TROUBLE = 19
    GOODBYE = 20
    FAILED = 21


class Hello(msgspec.Struct, frozen=True):
    """What a harness says of itself. ``capacity``: bytes for a call with its operands; ``guard``: canary bytes."""

    big_endian: bool
    pointer_size: int
    half_abi: str
    dtypes: tuple[str, ...]
    environment: int
    guard: int
    claims: bool
    capacity: int
    architecture: str
    compiler: str
    symbols: frozenset[str]

    @property
    def machine(self) -> str:
        """Return the target in words."""
        order = "big" if self.big_endian else "little"
        return f"{self.architecture} ({8 * self.pointer_size}-bit, {order}-endian)"


class Disturbance(msgspec.Struct, frozen=True):
    """A byte that a call changed: of which argument, ``where`` (before, inside, after), bytes from its start."""

    argument: int
    where: str
    offset: int


class Result(msgspec.Struct, frozen=True):
    """What one invocation did. ``output`` None: the same bytes as the one before it."""

    serial: int
    index: int
    environment: int
    children: bool
    disturbances: tuple[Disturbance, ...]
    output: bytes | None


def frame(kind: Message, payload: bytes = b"") -> bytes:
    """Return a message as a frame."""
    head = HEADER.pack(MAGIC, kind, len(payload), 0)[:12]
    return head + struct.pack("<I", crc32(head)) + payload + struct.pack("<I", crc32(payload))


class FrameReader:
    """Cuts what a harness sends into frames. ``limit``: the longest payload that can come now, in bytes."""

    def __init__(self) -> None:
        self.limit = HELLO_LIMIT
        self._buffer = bytearray()

    @property
    def rest(self) -> bytes:
        """What has come of a frame that is not whole yet."""
        return bytes(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[tuple[Message, bytes]]:
        """Take bytes as they come and yield the messages that they complete; raises :class:`HarnessError`."""
        self._buffer += chunk
        while True:
            if not MAGIC.startswith(self._buffer[:4]):
                raise HarnessError(f"sent what is no frame: {readable(self._buffer)}")
            if len(self._buffer) < HEADER.size:
                return
            _, kind, length, crc = HEADER.unpack_from(self._buffer)
            if crc != crc32(self._buffer[:12]):
                raise HarnessError("sent a frame whose header has a wrong CRC")
            if length > self.limit:
                raise HarnessError(f"announced a frame of {length} bytes where at most {self.limit} can come")
            if kind not in Message.__members__.values() or kind < Message.HELLO:
                raise HarnessError(f"sent a frame of the unknown type {kind}")
            stop = HEADER.size + length
            if len(self._buffer) < stop + 4:
                return
            payload = bytes(memoryview(self._buffer)[HEADER.size : stop])
            if crc32(payload) != int.from_bytes(self._buffer[stop : stop + 4], "little"):
                raise HarnessError(f"sent a {Message(kind).name.lower()} frame whose payload has a wrong CRC")
            del self._buffer[: stop + 4]
            yield Message(kind), payload


def readable(raw: bytes | bytearray) -> str:
    """Return the beginning of unexpected bytes as text and hexadecimal numbers."""
    shown = bytes(raw[:40])
    text = "".join(c if c.isprintable() else "." for c in shown.decode("latin-1"))
    return f"{len(raw)} bytes beginning with {text!r} ({shown[:16].hex(' ')})"


class _Fields:
    """Reads a payload; raises :class:`HarnessError` where it is shorter than it must be."""

    def __init__(self, name: str, payload: bytes) -> None:
        self._name, self._payload, self._at = name, payload, 0

    def take(self, size: int) -> bytes:
        taken = self._payload[self._at : self._at + size]
        if len(taken) < size:
            raise HarnessError(f"sent a {self._name} frame that is too short ({len(self._payload)} bytes)")
        self._at += size
        return taken

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def string(self) -> str:
        return printable(self.take(self.number(2)))

    def choice(self, size: int, known: Container[int], what: str) -> int:
        number = self.number(size)
        if number not in known:
            raise HarnessError(f"sent a {self._name} frame with an unknown {what} ({number})")
        return number

    def rest(self) -> bytes:
        return self.take(len(self._payload) - self._at)

    def end(self) -> None:
        if self._at != len(self._payload):
            raise HarnessError(f"sent a {self._name} frame that is too long ({len(self._payload)} bytes)")


def decode_hello(payload: bytes) -> Hello:
    """Decode a greeting; raises :class:`HarnessError`, also for another version of the protocol."""
    fields = _Fields("hello", payload)
    version = fields.number(4)
    if version != VERSION:
        raise HarnessError(
            f"speaks version {version} of the protocol, and this golden version {VERSION}; "
            "build the harness from this golden's sources"
        )
    order = fields.take(4)
    if order not in (b"\4\3\2\1", b"\1\2\3\4"):
        raise HarnessError(f"states no known byte order ({order.hex(' ')})")
    pointer_size = fields.choice(1, (2, 4, 8), "size of a pointer")
    int_size = fields.number(1)
    if int_size != 4:
        raise HarnessError(f"has an int of {8 * int_size} bits; the pages' calls are made for one of 32")
    half_abi = _HALF_ABIS[fields.choice(1, _HALF_ABIS, "half")]
    dtypes = fields.choice(1, range(4), "set of dtypes")
    hello = Hello(
        big_endian=order == b"\1\2\3\4",
        pointer_size=pointer_size,
        half_abi=half_abi,
        dtypes=tuple(name for bit, name in enumerate(("fp16", "fp32")) if dtypes >> bit & 1),
        environment=fields.choice(4, _ENVIRONMENTS, "floating-point environment"),
        guard=fields.choice(4, range(_GUARD_LIMIT + 1), "number of canary bytes"),
        claims=fields.number(4) != 0,
        capacity=fields.number(8),
        architecture=fields.string(),
        compiler=fields.string(),
        symbols=frozenset(names := [fields.string() for _ in range(fields.number(2))]),
    )
    fields.end()
    if len(names) != len(hello.symbols):
        raise HarnessError("sent a hello frame that names an entry point twice")
    return hello


def decode_result(payload: bytes) -> Result:
    """Decode a result; raises :class:`HarnessError`."""
    fields = _Fields("result", payload)
    serial, index = fields.number(4), fields.number(4)
    environment = fields.choice(4, _ENVIRONMENTS, "floating-point environment")
    flags = fields.choice(2, range(4), "set of flags")
    count = fields.choice(2, range(3 * _ARGUMENTS + 1), "number of disturbances")
    disturbances = []
    for _ in range(count):
        argument, where, offset = fields.number(2), fields.choice(2, range(3), "place"), fields.number(8, signed=True)
        disturbances.append(Disturbance(argument, ("before", "inside", "after")[where], offset))
    output = fields.rest() if flags & 1 else None
    fields.end()
    return Result(serial, index, environment, bool(flags & 2), tuple(disturbances), output)


def decode_failed(payload: bytes) -> tuple[int, int, str]:
    """Decode a failed frame: serial number, invocation, and why, as a predicate; raises :class:`HarnessError`."""
    fields = _Fields("failed", payload)
    return fields.number(4), fields.number(4), printable(fields.rest()[:_TEXT_LIMIT])


def decode_fault(payload: bytes) -> str:
    """Decode a fault frame: the name of a signal; raises :class:`HarnessError` where it is none."""
    name = printable(payload[:_TEXT_LIMIT])
    if not re.fullmatch(r"SIG[A-Z0-9]{1,12}|signal [0-9]{1,3}", name):
        raise HarnessError(f"sent a fault frame that names no signal ({name!r})")
    return name


def printable(raw: bytes | bytearray) -> str:
    """Return text that came from elsewhere: UTF-8, and nothing in it that steers a terminal."""
    text = raw.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def swapped(raw: bytes | memoryview, itemsize: int) -> bytes:
    """Return elements in the other byte order."""
    return np.frombuffer(raw, f"u{itemsize}").byteswap().tobytes()


def encode_call(
    serial: int, call: Call, seconds: int, big_endian: bool, unit: int, places: Sequence[Sequence[int]]
) -> bytes:
    """Return the payload of a call.

    ``seconds``: after which the harness may end itself; ``unit``: a power of two, or 0; ``places``: where every pointer
    argument goes, one row an invocation: the remainder of its address by ``unit``, or the address where that is 0.
    """
    symbol = call.symbol.encode()
    has_mask = any(i.core_mask is not None for i in call.invocations)
    count = struct.pack("<H", len(call.arguments) + has_mask)
    parts: list[bytes | memoryview] = [struct.pack("<IH", serial, len(symbol)), symbol, count]
    for argument in call.arguments:
        if isinstance(argument, PointerArgument):
            parts.append(struct.pack("<cBHI", b"p", _ROLES[argument.role], argument.itemsize, argument.count))
        else:
            kind = _KINDS[argument.ctype].encode()
            parts.append(struct.pack("<cBHI", kind, 0, 0, argument.bits & 0xFFFFFFFF))
    if has_mask:
        parts.append(struct.pack("<cBHI", b"m", 0, 0, 0))
    parts.append(struct.pack("<HHI", unit, seconds, len(call.invocations)))
    for invocation, row in zip(call.invocations, places, strict=True):
        mask = (invocation.core_mask or 0) & 0xFFFFFFFF
        unread = UNREAD.index(invocation.unread)
        parts.append(struct.pack("<IBBH", mask, FILLS[invocation.fill], unread, 0))
        parts.append(struct.pack(f"<{len(row)}Q", *row))
    for argument in call.arguments:
        if isinstance(argument, PointerArgument) and argument.role == "input":
            parts.append(swapped(argument.data, argument.itemsize) if big_endian else argument.data)
    return b"".join(parts)


def environment_changes(before: int, now: int) -> list[str]:
    """Say what differs between two floating-point environments, such as "rounding mode from to nearest to upward"."""
    return [
        f"{name} from {a} to {b}"
        for (name, a), (_, b) in zip(_environment(before), _environment(now), strict=True)
        if a != b
    ]


def _environment(bits: int) -> list[tuple[str, str]]:
    return [
        ("rounding mode", _ROUNDING.get(bits & 7, f"unknown ({bits & 7})")),
        ("flushing of subnormal results", "on" if bits & 8 else "off"),
        ("flushing of subnormal operands", "on" if bits & 16 else "off"),
    ]


#: The environment that every program starts in: rounding to nearest, subnormals kept.
DEFAULT_ENVIRONMENT = 0b001
