"""A batch of calls of one entry point: laid out and filled before, inspected after; all of it on the judge's side."""

from collections.abc import Iterator, Sequence

import numpy as np

from golden.formats import Array
from runners.calling.call import Call, Finding, Outcome, PointerArgument
from runners.library.arena import AREA, GUARDS, OUTPUTS, Arena, Placed, Region
from runners.library.layout import Item, Layouts, registers
from runners.process import stub
from runners.process.fenv import FloatingPoint
from runners.process.messages import Copied

#: A batch ends when its operands have this many bytes.
BYTES = 1 << 20


_Pair = tuple[Item, Region]
_NONE: Iterator[Region] = iter(())


class Registers:
    """What calls find in registers and must leave there; remembers what it has seen, since frames are mostly alike."""

    def __init__(self, preserved: tuple[int, ...], environment: bytes) -> None:
        self.preserved, self.environment = preserved, environment
        self._control = stub.control(environment)
        #: What is to be said of what calls have left.
        self.seen: dict[bytes, tuple[Finding, ...]] = {}

    def findings(self, left: bytes) -> tuple[Finding, ...]:
        """Return what is to be said of what a call has left in a frame, which was not seen before."""
        if len(self.seen) > 1000:
            self.seen.clear()
        found = self.seen[left] = tuple(self._look(left))
        return found

    def _look(self, frame: bytes) -> Iterator[Finding]:
        left = stub.read_left(frame, self.preserved, self._control)
        if not left.returned:
            yield Finding("registers", "The call did not return to where it was made.")
        if left.environment is not None:
            for change in FloatingPoint.differences(self.environment, left.environment):
                yield Finding("fp-environment", f"The call changed {change}.")
        for name in left.broken:
            yield Finding("registers", f"The call did not preserve {name}.")
        if left.raised:
            yield Finding("exception-flags", "Calls raise the exception flag of a division by zero.")


class Batch:
    """Invocations in a bank, of an entry point at an address in the library's process.

    ``starts``: addresses of documented regions, where operands have to lie there.
    """

    def __init__(
        self, arena: Arena, layouts: Layouts, registers: Registers, bank: int,
        symbol: str, function: int, starts: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.bank, self.symbol = bank, symbol
        self.name = ""  #: of the last call in it
        self.size = 0  #: bytes of operands
        self.calls = 0  #: that have invocations in it
        self.copied: list[Copied] = []  #: operands that go to other memory
        self._arena, self._layouts, self._registers = arena, layouts, registers
        self._function, self._starts = function, starts
        #: Regions of the bank that no invocation has yet; none of them serves at a documented address.
        self._free = {} if starts else arena.begin(bank)
        #: An invocation's operands, those that it shares, and those that it may write to, with their regions.
        self._made: list[tuple[list[PointerArgument], list[_Pair], tuple[Item, ...], list[Region]]] = []
        self._memory = arena.banks[bank]
        self._most = 1 if starts else stub.BATCH
        self._frames = bytearray(stub.pack_header(registers.environment, registers.preserved))

    def __len__(self) -> int:
        return len(self._made)

    @property
    def full(self) -> bool:
        """Tell whether there is no room for another invocation."""
        return len(self._made) >= self._most or self.size >= BYTES or bool(self.copied)

    def add(self, call: Call, size: int, first: int) -> int:
        """Lay out and fill a call's invocations from one on; return the number of the first one that is left.

        ``size``: bytes of the call's operands.
        """
        pointers = [a for a in call.arguments if isinstance(a, PointerArgument)]
        kind = self._layouts.of(call)
        integers, floats = registers(call)
        frame = stub.pack_frame(self._function, integers, floats)
        masked = 8 * (len(integers) - 1)  # where the mask lies in a frame: the function stands before the integers
        room = min(self._most - len(self._made), 1 + (BYTES - self.size) // (size or 1))
        invocations = call.invocations[first : first + room]
        #: What invocations share, with its regions, and a frame with their addresses.
        groups: dict[int, tuple[list[_Pair], bytearray]] = {}
        layouts, laid, put, set_word = self._layouts, kind.layouts, self._put, stub.set_word
        numbers = layouts.numbers
        made, frames = self._made, self._frames
        before = len(made)
        for i in invocations:
            if (number := numbers.get(i)) is None:
                number = layouts.number(i)
            shared, open_, copied = laid.get(number) or layouts.make(kind, number, i)
            group = groups.get(id(shared))
            if group is None:
                group = groups[id(shared)] = [], bytearray(frame)
                for item in shared:
                    group[0].append((item, region := put(item, pointers[item.pointer])))
                    set_word(group[1], item.at, region.address + item.start)
            at = len(frames)
            frames += group[1]
            if i.core_mask is not None:
                set_word(frames, at + masked, i.core_mask)
            regions = []
            for item in open_:
                regions.append(region := put(item, pointers[item.source]))
                set_word(frames, at + item.at, region.address + item.start)
                if item.also >= 0:
                    set_word(frames, at + item.also, region.address + item.start)
            made.append((pointers, group[0], open_, regions))
            if copied:  # the last one: what it has written comes back when the batch has been run
                self.copied = [
                    item.copied(len(made) - 1, region.address) for item, region in zip(open_, regions, strict=True)
                ]
                break
        done = len(made) - before
        self.size += size * done
        self.calls += 1
        self.name = call.name
        return first + done

    def write(self) -> None:
        """Write what the worker needs to make the calls."""
        self._memory[: len(self._frames)] = self._frames

    def places(self, number: int) -> list[Placed]:
        """Return where the operands of an invocation lie."""
        pointers, shared, open_, regions = self._made[number]
        return [
            Placed(pointers[item.pointer], region, item.start)
            for item, region in [*shared, *zip(open_, regions, strict=True)]
        ]

    def inspect(self, returned: int) -> list[Outcome]:
        """Return the outcomes of the first invocations, which have returned."""
        frames = bytes(self._memory)
        registers, memory = self._registers, self._arena.memory[OUTPUTS]
        at, left = stub.HEADER + stub.LEFT, stub.FRAME - stub.LEFT
        outcomes = []
        for pointers, _, open_, regions in self._made[:returned]:
            after = frames[at : at + left]
            at += stub.FRAME
            found = registers.seen.get(after)
            if found is None:
                found = registers.findings(after)
            findings = [*found] if found else []
            output = fill = b""
            for item, region in zip(open_, regions, strict=False):
                now = memory[region.start : region.start + item.size]
                fine = now.startswith(item.before) and now.endswith(item.after)
                if item.output:
                    output = now[item.start : item.stop]
                    fill = item.content or bytes(self._layouts.content(item, pointers[item.source]))
                if not (fine and item.output):
                    held = bytes(self._layouts.content(item, pointers[item.source]))
                    if changes := list(_changes(item, pointers[item.pointer], held, now)):
                        region.holds = None
                        findings += changes
            outcomes.append(Outcome("ok", output, findings, fill=fill))
        if outcomes:
            outcomes[-1].findings += self._arena.opened(self._all_places)
        return outcomes

    def _all_places(self) -> Iterator[Placed]:
        for number in range(len(self)):
            yield from self.places(number)

    def _put(self, item: Item, argument: PointerArgument) -> Region:
        """Fill an operand at its place."""
        region = next(self._free.get(item.kind, _NONE), None) or self._more(item)
        if item.file == GUARDS:
            return region
        start = region.start
        content: bytes | memoryview | None = item.content
        if content is None:
            content = self._layouts.content(item, argument)
        elif region.holds is item and item.file != OUTPUTS:
            return region  # nobody can have changed it
        memory, held = self._arena.memory[item.file], region.holds
        if held is None or held.under is None or held.slot != item.slot:
            memory[start : start + item.size] = b"".join((item.before, content, item.after))
        else:
            if held.start != item.start or held.stop != item.stop:
                memory[start + held.start : start + held.stop] = held.under
            memory[start + item.start : start + item.stop] = content
        region.holds = item
        return region

    def _more(self, item: Item) -> Region:
        if not self._starts:
            return self._arena.grow(self.bank, item.kind)
        turn, index = divmod(item.pointer, len(self._starts))
        return self._arena.fixed(self._starts[index] + turn * AREA, *item.kind)


def _changes(item: Item, argument: PointerArgument, held: bytes, now: bytes) -> Iterator[Finding]:
    """Find what is beside an operand, or in an input, and is not as it was; report what is nearest to the operand."""
    output, name = item.output, argument.name
    inside = None if output else _differing(held, now[item.start : item.stop])
    if inside is not None:
        element = int(inside[0]) // argument.itemsize
        yield Finding("input-written", f"{name}[{element}] was written, which is an input.", name, element)
    if (below := _differing(item.before, now[: item.start])) is not None:
        element = (int(below[-1]) - item.start) // argument.itemsize
        message = f"{name}[{element}] was written{'' if output else ', before its first element'}."
        yield Finding("output-underrun" if output else "guard", message, name, element)
    if (above := _differing(item.after, now[item.stop :])) is not None:
        element = (argument.size + int(above[0])) // argument.itemsize
        message = f"{name}[{element}] was written, beyond its {argument.count} elements."
        yield Finding("output-overrun" if output else "guard", message, name, element)


def _differing(a: bytes, b: bytes) -> Array | None:
    """Return the positions of bytes that differ; None where none do."""
    if a == b:
        return None
    return np.flatnonzero(np.frombuffer(a, np.uint8) != np.frombuffer(b, np.uint8))
