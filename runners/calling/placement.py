"""Where operands lie, for runners that can be told: remainders of addresses, or addresses that a platform documents.

With ``--memory documented`` an entry point's operands go to the regions of its storage in turn: the first to the first
region, and so on; what shares a region follows one another, guards included.
"""

import msgspec

from golden.errors import UsageError
from golden.operator import entry_points
from golden.profile import Profile
from runners.calling.call import Call, Invocation, PointerArgument

#: Operands are placed at wanted addresses modulo this, if no larger alignment is asked for.
UNIT = 128
#: Or at most modulo this: a harness needs so much memory more for each operand, and boards have little.
_COARSEST = 512


class Allocator(msgspec.Struct, frozen=True):
    """Names of a library's own functions ``void *allocate(size_t)`` and ``void free(void *)``."""

    allocate: str
    free: str


class Regions(msgspec.Struct, frozen=True, array_like=True):
    """Start addresses of the regions that shared and private operands are documented to lie in."""

    shared: tuple[int, ...]
    private: tuple[int, ...]

    def of(self, symbol: str) -> tuple[int, ...]:
        """Return the regions of an entry point's operands."""
        return self.shared if entry_points()[symbol].storage == "shared" else self.private


def documented(profile: Profile) -> Regions:
    """Return the regions of a platform; raises :class:`UsageError` where its profile names none."""
    memory = profile.memory
    if not memory.shared or not memory.private:
        raise UsageError(
            f"--memory documented: the platform {profile.name} documents no addresses for shared and private operands; "
            "use a platform that does, or add [memory] shared and private to a profile of yours."
        )
    return Regions(tuple(memory.shared), tuple(memory.private))


def placing(memory: str, profile: Profile) -> Regions | Allocator | None:
    """Return what an option ``--memory`` asks for: ``any``, ``documented`` or ``symbol:ALLOC,FREE``.

    Raises :class:`UsageError` for another word, and where a platform documents no addresses.
    """
    if memory == "any":
        return None
    if memory == "documented":
        return documented(profile)
    kind, _, names = memory.partition(":")
    functions = names.split(",")
    if kind != "symbol" or len(functions) != 2 or not all(name.isidentifier() for name in functions):
        raise UsageError(
            f"--memory {memory}: give any, documented, or symbol:ALLOC,FREE with two functions of the library."
        )
    return Allocator(*functions)


def remainders(call: Call) -> tuple[list[list[int]], int]:
    """Return where operands of every invocation go, modulo the second value: as in :mod:`runners.library.layout`."""
    align = max(i.align for i in call.invocations)
    unit = max(align, min(_COARSEST, max(i.unit(UNIT) for i in call.invocations)))
    return [[start(a, slot, i) % unit for slot, a in _pointers(call)] for i in call.invocations], unit


def addresses(call: Call, starts: tuple[int, ...], guard: int) -> list[list[int]]:
    """Return the address of every operand of every invocation; ``guard``: bytes that belong to each side of one."""
    rows = []
    for invocation in call.invocations:
        unit = invocation.unit(UNIT)
        free, row = list(starts), []
        for number, (slot, argument) in enumerate(_pointers(call)):
            region = number % len(free)
            first = _up(free[region] + guard, unit)
            room = _up(argument.size + invocation.grid + max(16, invocation.offset) * argument.itemsize, unit)
            offset = start(argument, slot, invocation)
            row.append(first + (offset if offset >= 0 else room + offset))
            free[region] = first + room + guard
        rows.append(row)
    return rows


def room(call: Call, unit: int, guard: int) -> int:
    """Return the bytes that a harness needs for a call beside its payload: output once more, operands with guards.

    ``unit`` 0: the operands have addresses of their own, and take none of these bytes.
    """
    operands = [a for _, a in _pointers(call)]
    outputs = sum(a.size for a in operands if a.role == "output")
    return outputs + (sum(a.size + 2 * guard + unit for a in operands) if unit else 0)


def start(argument: PointerArgument, slot: int, invocation: Invocation) -> int:
    """Return where an operand begins, from the boundary that it begins after (if not negative) or ends before."""
    shift = invocation.shift(argument.name, slot, argument.itemsize)
    if invocation.placement == "begin":
        return shift
    begin = -shift - argument.size
    return begin - begin % invocation.align


def _pointers(call: Call) -> list[tuple[int, PointerArgument]]:
    return [(slot, a) for slot, a in enumerate(call.arguments) if isinstance(a, PointerArgument)]


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
