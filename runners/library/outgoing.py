"""Calls on their way to a library's process: which go into the next batch, and which batches are under way."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from runners.calling.backlog import Backlog, Job
from runners.library.arena import Arena
from runners.library.batches import BYTES, Batch, Registers
from runners.library.layout import Layouts
from runners.process import messages, sandbox, stub
from runners.process.messages import BANKS

#: While batches of more than this many bytes in all are under way, few are.
_MANY_BYTES, _FEW = 16 * BYTES, 2
#: Regions of one page to begin with where calls go one by one.
_FEW_REGIONS = 8
#: Bytes of a call's operands that the range of addresses has room for, with all that lies between them.
_LARGEST = sandbox.ARENA // 4


class Process(NamedTuple):
    """A process that has loaded the library: where its functions lie, and what calls find in registers."""

    functions: Mapping[str, int]
    registers: Registers


class _Part(NamedTuple):
    """A call some of whose invocations are to be laid out next, from ``first`` on; ``size``: bytes of its operands."""

    job: Job
    size: int
    first: int


class Outgoing:
    """Batches that are under way, and what comes next. ``places``: where an entry point's operands have to lie."""

    def __init__(self, backlog: Backlog, arena: Arena, layouts: Layouts, places: Mapping[str, Sequence[int]]) -> None:
        self.sent: deque[Batch] = deque()
        #: Entry points with something to remark on: their calls are looked at one by one from then on.
        self.suspect: set[str] = set()
        self._backlog, self._arena, self._layouts, self.places = backlog, arena, layouts, places
        self._banks = list(range(BANKS))
        self._part: _Part | None = None
        self._forget = False

    @property
    def busy(self) -> bool:
        """Tell whether calls should wait for more: waking the process takes longer than a small call."""
        return bool(self.sent) and self._backlog.pending < stub.BATCH and self._part is None

    def begin(self) -> list[messages.Mapping]:
        """Forget what a process had that is gone; return the mappings that the next one begins with."""
        self._arena.clear(*([_FEW_REGIONS] if self.suspect else []))
        self._forget = False
        mappings, self._arena.new = self._arena.new, []
        return mappings

    def lost(self) -> None:
        """Take back what was under way, because the process is gone."""
        self.sent.clear()
        self._banks = list(range(BANKS))
        self._part = None

    def done(self) -> Batch:
        """Take the oldest batch away, which has returned."""
        batch = self.sent.popleft()
        self._banks.append(batch.bank)
        return batch

    def batches(self, ready: Callable[[], Process | None]) -> Iterable[tuple[messages.Batch, list[tuple[int, int]]]]:
        """Yield what tells a process of one batch after the other, with the ranges of addresses that it maps for it.

        ``ready`` starts a process if there is none and waits until it has loaded the library; None: it ended instead.
        """
        while self._banks and (batch := self._next(ready)) is not None:
            batch.write()
            self.sent.append(batch)
            mappings, self._arena.new = self._arena.new, []
            ranges = [(m.address, m.size) for m in mappings]
            if self._forget:
                ranges.append((self._arena.base, sandbox.ARENA))
            yield messages.Batch(batch.bank, len(batch), mappings, self._forget, batch.copied), ranges
            self._forget = False

    def _next(self, ready: Callable[[], Process | None]) -> Batch | None:
        """Lay out the next batch; None where there is nothing to send now."""
        if self.sent and (self._arena.crowded or not self._room()):
            return None
        batch: Batch | None = None
        while (batch is None or not batch.full) and (part := self._following(batch)) is not None:
            if batch is None:
                if (process := ready()) is None:
                    return None
                batch = self._open(part.job.call.symbol, process)
            job, size, first = part
            done = batch.add(job.call, size, first)
            self._part = _Part(job, size, done) if done < len(job.call.invocations) else None
        return batch

    def _following(self, batch: Batch | None) -> _Part | None:
        """Return whose invocations come next; None ends a batch."""
        if self._part is None:
            if batch is not None and self._backlog.next_symbol() in self.suspect:
                return None
            job = self._backlog.to_send()
            if job is None:
                return None
            if (size := job.call.size) > _LARGEST:
                self._backlog.sent.remove(job)
                job.skip(f"The operands are {size} bytes; libraries are called with {_LARGEST} at most.")
                return self._following(batch)
            self._part = _Part(job, size, len(job.outcomes))
        if batch is not None and self._part.job.call.symbol != batch.symbol:
            return None
        return self._part

    def _room(self) -> bool:
        """Tell whether another batch should be under way beside those that are."""
        if self.places or self._layouts.copied:
            return False
        return len(self.sent) < _FEW or sum(sent.size for sent in self.sent) < _MANY_BYTES

    def _open(self, symbol: str, process: Process) -> Batch:
        if self._arena.crowded:
            self._arena.clear()
            self._forget = True
        starts, function = self.places.get(symbol, ()), process.functions[symbol]
        return Batch(self._arena, self._layouts, process.registers, self._banks.pop(), symbol, function, starts)
