"""One call of an entry point made tens of thousands of times in a row, each with an output of its own; bits compared.

What keeps it cheap is that nothing is laid out anew: frames and outputs of some thousand calls lie in memory that the
library's process has anyway, and one comparison holds all their outputs, and what lies between, against what they have
to be.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from golden.formats import Array
from runners.calling.call import Call, Finding, PointerArgument, unread_content
from runners.library.arena import AREA, INPUTS, OUTPUTS, PAGE, Arena, Region
from runners.library.layout import INTEGERS, registers
from runners.library.outgoing import Process
from runners.process import stub

#: Calls of a round at most, and of the first: rounds grow, since it has to be seen how long they take.
ROUND, _FIRST = 4375, 64
#: Bytes of a round's outputs at most.
_BYTES = 16 << 20


class Different(NamedTuple):
    """A call whose output, or what lies beside it, is not as it has to be: which one in a row, and the output."""

    number: int
    output: bytes


class Endurance:
    """Frames and operands of a round. ``output``: what each call has to give; ``starts``: where regions begin.

    The first invocation of the call counts; operands lie as it asks as far as alignment goes.
    """

    def __init__(self, arena: Arena, process: Process, call: Call, output: bytes, starts: Sequence[int] = ()) -> None:
        self._arena, self._output, self._starts = arena, output, starts
        way = call.invocations[0]
        integers, floats = registers(call)
        frame = bytearray(stub.pack_frame(process.functions[call.symbol], integers, floats))
        if way.core_mask is not None:
            stub.set_word(frame, 8 * (len(integers) - 1), way.core_mask)
        unit = max(way.align, 16)
        self._stride = -(-(len(output) + way.overread) // unit) * unit
        self._most = max(1, min(ROUND, _BYTES // (self._stride or 1)))
        word = pointer = moving = 0
        for argument in call.arguments:
            if isinstance(argument, PointerArgument):
                at = 8 + 8 * word
                if argument.role == "output":
                    self._outputs = self._region(pointer, OUTPUTS, self._stride * self._most)
                    moving, address = at, self._outputs.address
                else:
                    content = argument.data if argument.role == "input" else self._unread(argument)
                    region = self._region(pointer, INPUTS, argument.size + way.overread)
                    arena.memory[INPUTS][region.start : region.start + argument.size] = content
                    address = region.address
                stub.set_word(frame, at, address)
                pointer += 1
            elif argument.ctype not in INTEGERS:
                continue
            word += 1
        frames = np.tile(np.frombuffer(frame, np.int64), (self._most, 1))
        frames[:, moving // 8] += self._stride * np.arange(self._most)
        self._header = stub.pack_header(process.registers.environment, process.registers.preserved)
        size = stub.HEADER + frames.nbytes
        self._frames = arena.grow(0, (OUTPUTS, -(-size // PAGE) * PAGE))
        memory = arena.memory[OUTPUTS]
        memory[self._frames.start + stub.HEADER : self._frames.start + size] = frames.tobytes()
        self.address = self._frames.address
        self.done = 0
        self.left: list[Finding] = []  #: what the calls have left in their process

    def prepare(self, left: int) -> int:
        """Fill the outputs for the next round; return how many calls it has. ``left``: that are to be made."""
        self._count = min(self._most, max(_FIRST, 3 * self.done), left)
        size = self._count * self._stride
        self._held = self._arena.patterns.fill(2, size, self.done % 2)
        memory = self._arena.memory[OUTPUTS]
        memory[self._outputs.start : self._outputs.start + size] = self._held
        memory[self._frames.start : self._frames.start + stub.HEADER] = self._header
        return self._count

    def begun(self) -> int:
        """Return how many calls of the round have begun: what the library's memory says."""
        header = self._arena.read(self._frames, 0, stub.HEADER)
        return min(stub.progress(memoryview(header)), self._count)

    def inspect(self) -> Different | None:
        """Return the first call of the round that did anything else than it had to, and count the others."""
        now = self._rows(self._arena.read(self._outputs, 0, self._count * self._stride))
        want = self._rows(self._held).copy()
        want[:, : len(self._output)] = np.frombuffer(self._output, np.uint8)
        wrong = None
        if not np.array_equal(now, want):
            first = int(np.flatnonzero((now != want).any(axis=1))[0])
            wrong = Different(self.done + first + 1, now[first, : len(self._output)].tobytes())
        self.done += self._count
        return wrong

    def _rows(self, content: bytes) -> Array:
        return np.frombuffer(content, np.uint8).reshape(self._count, self._stride)

    @staticmethod
    def _unread(argument: PointerArgument) -> bytes:
        return unread_content("numbers", argument.itemsize, argument.size)

    def _region(self, pointer: int, file: int, size: int) -> Region:
        kind = file, max(1, -(-size // PAGE)) * PAGE
        if not self._starts:
            return self._arena.grow(0, kind)
        turn, index = divmod(pointer, len(self._starts))
        return self._arena.fixed(self._starts[index] + turn * AREA, *kind)
