"""Memory that calls take and do not give back, by entry point."""

import itertools
from collections.abc import Iterator

from runners.calling.call import Finding

#: Memory is said to be lost if in the second half of an entry point's batches so many have taken some, three in four of
#: them, and none gave any back; and bytes a call that are told.
_GROWING, _LOST_BYTES = 3, 16


class Leaks:
    """Measures what a process holds after each batch; ``limit``: bytes that it may have."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: By entry point: after how many calls of a batch, how many bytes were allocated, and mapped.
        self._held: dict[str, list[tuple[int, tuple[int, int]]]] = {}

    def add(self, symbol: str, calls: int, memory: tuple[int, int]) -> None:
        """Note bytes allocated and mapped after a batch."""
        self._held.setdefault(symbol, []).append((calls, memory))

    def findings(self) -> Iterator[Finding]:
        """Find entry points whose calls went on taking memory to the end; one that would soon have none left fails."""
        for symbol, measured in self._held.items():
            calls = list(itertools.accumulate(n for n, _ in measured))
            for what, held in zip(("allocated", "mapped"), zip(*[m for _, m in measured], strict=True), strict=True):
                if (message := self._lost(what, calls, held)) is not None:
                    decides, text = message
                    kind, blamed = ("crash", symbol) if decides else ("state-memory", "")
                    yield Finding(kind, f"{symbol} loses memory: {text}.", symbol=blamed)
                    break

    def _lost(self, what: str, calls: list[int], held: tuple[int, ...]) -> tuple[bool, str] | None:
        """Say how much was lost, and whether that decides; None where nothing was."""
        middle = len(held) // 2
        grown, made = held[-1] - held[middle], calls[-1] - calls[middle]
        steps = [b - a for a, b in itertools.pairwise(held[middle:])]
        growing = sum(step > 0 for step in steps) >= max(_GROWING, 0.75 * len(steps)) and min(steps) >= 0
        if (whole := held[-1] - held[0]) > self._limit // 2:
            return growing, f"{whole} bytes {what} in {calls[-1]} calls, and hardly any left"
        if growing and grown > _LOST_BYTES * made:
            return False, f"{grown} bytes {what} in its last {made} calls, which give nothing back"
        return None
