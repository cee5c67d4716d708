"""System calls that Python has no functions for. Imports nothing that a library's process has no other use for."""

import contextlib
import ctypes
import os
import signal

PROT_NONE = 0
MAP_FIXED = 0x10
MAP_NORESERVE = 0x4000
MAP_FIXED_NOREPLACE = 0x100000
PR_SET_DUMPABLE = 4
#: F_SEAL_FUTURE_WRITE of Linux 5.1: no mapping that is made from now on can be written to.
SEAL_FUTURE_WRITE = 0x10
_PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
libc.dlclose.argtypes = [ctypes.c_void_p]
libc.syscall.restype = ctypes.c_long
_PUNCH_HOLE, _KEEP_SIZE = 2, 1


def prctl(option: int, value: int) -> None:
    """Call prctl(2) with one argument."""
    libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def map_pages(address: int | None, size: int, access: int, flags: int, fd: int = -1, offset: int = 0) -> int:
    """Map memory as mmap(2) does and return its address; raises MemoryError where that fails or lies elsewhere."""
    mapped = libc.mmap(address, size, access, flags, fd, offset)
    if mapped is None or mapped == ctypes.c_void_p(-1).value:
        where = f" at {address:#x}" if address else ""
        raise MemoryError(f"mapping {size} bytes{where} failed: {os.strerror(ctypes.get_errno())}")
    if address is not None and mapped != address:  # an old Linux takes MAP_FIXED_NOREPLACE for a wish
        libc.munmap(mapped, size)
        raise MemoryError(f"mapping {size} bytes at {address:#x} failed: something else lies there")
    return int(mapped)


def punch(fd: int, start: int, size: int) -> None:
    """Make a part of a memory file a hole again: it reads as zeros and takes no memory."""
    with contextlib.suppress(OSError):
        libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, start, size)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, or end now if that has happened.

    ``parent``: number of the process with that thread.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
