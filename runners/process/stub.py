"""The call itself: arguments into registers, the call, and what it has left in registers into memory.

A batch of calls is a header and frames in memory that the judge shares. On x86-64 a few hundred bytes of machine code
go through them (``call_x86_64.S``, which a test assembles and compares): nothing interpreted comes between two
calls, the registers that a callee has to preserve hold numbers of the judge's before a call and are stored after it,
and so is the state of both floating-point units. Elsewhere ctypes makes the calls, and only the floating-point
environment is looked at. Machine code, not a compiled helper: it must not depend on a compiler being there.

Integers and pointers travel in registers of theirs and then in stack slots of eight bytes, floating-point numbers in
registers of theirs, each in order (System V x86-64 psABI 3.2.3, AAPCS64 6.4): how the two mix does not show. A callee
takes what it knows of; surplus arguments do no harm.
"""

import ctypes
import mmap
import platform
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

#: Arguments that a frame has room for.
INTEGERS, FLOATS = 16, 8
#: Bytes of a batch's header and of a frame.
HEADER, FRAME = 64, 304
#: Calls of one batch.
BATCH = 64
#: Bytes of ``fenv_t``, as glibc stores it, with room to spare.
ENVIRONMENT = 32

#: Where in a frame begins what a call has left.
LEFT = 200

_PROGRESS, _FENV = 8, 272
#: From there: returned, flags, six registers, the stack pointer's move; of fenv_t the x87 control word and tags, MXCSR.
_AFTER_CALL = struct.Struct("<2Q6QQH6xH18xI")
_BEFORE_CALL = struct.Struct("<Q16q8Q104x")
#: Sets a word of eight bytes, with sign: of memory, where, to what.
set_word = struct.Struct("<q").pack_into
_EMPTY = 0xFFFF
_PRESERVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
_DIRECTION = 1 << 10
_OCCUPIED = "the x87 registers (not empty, as MMX code without emms leaves them)"
_ZERO_DIVIDE = 1 << 2

#: Whether registers are looked at on this machine.
NATIVE = platform.machine() == "x86_64"

_X86_64 = bytes.fromhex(
    """
    535541544155415641574883ec5848893deb0f0000488d4740488905e80f0000488935e90f0000488925ea0f00000fae1deb0f0000d93de9
    0f0000488b05ce0f00004885c00f845201000048ffc8488905bb0f00004c8b1da40f000049ff4308410fae13dbe341d96b044c8b15970f00
    00410f1042380f110424410f1042480f11442410410f1042580f11442420410f1042680f11442430410f1042780f11442440f2410f108288
    000000f2410f108a90000000f2410f109298000000f2410f109aa0000000f2410f10a2a8000000f2410f10aab0000000f2410f10b2b80000
    00f2410f10bac0000000498b7a08498b7210498b5218498b4a204d8b42284d8b4a30498b5b10498b6b184d8b63204d8b6b284d8b73304d8b
    7b384d8b1ab80800000041ffd34c8b15dc0e00004989e3488b25e20e00004929e34d899a080100009c418f82d0000000fc49899ad8000000
    4989aae00000004d89a2e80000004d89aaf00000004d89b2f80000004d89ba0001000041d9b210010000410fae9a2c01000049c782c80000
    0001000000488105700e000030010000e99efeffff0fae157c0e0000dbe3d92d780e00004883c458415f415e415d415c5d5bc3
    """
)


class Left(NamedTuple):
    """What a call has left in the registers. ``environment``: as fegetenv(3) stores it, where it may be another."""

    returned: bool
    environment: bytes | None
    broken: tuple[str, ...]  #: what the calling convention says a call preserves, and this one has not
    raised: bool  #: the exception flag of a division by zero, which no operand here calls for; others are arithmetic


def pack_header(environment: bytes, preserved: Sequence[int]) -> bytes:
    """Return a header: the environment that each call begins in, and the six numbers in the preserved registers."""
    word = struct.unpack_from("<I", environment, 28)[0] & ~0x3F if NATIVE else 0  # no exception flag is raised yet
    return struct.pack("<I", word) + environment[:4] + bytes(8) + struct.pack("<6Q", *preserved)


def pack_frame(function: int, integers: Sequence[int], floats: Sequence[int]) -> bytes:
    """Return a frame; integers with sign, floating-point numbers as their bits."""
    rest = (0,) * (INTEGERS - len(integers)), (0,) * (FLOATS - len(floats))
    return _BEFORE_CALL.pack(function, *integers, *rest[0], *floats, *rest[1])


def progress(batch: memoryview) -> int:
    """Return how many frames have begun, by a header that the library could have written to."""
    return int.from_bytes(batch[_PROGRESS : _PROGRESS + 8], "little")


def returned(batch: memoryview, calls: int) -> int:
    """Return how many calls in a row have returned, by frames that the library could have written to."""
    start = HEADER + LEFT
    return (bytes(batch[start : start + calls * FRAME : FRAME]) + b"\0").find(0)


def control(environment: bytes) -> tuple[int, int]:
    """Return the parts of an environment that a call has to leave alone, for :func:`read_left`."""
    if not NATIVE:
        return 0, 0
    return struct.unpack_from("<H", environment)[0], struct.unpack_from("<I", environment, 28)[0] & ~0x3F


def occupied(environment: bytes) -> list[str]:
    """Name the registers that an environment, as fegetenv(3) stores it, has and a call must not leave occupied."""
    return [_OCCUPIED] if NATIVE and struct.unpack_from("<H", environment, 8)[0] != _EMPTY else []


def read_left(left: bytes, preserved: tuple[int, ...], kept: tuple[int, int]) -> Left:
    """Return what a call has left, from :data:`LEFT` of its frame on; the bytes may be anything.

    ``preserved``: what :func:`pack_header` put into registers; ``kept``: of the environment before the call.
    """
    returned, flags, *rest = _AFTER_CALL.unpack(left)
    fenv = left[_FENV - LEFT :]
    if not NATIVE:
        return Left(returned != 0, fenv, (), False)
    registers, moved, word, tags, sticky = tuple(rest[:6]), *rest[6:]
    same = (word, sticky & ~0x3F) == kept
    environment = None if same else fenv
    raised = bool(sticky & _ZERO_DIVIDE)
    if registers == preserved and not moved and not flags & _DIRECTION and tags == _EMPTY:
        return Left(returned != 0, environment, (), raised)
    broken = [name for name, was, now in zip(_PRESERVED, preserved, registers, strict=True) if was != now]
    broken += ["the stack pointer"] if moved else []
    broken += ["the direction flag (set)"] if flags & _DIRECTION else []
    broken += [_OCCUPIED] if tags != _EMPTY else []
    return Left(returned != 0, environment, tuple(broken), raised)


def caller(get: Callable[[int], object], put: Callable[[int], object]) -> Callable[[int, int], object]:
    """Return a function of (address of a header, number of frames) that makes the calls.

    ``get`` and ``put`` are fegetenv(3) and fesetenv(3) of an address, for where ctypes makes the calls.
    """
    if NATIVE:
        pages = mmap.mmap(-1, 2 * mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        pages[: len(_X86_64)] = _X86_64
        code = ctypes.addressof(ctypes.c_ubyte.from_buffer(pages))
        ctypes.CDLL(None).mprotect(ctypes.c_void_p(code), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        stub = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)(code)
        stub._pages = pages  # type: ignore[attr-defined]  # as long as it may be called
        return stub
    return lambda header, count: _by_ctypes(header, count, get, put)


def _by_ctypes(header: int, count: int, get: Callable[[int], object], put: Callable[[int], object]) -> None:
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * INTEGERS, *[ctypes.c_float] * FLOATS)
    kept = ctypes.create_string_buffer(256)
    get(ctypes.addressof(kept))
    begun = ctypes.c_uint64.from_address(header + _PROGRESS)
    for frame in range(header + HEADER, header + HEADER + count * FRAME, FRAME):
        begun.value += 1
        integers = (ctypes.c_int64 * INTEGERS).from_address(frame + 8)
        bits = ctypes.string_at(frame + 8 + 8 * INTEGERS, 8 * FLOATS)
        floats = [ctypes.c_float.from_buffer_copy(bits, 8 * i) for i in range(FLOATS)]
        put(ctypes.addressof(kept))
        signature(ctypes.c_void_p.from_address(frame).value or 0)(*integers, *floats)
        get(frame + _FENV)
        ctypes.c_uint64.from_address(frame + LEFT).value = 1
    put(ctypes.addressof(kept))
