"""The memory that operands lie in: shared with the library's process, filled and inspected by the judge alone.

Three sparse files in memory are as large as the range of addresses, which the library's process sees as guards: pages
of the first file that nothing may access. Where an operand lies, pages of the second (for inputs, which nobody but the
judge can ever write) or third (for outputs) are mapped instead. So a guard that is opened, used and closed again is
found out, since its pages are no holes any more; and whatever the library does to its own process, what counts is what
the judge reads here, once, when the call has returned. How far guards reach is drawn anew for every run, as is what
operands lie between (:mod:`runners.library.patterns`).
"""

import fcntl
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from golden.errors import MachineError
from runners.calling.call import Finding, PointerArgument
from runners.library.patterns import Patterns
from runners.process.messages import BANKS, Mapping
from runners.process.sandbox import ARENA
from runners.process.stub import BATCH, FRAME, HEADER
from runners.process.system import SEAL_FUTURE_WRITE, punch

PAGE = mmap.PAGESIZE
#: Inaccessible pages on either side of a region, at least. Wide, because a wrong stride misses by more than an element.
_GUARD_PAGES = 64
GUARD = _GUARD_PAGES * PAGE
#: Bytes of a batch's header and frames, in whole pages.
BATCH_BYTES = -(-(HEADER + BATCH * FRAME) // PAGE) * PAGE
#: Bytes between operands that share a documented region: 2**24 fp32 elements with their guards.
AREA = (64 << 20) + 4 * GUARD
#: Regions are kept for the next calls until they hold so many bytes.
_KEPT_BYTES = 256 << 20

GUARDS, INPUTS, OUTPUTS = range(3)


class Region:
    """Whole pages for one operand: ``start`` in the file, ``address`` in the library's process.

    ``lower`` and ``upper``: where the guards around it begin and end, as addresses. ``holds``: what tells how it is
    filled at present beside an operand's elements, None if nothing is known.
    """

    __slots__ = ("address", "file", "holds", "lower", "size", "start", "upper")

    def __init__(self, file: int, start: int, size: int, address: int, lower: int, upper: int) -> None:
        self.file, self.start, self.size = file, start, size
        self.address, self.lower, self.upper = address, lower, upper
        self.holds: Any = None


class Placed(NamedTuple):
    """An operand at its place: where it begins in a region."""

    argument: PointerArgument
    region: Region
    start: int


class Arena:
    """All operands of a session, and the frames of its batches.

    Raises :class:`MachineError` where the system has no such memory to give.
    """

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        #: Where the library's process has the range of addresses: drawn, far from everything else.
        self.base = (0x2000 + patterns.random.randrange(0x2000)) << 32
        self.files: list[int] = []
        self.banks: list[memoryview] = []
        #: Inputs' and outputs' files, by number.
        self.memory: dict[int, mmap.mmap] = {}
        try:
            for name in ("guards", "inputs", "outputs", "frames"):
                fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                self.files.append(fd)
                os.ftruncate(fd, BANKS * BATCH_BYTES if name == "frames" else ARENA)
            self.memory = {number: mmap.mmap(self.files[number], 0) for number in (INPUTS, OUTPUTS)}
            self._frames = mmap.mmap(self.files[3], 0)
            for fd, seals in zip(self.files, (0, SEAL_FUTURE_WRITE, 0, 0), strict=True):
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | seals)
        except (AttributeError, OSError, ValueError) as error:
            self.close()
            raise MachineError(
                f"This machine has no memory to share with a library's process ({error}): memfd_create with sealing is "
                "needed, and 12 GiB of address space. See 'golden doctor'."
            ) from error
        with memoryview(self._frames) as frames:
            self.banks = [frames[b * BATCH_BYTES : (b + 1) * BATCH_BYTES] for b in range(BANKS)]
        #: Mappings that the library's process does not know of yet.
        self.new: list[Mapping] = []
        self.clear()

    def close(self) -> None:
        """Give everything back."""
        for view in self.banks:
            view.release()
        if self.banks:
            self._frames.close()
        for memory in self.memory.values():
            memory.close()
        for fd in self.files:
            os.close(fd)
        self.banks, self.memory, self.files = [], {}, []

    @property
    def crowded(self) -> bool:
        """Tell whether :meth:`clear` should be called before more is placed, once nothing is under way."""
        return self._bytes > _KEPT_BYTES or self._next > ARENA // 2

    def clear(self, small: int = BATCH) -> None:
        """Forget all regions; the library's process must do the same.

        ``small``: regions of one page that a bank has from the beginning, of inputs and of outputs: what has to be
        mapped later takes longer.
        """
        for fd in self.files[:3]:
            punch(fd, 0, ARENA)
        self._pools: list[dict[tuple[int, int], list[Region]]] = [{} for _ in range(BANKS)]
        self._fixed: dict[int, Region] = {}
        self.new = []
        self._next = self._bytes = 0
        for pools in self._pools:
            for file in (INPUTS, OUTPUTS):
                pools[file, PAGE] = [self._region(file, PAGE) for _ in range(small)]

    def begin(self, bank: int) -> dict[tuple[int, int], Iterator[Region]]:
        """Return the regions that a bank has, those of its last batch included, by file and size."""
        return {kind: iter(pool) for kind, pool in self._pools[bank].items()}

    def grow(self, bank: int, kind: tuple[int, int]) -> Region:
        """Return another region of a bank, when it has no more; what has to be mapped for it is added to ``new``."""
        region = self._region(*kind)
        self._pools[bank].setdefault(kind, []).append(region)
        return region

    def fixed(self, lower: int, file: int, size: int) -> Region:
        """Return a region behind the guard that begins at a documented address."""
        there = self._fixed.get(lower)
        if there is None or (there.file, there.size) != (file, size):
            self._fixed[lower] = there = self._region(file, size, lower)
        return there

    def read(self, region: Region, start: int, stop: int) -> bytes:
        """Return some bytes of a region, as they are now: what counts of it, however it changes later."""
        return self.memory[region.file][region.start + start : region.start + stop]

    def opened(self, places: Callable[[], Iterable[Placed]]) -> Iterator[Finding]:
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
            name, element = self._beside(places(), at + first)
            message = f"The guard of {name} was made accessible and {verb} ({name}[{element}], or near it)."
            yield Finding("output-overrun" if verb == "written" else "guard", message, name, element)
            at += PAGE

    @staticmethod
    def locate(places: Iterable[Placed], address: int) -> tuple[str, int] | None:
        """Return the operand whose region or guard an address lies in, with the element relative to its first."""
        for argument, region, start in places:
            if region.lower <= address < region.upper:
                return argument.name, (address - region.address - start) // argument.itemsize
        return None

    @staticmethod
    def _beside(places: Iterable[Placed], position: int) -> tuple[str, int]:
        """Return the same of a position in the guards' file."""
        for place in places:
            address = position - place.region.start + place.region.address
            if (found := Arena.locate([place], address)) is not None:
                return found
        return "an operand", 0

    def _region(self, file: int, size: int, lower: int | None = None) -> Region:
        guard = GUARD + self.patterns.random.randrange(_GUARD_PAGES) * PAGE if lower is None else GUARD
        start = self._next + guard
        self._next = start + -(-size // PAGE) * PAGE + GUARD
        self._bytes += size
        address = self.base + start if lower is None else lower + GUARD
        region = Region(file, start, size, address, address - guard, address + size + GUARD)
        if file != GUARDS or lower is not None:
            self.new.append(Mapping(file, start, size, address, lower or 0, region.upper))
        return region
