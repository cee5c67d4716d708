"""Shared libraries as targets: called through ctypes in a worker process that may die at any time.

The judge fills and inspects the memory (:mod:`runners.arena`), and the worker makes the calls: those of one
:class:`Call` in batches, while the judge works on earlier ones.
"""

import itertools
import platform
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec
import numpy as np

from golden.errors import MachineError, TargetError
from golden.operator import REDUCTION_ENUMS, EntryPoint, Operands, Pointer, Scalar, Scalars, entry_points
from runners import protocol, sandbox, stub
from runners.allocator import GUARD, UNIT
from runners.arena import Arena, Patterns, Placed
from runners.endings import Ending, describe_end, memory_kills
from runners.image import Image
from runners.jobs import SHORT_TIMEOUT, Backlog, Job
from runners.nursery import News, Nursery, Setting
from runners.placement import Allocator, Regions
from runners.protocol import (
    BANKS,
    Batch,
    Call,
    Copied,
    Done,
    Ended,
    Fault,
    Finding,
    Invocation,
    Loaded,
    Outcome,
    PointerArgument,
    Ready,
    Refused,
    ScalarArgument,
    Started,
    Trouble,
)
from runners.worker import FloatingPoint

HalfAbi = Literal["float16", "uint16"]

#: Seconds for starting a process, which waits for nothing but the machine.
PATIENCE = 30.0
#: A batch ends when its operands have this many bytes; while larger ones are under way, few are.
_BATCH_BYTES = 1 << 20
_FEW = 2
#: Bytes of a call's operands that the range of addresses has room for, with all that lies between them.
_LARGEST = sandbox.ARENA // 4
#: How a refused system call, by what it was for, is found; what is not here is a remark.
_REFUSED = {
    "start a process": "forked",
    "look into or change another process": "intrusion",
    "send a signal to another process": "intrusion",
    "change mounts or namespaces": "intrusion",
    "change the system": "intrusion",
    "change the memory that operands lie in": "guard",
    "handle the signal of a bad access itself": "guard",
}
#: Calls after which memory that still grows is said to be lost, and bytes a call that are told.
_CALLS_UNTIL_LOST, _LOST_BYTES = 12, 16


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


class _Sent:
    """A batch on its way: invocations ``first`` to ``first + len(places)`` of a job, in a bank."""

    def __init__(self, job: Job, first: int, bank: int) -> None:
        self.job, self.first, self.bank = job, first, bank
        self.places: list[list[Placed]] = []
        self.size = 0


class LibrarySession:
    """A shared library in a worker process; implements :class:`runners.protocol.Session`.

    ``symbols``: entry points to look for, all known ones by default. ``timeout``: seconds for loading and for
    an invocation; an invocation's clock runs only while someone waits in :meth:`collect`. ``memory``: bytes
    that the library may map. After ``crash_limit`` crashes of a symbol its calls are answered "not-run";
    before that, the remaining invocations of a crashed call go on in a fresh worker. ``regions``: where operands
    have to lie; anywhere by default. ``allocator``: functions of the library that operands come from. ``half_abi`` and
    ``reduction_enum`` are what :meth:`call_for` uses, and may be changed at any time. ``mode``: whether the layers of
    :mod:`runners.sandbox` are required, used where the system has them, or off; ``draw``: what fills, guards and
    registers are drawn from, anything by default; both can be asked for afterwards, as can ``layers``.

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
    stated_half_abi = ""
    blind: tuple[str, ...] = ()
    retries = 0

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
        mode: sandbox.Mode = "auto",
        draw: str = "",
    ) -> None:
        self._image = Image(path)
        self.library = self._image.library
        self.half_abi: HalfAbi = half_abi
        self.reduction_enum = reduction_enum
        self.timeout = timeout
        self.draw = draw or secrets.token_hex(8)
        wanted = sorted(entry_points() if symbols is None else symbols)
        self._places = {symbol: regions.of(symbol) for symbol in wanted} if regions else {}
        functions = (allocator.allocate, allocator.free) if allocator else ()
        if allocator:
            self.unobservable |= {"outside-access", "untouched-operands"}
            self.blind = (
                "reads outside operands",
                "reads of operands that a call has no reason to touch",
                f"writes that miss an operand by more than {GUARD} bytes",
            )
        self._backlog = Backlog(crash_limit, BANKS)
        self._alive = False  # there is a worker
        self._loaded: Loaded | None = None  # its answer to Load
        self._words: Fault | Trouble | None = None  # its last words
        self._end = Ended(0, 0, 0, 0)  # the end of the last one
        self._stray: list[Finding] = []  # concerning no call
        self._closed = False
        self._sent: deque[_Sent] = deque()
        self._banks = list(range(BANKS))
        self._sending: tuple[Job, int] | None = None  # a job that is sent in parts, and its next invocation
        self._forget = False
        self._memory: dict[str, list[tuple[int, int]]] = {}
        self._arena = Arena(Patterns(self.draw), bool(allocator))
        #: What calls find in the registers that they have to preserve.
        self._preserved = tuple(self._arena.patterns.random.getrandbits(63) for _ in range(6))
        self._load = protocol.Load(self._image.address, wanted, memory, self._arena.base, functions)
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
            elif self._loaded is not None and self._sent and (begun := self._progress()) > seen:
                moved, seen = time.monotonic(), begun  # the worker tells of a batch, not of every call in it
            elif left <= 0:
                self._give_up(job, limit)
                moved = time.monotonic()
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
            self._follow(replies, ended=True)
            if isinstance(end, Ended):
                self._lost(end, killed=True)

    def close(self) -> list[Finding]:
        """Unload the library, end its processes, return what that showed; a second call does nothing."""
        if self._closed:
            return []
        self._closed = True
        try:
            # With a call under way there is no telling in what state the library is: no unloading then.
            if self._alive and not self._sent:
                self._unload()
            self._stray += self._lost_memory()
        finally:
            self._end_all()
        return self._stray

    def _end_all(self) -> None:
        self._nursery.close()
        self._arena.close()
        self._image.close()

    def _unload(self) -> None:
        self._nursery.send(protocol.Unload())
        if not self._await(lambda: False, self.timeout):
            self._stray.append(Finding("unload", f"Unloading the library took over {self.timeout:g} s."))
            self._follow(self._nursery.kill())
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
        self._arena.clear()
        self._forget = False
        self._nursery.hand_over(self._load, self._arena.files)

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

    def _send_ahead(self) -> None:
        """Keep the worker supplied, and answer calls of hopeless symbols without it."""
        if self._alive and not self._sent:
            self._follow(self._nursery.wait(0.0))  # it may have died of what an earlier call left behind
        if len(self._sent) > BANKS // 2:
            return  # waking the worker takes longer than a small call: some at a time
        batches: list[Batch] = []
        while self._banks and self._next_batch(batches):
            pass
        if batches:
            self._nursery.send(*batches)

    def _next_batch(self, batches: list[Batch]) -> bool:
        """Add the next batch to those that are to be sent; returns whether there may be another."""
        if not self._alive and self._sending is None and not self._backlog.waiting:
            return False
        if self._sent and (self._arena.crowded or not self._room()):
            return False
        if self._sending is None:
            job = self._backlog.to_send()
            if job is None:
                return False
            size = sum(a.size for a in job.call.arguments if isinstance(a, PointerArgument))
            if size > _LARGEST:
                self._backlog.sent.remove(job)
                job.skip(f"The operands are {size} bytes; libraries are called with {_LARGEST} at most.")
                return True
            self._sending = job, len(job.outcomes)
        if not self._alive:
            self._start()
        if self._loaded is None:  # where its functions lie is not known yet
            if not self._has_loaded():
                self._give_up(self._backlog.sent[0], self.timeout)
            return self._alive
        if self._arena.crowded:
            self._arena.clear()
            self._forget = True
        batches.append(self._dispatch(*self._sending))
        return True

    def _room(self) -> bool:
        """Tell whether another batch may be under way beside those that are."""
        if self._places:
            return False
        return len(self._sent) < _FEW or sum(sent.size for sent in self._sent) < 16 * _BATCH_BYTES

    def _has_loaded(self) -> bool:
        """Wait for the worker's answer to Load, or for its end; returns whether that came in time."""
        return self._await(lambda: self._nursery.worker > 0, PATIENCE) and self._await(
            lambda: self._loaded is not None, self.timeout
        )

    def _await(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``ready``, or for the worker's end; returns whether it came in time: other news gain none."""
        deadline = time.monotonic() + seconds
        while self._alive and not ready() and (left := deadline - time.monotonic()) > 0:
            self._follow(self._nursery.wait(left))
        return not self._alive or ready()

    def _dispatch(self, job: Job, first: int) -> Batch:
        """Lay out and fill the next invocations of a job; returns what tells the worker of them."""
        assert self._loaded is not None
        call, arena, bank = job.call, self._arena, self._banks.pop()
        sent = _Sent(job, first, bank)
        pointers = [(slot, a) for slot, a in enumerate(call.arguments) if isinstance(a, PointerArgument)]
        size = sum(a.size for _, a in pointers)
        most = 1 if arena.copied or self._places else stub.BATCH
        starts = self._places.get(call.symbol, ())
        frames, copied = [], list[Copied]()
        function = self._loaded.symbols[call.symbol]
        integers, floats, at = _registers(call)
        for invocation in call.invocations[first : first + most]:
            placed = arena.place(bank, len(sent.places), pointers, invocation, starts)
            sent.places.append(placed)
            for i, p in zip(at, placed, strict=True):
                integers[i] = p.region.address + p.start
            if invocation.core_mask is not None:
                integers[-2] = invocation.core_mask
            frames.append(stub.pack_frame(function, integers, floats))
            if arena.copied:
                unit = max(UNIT, invocation.align)
                copied = [
                    Copied(i, p.region.address, len(p.image), unit, p.start) for i, p in zip(at, placed, strict=True)
                ]
            sent.size += size
            if sent.size >= _BATCH_BYTES:
                break
        memory = arena.banks[bank]
        stub.write_header(memory, self._loaded.environment, self._preserved)
        content = b"".join(frames)
        memory[stub.HEADER : stub.HEADER + len(content)] = content
        done = first + len(sent.places)
        self._sending = (job, done) if done < len(call.invocations) else None
        self._sent.append(sent)
        mappings, arena.new = arena.new, []
        ranges = [(m.address, m.size) for m in mappings]
        if self._forget:
            ranges.append((arena.base, sandbox.ARENA))
        if ranges or not self._announced:
            self._nursery.allow(ranges)
            self._announced = True
        batch = Batch(bank, len(sent.places), mappings, self._forget, copied)
        self._forget = False
        return batch

    _announced = False

    def _limit(self, call: Call) -> float:
        """Seconds without news after which the worker counts as hung."""
        if not self._nursery.worker:
            return PATIENCE
        if self._words is not None:
            return SHORT_TIMEOUT  # only its end is missing
        return self._backlog.limit(call, self.timeout) if self._loaded is not None else self.timeout

    def _progress(self) -> int:
        """Return how many calls of the oldest batch have begun: what the library's memory says, within sense."""
        sent = self._sent[0]
        return min(stub.progress(self._arena.banks[sent.bank]), len(sent.places))

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
            elif isinstance(event, Loaded) and self._loaded is None and len(event.environment) in (0, stub.ENVIRONMENT):
                self._loaded = event
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
        if not self._sent or self._sent[0].bank != done.bank:
            return False
        calls = len(self._sent[0].places)
        return stub.returned(self._arena.banks[done.bank], calls) == calls

    def _done(self, done: Done) -> None:
        """Take the outcomes of a batch in."""
        sent = self._sent.popleft()
        self._banks.append(sent.bank)
        outcomes = self._inspect(sent, len(sent.places))
        outcomes[-1].findings += [*done.findings, *self._take_refused()]
        self._memory.setdefault(sent.job.call.symbol, []).append(done.memory)
        for outcome in outcomes:
            self._backlog.answered(outcome)

    def _inspect(self, sent: _Sent, returned: int) -> list[Outcome]:
        """Return the outcomes of the first calls of a batch."""
        outcomes = []
        assert self._loaded is not None
        memory = self._arena.banks[sent.bank]
        environment = self._loaded.environment
        kept = stub.control(environment)
        seen: dict[int, list[Finding]] = {}  # of operands that invocations share
        for number, places in enumerate(sent.places[:returned]):
            left = stub.read_frame(memory, number, self._preserved, kept)
            findings = []
            if left.environment is not None:
                changes = FloatingPoint.differences(environment, left.environment)
                findings += [Finding("fp-environment", f"The call changed {c}.") for c in changes]
            findings += [Finding("registers", f"The call did not preserve {name}.") for name in left.broken]
            if left.raised:
                findings.append(Finding("exception-flags", "Calls raise the exception flag of a division by zero."))
            output = fill = b""
            for placed in places:
                if placed.argument.role == "output":
                    output, found = self._arena.inspect(placed)
                    fill = placed.image[placed.start : placed.stop]
                    findings += found
                elif placed.image:
                    if id(placed) not in seen:
                        seen[id(placed)] = self._arena.inspect(placed)[1]
                    findings += seen[id(placed)]
            outcomes.append(Outcome("ok", output, findings, fill=fill))
        if outcomes:
            outcomes[-1].findings += self._arena.opened([p for places in sent.places for p in places])
        return outcomes

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
        sent = self._sent.popleft() if self._sent else None
        if sent is not None:
            memory, calls = self._arena.banks[sent.bank], len(sent.places)
            before = max(min(stub.progress(memory), stub.returned(memory, calls) + 1, calls), 1) - 1
            for outcome in self._inspect(sent, before) if self._loaded else []:
                self._backlog.answered(outcome)
        self._sent.clear()
        self._banks = list(range(BANKS))
        self._sending = None
        job = self._backlog.lost()
        refused = self._take_refused()
        if job is None or (killed and hung is None and self._words is None):
            self._stray += [*_left_findings(end), *refused]
            if not killed and not self._closed:
                self._stray.append(Finding("crash", f"The library {self._ending().predicate} between two calls."))
            return
        findings = [*refused, *_left_findings(end)]
        if hung is not None:
            self._backlog.hung(job, hung).findings = findings
            return
        places = sent.places[len(job.outcomes) - sent.first] if sent is not None and sent.job is job else []
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

    def _lost_memory(self) -> list[Finding]:
        """Find entry points whose calls went on taking memory to the end, or took most of what there was."""
        found = []
        for symbol, measured in self._memory.items():
            for what, held in zip(("allocated", "mapped"), zip(*measured, strict=True), strict=True):
                middle = len(held) // 2
                grown, calls = held[-1] - held[middle], len(held) - 1 - middle
                steps = sum(b > a for a, b in itertools.pairwise(held[middle:]))
                if calls >= _CALLS_UNTIL_LOST and steps > calls // 2 and grown > _LOST_BYTES * calls:
                    message = f"{grown} bytes {what} in its last {calls} calls, and given back in none of them"
                elif (grown := held[-1] - held[0]) > self._load.memory // 2:
                    message = f"{grown} bytes {what}, and hardly any left"
                else:
                    continue
                found.append(Finding("state-memory", f"{symbol} loses memory: {message}."))
                break
        return found

    def _take_text(self) -> tuple[str, str, list[Finding]]:
        """Return what was printed on stdout and stderr since the last time, and findings that say so."""
        out, printed = self._nursery.stdout.take()
        err, complained = self._nursery.stderr.take()
        counts = [("stdout", printed), ("stderr", complained)]
        return out, err, [Finding("printed", f"{n} bytes were printed on {name}.") for name, n in counts if n]


def _registers(call: Call) -> tuple[list[int], list[int], list[int]]:
    """Return a call's arguments: integers, with room for pointers and mask; floating-point numbers; where pointers go.

    ctypes has no fp16. A ``_Float16`` travels in the low 16 bits of a floating-point register (System V x86-64 psABI,
    AAPCS64); what is above them is zero here, as compilers leave it when they load from memory. Bits are copied, never
    converted: signalling NaNs arrive as they are. Surplus arguments load NaN where the other half convention would look
    for the value: without them a wrong guess may go unnoticed, since that register can still hold the value.
    """
    integers: list[int] = []
    floats: list[int] = []
    pointers = []
    kinds = set()
    for argument in call.arguments:
        if isinstance(argument, PointerArgument):
            pointers.append(len(integers))
            integers.append(0)
        else:
            kinds.add(argument.ctype)
            (integers if argument.ctype in ("int32", "uint16") else floats).append(argument.bits)
    masked = bool(call.invocations) and call.invocations[0].core_mask is not None
    integers += [0] if masked else []
    integers.append(0x7E00 if "float16" in kinds else 0)
    floats += [0x7FC07E00] if "uint16" in kinds else []
    return integers, floats, pointers


def refusal(event: Refused) -> Finding:
    """Return what the supervisor has told of a system call as a finding."""
    done = "" if event.allowed else ", and was refused"
    return Finding(_REFUSED.get(event.what, "refused"), f"The library tried to {event.what} ({event.call}){done}.")


def _left_findings(end: Ended) -> list[Finding]:
    if not end.left:
        return []
    return [Finding("left-process", f"{end.left} processes that the library had started were left.")]
