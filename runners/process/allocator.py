"""Operands in memory that is allocated for a call: by functions of the library, ``--memory symbol:ALLOC,FREE``, or by
the C library, for calls in plain memory.

The former is for libraries that know only what their allocator has given out (a board's shared memory, a pool that is
registered with a driver). ALLOC is ``void *ALLOC(size_t)``, FREE ``void FREE(void *)``. Nothing in such memory can be
made inaccessible or read-only: every operand is copied there with bytes beside it, and all of it back after the call,
to be inspected.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

from runners.process.messages import Copied
from runners.process.stub import FRAME

#: Bytes beside an operand that are copied with it, on either side.
GUARD = 1024
#: Operands are placed relative to multiples of this, as a harness does.
UNIT = 128


class LibraryMemory:
    """Blocks of the library's memory for the operands of a call; freed before the next one, in order of allocation."""

    def __init__(self, library: Any, allocate: str, free: str) -> None:
        self._name = allocate
        self._allocate, self._free = library[allocate], library[free]
        self._allocate.restype, self._allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        self._free.restype, self._free.argtypes = None, [ctypes.c_void_p]
        self._blocks: list[int] = []
        self._copies: list[tuple[int, int, int]] = []

    def enter(self, frames: int, operands: Sequence[Copied]) -> None:
        """Copy operands into blocks, and have the arguments of frames point there; raises MemoryError."""
        self.trim()
        for operand in operands:
            size = operand.size + operand.unit
            block = self._allocate(size)
            if not block:
                raise MemoryError(f"{self._name}({size}) returned a null pointer")
            self._blocks.append(block)
            first = -(-(block + GUARD) // operand.unit) * operand.unit - GUARD
            ctypes.memmove(first, operand.address, operand.size)
            word = frames + operand.frame * FRAME + 8 + 8 * operand.argument
            ctypes.c_uint64.from_address(word).value = first + operand.start
            self._copies.append((operand.address, first, operand.size))

    def leave(self) -> None:
        """Copy everything back."""
        for address, first, size in self._copies:
            ctypes.memmove(address, first, size)

    def trim(self) -> None:
        """Free everything."""
        for block in self._blocks:
            self._free(block)
        self._blocks, self._copies = [], []
