"""Operands in memory of the library's own: ``--memory symbol:ALLOC,FREE``.

For libraries that know only what their allocator has given out (a board's shared memory, a pool that is registered with
a driver). ALLOC is ``void *ALLOC(size_t)``, FREE ``void FREE(void *)``. Nothing in such memory can be made inaccessible
or read-only: canaries around every operand and copies of the inputs stand in for guard pages, as in a harness.
"""

import ctypes
from collections.abc import Iterator
from typing import Any

from runners.protocol import Finding, Invocation, PointerArgument
from runners.regions import Placed, slack_findings

#: Canary bytes on either side of an operand.
GUARD = 1024
#: Operands are placed relative to multiples of this, as a harness does.
UNIT = 128


class Block:
    """Memory from the library's allocator, with the attributes of :class:`runners.regions.Region`."""

    def __init__(self, address: int, size: int) -> None:
        self.base = self.lower = address
        self.size = self.span = size
        self.content: object = None
        self.view = memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


class LibraryMemory:
    """The operands' blocks, by position in the argument list; allocated for a call, and freed before the next one."""

    def __init__(self, library: Any, allocate: str, free: str) -> None:
        self._name = allocate
        self._allocate, self._free = library[allocate], library[free]
        self._allocate.restype, self._allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        self._free.restype, self._free.argtypes = None, [ctypes.c_void_p]
        self._blocks: dict[int, Block] = {}

    def place(self, slot: int, argument: PointerArgument, invocation: Invocation, lower: int | None = None) -> Placed:
        """Allocate a block for an operand; raises MemoryError. ``lower`` is of no meaning here."""
        if slot in self._blocks:
            self._release(slot)
        unit = max(UNIT, invocation.align)
        shift = (invocation.offset + slot * invocation.skew) % 16 * argument.itemsize
        room = -(-(argument.size + shift) // unit) * unit
        size = room + unit + 2 * GUARD
        address = self._allocate(size)
        if not address:
            raise MemoryError(f"{self._name}({size}) returned a null pointer")
        block = self._blocks[slot] = Block(address, size)
        first = -(-(address + GUARD) // unit) * unit - address
        start = first + shift
        if invocation.placement == "end":
            start = first + room - shift - argument.size
            start -= (address + start) % invocation.align
        return Placed(argument, block, start, start + argument.size)

    def trim(self) -> None:
        """Free everything, in the order of allocation."""
        for slot in list(self._blocks):
            self._release(slot)

    def _release(self, slot: int) -> None:
        block = self._blocks.pop(slot)
        block.view = memoryview(b"")
        self._free(block.base)


def disturbances(placed: Placed, content: bytes | memoryview) -> Iterator[Finding]:
    """Find what a call has changed inside and beside an operand that it must not write; it is filled again then."""
    argument, region, start, stop = placed
    now = bytes(region.view[start:stop])
    if now != content:
        region.content = None
        element = next(i for i in range(len(now)) if now[i] != content[i]) // argument.itemsize
        message = f"{argument.name}[{element}] was written, which is an input."
        yield Finding("input-written", message, argument.name, element)
    for found in slack_findings(placed):
        region.content = None
        yield Finding("guard", found.message, found.operand, found.element)
