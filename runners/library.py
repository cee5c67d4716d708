"""Shared libraries as targets: called through ctypes in a worker process that may die at any time."""

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec
import numpy as np

from golden.errors import TargetError
from golden.operator import REDUCTION_ENUMS, EntryPoint, Operands, Pointer, Scalar, Scalars, entry_points
from runners import protocol
from runners.allocator import GUARD
from runners.elf import inspect_library
from runners.endings import Ending, describe_end
from runners.jobs import SHORT_TIMEOUT, Backlog, Job
from runners.nursery import News, Nursery
from runners.placement import Allocator, Regions
from runners.protocol import (
    Call,
    Ended,
    Fault,
    Finding,
    Invocation,
    Loaded,
    Outcome,
    PointerArgument,
    Ran,
    ScalarArgument,
    Started,
    Trouble,
)
from runners.worker import FloatingPoint

HalfAbi = Literal["float16", "uint16"]

#: Seconds for starting a process, which waits for nothing but the machine.
PATIENCE = 30.0


def call_for(
    entry_point: EntryPoint,
    scalars: Scalars,
    operands: Operands,
    invocations: Sequence[Invocation],
    *,
    half_abi: HalfAbi = "float16",
    reduction_enum: str = "sum-mean-none",
) -> Call:
    """Build the call of an entry point with a case's scalars and input operands.

    Raises KeyError for a missing operand. ``core_mask`` of the invocations is dropped where there is none.
    """
    fmt = entry_point.fmt
    shapes = entry_point.operator.shapes(scalars)
    arguments: list[PointerArgument | ScalarArgument] = []
    for p in entry_point.operator.parameters:
        if isinstance(p, Pointer):
            dtype = p.dtype(fmt)
            given = np.ascontiguousarray(operands[p.name] if p.role.value == "input" else [], dtype)
            data = given.reshape(-1).view(np.uint8).data
            count = given.size or int(np.prod(shapes[p.name], dtype=np.int64))
            arguments.append(PointerArgument(p.name, p.role.value, dtype.itemsize, count, data))
        else:
            arguments.append(scalar_argument(p, scalars[p.name], entry_point, half_abi, reduction_enum))
    if not entry_point.has_core_mask:
        invocations = [msgspec.structs.replace(i, core_mask=None) for i in invocations]
    return Call(entry_point.symbol, tuple(arguments), tuple(invocations))


def scalar_argument(
    parameter: Scalar,
    value: int | float | str,
    entry_point: EntryPoint,
    half_abi: HalfAbi,
    reduction_enum: str,
) -> ScalarArgument:
    """Return a scalar with the bits and the C type that the entry point takes it in."""
    if parameter.kind == "real":
        fmt = entry_point.fmt
        bits = int(fmt.bits(np.array([value], fmt.dtype))[0])
        return ScalarArgument(parameter.name, half_abi if fmt.itemsize == 2 else "float32", bits)
    number = REDUCTION_ENUMS[reduction_enum][str(value)] if parameter.kind == "reduction" else int(value)
    return ScalarArgument(parameter.name, "int32", number)


class LibrarySession:
    """A shared library in a worker process; implements :class:`runners.protocol.Session`.

    ``symbols``: entry points to look for, all known ones by default. ``timeout``: seconds for loading and for
    an invocation; an invocation's clock runs only while someone waits in :meth:`collect`. ``memory``: bytes
    that the library may map. After ``crash_limit`` crashes of a symbol its calls are answered "not-run";
    before that, the remaining invocations of a crashed call go on in a fresh worker. ``regions``: where operands
    have to lie; anywhere by default. ``allocator``: functions of the library that operands come from. ``half_abi`` and
    ``reduction_enum`` are what :meth:`call_for` uses, and may be changed at any time.

    Raises :class:`UsageError` for an unreadable path and :class:`TargetError` for a library that cannot be
    loaded.
    """

    #: The worker knows the floating-point environment of some processors only.
    unobservable: frozenset[str] = (
        frozenset() if platform.machine() in FloatingPoint.FIELDS else frozenset({"fp-environment"})
    )
    stated_half_abi = ""
    blind: tuple[str, ...] = ()

    def __init__(
        self,
        path: Path,
        half_abi: HalfAbi = "float16",
        reduction_enum: str = "sum-mean-none",
        *,
        timeout: float = 10.0,
        memory: int = 4 << 30,
        crash_limit: int = 100,
        symbols: Iterable[str] | None = None,
        regions: Regions | None = None,
        allocator: Allocator | None = None,
    ) -> None:
        self.library = inspect_library(path)
        self.half_abi: HalfAbi = half_abi
        self.reduction_enum = reduction_enum
        self.timeout = timeout
        wanted = sorted(entry_points() if symbols is None else symbols)
        places = {symbol: regions.of(symbol) for symbol in wanted} if regions else {}
        functions = (allocator.allocate, allocator.free) if allocator else ()
        self._load = protocol.Load(str(path.resolve()), wanted, memory, places, functions)
        if allocator:
            self.unobservable |= {"outside-access", "untouched-operands"}
            self.blind = (
                "reads outside operands",
                "reads of operands that a call has no reason to touch",
                f"writes that miss an operand by more than {GUARD} bytes",
            )
        self._backlog = Backlog(crash_limit)
        self._alive = False  # there is a worker
        self._loaded: Loaded | None = None  # its answer to Load
        self._words: Fault | Trouble | None = None  # its last words
        self._end = Ended(0, 0, 0, 0)  # the end of the last one
        self._nursery = Nursery()
        self._stray: list[Finding] = []  # concerning no call
        self._closed = False
        try:
            loaded = self._first_load()
        except BaseException:
            self._nursery.close()
            raise
        self.symbols = frozenset(loaded.symbols)
        self.load_findings: list[Finding] = loaded.findings + self._take_text()[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call_for(
        self, entry_point: EntryPoint, scalars: Scalars, operands: Operands, invocations: Sequence[Invocation]
    ) -> Call:
        """Build a call with this session's half ABI and reduction numbers; see :func:`call_for`."""
        abi, numbers = self.half_abi, self.reduction_enum
        return call_for(entry_point, scalars, operands, invocations, half_abi=abi, reduction_enum=numbers)

    def submit(self, call: Call) -> None:
        """Queue a call; raises ValueError for a symbol that the library does not have."""
        if call.symbol not in self.symbols:
            raise ValueError(f"{self.library.path} has no {call.symbol}")
        self._backlog.add(call)
        self._send_ahead()

    def collect(self) -> list[Outcome]:
        """Return the outcomes of the oldest call not yet collected; raises ValueError when there is none."""
        job = self._backlog.first()
        while not job.done:
            self._send_ahead()
            seconds = self._limit(job.call)
            if not job.done and not self._follow(self._nursery.wait(seconds)):
                self._give_up(job, seconds)
        self._backlog.collect()
        if job.outcomes:
            blamed = next((o for o in job.outcomes if o.status != "ok"), job.outcomes[-1])
            blamed.stdout, blamed.stderr, findings = self._take_text()
            blamed.findings += findings
        return job.outcomes

    def run(self, call: Call) -> list[Outcome]:
        """Submit a call and collect it; raises ValueError while others are queued."""
        if self._backlog:
            raise ValueError("collect the submitted calls first")
        self.submit(call)
        return self.collect()

    def restart(self) -> None:
        """Make the next call the first one of a fresh process; raises ValueError while calls are queued."""
        if self._backlog:
            raise ValueError("collect the submitted calls first")
        if self._alive:
            *replies, end = self._nursery.kill()
            self._follow(replies)
            if isinstance(end, Ended):
                self._lost(end, killed=True)

    def close(self) -> list[Finding]:
        """Unload the library, end its processes, return what that showed; a second call does nothing."""
        if self._closed:
            return []
        self._closed = True
        try:
            # With a call under way there is no telling in what state the library is: no unloading then.
            if self._alive and not self._backlog.sent:
                self._unload()
        finally:
            self._nursery.close()
        return self._stray

    def _unload(self) -> None:
        self._nursery.send(protocol.Unload())
        while self._alive and self._follow(self._nursery.wait(self.timeout)):
            pass
        if self._alive:
            self._stray.append(Finding("unload", f"Unloading the library took over {self.timeout:g} s."))
            self._follow(self._nursery.kill())
        elif self._end.signal or self._end.code or self._end.note:
            self._stray.append(Finding("unload", f"The library {self._ending().predicate} while it was unloaded."))
        self._stray += self._take_text()[2]

    # The worker's life

    def _start(self) -> None:
        """Start a worker and have it load the library; the answer comes with the other news."""
        while True:
            if self._nursery.lost:
                self._nursery.close()
                self._nursery = Nursery()
            try:
                self._nursery.spawn()
                break
            except ConnectionError:  # killed since we last looked
                self._nursery.lost = True
        self._alive, self._loaded, self._words = True, None, None
        self._nursery.send(self._load)

    def _first_load(self) -> Loaded:
        path = self.library.path
        self._start()
        while self._alive and (self._loaded is None or not self._nursery.worker):
            if not self._follow(self._nursery.wait(self._limit())):
                self._nursery.kill()
                raise TargetError(f"{path} did not finish loading in {self.timeout:g} s: its own start-up code hangs.")
        if self._loaded is None:
            raise TargetError(
                f"{path} {self._ending().predicate} while it was being loaded. Check that the file is whole, "
                "and what its constructors do."
            )
        if self._loaded.error:
            reason = self._loaded.error.removeprefix(f"{self._load.path}: ")
            raise TargetError(f"{path} cannot be loaded: {reason}.")
        return self._loaded

    def _send_ahead(self) -> None:
        """Keep the worker supplied, and answer calls of hopeless symbols without it."""
        if self._alive and not self._backlog.sent:
            self._follow(self._nursery.wait(0.0))  # it may have died of what an earlier call left behind
        while (job := self._backlog.to_send()) is not None:
            if not self._alive:
                self._start()
            self._nursery.send(job.rest())

    def _limit(self, call: Call | None = None) -> float:
        """Seconds without news after which the worker counts as hung."""
        if not self._nursery.worker:
            return PATIENCE
        if self._words is not None:
            return SHORT_TIMEOUT  # only its end is missing
        if self._loaded is None or call is None:
            return self.timeout
        return self._backlog.limit(call, self.timeout)

    def _follow(self, news: Sequence[News]) -> bool:
        """Take the worker's news in; return whether there were any."""
        for event in news:
            if isinstance(event, Ran):
                if not self._backlog.sent:
                    continue  # nobody asked: forged by the library
                job = self._backlog.sent[0]
                if event.output is not None:
                    job.output = event.output
                self._backlog.answered(Outcome("ok", job.output, event.findings))
            elif isinstance(event, Ended):
                self._lost(event)
            elif isinstance(event, Loaded):
                self._loaded = event
            elif not isinstance(event, Started):
                self._words = event
        return bool(news)

    def _give_up(self, job: Job, seconds: float) -> None:
        """Kill the worker because an invocation takes longer than that."""
        seen = len(job.outcomes)
        *replies, end = self._nursery.kill()
        self._follow(replies)
        if isinstance(end, Ended):
            # Nobody is to blame if it has just answered.
            hung = len(job.outcomes) == seen and self._words is None
            self._lost(end, seconds if hung else None, killed=True)

    def _lost(self, end: Ended, hung: float | None = None, killed: bool = False) -> None:
        """Give the running invocation its outcome, and put calls that were sent ahead back.

        ``hung``: seconds that were waited for it; ``killed``: by us.
        """
        self._alive, self._end = False, end
        job = self._backlog.lost()
        if job is None or (killed and hung is None and self._words is None):
            self._stray += _left_findings(end)
            if not killed and not self._closed:
                self._stray.append(Finding("crash", f"The library {self._ending().predicate} between two calls."))
            return
        if hung is not None:
            self._backlog.hung(job, hung).findings = _left_findings(end)
            return
        ending = self._ending(job.call, job.call.invocations[len(job.outcomes)])
        says = ending.predicate
        message = f"{job.call.symbol} {says}." if self._loaded else f"The library {says} while it was loaded again."
        findings = _left_findings(end) + ([ending.finding] if ending.finding is not None else [])
        self._backlog.crashed(job, Outcome(ending.status, findings=findings, message=message, signal=ending.signal))

    def _ending(self, call: Call | None = None, invocation: Invocation | None = None) -> Ending:
        error = self._loaded.error if self._loaded else ""
        return describe_end(self._end, self._words, error, call, invocation)

    def _take_text(self) -> tuple[str, str, list[Finding]]:
        """Return what was printed on stdout and stderr since the last time, and findings that say so."""
        out, printed = self._nursery.stdout.take()
        err, complained = self._nursery.stderr.take()
        counts = [("stdout", printed), ("stderr", complained)]
        return out, err, [Finding("printed", f"{n} bytes were printed on {name}.") for name, n in counts if n]


def _left_findings(end: Ended) -> list[Finding]:
    if not end.left:
        return []
    return [Finding("left-process", f"{end.left} processes that the library had started were left.")]
