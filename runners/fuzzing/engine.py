"""Fuzzing: tasks of drawn calls, one after the other or in many processes, until time or calls are used up.

What was found is added up (:mod:`golden.merging`) and told as the results of a validation. Failures of a new kind are
made small and written as vectors. An interrupted run leaves its state and can go on.
"""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from golden import __version__
from golden.case import Case
from golden.errors import TargetError, UsageError
from golden.files import reading
from golden.files.atomic import write_atomically
from golden.files.manifest import read_suite, write_manifest
from golden.files.names import NUMBERING_OPTION
from golden.files.vectors import write_vectors
from golden.merging import merged
from golden.operator import choice_words, entry_points, page_numbering
from golden.results import SCHEMA, Drawn, EntryPointResult, Finding, Library, Probe, Results, Selection, Vectors
from golden.selfcheck import check_arithmetic
from golden.sources import judge
from golden.verdicts import overall
from runners.calling.from_case import HalfAbi
from runners.calling.manner import Manner
from runners.calling.session import Session
from runners.fuzzing.evaluate import Evaluated, Failing, Work
from runners.fuzzing.shrink import Small, shrink
from runners.judging.probe import choose_half_abi, choose_numbering, probe_subnormals, takes_half
from runners.judging.validate import host, platform_of
from runners.judging.verdict import counted, is_evidence
from runners.sweeping.evaluate import identity
from runners.sweeping.pool import Pool

STATE_SCHEMA = "golden-fuzz-state/1"
#: Failures of one kind, of one entry point, that are made small and written.
_WITNESSES = 2
#: Seconds between two savings of the state.
_SAVING = 3.0


class State(msgspec.Struct):
    """What a run has found so far; ``digest``: of target, seed, terms and code. ``done``: tasks, all below that one."""

    schema: str
    digest: str
    seed: str
    done: int = 0
    calls: int = 0
    ways: int = 0
    passed_over: int = 0
    elements: int = 0
    seconds: float = 0.0
    newest: int = 0  #: calls when something new came last
    entries: dict[str, EntryPointResult] = {}
    noted: list[tuple[Finding, int]] = []
    features: list[str] = []
    witnesses: dict[str, int] = {}


@dataclass(frozen=True)
class Progress:
    """How far a run is: calls, calls a second, failing kinds."""

    calls: int
    rate: float
    failing: int


@dataclass
class Settings:
    """What a run was asked for.

    ``seconds``: what ends it, if the recipe's calls do not. ``fail_fast``: the first task with a failure does.
    ``selected``: options that restrict what is drawn, with their patterns.
    """

    seconds: float | None
    out: Path
    resume: bool = False
    fail_fast: bool = False
    options: dict[str, str] = field(default_factory=dict)
    selected: dict[str, list[str]] = field(default_factory=dict)


def open_work(
    session: Session, library: Library, work: Work, half_abi: str, numbering: str
) -> tuple[Work, Probe, list[Finding]]:
    """Find out what calls need to know of a target; return the work, what was found, and remarks on it.

    Raises :class:`TargetError` if it has none of the entry points, :class:`UsageError` for other numbers of choices.
    """
    target = work.target
    session.manner = Manner.of(work.recipe.profile)
    wanted = [entry_points()[s] for s in work.recipe.symbols if s in session.symbols]
    if not wanted:
        raise TargetError(f"{target} has none of the entry points asked for: {', '.join(work.recipe.symbols)}.")
    abi, on_half = choose_half_abi(session, half_abi, any(takes_half(e) for e in wanted))
    numbers, used, on_numbers = choose_numbering(session, numbering or page_numbering())
    if any(e.operator.choices for e in wanted) and numbers not in (used, "unknown", "other"):
        raise UsageError(
            f"{target} numbers {choice_words()} {numbers}, not {used}: fuzz with --{NUMBERING_OPTION} {numbers}."
        )
    abi_used: HalfAbi = "uint16" if abi == "uint16" else "float16"
    found = msgspec.structs.replace(
        work,
        path=str(Path(target).resolve()) if library.sha256 and Path(target).exists() else "",
        sha256=library.sha256,
        half_abi=abi_used,
        numbering=used,
    )
    remarks = [("half-abi", on_half), (NUMBERING_OPTION, on_numbers)]
    remarks += [(f"load-{f.kind}", f"Loading the library: {f.message}") for f in session.load_findings]
    findings = [Finding(kind, "", "warning", message) for kind, message in remarks if message]
    if session.blind:
        message = f"This way of running cannot observe {'; '.join(session.blind)}: nothing is said about them."
        findings.append(Finding("not-observable", "", "info", message))
    return found, Probe(abi, numbers, probe_subnormals(session, abi_used, used)), findings


def fuzz(
    work: Work,
    library: Library,
    there: frozenset[str],
    probe: Probe,
    remarks: list[Finding],
    pool: Pool,
    settings: Settings,
    progress: Callable[[Progress], None] = lambda step: None,
) -> Results:
    """Run tasks until an end, and return what was found as results; an interrupt is an end, too.

    ``there``: entry points that the target has.

    Raises :class:`UsageError` for a state that is missing or of another run, and what the pool raises.
    """
    check_arithmetic()
    run = _Run(work, library, there, probe, remarks, settings)
    run.take_state()
    run.go(pool, progress)
    return run.results()


class _Run:
    def __init__(
        self, work: Work, library: Library, there: frozenset[str], probe: Probe, remarks: list[Finding],
        settings: Settings,
    ) -> None:  # fmt: skip
        self._work, self._library, self._there = work, library, there
        self._probe, self._remarks = probe, remarks
        self._settings, self._interrupted = settings, False
        self._path = settings.out / "fuzz.state"
        what = (
            library.sha256 or work.target,
            work.recipe.symbols,
            work.recipe.profile,
            work.recipe.bytes,
            work.half_abi,
            work.numbering,
        )
        self._digest = hashlib.sha256(
            repr((*what, work.recipe.draw, work.recipe.classes, work.recipe.task, identity())).encode()
        ).hexdigest()
        self._state = State(STATE_SCHEMA, self._digest, work.recipe.seed)
        self._later: dict[int, Evaluated] = {}
        #: The suite of what failed: cases by file and id, and what its manifest says.
        self._folder = settings.out / "failures"
        self._failed: dict[str, dict[str, Case]] = {}
        self._digests: dict[str, tuple[str, int]] = {}
        self._features: set[str] = set()

    def take_state(self) -> None:
        """Take the state of an interrupted run in, if it is to go on."""
        if not self._settings.resume:
            return
        try:
            state = reading.json_of(reading.read_bytes(self._path, reading.STATE), State)
        except FileNotFoundError as error:
            raise UsageError(
                f"There is nothing to resume: {self._path} does not exist. Fuzz without --resume."
            ) from error
        except (msgspec.MsgspecError, OSError, ValueError) as error:
            raise UsageError(f"{self._path} is damaged ({error}). Fuzz without --resume.") from error
        if state.schema != STATE_SCHEMA or state.digest != self._digest:
            raise UsageError(
                f"{self._path} is of another run (target, options or version of golden differ). Fuzz without --resume."
            )
        self._state, self._features = state, set(state.features)
        if (self._folder / "manifest.json").is_file():
            for file in read_suite(self._folder):
                self._failed[file.path.name] = {case.id: case for case in file.cases}
                self._digests[file.path.name] = file.digest, len(file.cases)
        recipe = msgspec.structs.replace(self._work.recipe, seed=state.seed)
        self._work = msgspec.structs.replace(self._work, recipe=recipe)

    def go(self, pool: Pool, progress: Callable[[Progress], None]) -> None:
        """Run tasks in order of their numbers; what comes early waits for those before it."""
        started, before, earlier = time.monotonic(), self._state.calls, self._state.seconds
        deadline = None if self._settings.seconds is None else started + self._settings.seconds
        saved = started
        try:
            with contextlib.closing(pool.evaluate(self._work, self._tasks(deadline))) as evaluated:
                for _, found in evaluated:
                    for one in found:
                        self._later[one.task] = one
                    while self._state.done in self._later:
                        self._take(self._later.pop(self._state.done))
                    now = time.monotonic()
                    self._state.seconds = earlier + now - started
                    if now - saved > _SAVING:
                        self._save()
                        saved = now
                    rate = (self._state.calls - before) / max(now - started, 1e-9)
                    progress(Progress(self._state.calls, rate, len(self._state.witnesses)))
                    if self._settings.fail_fast and self._state.witnesses:
                        break
        except KeyboardInterrupt:
            self._interrupted = True
        self._save()

    def _tasks(self, deadline: float | None) -> Iterator[tuple[int, range]]:
        task = self._state.done
        while not (self._work.recipe.calls and task * self._work.recipe.task >= self._work.recipe.calls):
            if deadline is not None and time.monotonic() >= deadline:
                return
            yield task, range(task, task + 1)
            task += 1

    def _take(self, found: Evaluated) -> None:
        """Add what a task gave, and make failures of a new kind small."""
        state = self._state
        state.done += 1
        state.calls += found.calls
        state.ways += found.ways
        state.passed_over += found.passed_over
        state.elements += found.elements
        for result in found.entries:
            old = state.entries.get(result.symbol)
            state.entries[result.symbol] = merged([old, result]) if old else merged([result])
        self._note(found.noted)
        if not found.features <= self._features:
            self._features |= found.features
            state.newest = state.calls
        for failing in found.failing:
            kind = " ".join(failing.kind)
            count = state.witnesses.get(kind, 0)
            if count < _WITNESSES:
                state.witnesses[kind] = count + 1
                state.newest = state.calls
                self._witness(failing)

    def _note(self, noted: list[tuple[Finding, int]]) -> None:
        """Add findings, each kind once."""
        at = {(f.kind, f.symbol): k for k, (f, _) in enumerate(self._state.noted)}
        for found, cases in noted:
            k = at.setdefault((found.kind, found.symbol), len(self._state.noted))
            if k == len(self._state.noted):
                self._state.noted.append((found, cases))
            else:
                first, more = self._state.noted[k]
                self._state.noted[k] = first, more + cases

    def _witness(self, failing: Failing) -> None:
        """Make a failure small, write it as vectors, and say where it is."""
        try:
            small = shrink(self._work, failing)
        except TargetError as error:
            small = Small(failing.job, [], None)
            self._note([(Finding("not-shrunk", failing.job.entry.symbol, "warning", str(error)), 1)])
        symbol, case = failing.job.entry.symbol, small.job.case
        self._write(case, failing.job.case)
        told = f"{case.id} is in {self._folder}."
        if small.failure is None:
            told = f"{failing.failure.message} It did not fail again alone, nor after the calls before it; {told}"
        elif small.before:
            named = ", ".join(f"{j.entry.symbol} with {j.case.id}" for j in small.before[:3])
            more = f" and {len(small.before) - 3} more" if len(small.before) > 3 else ""
            told = f"{small.failure.message} Only after {named}{more} in the same process; {told}"
        else:
            told = f"{small.failure.message} {told}"
        self._state.noted.append((Finding("witness", symbol, "failure", told, case.id), 1))
        if small.failure is not None:
            entry = self._state.entries[symbol]
            entry.failing.insert(0, small.failure)

    def _write(self, small: Case, drawn: Case) -> None:
        """Add a case to the suite of what failed; with what was drawn, if that is more than one constant."""
        kind = f"{small.operator.name}-{small.dtype}.h5"
        cases = self._failed.setdefault(kind, {})
        cases[small.id] = small
        if not is_evidence(small):
            cases[drawn.id] = drawn
        self._folder.mkdir(parents=True, exist_ok=True)
        digest = write_vectors(
            self._folder / kind, "fuzz", small.operator, small.dtype, cases.values(), self._work.recipe.seed
        )
        self._digests[kind] = digest, len(cases)
        write_manifest(self._folder, "fuzz", self._digests)

    def _save(self) -> None:
        self._state.features = sorted(self._features)
        write_atomically(self._path, msgspec.json.encode(self._state))

    def results(self) -> Results:
        """Return what was found, with the verdict that follows from it."""
        state, work = self._state, self._work
        entries = [self._entry(symbol) for symbol in work.recipe.symbols]
        platform = platform_of(work.recipe.profile)
        all_calls, required = state.calls + state.passed_over, len(work.recipe.profile.required())
        chosen = self._settings.selected
        selection = Selection(chosen, state.calls, all_calls, len(entries), required) if chosen else Selection()
        verdict, reason = overall(entries, platform, (), selection)
        if self._interrupted:
            verdict, reason = "fails", f"Interrupted after {state.calls} calls."
        check_arithmetic()
        findings = [*self._remarks, *(counted(found, cases) for found, cases in state.noted)]
        return Results(
            schema=SCHEMA,
            golden=__version__,
            verdict=verdict,
            reason=reason,
            platform=platform,
            target=work.target,
            library=self._library,
            host=host(),
            vectors=Vectors(
                str(self._folder) if self._digests else "drawn",
                state.calls,
                {name: digest for name, (digest, _) in self._digests.items()},
                [str(self._folder)] if self._digests else [],
            ),
            selection=selection,
            options={**self._settings.options, "seed": state.seed, "max-bytes": str(work.recipe.bytes)},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            judge=judge(),
            probe=self._probe,
            seconds=round(state.seconds, 3),
            entry_points=entries,
            findings=findings,
            drawn=Drawn(state.calls, state.ways, state.elements, len(self._features), state.calls - state.newest),
            complete=not self._interrupted,
        )

    def _entry(self, symbol: str) -> EntryPointResult:
        found = self._state.entries.get(symbol)
        if found is not None and (found.evidence or found.failures):
            return found
        entry, there = entry_points()[symbol], symbol in self._there
        detail = "None of its calls is evidence: fuzz for longer." if there else f"{symbol} is not in the target."
        return EntryPointResult(
            symbol, entry.operator.name, entry.fmt.name, entry.storage, True, "fail" if there else "missing", "fails",
            max_ulp=0.0, misrounded=0, elements=0, cases=0, failures=0, detail=detail,
        )  # fmt: skip


def new_seed() -> str:
    """Draw a seed."""
    return secrets.token_hex(8)
