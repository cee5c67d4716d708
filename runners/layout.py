"""Where the operands of a call's invocations lie in regions of whole pages, and what lies there beside them.

A layout depends on the sizes of operands and on the invocation, not on data: calls alike share it. Inputs cannot be
changed by a call, so that invocations which want them at the same places share them.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from runners.allocator import GUARD as OWN_GUARD
from runners.allocator import UNIT
from runners.arena import GUARDS, INPUTS, OUTPUTS, PAGE
from runners.patterns import Patterns
from runners.protocol import Call, Copied, Invocation, PointerArgument

#: 1.0 by element size, for operands that must not matter.
_ONES = {2: b"\x00\x3c", 4: b"\x00\x00\x80\x3f", 8: b"\x00\x00\x00\x00\x00\x00\xf0\x3f"}
#: Sizes of regions are few up to this one, so that there are few regions.
_LARGE = 1 << 20
#: Layouts are kept of so many kinds of calls, and for so many bytes beside operands.
_CALLS, _KEPT = 4096, 16 << 20
#: C types of scalars that travel as integers.
INTEGERS = ("int32", "uint16")


class Item(NamedTuple):
    """An operand's place: bytes ``start`` to ``stop`` of a region of ``size`` bytes in a file.

    ``pointer``: its number among the call's operands, ``word``: among its integers, which lies in a frame ``at``.
    ``fill``: what it holds before a call: one of two fills if it is an ``output``, "ones" or "nan", or "data" of the
    call's. ``before`` and ``after``: what lies beside it.
    ``content``: that, if it is small and not data. ``unit``: of a copied operand, what its address is a multiple of.
    ``kind``: the file and the size. ``under``: of a small one, what lies in a region of its ``slot`` in its place.
    """

    pointer: int
    word: int
    at: int
    output: bool
    fill: int | str
    content: bytes | None
    kind: tuple[int, int]
    file: int
    size: int
    start: int
    stop: int
    before: bytes
    after: bytes
    under: bytes | None
    slot: int
    unit: int

    def copied(self, address: int) -> Copied:
        """Say how it goes to memory of the library's own and back."""
        return Copied(self.word, address, self.size, self.unit, self.start)


class Layout(NamedTuple):
    """The operands of an invocation: those that only the judge can write to, and those that the library may."""

    shared: tuple[Item, ...]
    open: tuple[Item, ...]


class Layouts:
    """Makes layouts. ``copied``: operands are copied to the library's memory, so that it can write to all of them.

    Invocations whose inputs lie and are alike have the same object for :attr:`Layout.shared`.
    """

    def __init__(self, patterns: Patterns, copied: bool) -> None:
        self.copied = copied
        self._patterns = patterns
        self._forget()

    def _forget(self) -> None:
        self._made: dict[object, dict[object, Layout]] = {}
        self._items: dict[object, Item] = {}
        self._held = 0

    def of(self, call: Call, pointers: Sequence[PointerArgument]) -> dict[object, Layout]:
        """Return the layouts of a call with these operands, as far as they are made, by invocation."""
        key = (call.symbol, *[(a.name, a.role, a.itemsize, a.count) for a in pointers])
        made = self._made.get(key)
        if made is None:
            if self._held > _KEPT or len(self._made) > _CALLS:
                self._forget()
            made = self._made[key] = {}
        return made

    def make(self, call: Call, invocation: Invocation, made: dict[object, Layout]) -> Layout:
        """Make the layout of an invocation, and add it to those of its call."""
        i = invocation
        shared = (i.placement, i.offset, i.skew, i.align, i.unread, i.unreadable)
        alike = made.get(shared)
        if alike is None:
            alike = made[shared] = Layout(tuple(self._of(call, i, outputs=False)), ())
        layout = made.get((*shared, i.poison))
        if layout is None:
            layout = made[*shared, i.poison] = Layout(alike.shared, tuple(self._of(call, i, outputs=True)))
        made[i] = layout
        return layout

    def content(self, item: Item, argument: PointerArgument) -> bytes | memoryview:
        """Return what an operand holds before a call."""
        if item.content is not None:
            return item.content
        return argument.data if item.fill == "data" else self._content(item.fill, argument)

    def _content(self, fill: int | str, argument: PointerArgument) -> bytes:
        if isinstance(fill, int):
            return self._patterns.fill(argument.itemsize, argument.size, fill)
        return _ONES[argument.itemsize] * argument.count if fill == "ones" else b"\xff" * argument.size

    def _of(self, call: Call, invocation: Invocation, outputs: bool) -> Iterator[Item]:
        """Yield what only the judge can write to, or all else."""
        i = invocation
        pointer = word = 0
        for slot, argument in enumerate(call.arguments):
            if isinstance(argument, PointerArgument):
                output = argument.role == "output"
                if (output or self.copied) == outputs:
                    fill = i.poison if output else i.unread if argument.role == "unread" else "data"
                    shift = (i.offset + slot * i.skew) % 16
                    hidden = argument.name in i.unreadable
                    key = (slot, word, fill, argument.itemsize, argument.count, i.placement, shift, i.align, hidden)
                    item = self._items.get(key)
                    if item is None:
                        item = self._items[key] = self._item(pointer, word, slot, argument, i, fill)
                        self._held += len(item.before) + len(item.after)
                    yield item
                pointer += 1
            elif argument.ctype not in INTEGERS:
                continue
            word += 1

    def _item(
        self, pointer: int, word: int, slot: int, argument: PointerArgument, invocation: Invocation, fill: int | str
    ) -> Item:
        output = argument.role == "output"
        file = GUARDS if argument.name in invocation.unreadable else INPUTS
        if output or self.copied:
            file = OUTPUTS
        size, start = (_copied if self.copied else _placed)(slot, argument, invocation)
        stop = start + argument.size
        small = argument.size <= PAGE
        content = self._content(fill, argument) if fill != "data" and small else None
        beside = partial(self._patterns.beside, slot)
        around = beside(0, start), beside(stop, size), beside(start, stop) if small else None
        unit = max(UNIT, invocation.align)
        where = pointer, word, 8 + 8 * word
        return Item(*where, output, fill, content, (file, size), file, size, start, stop, *around, slot, unit)


def registers(call: Call) -> tuple[list[int], list[int]]:
    """Return a call's scalars as a frame takes them: integers, with room for pointers and mask, and floating-point.

    ctypes has no fp16. A ``_Float16`` travels in the low 16 bits of a floating-point register (System V x86-64 psABI,
    AAPCS64); what is above them is zero here, as compilers leave it when they load from memory. Bits are copied, never
    converted: signalling NaNs arrive as they are. Surplus arguments load NaN where the other half convention would look
    for the value: without them a wrong guess may go unnoticed, since that register can still hold the value.
    """
    integers: list[int] = []
    floats: list[int] = []
    kinds = set()
    for argument in call.arguments:
        if isinstance(argument, PointerArgument):
            integers.append(0)
        else:
            kinds.add(argument.ctype)
            (integers if argument.ctype in INTEGERS else floats).append(argument.bits)
    if call.invocations and call.invocations[0].core_mask is not None:
        integers.append(0)
    integers.append(0x7E00 if "float16" in kinds else 0)
    if "uint16" in kinds:
        floats.append(0x7FC07E00)
    return integers, floats


def _copied(slot: int, argument: PointerArgument, invocation: Invocation) -> tuple[int, int]:
    """Return size of the copy and start of the operand in it, as :mod:`runners.allocator` lays it out."""
    unit = max(UNIT, invocation.align)
    shift = (invocation.offset + slot * invocation.skew) % 16 * argument.itemsize
    room = -(-(argument.size + shift) // unit) * unit
    start = OWN_GUARD + shift
    if invocation.placement == "end":
        start = room - shift - argument.size
        start += OWN_GUARD - start % invocation.align
    return room + 2 * OWN_GUARD, start


def _placed(slot: int, argument: PointerArgument, invocation: Invocation) -> tuple[int, int]:
    """Return bytes of the region that an operand needs, and where in it the operand begins."""
    shift = (invocation.offset + slot * invocation.skew) % 16 * argument.itemsize
    # Room for every shift: one region for all placements of an operand.
    size = _rounded(argument.size + 15 * argument.itemsize + invocation.align - 1)
    start = shift
    if invocation.placement == "end":
        start = size - shift - argument.size
        start -= start % invocation.align
    return size, start


def _rounded(size: int) -> int:
    """Return a number of bytes in whole pages, at least that many; 1, 2, 3, 4, 6, 8, 12 and so on, if they are few."""
    pages = max(1, -(-size // PAGE))
    if pages * PAGE < _LARGE and pages > 4:
        unit = 1 << (pages - 1).bit_length() - 2
        pages = -(-pages // unit) * unit
    return pages * PAGE
