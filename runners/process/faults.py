"""What a signal handler is told of a bad access: registers and addresses, by processor."""

import ctypes
import platform
import struct
from typing import Any

SA_SIGINFO, SA_RESETHAND = 4, 0x80000000


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
