"""Where the operands of a call's invocations lie in regions of whole pages, and what lies there beside them.

A layout depends on the sizes of operands and on the invocation, not on data: calls alike share it. Inputs cannot be
changed by a call, so that invocations which want them at the same places share them.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from runners.calling.call import Call, Invocation, PointerArgument, Unread, unread_content
from runners.library.arena import GUARDS, INPUTS, OUTPUTS, PAGE
from runners.library.patterns import Patterns
from runners.process.allocator import GUARD as OWN_GUARD
from runners.process.allocator import UNIT
from runners.process.messages import Copied

#: Sizes of regions are few up to this one, so that there are few regions.
_LARGE = 1 << 20
#: Layouts are kept of so many kinds of calls, and for so many bytes beside operands.
_CALLS, _KEPT = 4096, 32 << 20
#: And so many invocations are remembered.
_INVOCATIONS = 1 << 16
#: C types of scalars that travel as integers.
INTEGERS = ("int32", "uint16")


class Item(msgspec.Struct, frozen=True, gc=False):
    """An operand's place: bytes ``start`` to ``stop`` of a region of ``size`` bytes in a file.

    ``pointer``: its number among the call's operands, ``word``: among its integers, which lies in a frame ``at``.
    ``fill``: what it holds before a call: one of two fills if it is an ``output``, a kind of content that must not
    matter, or "data" of the call's. ``before`` and ``after``: what lies beside it. ``source``: the operand whose data
    that is: another one that lies there too, whose word is ``also``, or its own (-1: nothing else lies there).
    ``content``: that, if it is small and not data. ``unit``: of a copied operand, what its address is a multiple of.
    ``kind``: the file and the size. ``under``: of a small one, what lies in a region of its ``slot`` in its place.
    """

    pointer: int
    word: int
    at: int
    output: bool
    fill: int | Unread | Literal["data"]
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
    source: int
    also: int

    def copied(self, frame: int, address: int) -> Copied:
        """Say how it goes to memory that is allocated for it and back."""
        return Copied(frame, self.word, address, self.size, self.unit, self.start)


class Layout(NamedTuple):
    """The operands of an invocation: those that only the judge can write to, and those that the library may.

    ``copied``: they go to memory that is allocated for them, and back, so that the library can write to all.
    """

    shared: tuple[Item, ...]
    open: tuple[Item, ...]
    copied: bool


class _Operand:
    """An operand, and the places that it was given so far."""

    __slots__ = ("items", "itemsize", "name", "pointer", "role", "size", "slot", "word")

    def __init__(self, slot: int, pointer: int, word: int, argument: PointerArgument) -> None:
        self.slot, self.pointer, self.word = slot, pointer, word
        self.name, self.role, self.itemsize, self.size = argument.name, argument.role, argument.itemsize, argument.size
        self.items: dict[object, Item] = {}


class Kind:
    """Calls with arguments of the same types and sizes."""

    def __init__(self, operands: list[_Operand]) -> None:
        self.operands = operands
        #: By what :meth:`Layouts.number` says of invocations.
        self.layouts: dict[int, Layout] = {}
        #: What invocations share that lie and are alike.
        self.shared: dict[object, tuple[Item, ...]] = {}


class Layouts:
    """Makes layouts. ``copied``: all operands go to memory of the library's own.

    Invocations whose inputs lie and are alike have the same object for :attr:`Layout.shared`.
    """

    def __init__(self, patterns: Patterns, copied: bool) -> None:
        self.copied = copied
        #: Numbers of invocations, the same for those that differ in nothing but the core mask.
        self.numbers: dict[Invocation, int] = {}
        self._ways: dict[object, int] = {}
        self._patterns = patterns
        self._kinds: dict[object, Kind] = {}
        self._operands: dict[object, _Operand] = {}
        self._pages: dict[int, bytes] = {}
        self._held = 0

    def of(self, call: Call) -> Kind:
        """Return the kind of a call."""
        key = tuple(
            [
                (a.name, a.role, a.itemsize, a.count) if isinstance(a, PointerArgument) else a.ctype
                for a in call.arguments
            ]
        )
        kind = self._kinds.get(key)
        if kind is None:
            if self._held > _KEPT or len(self._kinds) > _CALLS:
                self._kinds, self._operands = {}, {}
                self._held = 0
            kind = self._kinds[key] = Kind(list(self._operands_of(call)))
        return kind

    def _operands_of(self, call: Call) -> Iterator[_Operand]:
        pointer = word = 0
        for slot, argument in enumerate(call.arguments):
            if isinstance(argument, PointerArgument):
                key = slot, pointer, word, argument.name, argument.role, argument.itemsize, argument.count
                operand = self._operands.get(key)
                if operand is None:
                    operand = self._operands[key] = _Operand(slot, pointer, word, argument)
                yield operand
                pointer += 1
            elif argument.ctype not in INTEGERS:
                continue
            word += 1

    def number(self, invocation: Invocation) -> int:
        """Number an invocation, and keep that in ``numbers``."""
        i = invocation
        if len(self.numbers) > _INVOCATIONS:
            self.numbers.clear()
        way = (*_geometry(i), i.fill)
        number = self.numbers[i] = self._ways.setdefault(way, len(self._ways))
        return number

    def make(self, kind: Kind, number: int, invocation: Invocation) -> Layout:
        """Make the layout of an invocation, and add it to those of its kind."""
        i = invocation
        copied = self.copied or i.placement == "plain"
        geometry = _geometry(i)
        shared = kind.shared.get(geometry)
        alias = next((o for o in kind.operands if o.name == i.alias), None)
        operands = [o for o in kind.operands if o is not alias]
        if shared is None:
            shared = tuple([self._item(o, i, copied) for o in operands if not (copied or o.role == "output")])
            kind.shared[geometry] = shared
        open_ = tuple([self._item(o, i, copied, alias) for o in operands if copied or o.role == "output"])
        layout = kind.layouts[number] = Layout(shared, open_, copied)
        return layout

    def content(self, item: Item, argument: PointerArgument) -> bytes | memoryview:
        """Return what an operand holds before a call."""
        if item.content is not None:
            return item.content
        return argument.data if item.fill == "data" else self._content(item.fill, argument.itemsize, argument.size)

    def _content(self, fill: int | Unread, itemsize: int, size: int) -> bytes:
        if isinstance(fill, int):
            return self._patterns.fill(itemsize, size, fill)
        return unread_content(fill, itemsize, size)

    def _item(self, operand: _Operand, i: Invocation, copied: bool, alias: _Operand | None = None) -> Item:
        """Return the place of an operand in an invocation; ``alias``: what lies there, too, if it is the output."""
        output = operand.role == "output"
        source = alias if output and alias is not None else operand
        role, hidden = source.role, operand.name in i.unreadable
        fill = i.fill if role == "output" else i.unread if role == "unread" else "data"
        shift = i.shift(operand.name, operand.slot, operand.itemsize)
        key = (shift, i.placement, fill, i.align, hidden, i.overread, source.pointer)
        item = operand.items.get(key)
        if item is None:
            file = OUTPUTS if output or copied else GUARDS if hidden else INPUTS
            size, start = (_copied if copied else _placed)(operand, shift, i)
            item = operand.items[key] = self._made(operand, source, fill, file, size, start, i.unit(UNIT))
            self._held += len(item.before) + len(item.after)
        return item

    def _made(
        self, operand: _Operand, source: _Operand, fill: int | Unread | Literal["data"],
        file: int, size: int, start: int, unit: int,
    ) -> Item:  # fmt: skip
        stop, slot = start + operand.size, operand.slot
        content = under = None
        if size == PAGE:  # most are
            page = self._pages.get(slot) or self._pages.setdefault(slot, self._patterns.beside(slot, 0, PAGE))
            before, under, after = page[:start], page[start:stop], page[stop:]
        else:
            before, after = self._patterns.beside(slot, 0, start), self._patterns.beside(slot, stop, size)
        if fill != "data" and operand.size <= PAGE:
            content = self._content(fill, operand.itemsize, operand.size)
        where = operand.pointer, operand.word, 8 + 8 * operand.word, operand.role == "output"
        also = -1 if source is operand else 8 + 8 * source.word
        return Item(
            *where, fill, content, (file, size), file, size, start, stop, before, after, under, slot, unit,
            source.pointer, also,
        )  # fmt: skip


def _geometry(i: Invocation) -> tuple[object, ...]:
    """Return what the inputs of an invocation depend on."""
    way = i.placement, i.offset, i.skew, i.align, i.unread, i.unreadable
    return (*way, i.grid, i.alone, i.overread, i.alias)


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


def _copied(operand: _Operand, shift: int, invocation: Invocation) -> tuple[int, int]:
    """Return size of the copy and start of the operand in it, as :mod:`runners.process.allocator` lays it out."""
    unit = invocation.unit(UNIT)
    room = -(-(operand.size + shift + invocation.overread) // unit) * unit
    start = OWN_GUARD + shift
    if invocation.placement == "end":
        start = room - shift - invocation.overread - operand.size
        start += OWN_GUARD - start % invocation.align
    return room + 2 * OWN_GUARD, start


def _placed(operand: _Operand, shift: int, invocation: Invocation) -> tuple[int, int]:
    """Return bytes of the region that an operand needs, and where in it the operand begins."""
    # Room for every shift: one region for all placements of an operand.
    i = invocation
    spare = max(15, i.offset) * operand.itemsize + i.grid + i.overread
    size = _rounded(operand.size + spare + i.align - 1)
    start = shift
    if i.placement == "end":
        start = size - shift - i.overread - operand.size
        start -= start % i.align
    return size, start


def _rounded(size: int) -> int:
    """Return a number of bytes in whole pages, at least so many: 1, 2, 3, 4, 6, 8, 12 and so on, if they are few."""
    if size <= PAGE:
        return PAGE
    pages = -(-size // PAGE)
    if pages * PAGE < _LARGE and pages > 4:
        unit = 1 << (pages - 1).bit_length() - 2
        pages = -(-pages // unit) * unit
    return pages * PAGE
