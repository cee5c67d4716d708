"""Memory contracts: operands between inaccessible pages, read-only inputs, canaries around outputs."""

import ctypes
import mmap
import os
import random
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from runners.protocol import Finding, Invocation, PointerArgument

PAGE = mmap.PAGESIZE
#: Inaccessible bytes on either side of a region. Wide, because a wrong stride misses by more than an element.
GUARD = 64 * PAGE
#: Bytes between operands that share a documented region: 2**24 fp32 elements with their guards.
AREA = (64 << 20) + 4 * GUARD
#: Regions are kept for the next call until they hold this much.
KEPT_BYTES = 256 << 20
#: Fills the rest of an operand's pages. Irregular, so that a shifted copy shows; without zeros, because zero
#: is what most overruns write.
CANARY = bytes(random.Random(1).choices(range(1, 256), k=PAGE)) * 4

PROT_NONE = 0
MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_MAP_FIXED_NOREPLACE = 0x100000

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


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


class Region:
    """Whole pages for one operand, between inaccessible ones; ``view`` is ours, and writable.

    Pages of an input are shared memory mapped twice: read-only where the library is sent, writable elsewhere
    for ``view``. That costs no system call an invocation. An output is private, so that a process forked by
    the library cannot write into it; "unreadable" pages have no memory and no view.
    """

    def __init__(self, size: int, role: str, lower: int | None = None) -> None:
        self.size = size
        self.span = size + 2 * GUARD
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE | (_MAP_FIXED_NOREPLACE if lower else 0)
        self.lower = map_pages(lower, self.span, PROT_NONE, flags)
        self.base = self.lower + GUARD
        #: What ``view`` holds, to fill it once a call and not once an invocation.
        self.content: object = None
        self.view = memoryview(b"")
        if role == "output":
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED
            map_pages(self.base, size, mmap.PROT_READ | mmap.PROT_WRITE, flags)
            self.view = memoryview((ctypes.c_ubyte * size).from_address(self.base)).cast("B")
        elif role != "unreadable":
            fd = os.memfd_create("operand")
            os.ftruncate(fd, size)
            map_pages(self.base, size, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, fd)
            self.view = memoryview(mmap.mmap(fd, size))
            os.close(fd)

    def unmap(self) -> None:
        """Give the address range back; ``view`` must not be used again."""
        self.view = memoryview(b"")
        libc.munmap(self.lower, self.span)


class Area(Protocol):
    """Memory that an operand lies in: a :class:`Region`, or a block of :mod:`runners.allocator`."""

    base: int
    size: int
    lower: int
    span: int
    content: object
    view: memoryview


class Placed(NamedTuple):
    """An operand at its place: bytes ``start`` to ``stop`` of a region."""

    argument: PointerArgument
    region: Area
    start: int
    stop: int


class Memory:
    """The operands' regions, by position in the argument list, size and role."""

    def __init__(self) -> None:
        self._regions: dict[tuple[int, int, str, int | None], Region] = {}
        self._fixed: dict[int, tuple[int, int, str, int | None]] = {}  # address -> key of the region that is there
        self._bytes = 0

    def place(self, slot: int, argument: PointerArgument, invocation: Invocation, lower: int | None = None) -> Placed:
        """Choose where an operand lies; raises MemoryError. ``lower``: the address where its guard must begin."""
        shift = (invocation.offset + slot * invocation.skew) % 16 * argument.itemsize
        # Room for every shift: one region for all placements of an operand.
        needed = argument.size + 15 * argument.itemsize + invocation.align - 1
        size = max(1, -(-needed // PAGE)) * PAGE
        start = shift
        if invocation.placement == "end":
            start = size - shift - argument.size
            start -= start % invocation.align
        role = "unreadable" if argument.name in invocation.unreadable else argument.role
        key = (slot, size, role, lower)
        region = self._regions.get(key)
        if region is None:
            if lower is not None:
                if (there := self._fixed.pop(lower, None)) is not None:
                    self._bytes -= there[1]
                    self._regions.pop(there).unmap()
                self._fixed[lower] = key
            region = Region(size, role, lower)
            self._regions[key] = region
            self._bytes += size
        return Placed(argument, region, start, start + argument.size)

    def trim(self) -> None:
        """Give memory back between calls once much has gathered."""
        if self._bytes > KEPT_BYTES:
            for region in self._regions.values():
                region.unmap()
            self._regions.clear()
            self._fixed.clear()
            self._bytes = 0


def fill(placed: Placed, content: bytes | memoryview) -> None:
    """Write an operand's content, and the canary into the rest of its pages."""
    region, start, stop = placed.region, placed.start, placed.stop
    region.view[:start] = CANARY[:start]
    region.view[start:stop] = content
    region.view[stop:] = CANARY[: region.size - stop]


def slack_findings(placed: Placed) -> Iterator[Finding]:
    """Compare what lies beside an output; report the changed element that is nearest to the operand."""
    argument, region, start, stop = placed
    before, after = bytes(region.view[:start]), bytes(region.view[stop:])
    if before != CANARY[:start]:
        changed = max(i for i in range(start) if before[i] != CANARY[i])
        element = (changed - start) // argument.itemsize
        yield Finding("output-underrun", f"{argument.name}[{element}] was written.", argument.name, element)
    if after != CANARY[: len(after)]:
        changed = min(i for i in range(len(after)) if after[i] != CANARY[i])
        element = (stop - start + changed) // argument.itemsize
        message = f"{argument.name}[{element}] was written, beyond its {argument.count} elements."
        yield Finding("output-overrun", message, argument.name, element)
