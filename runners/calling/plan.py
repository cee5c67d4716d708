"""Which ways each case is executed: everything that must not change a bit of the result. And in which order."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from golden.case import Case, Head
from golden.operator import EntryPoint, Role
from golden.profile import Profile, as_int
from runners.calling.call import UNREAD, Invocation, Placement, Unread
from runners.calling.manner import Manner

#: What cases can reveal whose small ones are run with many core masks and every alignment.
_THOROUGH = "partition"
#: Of how many output elements, and one case in how many, chosen by its id, is run thoroughly: any remainder, and
#: partitions with several items a core.
_THOROUGH_SIZES = ((range(1, 42), 12), (range(250, 1100), 6))
#: One in so many masks is used by such a case, unless there are few.
_MASKS_EVERY, _FEW_MASKS = 2, 64
#: One case in this many has an invocation in plain memory.
_PLAIN_EVERY = 8
#: From this many elements on a case is repeated, so that cores which share memory have time to meet.
_LARGE = 4096
_REPEATS = 8
#: Bytes that operands are aligned to, and to no more: vectors and lines of cache, up to half a page.
_GRIDS = (32, 64, 128, 256, 512, 1024, 2048)
#: Where a platform lets an output lie on an input, it does in one case of this many.
_ALIASED_EVERY = 3
#: One case in this many is also run with its untouched operands inaccessible: each that touches one costs a process.
_GUARDED = 8


def shuffled(draw: str, name: str, count: int) -> list[int]:
    """Return the numbers below ``count`` in an order that is drawn: the same one for the same ``draw`` and name."""
    order = list(range(count))
    random.Random(f"{draw} {name}").shuffle(order)
    return order


def unreadable_cases(draw: str, entry: EntryPoint, heads: Sequence[Head]) -> frozenset[str]:
    """Draw the cases of an entry point that are also run with the operands inaccessible that they must not touch.

    Always as many, of those that compare positions if there are such; returns their ids.
    """
    cases = [h for h in heads if h.operator.untouched(h.scalars)]
    able = [h.id for h in cases if "position" in h.flags] or [h.id for h in cases]
    chosen = shuffled(draw, f"{entry.symbol} untouched", len(able))[: -(-len(able) // _GUARDED)]
    return frozenset(able[number] for number in chosen)


def invocations(
    case: Case, entry: EntryPoint, profile: Profile, closed: bool = False, plain: bool = False, aliasing: bool = False
) -> list[Invocation]:
    """Return the invocations of a case on an entry point; the first is the one whose result is judged in full.

    The second differs from it in everything at once: mask, placement, fill, content of unread operands. Others
    vary masks, alignments and contents by the case's id, so that a suite covers them all; the last repeats the first.
    ``closed``: it is one of those that :func:`unreadable_cases` has drawn. ``plain``: some are made with operands in
    plain memory and zeros in the output, so that what is right only where guards and fills are is found out.
    ``aliasing``: in some the output lies where an input does, if the platform allows it.
    """
    draw = _Draw(f"{case.id} {entry.symbol}")
    first = Manner.of(profile).invocation()
    if not entry.has_core_mask:
        first = msgspec.structs.replace(first, core_mask=None)
    plan = [first]
    masks = [_mask(draw, profile) for _ in range(3)] if entry.has_core_mask else [None]
    # Few different ones a case: what lies and is alike is laid out once.
    unread = [_unread(draw) if any(p.role is Role.UNREAD for p in entry.operator.pointers) else "nan" for _ in range(2)]
    plan.append(_vary(first, masks[0], "begin", 1, unread[0]))
    for index, other in enumerate(masks[1:]):
        plan.append(_vary(first, other, ("end", "begin")[index % 2], index % 2, ("nan", unread[0])[index % 2]))
    plan.append(moved(draw, first, entry, profile.alignment, unread[1]))
    aliases = profile.calling.aliases(entry.operator.output.name)
    alias = _Draw(f"{case.id} {entry.symbol} alias")
    if aliasing and aliases and alias.below(_ALIASED_EVERY) == 0:
        plan[-1] = msgspec.structs.replace(first, alias=aliases[alias.below(len(aliases))], fill=2)
    if closed and (unreadable := case.operator.untouched(case.scalars)):
        plan.append(msgspec.structs.replace(first, unreadable=unreadable))
    size = case.golden.value.size
    every = next((every for sizes, every in _THOROUGH_SIZES if size in sizes), 0)
    if _THOROUGH in case.flags and every and draw.below(every) == 0:
        plan += _thorough(first, profile, entry.has_core_mask, draw.below(_MASKS_EVERY))
    if size >= _LARGE and _THOROUGH in case.flags:
        plan += [first] * _REPEATS
    if plain and draw.below(_PLAIN_EVERY) == 0 and size <= _LARGE:
        plan.append(msgspec.structs.replace(first, placement="plain", fill=2))
    plan.append(first)
    return plan


def _thorough(first: Invocation, profile: Profile, has_mask: bool, turn: int) -> Iterator[Invocation]:
    """Core masks (the first 255 of larger profiles), every alignment, and repetitions in between.

    ``turn``: which of the masks, so that one case after the other every mask has its turn.
    """
    if has_mask:
        some = profile.masks or range(1, min(1 << profile.cores, 256))
        for number, mask in enumerate(some[:256], 1):
            if len(some) > _FEW_MASKS and number % _MASKS_EVERY != turn:
                continue
            unread = UNREAD[number % len(UNREAD)]
            yield _vary(first, mask, ("end", "begin")[number % 2], number % 2, unread)
            if number % 50 == 0:
                yield first
    if not profile.alignment:
        for offset in range(16):
            yield _shifted(first, offset, skew=0)
            yield _shifted(first, offset, skew=(5 * offset + 1) % 16)
    yield from [first] * 3


def _vary(first: Invocation, mask: int | None, placement: Placement, fill: int, unread: Unread) -> Invocation:
    return msgspec.structs.replace(first, core_mask=mask, placement=placement, fill=1 if fill else 0, unread=unread)


class Choices(Protocol):
    """What draws."""

    def below(self, limit: int) -> int:
        """Draw a number below a limit."""


def moved(draw: Choices, first: Invocation, entry: EntryPoint, alignment: int, unread: Unread) -> Invocation:
    """Draw where operands lie: away from their page alike or each differently, one of them alone, or on a coarse grid.

    A grid is a power of two: addresses are multiples of it, and of no more. Where one is alone the others are on
    16 or 64 bytes, on a page, or as the platform asks.
    """
    kind = draw.below(3)
    grids = [grid for grid in _GRIDS if grid >= alignment]
    found = msgspec.structs.replace(first, placement="begin", fill=1, unread=unread)
    if kind == 0:
        pointers = entry.operator.pointers
        alone = pointers[draw.below(len(pointers))]
        offset = alignment // entry.fmt.itemsize or 1 + draw.below(15)
        grid = (0, alignment or 16, alignment or 64)[draw.below(3)]
        return msgspec.structs.replace(found, alone=alone.name, offset=offset, grid=grid)
    if kind == 1 and grids:
        grid = grids[draw.below(len(grids))]
        return msgspec.structs.replace(found, grid=grid * (1 + 2 * draw.below(max(1, 1024 // grid))))
    if alignment:
        return found
    return _shifted(first, draw.below(16), draw.below(16), unread)


def _shifted(first: Invocation, offset: int, skew: int, unread: Unread = "ones") -> Invocation:
    placement: Placement = "begin" if offset % 2 else "end"
    return msgspec.structs.replace(first, placement=placement, offset=offset, skew=skew, fill=1, unread=unread)


def _unread(draw: "_Draw") -> Unread:
    return UNREAD[1 + draw.below(len(UNREAD) - 1)]


def _mask(draw: "_Draw", profile: Profile) -> int:
    """Draw a core mask of the platform: a single core, a sparse one, or any; of some, any of them."""
    if some := profile.masks:
        return some[draw.below(len(some))]
    kind = draw.below(3)
    if kind == 0:
        mask = 1 << draw.below(profile.cores)
    elif kind == 1:
        mask = 0x55555555 << draw.below(2) & ((1 << profile.cores) - 1) or 1
    else:
        mask = 1 + draw.below((1 << profile.cores) - 1)
    return as_int(mask)


class _Draw:
    """Small deterministic choices from a name."""

    def __init__(self, name: str) -> None:
        self._state = int.from_bytes(hashlib.sha256(name.encode()).digest(), "little")

    def below(self, limit: int) -> int:
        self._state, choice = divmod(self._state, limit)
        return choice
