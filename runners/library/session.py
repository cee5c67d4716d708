"""Shared libraries as targets: called through ctypes in a worker process that may die at any time.

The judge fills and inspects the memory (:mod:`runners.library.arena`), and the worker makes the calls: those of one
:class:`Call` in batches, while the judge works on earlier ones.
"""

import platform
import secrets
import signal
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from golden.errors import MachineError
from golden.operator import EntryPoint, Operands, Scalars, entry_points
from runners.calling.backlog import SHORT_TIMEOUT, Backlog, Job
from runners.calling.call import Call, Finding, Invocation, Mode, Outcome
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.placement import Allocator, Regions
from runners.calling.session import Endured, Session
from runners.library.arena import Arena
from runners.library.endurance import Endurance
from runners.library.image import Image
from runners.library.layout import Layouts
from runners.library.leaks import Leaks
from runners.library.nursery import START
from runners.library.outgoing import Outgoing, Process
from runners.library.patterns import Patterns
from runners.library.worker import Worker
from runners.process import messages, sandbox, stub
from runners.process.allocator import GUARD
from runners.process.endings import died
from runners.process.fenv import FloatingPoint
from runners.process.messages import BANKS, Done, Ended
from runners.process.supervisor import Setting

#: Seconds after which no further round of calls in a row is made.
_ENDURES = 10.0


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
    again_possible = True

    def __init__(
        self,
        path: Path | Image,
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
        self._image = path if isinstance(path, Image) else Image(path)
        self.library, self.name = self._image.library, self._image.library.path
        self.half_abi: HalfAbi = half_abi
        self.numbering = numbering
        self.timeout = timeout
        self.draw = draw or secrets.token_hex(8)
        wanted = sorted(entry_points() if symbols is None else symbols)
        self._again = partial(
            LibrarySession, self._image.lent(), half_abi, numbering, timeout=timeout, memory=memory,
            crash_limit=crash_limit, symbols=wanted, regions=regions, allocator=allocator, mode=mode, draw=self.draw,
        )  # fmt: skip
        functions = (allocator.allocate, allocator.free) if allocator else ()
        if allocator:
            self.unobservable |= {"outside-access", "untouched-operands"}
            self.blind = (
                "reads outside operands",
                "reads of operands that a call has no reason to touch",
                f"writes that miss an operand by more than {GUARD} bytes",
            )
        self._backlog = Backlog(crash_limit, BANKS * stub.BATCH)
        self._stray: list[Finding] = []  # concerning no call
        self._last = ("", "")  # symbol and name of the call that was made last
        self._closed = self._mixed = self._unloads = False
        self._awaited: list[Done | Ended] | None = None  # what is said of calls that no batch has
        patterns = Patterns(self.draw)
        self._arena = Arena(patterns)
        places = {symbol: regions.of(symbol) for symbol in wanted} if regions else {}
        self._outgoing = Outgoing(self._backlog, self._arena, Layouts(patterns, bool(allocator)), places)
        self._leaks = Leaks(memory)
        self.plain = not (allocator or regions)
        self.aliasing = not allocator
        preserved = tuple(patterns.random.getrandbits(63) for _ in range(6))
        load = messages.Load(self._image.address, wanted, memory, self._arena.base, functions)
        setting = Setting("calls", mode, self._arena.base, self._image.readable, sandbox.hidden_folders())
        try:
            self._worker = Worker(setting, self._image, load, preserved, self._take)
        except BaseException:
            self._arena.close()
            self._image.close()
            raise
        self.layers = self._worker.nursery.layers
        try:
            if mode == "require" and (absent := [name for name in sandbox.LAYERS if name not in self.layers]):
                raise MachineError(
                    f"--sandbox require: this machine has no {' and no '.join(absent)}: see 'golden doctor'."
                )
            self._start()
            loaded = self._worker.first_load(self.timeout)
        except BaseException:
            self._end_all()
            raise
        self.symbols = frozenset(loaded.symbols)
        self.load_findings: list[Finding] = loaded.findings + self._worker.take_refused() + self._worker.take_text()[2]

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

    def again(self) -> "LibrarySession":
        """As it says there: the same copy of the library."""
        session = self._again()
        session._backlog.inherit(self._backlog)
        return session

    def facts(self) -> dict[str, str]:
        """Return what kept the library in its process, too."""
        return {**super().facts(), "sandbox": sandbox.described(self.layers)}

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
            if not self._worker.alive:  # it ended while it was loaded again: there is nothing to wait for
                continue
            limit = self._limit(job.call)
            left = moved + limit - time.monotonic()
            if self._worker.wait(min(max(left, 0.0), limit / 4)):
                moved, seen = time.monotonic(), -1
            elif self._worker.loaded is not None and self._outgoing.sent and (begun := self._progress()) > seen:
                moved, seen = time.monotonic(), begun  # the worker tells of a batch, not of every call in it
            elif left <= 0:
                self._give_up(job, limit)
                moved = time.monotonic()
        self._backlog.collect()
        if job.outcomes and self._worker.nursery.printed:
            blamed = next((o for o in job.outcomes if o.status != "ok"), job.outcomes[-1])
            blamed.stdout, blamed.stderr, findings = self._worker.take_text()
            blamed.findings += findings
            self._outgoing.suspect.add(job.call.symbol)
        return job.outcomes

    def _renew(self) -> None:
        self._look()
        self._end_worker()

    def mix(self) -> None:
        """As it says there; whose calls lose memory can no longer be told."""
        super().mix()
        self._mixed = True

    def endure(self, call: Call, output: bytes, times: int) -> Endured | None:
        """As it says there: rounds of some thousand calls, until they have taken long."""
        self._require_idle()
        if not self.aliasing:  # operands have to come from the library's allocator
            return None
        worker, symbol = self._worker, call.symbol
        self._look()
        if not worker.alive:
            self._start()
        if not worker.has_loaded(self.timeout) or worker.process is None:
            return Endured(0, Outcome("crash", message="The library did not load again."))
        run = Endurance(self._arena, worker.process, call, output, self._outgoing.places.get(symbol, ()))
        self._last = symbol, call.name
        began = time.monotonic()
        while run.done < times:
            outcome = self._round(run, symbol, run.prepare(times - run.done))
            if outcome is not None:
                return Endured(run.done + max(run.begun() - 1, 0), outcome, tuple(run.left))
            if (wrong := run.inspect()) is not None:
                beside = [Finding("output-overrun", "Memory beside the output was written.")]
                shown = Outcome("ok", wrong.output, beside if wrong.output == output else [])
                return Endured(wrong.number - 1, shown, tuple(run.left))
            if time.monotonic() - began > _ENDURES:
                break
        return Endured(run.done, None, tuple(run.left))

    def _round(self, run: Endurance, symbol: str, count: int) -> Outcome | None:
        """Make the calls of a round; return what became of the one that did not return, None where all did."""
        worker, self._awaited = self._worker, []
        mappings, self._arena.new = self._arena.new, []
        worker.allow([(m.address, m.size) for m in mappings])
        worker.nursery.send(messages.Batch(0, count, mappings, header=run.address))
        moved, begun = time.monotonic(), -1
        try:
            while not self._awaited:
                worker.wait(self.timeout / 4)
                if (now := run.begun()) > begun:
                    moved, begun = time.monotonic(), now
                elif not self._awaited and time.monotonic() - moved > self.timeout:
                    worker.kill()
                    self._outgoing.lost()
                    return Outcome("timeout", message=f"{symbol} did not return within {self.timeout:g} s.")
            news = self._awaited[0]
        finally:
            self._awaited = None
        run.left += worker.take_refused()
        if isinstance(news, Done):
            run.left += news.findings
            return None
        self._outgoing.lost()
        ending = worker.ending()
        return Outcome(ending.status, message=f"{symbol} {ending.predicate}.", signal=ending.signal)

    def close(self) -> list[Finding]:
        """Unload the library, end its processes, return what that showed; a second call does nothing."""
        if self._closed:
            return []
        self._look()
        self._closed = True
        try:
            self._end_worker()
            self._stray += self._leaks.findings()
        finally:
            self._end_all()
        return self._stray

    def _end_all(self) -> None:
        self._worker.nursery.close()
        self._arena.close()
        self._image.close()

    def _end_worker(self) -> None:
        """Have the library unloaded, unless a call is under way: there is no telling then in what state it is."""
        if not self._worker.alive:
            return
        if self._outgoing.sent:
            self._lost(self._worker.kill(), killed=True)
            return
        self._unloads = True
        try:
            self._unload()
        finally:
            self._unloads = False

    def _unload(self) -> None:
        worker = self._worker
        worker.nursery.send(messages.Unload())
        if not worker.wait_until(lambda: False, self.timeout):
            self._stray.append(Finding("unload", f"Unloading the library took over {self.timeout:g} s."))
            self._lost(worker.kill())
        elif worker.end.signal and self._last[0]:
            self._stray.append(died("library", worker.ending().predicate, *self._last, unloading=True))
        elif worker.end.signal or worker.end.code or worker.end.note:
            self._stray.append(Finding("unload", f"The library {worker.ending().predicate} while it was unloaded."))
        self._stray += worker.take_refused() + worker.take_text()[2]

    # Calls on their way

    def _start(self) -> None:
        self.retries += self._worker.start(self._outgoing.begin(), self._arena.files)

    def _look(self) -> None:
        """See whether it has died between two calls, of what an earlier one left behind, perhaps."""
        if self._worker.alive and not self._outgoing.sent:
            self._worker.wait(0.0)

    def _send_ahead(self) -> None:
        """Keep the worker supplied, and answer calls of hopeless symbols without it."""
        if self._outgoing.busy:
            return
        self._look()
        batches = []
        for batch, ranges in self._outgoing.batches(self._ready):
            batches.append(batch)
            self._worker.allow(ranges)
        if batches:
            self._worker.nursery.send(*batches)

    def _ready(self) -> Process | None:
        """See to it that a worker has loaded the library; returns None where it ended instead."""
        if not self._worker.alive:
            self._start()
        # Where its functions lie is not known before.
        if self._worker.loaded is None and not self._worker.has_loaded(self.timeout):
            self._give_up(self._backlog.sent[0], self.timeout)
        return self._worker.process if self._worker.alive else None

    def _limit(self, call: Call) -> float:
        """Seconds without news after which the worker counts as hung."""
        if not self._worker.nursery.worker:
            return START
        if self._worker.words is not None:
            return SHORT_TIMEOUT  # only its end is missing
        return self._backlog.limit(call, self.timeout) if self._worker.loaded is not None else self.timeout

    def _progress(self) -> int:
        """Return how many calls of the oldest batch have begun: what the library's memory says, within sense."""
        sent = self._outgoing.sent[0]
        return min(stub.progress(self._arena.banks[sent.bank]), len(sent))

    def _take(self, news: Done | Ended) -> bool:
        """Take in an answer to calls, or the worker's end; tells whether it was due."""
        if self._awaited is not None:
            self._awaited.append(news)
        elif isinstance(news, Ended):
            self._lost(news)
        elif news.bank < 0 and self._unloads:  # before it is unloaded
            self._stray += news.findings
        elif self._due(news):
            self._done(news)
        else:
            return False
        return True

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
        if left := [*done.findings, *self._worker.take_refused()]:
            self._outgoing.suspect.add(batch.symbol)
            if batch.calls > 1:
                others = f"(this call, or one of the {batch.calls - 1} before it)"
                left = [Finding(f.kind, f"{f.message.removesuffix('.')} {others}.") for f in left]
            outcomes[-1].findings += left
        self._last = batch.symbol, batch.name
        if not self._mixed:
            self._leaks.add(batch.symbol, len(batch), done.memory)
        self._backlog.answered(outcomes)

    def _give_up(self, job: Job, seconds: float) -> None:
        """Kill the worker because an invocation takes longer than that."""
        seen = len(job.outcomes)
        end = self._worker.kill()
        hung = len(job.outcomes) == seen  # nobody is to blame if it has just answered
        self._lost(end, seconds if hung else None, killed=True)

    def _lost(self, end: Ended, hung: float | None = None, killed: bool = False) -> None:
        """Give the running invocation its outcome, and put calls that were sent ahead back.

        ``hung``: seconds that were waited for it; ``killed``: by us.
        """
        batch = self._outgoing.sent.popleft() if self._outgoing.sent else None
        begun = 0
        if batch is not None and self._worker.loaded is not None:
            memory, calls = self._arena.banks[batch.bank], len(batch)
            begun = max(min(stub.progress(memory), stub.returned(memory, calls) + 1, calls), 1)
            self._backlog.answered(batch.inspect(begun - 1))
            self._outgoing.suspect.add(batch.symbol)
        self._outgoing.lost()
        job = self._backlog.lost()
        refused = self._worker.take_refused()
        if job is None or (killed and hung is None and self._worker.words is None):
            self._stray += [*_left_findings(end), *refused]
            ours = killed and (end.note or end.signal == signal.SIGKILL)
            if job is None and not ours and not self._unloads:
                self._stray.append(died("library", self._worker.ending().predicate, *self._last))
            return
        self._last = job.call.symbol, job.call.name
        findings = [*refused, *_left_findings(end)]
        if hung is not None:
            self._backlog.hung(job, hung).findings = findings
            return
        places = batch.places(begun - 1) if batch is not None and begun else []
        ending = self._worker.ending(job.call, job.call.invocations[len(job.outcomes)], places)
        says = ending.predicate
        message = (
            f"{job.call.symbol} {says}." if self._worker.loaded else f"The library {says} while it was loaded again."
        )
        findings = ([ending.finding] if ending.finding is not None else []) + findings
        self._backlog.crashed(job, Outcome(ending.status, findings=findings, message=message, signal=ending.signal))


def _left_findings(end: Ended) -> list[Finding]:
    if not end.left:
        return []
    return [Finding("left-process", f"{end.left} processes that the library had started were left.")]
