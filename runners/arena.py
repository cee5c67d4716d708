"""The memory that operands lie in: shared with the library's process, filled and inspected by the judge alone.

Three sparse files in memory are as large as the range of addresses, which the library's process sees as guards: pages
of the first file that nothing may access. Where an operand lies, pages of the second (for inputs, which nobody but the
judge can ever write) or third (for outputs) are mapped instead. So a guard that is opened, used and closed again is
found out, since its pages are no holes any more; and whatever the library does to its own process, what counts is what
the judge reads here, once, when the call has returned. What lies beside an operand, what its output holds before a
call and how far guards reach is drawn anew for every run.
"""

import fcntl
import mmap
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from golden.errors import MachineError
from golden.formats import Array
from runners.allocator import GUARD as OWN_GUARD
from runners.allocator import UNIT
from runners.protocol import BANKS, Finding, Invocation, Mapping, PointerArgument
from runners.sandbox import ARENA
from runners.stub import BATCH, FRAME, HEADER
from runners.system import punch

PAGE = mmap.PAGESIZE
#: Inaccessible pages on either side of a region, at least. Wide, because a wrong stride misses by more than an element.
_GUARD_PAGES = 64
GUARD = _GUARD_PAGES * PAGE
#: Bytes of a batch's header and frames, in whole pages.
BATCH_BYTES = -(-(HEADER + BATCH * FRAME) // PAGE) * PAGE
#: Bytes between operands that share a documented region: 2**24 fp32 elements with their guards.
AREA = (64 << 20) + 4 * GUARD
#: Regions are kept for the next calls until there are so many, or they hold so many bytes.
_REGIONS, _KEPT_BYTES = 4096, 256 << 20
#: Bytes of drawn patterns; longer ones repeat it.
_BLOCK = 1 << 16
#: Images of outputs up to this many bytes are kept for the next call.
_SMALL = 1 << 16
#: F_SEAL_FUTURE_WRITE of Linux 5.1: no mapping that is made from now on can be written to.
_SEAL_FUTURE_WRITE = 0x10
#: 1.0 by element size, for operands that must not matter.
_ONES = {2: b"\x00\x3c", 4: b"\x00\x00\x80\x3f", 8: b"\x00\x00\x00\x00\x00\x00\xf0\x3f"}


class Patterns:
    """Drawn bytes: what outputs hold before a call, and what lies beside operands.

    Outputs hold numbers, normal and of any size: neither zero, which is what most results are, nor NaN, which would
    pass where the result has to be NaN; and no two alike, so that a kernel cannot tell them from what a program
    leaves there. The second fill is the complement of the first: no byte is the same under both.
    """

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        generator = np.random.Generator(np.random.Philox(self.random.getrandbits(128)))
        self._beside = generator.integers(1, 256, _BLOCK, np.uint8).tobytes()
        self._fills = {size: _numbers(generator, size) for size in (2, 4)}
        self._starts: dict[int, int] = {}

    def beside(self, size: int) -> bytes:
        """Return what lies beside an operand, without zeros: zero is what most overruns write."""
        return _repeated(self._beside, self.random.randrange(_BLOCK), size)

    def fill(self, itemsize: int, size: int, number: int) -> bytes:
        """Return one of the two fills of an output: the same for the same size, so that calls can be repeated."""
        blocks = self._fills.get(itemsize) or self._fills[4]
        start = self._starts.setdefault(size, self.random.randrange(_BLOCK // itemsize) * itemsize)
        return _repeated(blocks[number], start, size)


def _numbers(generator: np.random.Generator, itemsize: int) -> tuple[bytes, bytes]:
    bits = generator.integers(0, 1 << 8 * itemsize, _BLOCK // itemsize, f"u{itemsize}")
    mantissa, width = (10, 5) if itemsize == 2 else (23, 8)
    exponent = bits >> mantissa & (1 << width) - 1
    odd = (exponent == 0) | (exponent == (1 << width) - 1)
    bits ^= odd.astype(bits.dtype) << mantissa  # neither all zeros nor all ones, nor so in the complement
    return bits.tobytes(), (~bits).tobytes()


def _repeated(block: bytes, start: int, size: int) -> bytes:
    if start + size <= len(block):
        return block[start : start + size]
    return (block[start:] + block * (size // len(block) + 1))[:size]


class Region(NamedTuple):
    """Whole pages for one operand: ``start`` in the files, ``address`` in the library's process."""

    start: int
    size: int
    address: int
    lower: int  #: address of the guard before it
    upper: int  #: end of the guard after it
    file: int
    beside: bytes  #: what it holds where the operand does not lie


class Placed(NamedTuple):
    """An operand at its place: bytes ``start`` to ``stop`` of a region, which holds ``image`` before a call.

    ``image`` is empty where nothing lies.
    """

    argument: PointerArgument
    region: Region
    start: int
    stop: int
    image: bytes

    @property
    def address(self) -> int:
        """Where the library sees the first element."""
        return self.region.address + self.start


GUARDS, INPUTS, OUTPUTS = range(3)


class Arena:
    """All operands of a session, and the frames of its batches.

    ``copied``: operands go to memory of the library's own and back, so nothing can be protected, nor lie at a guard.
    Raises :class:`MachineError` where the system has no such memory to give.
    """

    def __init__(self, patterns: Patterns, copied: bool = False) -> None:
        self.patterns = patterns
        self.copied = copied
        #: Where the library's process has the range of addresses: drawn, far from everything else.
        self.base = (0x2000 + patterns.random.randrange(0x2000)) << 32
        self.files: list[int] = []
        self.banks: list[memoryview] = []
        self._memory: list[mmap.mmap] = []
        try:
            for name in ("guards", "inputs", "outputs", "frames"):
                fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                self.files.append(fd)
                os.ftruncate(fd, BANKS * BATCH_BYTES if name == "frames" else ARENA)
            self._memory += [mmap.mmap(fd, 0) for fd in self.files[1:]]
            for fd, seals in zip(self.files, (0, _SEAL_FUTURE_WRITE, 0, 0), strict=True):
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | seals)
        except (AttributeError, OSError, ValueError) as error:
            self.close()
            raise MachineError(
                f"This machine has no memory to share with a library's process ({error}): memfd_create with sealing is "
                "needed, and 12 GiB of address space. See 'golden doctor'."
            ) from error
        with memoryview(self._memory[-1]) as frames:
            self.banks = [frames[b * BATCH_BYTES : (b + 1) * BATCH_BYTES] for b in range(BANKS)]
        #: Mappings that the library's process does not know of yet.
        self.new: list[Mapping] = []
        self._layouts: dict[tuple[object, ...], tuple[int, int]] = {}
        self.clear()

    def close(self) -> None:
        """Give everything back."""
        for view in self.banks:
            view.release()
        for memory in self._memory:
            memory.close()
        for fd in self.files:
            os.close(fd)
        self.banks, self._memory, self.files = [], [], []

    @property
    def crowded(self) -> bool:
        """Tell whether :meth:`clear` should be called before more is placed, once nothing is under way."""
        return len(self._regions) > _REGIONS or self._bytes > _KEPT_BYTES or self._next > ARENA // 2

    def clear(self) -> None:
        """Forget all regions; the library's process must do the same."""
        for fd in self.files[:3]:
            punch(fd, 0, ARENA)
        self._regions: dict[tuple[object, ...], Region] = {}
        self._placed: dict[tuple[object, ...], Placed] = {}
        self._images: dict[tuple[int, int, int, int], bytes] = {}
        self._fixed: dict[int, tuple[object, ...]] = {}
        self.new = []
        self._next = self._bytes = 0

    def place(
        self, bank: int, number: int, arguments: Sequence[tuple[int, PointerArgument]],
        invocation: Invocation, starts: tuple[int, ...],
    ) -> list[Placed]:  # fmt: skip
        """Lay out and fill the operands of an invocation, the ``number``-th of its batch.

        ``starts``: addresses of documented regions, where operands have to lie there. What has
        to be mapped for it is added to :attr:`new`. Inputs cannot be changed by a call: invocations of a batch that
        want them at the same place share them.
        """
        i = invocation
        geometry = (bank, i.placement, i.offset, i.skew, i.align, i.unread, i.unreadable)
        placed = []
        for index, (slot, argument) in enumerate(arguments):
            output = argument.role == "output"
            key = (bank, number, slot) if output or self.copied else (*geometry, slot)
            lower = starts[index % len(starts)] + index // len(starts) * AREA if starts else None
            held = self._placed.get(key)
            if held is not None and held.argument is argument and not output and not starts and not self.copied:
                placed.append(held)
                continue
            layout = self._layouts.get((*geometry[1:5], slot, argument.itemsize, argument.count))
            if layout is None:
                layout = _copied_layout(slot, argument, i) if self.copied else _layout(slot, argument, i)
                self._layouts[*geometry[1:5], slot, argument.itemsize, argument.count] = layout
            size, start = layout
            file = OUTPUTS if output or self.copied else GUARDS if argument.name in i.unreadable else INPUTS
            where = (lower, size, file) if lower is not None else (*key, size, file)
            region = self._regions.get(where) or self._map(where, size, file, lower)
            self._placed[key] = done = self._fill(region, argument, start, i)
            placed.append(done)
        return placed

    def read(self, placed: Placed) -> bytes:
        """Return what a region holds now: what counts of it, however it changes later."""
        region = placed.region
        return self._memory[region.file - 1][region.start : region.start + region.size]

    def inspect(self, placed: Placed) -> tuple[bytes, list[Finding]]:
        """Return an operand's content after a call, and what has changed that must not."""
        argument, _, start, stop, image = placed
        now = self.read(placed)
        output = now[start:stop]
        if now == image or (argument.role == "output" and now[:start] == image[:start] and now[stop:] == image[stop:]):
            return output, []
        self._placed.clear()  # to be filled again
        return output, list(_changes(placed, now))

    def opened(self, places: Iterable[Placed]) -> Iterator[Finding]:
        """Find guards that hold something: they were made accessible, and read or written."""
        at = 0
        while True:
            try:
                at = os.lseek(self.files[GUARDS], at, os.SEEK_DATA)
            except OSError:
                return
            page = os.pread(self.files[GUARDS], PAGE, at)
            punch(self.files[GUARDS], at, PAGE)
            verb = "written" if page.strip(b"\0") else "read"
            first = len(page) - len(page.lstrip(b"\0"))
            name, element = self.locate(places, self.base + at + first) or ("an operand", 0)
            message = f"The guard of {name} was made accessible and {verb} ({name}[{element}], or near it)."
            yield Finding("output-overrun" if verb == "written" else "guard", message, name, element)
            at += PAGE

    @staticmethod
    def locate(places: Iterable[Placed], address: int) -> tuple[str, int] | None:
        """Return the operand whose region or guard an address lies in, with the element relative to its first."""
        for placed in places:
            if placed.region.lower <= address < placed.region.upper:
                return placed.argument.name, (address - placed.address) // placed.argument.itemsize
        return None

    def _map(self, key: tuple[object, ...], size: int, file: int, lower: int | None) -> Region:
        guard = GUARD + self.patterns.random.randrange(_GUARD_PAGES) * PAGE if lower is None else GUARD
        start = self._next + guard
        self._next = start + -(-size // PAGE) * PAGE + GUARD
        address = self.base + start if lower is None else lower + GUARD
        beside = self.patterns.beside(size)
        region = Region(start, size, address, address - guard, address + size + GUARD, file, beside)
        if lower is not None:
            if (there := self._fixed.pop(lower, None)) is not None:
                del self._regions[there]
            self._fixed[lower] = key
        self._regions[key] = region
        self._bytes += size
        self.new.append(Mapping(file, start, size, address, lower or 0, region.upper))
        return region

    def _fill(self, region: Region, argument: PointerArgument, start: int, invocation: Invocation) -> Placed:
        stop = start + argument.size
        if region.file == GUARDS:
            return Placed(argument, region, start, stop, b"")
        if argument.role == "output":
            key = (region.start, start, stop, invocation.poison)
            image = self._images.get(key)
            if image is None:
                data: bytes | memoryview = self.patterns.fill(argument.itemsize, argument.size, invocation.poison)
                image = region.beside[:start] + data + region.beside[stop:]
                if len(image) <= _SMALL:
                    self._images[key] = image
        else:
            data = argument.data
            if argument.role == "unread":
                ones = invocation.unread == "ones"
                data = _ONES[argument.itemsize] * argument.count if ones else b"\xff" * argument.size
            image = b"".join((region.beside[:start], data, region.beside[stop:]))
        self._memory[region.file - 1][region.start : region.start + region.size] = image
        return Placed(argument, region, start, stop, image)


def _copied_layout(slot: int, argument: PointerArgument, invocation: Invocation) -> tuple[int, int]:
    """Return size of the copy and start of the operand in it, as :mod:`runners.allocator` lays it out."""
    unit = max(UNIT, invocation.align)
    shift = (invocation.offset + slot * invocation.skew) % 16 * argument.itemsize
    room = -(-(argument.size + shift) // unit) * unit
    start = OWN_GUARD + shift
    if invocation.placement == "end":
        start = room - shift - argument.size
        start += OWN_GUARD - start % invocation.align
    return room + 2 * OWN_GUARD, start


def _layout(slot: int, argument: PointerArgument, invocation: Invocation) -> tuple[int, int]:
    """Return bytes of the region that an operand needs, and where in it the operand begins."""
    shift = (invocation.offset + slot * invocation.skew) % 16 * argument.itemsize
    # Room for every shift: one region for all placements of an operand.
    needed = argument.size + 15 * argument.itemsize + invocation.align - 1
    size = max(1, -(-needed // PAGE)) * PAGE
    start = shift
    if invocation.placement == "end":
        start = size - shift - argument.size
        start -= start % invocation.align
    return size, start


def _changes(placed: Placed, now: bytes) -> Iterator[Finding]:
    """Find what is beside an operand, or in an input, and is not as it was; report what is nearest to the operand."""
    argument, _, start, stop, image = placed
    output = argument.role == "output"
    before = _differing(image[:start], now[:start])
    after = _differing(image[stop:], now[stop:])
    inside = None if output else _differing(image[start:stop], now[start:stop])
    if inside is not None:
        element = int(inside[0]) // argument.itemsize
        message = f"{argument.name}[{element}] was written, which is an input."
        yield Finding("input-written", message, argument.name, element)
    if before is not None:
        element = (int(before[-1]) - start) // argument.itemsize
        message = f"{argument.name}[{element}] was written{'' if output else ', before its first element'}."
        yield Finding("output-underrun" if output else "guard", message, argument.name, element)
    if after is not None:
        element = (stop - start + int(after[0])) // argument.itemsize
        message = f"{argument.name}[{element}] was written, beyond its {argument.count} elements."
        yield Finding("output-overrun" if output else "guard", message, argument.name, element)


def _differing(a: bytes, b: bytes) -> Array | None:
    """Return the positions of bytes that differ; None where none do."""
    if a == b:
        return None
    return np.flatnonzero(np.frombuffer(a, np.uint8) != np.frombuffer(b, np.uint8))
