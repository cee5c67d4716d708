"""Shared libraries as targets: called through ctypes in a worker process that may die at any time.

The judge fills and inspects the memory (:mod:`runners.library.arena`), and the worker makes the calls: those of one
:class:`Call` in batches, while the judge works on earlier ones.
"""

import platform
import secrets
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from golden.errors import MachineError, TargetError
from golden.operator import EntryPoint, Operands, Scalars, entry_points
from runners.calling.backlog import SHORT_TIMEOUT, Backlog, Job
from runners.calling.call import Call, Finding, Invocation, Mode, Outcome
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.placement import Allocator, Regions
from runners.calling.session import Session
from runners.library.arena import Arena, Placed
from runners.library.batches import Registers
from runners.library.image import Image
from runners.library.layout import Layouts
from runners.library.leaks import Leaks
from runners.library.nursery import START, News, Nursery, refusal
from runners.library.outgoing import Outgoing, Process
from runners.library.patterns import Patterns
from runners.process import messages, sandbox, stub
from runners.process.allocator import GUARD
from runners.process.endings import Ending, describe_end, died, memory_kills
from runners.process.fenv import FloatingPoint
from runners.process.messages import BANKS, Done, Ended, Fault, Loaded, Ready, Refused, Started, Trouble
from runners.process.supervisor import Setting


class LibrarySession(Session):
    """A shared library in a worker process; see :class:`runners.calling.session.Session`.

    ``symbols``: entry points to look for, all known ones by default. ``timeout``: seconds for loading and for
    an invocation; an invocation's clock runs only while someone waits in :meth:`collect`. ``memory``: bytes
    that the library may map. After ``crash_limit`` crashes of a symbol its calls are answered "not-run";
    before that, the remaining invocations of a crashed call go on in a fresh worker. ``regions``: where operands
    have to lie; anywhere by default. ``allocator``: functions of the library that operands come from. ``half_abi`` and
    ``numbering`` are what :meth:`call_for` uses, and may be changed at any time. ``mode``: whether the layers of
    :mod:`runners.process.sandbox` are required, used where the system has them, or off; ``draw``: what fills, guards
    and registers are drawn from, anything by default; both can be asked for afterwards, as can ``layers``.

    Raises :class:`UsageError` for an unreadable path, :class:`TargetError` for a library that cannot be loaded, and
    :class:`MachineError` where this machine cannot run one.
    """

    #: The worker knows the floating-point environment, and the registers, of some processors only.
    unobservable: frozenset[str] = frozenset(
        name
        for name, seen in (
            ("fp-environment", platform.machine() in FloatingPoint.FIELDS),
            ("registers", stub.NATIVE),
        )
        if not seen
    )
    in_place = True

    def __init__(
        self,
        path: Path,
        half_abi: HalfAbi = "float16",
        numbering: str = "",
        *,
        timeout: float = 10.0,
        memory: int = 4 << 30,
        crash_limit: int = 100,
        symbols: Iterable[str] | None = None,
        regions: Regions | None = None,
        allocator: Allocator | None = None,
        mode: Mode = "auto",
        draw: str = "",
    ) -> None:
        self._image = Image(path)
        self.library, self.name = self._image.library, self._image.library.path
        self.half_abi: HalfAbi = half_abi
        self.numbering = numbering
        self.timeout = timeout
        self.draw = draw or secrets.token_hex(8)
        wanted = sorted(entry_points() if symbols is None else symbols)
        functions = (allocator.allocate, allocator.free) if allocator else ()
        if allocator:
            self.unobservable |= {"outside-access", "untouched-operands"}
            self.blind = (
                "reads outside operands",
                "reads of operands that a call has no reason to touch",
                f"writes that miss an operand by more than {GUARD} bytes",
            )
        self._backlog = Backlog(crash_limit, BANKS * stub.BATCH)
        self._alive = False  # there is a worker
        self._loaded: Loaded | None = None  # its answer to Load
        self._words: Fault | Trouble | None = None  # its last words
        self._end = Ended(0, 0, 0, 0)  # the end of the last one
        self._stray: list[Finding] = []  # concerning no call
        self._last = ("", "")  # symbol and name of the call that was made last
        self._closed = False
        self._announced = False  # the supervisor knows that loading is over
        patterns = Patterns(self.draw)
        self._arena = Arena(patterns)
        places = {symbol: regions.of(symbol) for symbol in wanted} if regions else {}
        self._outgoing = Outgoing(self._backlog, self._arena, Layouts(patterns, bool(allocator)), places)
        self._leaks = Leaks(memory)
        self.plain = not (allocator or regions)
        #: What calls find in the registers that they have to preserve.
        self._preserved = tuple(patterns.random.getrandbits(63) for _ in range(6))
        self._load = messages.Load(self._image.address, wanted, memory, self._arena.base, functions)
        self._setting = Setting("calls", mode, self._arena.base, self._image.readable, sandbox.hidden_folders())
        try:
            self._nursery = Nursery(self._setting, [self._image.descriptor])
        except BaseException:
            self._arena.close()
            self._image.close()
            raise
        self.layers = self._nursery.layers
        try:
            if mode == "require" and (absent := [name for name in sandbox.LAYERS if name not in self.layers]):
                raise MachineError(
                    f"--sandbox require: this machine has no {' and no '.join(absent)}: see 'golden doctor'."
                )
            loaded = self._first_load()
        except BaseException:
            self._end_all()
            raise
        self.symbols = frozenset(loaded.symbols)
        self.load_findings: list[Finding] = loaded.findings + self._take_refused() + self._take_text()[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call_for(
        self, entry_point: EntryPoint, scalars: Scalars, operands: Operands, invocations: Sequence[Invocation]
    ) -> Call:
        """Build a call with this session's half ABI and numbering of choices; see :func:`call_for`."""
        abi, numbers = self.half_abi, self.numbering
        return call_for(entry_point, scalars, operands, invocations, half_abi=abi, numbering=numbers)

    @property
    def waiting(self) -> int:
        """How many calls are queued and not yet collected."""
        return len(self._backlog)

    def _add(self, call: Call) -> None:
        self._backlog.add(call)
        self._send_ahead()

    def collect(self) -> list[Outcome]:
        """Return the outcomes of the oldest call not yet collected; raises ValueError when there is none."""
        job = self._backlog.first()
        moved, seen = time.monotonic(), -1
        while not job.done:
            self._send_ahead()
            if job.done:
                break
            if not self._alive:  # it ended while it was loaded again: there is nothing to wait for
                continue
            limit = self._limit(job.call)
            left = moved + limit - time.monotonic()
            if self._follow(self._nursery.wait(min(max(left, 0.0), limit / 4))):
                moved, seen = time.monotonic(), -1
            elif self._loaded is not None and self._outgoing.sent and (begun := self._progress()) > seen:
                moved, seen = time.monotonic(), begun  # the worker tells of a batch, not of every call in it
            elif left <= 0:
                self._give_up(job, limit)
                moved = time.monotonic()
        self._backlog.collect()
        if job.outcomes and self._nursery.printed:
            blamed = next((o for o in job.outcomes if o.status != "ok"), job.outcomes[-1])
            blamed.stdout, blamed.stderr, findings = self._take_text()
            blamed.findings += findings
            self._outgoing.suspect.add(job.call.symbol)
        return job.outcomes

    def _renew(self) -> None:
        self._look()
        if self._alive:
            *replies, end = self._nursery.kill()
            self._follow(replies, ended=True)
            if isinstance(end, Ended):
                self._lost(end, killed=True)

    def close(self) -> list[Finding]:
        """Unload the library, end its processes, return what that showed; a second call does nothing."""
        if self._closed:
            return []
        self._look()
        self._closed = True
        try:
            # With a call under way there is no telling in what state the library is: no unloading then.
            if self._alive and not self._outgoing.sent:
                self._unload()
            self._stray += self._leaks.findings()
        finally:
            self._end_all()
        return self._stray

    def _end_all(self) -> None:
        self._nursery.close()
        self._arena.close()
        self._image.close()

    def _unload(self) -> None:
        self._nursery.send(messages.Unload())
        if not self._await(lambda: False, self.timeout):
            self._stray.append(Finding("unload", f"Unloading the library took over {self.timeout:g} s."))
            self._follow(self._nursery.kill())
        elif self._end.signal and self._last[0]:
            self._stray.append(died("library", self._ending().predicate, *self._last, unloading=True))
        elif self._end.signal or self._end.code or self._end.note:
            self._stray.append(Finding("unload", f"The library {self._ending().predicate} while it was unloaded."))
        self._stray += self._take_refused() + self._take_text()[2]

    # The worker's life

    def _start(self) -> None:
        """Start a worker and have it load the library; the answer comes with the other news."""
        while True:
            if self._nursery.lost:
                self._nursery.close()
                self._nursery = Nursery(self._setting, [self._image.descriptor])
            try:
                self._nursery.spawn()
                break
            except ConnectionError:  # killed since we last looked
                self._nursery.lost = True
                self.retries += 1
        self._alive, self._loaded, self._words = True, None, None
        self._memory_kills = memory_kills()
        load = msgspec.structs.replace(self._load, mappings=self._outgoing.begin())
        self._nursery.hand_over(load, self._arena.files)

    def _first_load(self) -> Loaded:
        path = self.library.path
        self._refused: list[Finding] = []
        self._start()
        if not self._has_loaded():
            self._nursery.kill()
            raise TargetError(f"{path} did not finish loading in {self.timeout:g} s: its own start-up code hangs.")
        if self._loaded is None:
            raise TargetError(
                f"{path} {self._ending().predicate} while it was being loaded. Check that the file is whole, "
                "and what its constructors do."
            )
        if self._loaded.machine:
            raise MachineError(f"This machine cannot run a library: {self._loaded.error}. See 'golden doctor'.")
        if self._loaded.error:
            reason = self._loaded.error.removeprefix(f"{self._load.path}: ")
            raise TargetError(f"{path} cannot be loaded: {reason}.")
        return self._loaded

    def _look(self) -> None:
        """See whether it has died between two calls, of what an earlier one left behind, perhaps."""
        if self._alive and not self._outgoing.sent:
            self._follow(self._nursery.wait(0.0))

    def _send_ahead(self) -> None:
        """Keep the worker supplied, and answer calls of hopeless symbols without it."""
        if self._outgoing.busy:
            return
        self._look()
        batches = []
        for batch, ranges in self._outgoing.batches(self._ready):
            batches.append(batch)
            if ranges or not self._announced:
                self._nursery.allow(ranges)
                self._announced = True
        if batches:
            self._nursery.send(*batches)

    def _ready(self) -> Process | None:
        """See to it that a worker has loaded the library; returns None where it ended instead."""
        if not self._alive:
            self._start()
        if self._loaded is None and not self._has_loaded():  # where its functions lie is not known yet
            self._give_up(self._backlog.sent[0], self.timeout)
        if not self._alive or self._loaded is None:
            return None
        return Process(self._loaded.symbols, self._registers)

    def _has_loaded(self) -> bool:
        """Wait for the worker's answer to Load, or for its end; returns whether that came in time."""
        return self._await(lambda: self._nursery.worker > 0, START) and self._await(
            lambda: self._loaded is not None, self.timeout
        )

    def _await(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``ready``, or for the worker's end; returns whether it came in time: other news gain none."""
        deadline = time.monotonic() + seconds
        while self._alive and not ready() and (left := deadline - time.monotonic()) > 0:
            self._follow(self._nursery.wait(left))
        return not self._alive or ready()

    def _limit(self, call: Call) -> float:
        """Seconds without news after which the worker counts as hung."""
        if not self._nursery.worker:
            return START
        if self._words is not None:
            return SHORT_TIMEOUT  # only its end is missing
        return self._backlog.limit(call, self.timeout) if self._loaded is not None else self.timeout

    def _progress(self) -> int:
        """Return how many calls of the oldest batch have begun: what the library's memory says, within sense."""
        sent = self._outgoing.sent[0]
        return min(stub.progress(self._arena.banks[sent.bank]), len(sent))

    def _follow(self, news: Sequence[News], ended: bool = False) -> bool:
        """Take the worker's news in, ``ended`` if it is gone; return whether something came that was waited for.

        The library can write to the worker's socket. What it says there decides nothing; an answer that is not due,
        such as one to calls that have not returned, ends the process.
        """
        heard = forged = False
        for event in news:
            if isinstance(event, Refused):
                self._refused.append(refusal(event))
                continue
            if isinstance(event, Ended):
                self._lost(event)
            elif forged or (isinstance(event, Fault | Trouble) and self._words is not None):
                continue
            elif isinstance(event, Fault | Trouble):
                self._words = event
            elif isinstance(event, Loaded) and self._loaded is None and _sensible(event):
                self._loaded = event
                if not event.error:
                    self._registers = Registers(self._preserved, event.environment)
            elif isinstance(event, Done) and event.bank < 0 and self._closed:  # before it is unloaded
                self._stray += event.findings
            elif isinstance(event, Done) and self._due(event):
                self._done(event)
            elif not isinstance(event, Started | Ready):
                forged = True
                continue
            heard = True
        if forged and self._alive and not ended:
            self._words = Trouble("an answer came that nobody had asked for")
            self._follow(self._nursery.kill())
        return heard or forged

    def _due(self, done: Done) -> bool:
        """Tell whether the oldest batch is meant, and has returned."""
        if not self._outgoing.sent or self._outgoing.sent[0].bank != done.bank:
            return False
        calls = len(self._outgoing.sent[0])
        return stub.returned(self._arena.banks[done.bank], calls) == calls

    def _done(self, done: Done) -> None:
        """Take the outcomes of a batch in."""
        batch = self._outgoing.done()
        outcomes = batch.inspect(len(batch))
        if left := [*done.findings, *self._take_refused()]:
            self._outgoing.suspect.add(batch.symbol)
            if batch.calls > 1:
                others = f"(this call, or one of the {batch.calls - 1} before it)"
                left = [Finding(f.kind, f"{f.message.removesuffix('.')} {others}.") for f in left]
            outcomes[-1].findings += left
        self._last = batch.symbol, batch.name
        self._leaks.add(batch.symbol, len(batch), done.memory)
        self._backlog.answered(outcomes)

    def _give_up(self, job: Job, seconds: float) -> None:
        """Kill the worker because an invocation takes longer than that."""
        seen = len(job.outcomes)
        *replies, end = self._nursery.kill()
        self._follow(replies, ended=True)
        if isinstance(end, Ended):
            # Nobody is to blame if it has just answered.
            hung = len(job.outcomes) == seen
            self._lost(end, seconds if hung else None, killed=True)

    def _lost(self, end: Ended, hung: float | None = None, killed: bool = False) -> None:
        """Give the running invocation its outcome, and put calls that were sent ahead back.

        ``hung``: seconds that were waited for it; ``killed``: by us.
        """
        self._alive, self._end = False, end
        self._announced = False
        batch = self._outgoing.sent.popleft() if self._outgoing.sent else None
        begun = 0
        if batch is not None and self._loaded is not None:
            memory, calls = self._arena.banks[batch.bank], len(batch)
            begun = max(min(stub.progress(memory), stub.returned(memory, calls) + 1, calls), 1)
            self._backlog.answered(batch.inspect(begun - 1))
            self._outgoing.suspect.add(batch.symbol)
        self._outgoing.lost()
        job = self._backlog.lost()
        refused = self._take_refused()
        if job is None or (killed and hung is None and self._words is None):
            self._stray += [*_left_findings(end), *refused]
            ours = killed and (end.note or end.signal == signal.SIGKILL)
            if job is None and not ours and not self._closed:
                self._stray.append(died("library", self._ending().predicate, *self._last))
            return
        self._last = job.call.symbol, job.call.name
        findings = [*refused, *_left_findings(end)]
        if hung is not None:
            self._backlog.hung(job, hung).findings = findings
            return
        places = batch.places(begun - 1) if batch is not None and begun else []
        ending = self._ending(job.call, job.call.invocations[len(job.outcomes)], places)
        says = ending.predicate
        message = f"{job.call.symbol} {says}." if self._loaded else f"The library {says} while it was loaded again."
        findings = ([ending.finding] if ending.finding is not None else []) + findings
        self._backlog.crashed(job, Outcome(ending.status, findings=findings, message=message, signal=ending.signal))

    def _ending(
        self, call: Call | None = None, invocation: Invocation | None = None, places: Sequence[Placed] = ()
    ) -> Ending:
        error = self._loaded.error if self._loaded else ""
        words = self._words
        operand = None
        if isinstance(words, Fault) and words.address is not None:
            operand = Arena.locate(places, words.address)
        starved = memory_kills() > self._memory_kills
        return describe_end(self._end, words, error, call, invocation, operand, starved)

    def _take_refused(self) -> list[Finding]:
        taken, self._refused = self._refused, []
        return taken

    def _take_text(self) -> tuple[str, str, list[Finding]]:
        """Return what was printed on stdout and stderr since the last time, and findings that say so."""
        out, printed = self._nursery.stdout.take()
        err, complained = self._nursery.stderr.take()
        counts = [("stdout", printed), ("stderr", complained)]
        return out, err, [Finding("printed", f"{n} bytes were printed on {name}.") for name, n in counts if n]


def _sensible(loaded: Loaded) -> bool:
    """Tell whether an answer to Load can be one: the environment is there if the library is."""
    return len(loaded.environment) == (0 if loaded.error else stub.ENVIRONMENT)


def _left_findings(end: Ended) -> list[Finding]:
    if not end.left:
        return []
    return [Finding("left-process", f"{end.left} processes that the library had started were left.")]
