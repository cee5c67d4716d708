"""A batch of calls of one entry point: laid out and filled before, inspected after; all of it on the judge's side."""

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from golden.formats import Array
from runners import stub
from runners.arena import AREA, GUARDS, OUTPUTS, Arena, Placed, Region
from runners.layout import Item, Layouts, Step, registers
from runners.protocol import Call, Finding, Outcome, PointerArgument
from runners.worker import FloatingPoint

#: A batch ends when its operands have this many bytes.
BYTES = 1 << 20


class Registers:
    """What calls find in registers and must leave there; remembers what it has seen, since frames are mostly alike."""

    def __init__(self, preserved: tuple[int, ...], environment: bytes) -> None:
        self.preserved, self.environment = preserved, environment
        self._control = stub.control(environment)
        self._seen: dict[bytes, tuple[Finding, ...]] = {}

    def findings(self, left: bytes) -> tuple[Finding, ...]:
        """Return what is to be said of what a call has left in a frame."""
        found = self._seen.get(left)
        if found is None:
            if len(self._seen) > 1000:
                self._seen.clear()
            found = self._seen[left] = tuple(self._look(left))
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


class _Group(NamedTuple):
    """Operands that invocations of a call share, their regions, and the words of a frame with their addresses."""

    items: tuple[Item, ...]
    regions: list[Region]
    words: list[int]


class Batch:
    """Invocations in a bank. ``starts``: addresses of documented regions, where operands have to lie there."""

    def __init__(
        self, arena: Arena, layouts: Layouts, bank: int, symbol: str, function: int, starts: Sequence[int] = ()
    ) -> None:
        self.bank, self.symbol = bank, symbol
        self.size = 0  #: bytes of operands
        self.calls = 0  #: that have invocations in it
        self._arena, self._layouts = arena, layouts
        self._function, self._starts = function, starts
        self._take = arena.taking(bank)
        #: An invocation's operands, its step, what it shares, and the regions of what it does not.
        self._made: list[tuple[list[PointerArgument], Step, _Group, list[Region]]] = []
        self._words: list[int] = []

    def __len__(self) -> int:
        return len(self._made)

    @property
    def full(self) -> bool:
        """Tell whether there is no room for another invocation."""
        alone = self._layouts.copied or self._starts
        return len(self._made) >= (1 if alone else stub.BATCH) or self.size >= BYTES

    def add(self, call: Call, first: int) -> int:
        """Lay out and fill a call's invocations from one on; return the number of the first one that is left."""
        pointers = [a for a in call.arguments if isinstance(a, PointerArgument)]
        plan = self._layouts.plan(call, pointers)
        size = sum([a.itemsize * a.count for a in pointers])
        integers, floats = registers(call)
        template = stub.frame_words(self._function, integers, floats)
        mask = len(integers) - 1  # of the frame's words: the function stands before the integers
        most = 1 if self._starts or self._layouts.copied else stub.BATCH
        room = min(most - len(self._made), 1 + (BYTES - self.size) // (size or 1))
        groups: dict[int, _Group] = {}
        steps = plan.steps[first : first + room]
        for step in steps:
            group = groups.get(step.group)
            if group is None:
                items, given = plan.groups[step.group], template.copy()
                regions = [self._put(item, pointers[item.pointer], given) for item in items]
                group = groups[step.group] = _Group(items, regions, given)
            given = group.words.copy()
            if step.mask is not None:
                given[mask] = step.mask
            regions = [self._put(item, pointers[item.pointer], given) for item in step.open]
            self._made.append((pointers, step, group, regions))
            self._words += given
        self.size += size * len(steps)
        self.calls += 1
        return first + len(steps)

    def write(self, environment: bytes, preserved: Sequence[int]) -> None:
        """Write what the worker needs to make the calls."""
        memory = self._arena.banks[self.bank]
        stub.write_header(memory, environment, preserved)
        content = array("q", self._words).tobytes()
        memory[stub.HEADER : stub.HEADER + len(content)] = content

    def copied(self) -> list[tuple[Item, Region]]:
        """Return the operands that go to memory of the library's own."""
        _, step, _, regions = self._made[-1]
        return list(zip(step.open, regions, strict=True)) if self._layouts.copied else []

    def places(self, number: int) -> list[Placed]:
        """Return where the operands of an invocation lie."""
        pointers, step, group, regions = self._made[number]
        pairs = [*zip(group.items, group.regions, strict=True), *zip(step.open, regions, strict=True)]
        return [Placed(pointers[item.pointer], region, item.start) for item, region in pairs]

    def inspect(self, returned: int, registers: Registers) -> list[Outcome]:
        """Return the outcomes of the first invocations, which have returned."""
        frames = bytes(self._arena.banks[self.bank])
        at = stub.HEADER + stub.LEFT
        outcomes = []
        for pointers, step, _, regions in self._made[:returned]:
            findings = [*registers.findings(frames[at : at + stub.FRAME - stub.LEFT])]
            at += stub.FRAME
            output = fill = b""
            for item, region in zip(step.open, regions, strict=True):
                memory, start = self._arena.memory[item.file], region.start
                first, last = start + item.start, start + item.stop
                before, now, after = memory[start:first], memory[first:last], memory[last : start + item.size]
                fine = before == item.before and after == item.after
                held = item.content if item.content is not None else self._layouts.content(item, pointers[item.pointer])
                if item.output:
                    output, fill = now, bytes(held)
                if not (fine and (item.output or now == held)):
                    region.holds = None
                    findings += _changes(item, pointers[item.pointer], bytes(held), before, now, after)
            outcomes.append(Outcome("ok", output, findings, fill=fill))
        if outcomes:
            outcomes[-1].findings += self._arena.opened(self._all_places)
        return outcomes

    def _all_places(self) -> Iterator[Placed]:
        for number in range(len(self)):
            yield from self.places(number)

    def _put(self, item: Item, argument: PointerArgument, words: list[int]) -> Region:
        """Fill an operand, at its place, and set its address in a frame."""
        region = self._fixed(item) if self._starts else self._take(item.kind)
        words[1 + item.word] = region.address + item.start
        if item.file == GUARDS:
            return region
        start = region.start
        content: bytes | memoryview | None = item.content
        if content is None:
            content = self._layouts.content(item, argument)
        elif region.holds is item and item.file != OUTPUTS:
            return region  # nobody can have changed it
        memory = self._arena.memory[item.file]
        if region.holds is item:
            memory[start + item.start : start + item.stop] = content
        else:
            memory[start : start + item.size] = b"".join((item.before, content, item.after))
            region.holds = item
        return region

    def _fixed(self, item: Item) -> Region:
        turn, index = divmod(item.pointer, len(self._starts))
        return self._arena.fixed(self._starts[index] + turn * AREA, *item.kind)


def _changes(
    item: Item, argument: PointerArgument, held: bytes, before: bytes, now: bytes, after: bytes
) -> Iterator[Finding]:
    """Find what is beside an operand, or in an input, and is not as it was; report what is nearest to the operand."""
    output, name = item.output, argument.name
    inside = None if output else _differing(held, now)
    if inside is not None:
        element = int(inside[0]) // argument.itemsize
        yield Finding("input-written", f"{name}[{element}] was written, which is an input.", name, element)
    if (below := _differing(item.before, before)) is not None:
        element = (int(below[-1]) - item.start) // argument.itemsize
        message = f"{name}[{element}] was written{'' if output else ', before its first element'}."
        yield Finding("output-underrun" if output else "guard", message, name, element)
    if (above := _differing(item.after, after)) is not None:
        element = (argument.size + int(above[0])) // argument.itemsize
        message = f"{name}[{element}] was written, beyond its {argument.count} elements."
        yield Finding("output-overrun" if output else "guard", message, name, element)


def _differing(a: bytes, b: bytes) -> Array | None:
    """Return the positions of bytes that differ; None where none do."""
    if a == b:
        return None
    return np.flatnonzero(np.frombuffer(a, np.uint8) != np.frombuffer(b, np.uint8))
