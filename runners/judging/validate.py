"""Validation: every case of a suite on every entry point that the platform requires, judged, as results."""

import os
import platform as host_platform
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from golden import __version__
from golden.errors import MachineError, TargetError
from golden.files.collected import subset
from golden.files.manifest import digests_of
from golden.files.names import NUMBERING_OPTION, PRIVATE_SEED, PUBLIC_SEED, PUBLIC_SUITES
from golden.files.vectors import VectorFile
from golden.operator import EntryPoint, choice_words, page_numbering
from golden.profile import Profile
from golden.results import SCHEMA, Finding, Host, Library, Platform, Probe, Results, Vectors
from golden.selfcheck import check_arithmetic
from golden.sources import judge
from golden.tally import Judgements
from golden.verdicts import overall
from runners.calling.call import Finding as Seen
from runners.calling.call import Mode
from runners.calling.from_case import HalfAbi
from runners.calling.manner import Manner
from runners.calling.session import Session
from runners.judging.beside import Beside
from runners.judging.cases import Cases
from runners.judging.history import History
from runners.judging.probe import choose_half_abi, choose_numbering, probe_subnormals, takes_half
from runners.judging.selection import Wanted, choose
from runners.judging.subnormals import told
from runners.judging.verdict import EntryPointVerdict
from runners.judging.xfail import Xfail, read_xfail


@dataclass(frozen=True)
class Settings:
    """What a run was asked for."""

    profile: Profile
    suite: str
    strict: bool = False
    half_abi: str = "auto"
    numbering: str = ""
    timeout: float = 10.0
    memory: str = "any"
    xfail: Path | None = None
    sandbox: Mode = "auto"
    draw: str = ""
    recheck: bool = False
    vectors: tuple[str, ...] = ()  #: files and folders in place of a suite
    wanted: Wanted = field(default_factory=Wanted)
    fail_fast: bool = False
    #: The vectors' private seed, if results are to hold it.
    disclosed: str = ""
    #: Processes that judge where there is much to judge; 0: as many as there are processors.
    jobs: int = 1


#: Cases, those of all entry points, from which on several processes judge: to begin one takes as long as a hundred.
_MANY = 2000


@dataclass(frozen=True)
class Progress:
    """One step of a run: ``done`` of ``total`` cases, now at an entry point."""

    symbol: str
    done: int
    total: int


def validate(
    target: str,
    session: Session,
    library: Library,
    files: Sequence[VectorFile],
    settings: Settings,
    progress: Callable[[Progress], None] = lambda step: None,
) -> Results:
    """Run and judge every case of ``files`` on every entry point that the platform requires, in an order that is drawn.

    An interrupt (KeyboardInterrupt) ends the run early; its results lack the footer ``complete``.

    Raises :class:`TargetError` if the target has none of the entry points that vectors and platform ask for, and what
    :func:`runners.judging.selection.choose` raises.
    """
    check_arithmetic()
    validation = _Validation(target, session, library, files, settings)
    validation.probe()
    validation.run(progress)
    results = validation.results()
    check_arithmetic()  # of what was imported meanwhile, something may have changed the mode
    return results


class _Share(NamedTuple):
    """What another process has judged, and what closing its session has shown."""

    verdicts: dict[str, EntryPointVerdict]
    complete: bool
    left: list[Seen]
    xfail: Xfail
    retries: int


class _Validation:
    """A run in three parts, in this order: what the build is like, its cases, and what follows from both."""

    def __init__(
        self, target: str, session: Session, library: Library, files: Sequence[VectorFile], settings: Settings
    ) -> None:
        self._target, self._session, self._library = target, session, library
        self._files, self._settings = files, settings
        self._started = time.monotonic()
        self._draw = session.draw or settings.draw or secrets.token_hex(8)
        self._xfail = read_xfail(settings.xfail)
        session.manner = manner = Manner.of(settings.profile)
        self._given = [subset(file, manner.takes) for file in files]
        self._chosen = choose(self._given, settings.profile, settings.wanted)
        self._wanted = self._chosen.entries
        if not any(e.symbol in session.symbols for e in self._wanted):
            none = "nothing, because the vectors hold no case for this platform"
            asked = ", ".join(e.symbol for e in self._wanted) or none
            raise TargetError(f"{target} has none of the entry points asked for: {asked}.")
        self._findings: list[Finding] = []
        self._verdicts: dict[str, EntryPointVerdict] = {}
        self._done, self._complete = 0, True
        self._stopped = ""  # the entry point at which a run has ended that stops at the first failure
        self._left: list[Seen] = []  # by the sessions of other processes, when they were closed

    def probe(self) -> None:
        """Find out what has to be known before judging, and remark on how the target was loaded."""
        session, settings = self._session, self._settings
        uses_half = any(takes_half(e) for e in self._wanted if e.symbol in session.symbols)
        half_abi, on_half = choose_half_abi(session, settings.half_abi, uses_half)
        numbers, self._numbering, on_numbers = choose_numbering(session, settings.numbering or page_numbering())
        self._half_abi: HalfAbi = "uint16" if half_abi == "uint16" else "float16"
        self._probed = Probe(half_abi, numbers, probe_subnormals(session, self._half_abi, self._numbering))
        remarks = [("half-abi", on_half), (NUMBERING_OPTION, on_numbers)]
        remarks += [(f"load-{f.kind}", f"Loading the library: {f.message}") for f in session.load_findings]
        self._findings += [Finding(kind, "", "warning", message) for kind, message in remarks if message]
        lengths = settings.profile.calling.lengths
        for whole, given in zip(self._files, self._given, strict=True):
            if left := len(whole.heads) - len(given.heads):
                message = (
                    f"{left} of {len(whole.heads)} cases of {whole.operator.name} {whole.dtype} are not given to the "
                    f"build: as the profile says, {given.operator.length_name}: {lengths}."
                )
                self._findings.append(Finding("lengths", "", "info", message))
        if session.blind:
            message = f"This way of running cannot observe {'; '.join(session.blind)}: nothing is said about them."
            self._findings.append(Finding("not-observable", "", "info", message))

    def run(self, progress: Callable[[Progress], None]) -> None:
        """Run and judge the cases of every entry point, and end the target, which may decide, too."""
        session, settings = self._session, self._settings
        there = [e for e in self._wanted if e.symbol in session.symbols]
        self._total = sum(len(self._chosen.of(e).heads) for e in there)
        made = session, settings.profile, self._draw, self._half_abi, self._numbering
        self._history = History(*made, there, self._chosen.cases)
        others = [(share, Beside(partial(self._beside, share))) for share in self._shares(there)]
        aside = [entry for share, _ in others for entry in share]

        def step(entry: EntryPoint) -> None:
            self._done += 1
            progress(Progress(entry.symbol, self._done + sum(other.done for _, other in others), self._total))

        self._judge([e for e in self._wanted if e not in aside], step)
        for share, other in others:
            self._join(share, other, step)
        self._verdicts = {e.symbol: self._verdicts[e.symbol] for e in self._wanted if e.symbol in self._verdicts}
        if self._complete and not self._stopped:
            self._history.run(self._verdicts)
        self._closing = self._close()

    def _judge(self, entries: Sequence[EntryPoint], step: Callable[[EntryPoint], None]) -> None:
        """Run and judge the cases of entry points one after the other, each in a process of its own."""
        session, settings = self._session, self._settings
        cases = Cases(session, settings.profile, self._draw, self._half_abi, self._numbering)
        judgements = Judgements(settings.profile.terms)
        for entry in entries:
            verdict = EntryPointVerdict(
                *(entry, settings.profile, settings.strict, self._xfail, session.unobservable, judgements),
                settings.fail_fast,
                self._history.kept(entry),
            )
            self._verdicts[entry.symbol] = verdict
            if entry.symbol not in session.symbols or self._refused(verdict):
                if settings.fail_fast:
                    self._stopped = entry.symbol
                    break
                continue
            try:
                session.restart()  # what a library does in its first call of a process is judged like the rest
                for _ in cases.run(entry, self._chosen.of(entry), verdict):
                    step(entry)
                    if settings.fail_fast and verdict.fails:
                        break
            except KeyboardInterrupt:
                self._complete = False
                break
            if settings.fail_fast and verdict.fails:
                self._stopped = entry.symbol
                break

    # Processes that judge

    def _shares(self, there: Sequence[EntryPoint]) -> list[list[EntryPoint]]:
        """Return the entry points that other processes judge, if there is much to judge; the rest is this one's.

        Those of an operator and dtype stay together: the judgements of one storage serve the other.
        """
        jobs = self._settings.jobs or os.cpu_count() or 1
        if jobs < 2 or self._settings.fail_fast or self._total < _MANY or not self._session.again_possible:
            return []
        groups: dict[tuple[str, str], list[EntryPoint]] = {}
        for entry in there:
            groups.setdefault((entry.operator.name, entry.fmt.name), []).append(entry)
        shares: list[list[EntryPoint]] = [[] for _ in range(min(jobs, len(groups)))]
        cases = [0] * len(shares)
        for group in sorted(groups.values(), key=lambda g: -len(self._chosen.of(g[0]).heads) * len(g)):
            least = cases.index(min(cases))
            shares[least] += group
            cases[least] += len(self._chosen.of(group[0]).heads) * len(group)
        return shares[1:]

    def _beside(self, entries: Sequence[EntryPoint], step: Callable[[], None]) -> _Share:
        """Judge entry points in a fork of this process, which has a session of its own."""
        session = self._session = self._session.again()
        session.manner = Manner.of(self._settings.profile)
        self._judge(entries, lambda _: step())
        return _Share(self._verdicts, self._complete, session.close(), self._xfail, session.retries)

    def _join(self, entries: Sequence[EntryPoint], other: Beside[_Share], step: Callable[[EntryPoint], None]) -> None:
        """Take in what another process has judged; if it could not load the target again, judge that here."""
        try:
            try:
                if not self._complete:
                    other.interrupt()
                share = other.result()
            except KeyboardInterrupt:
                self._complete = False
                other.interrupt()
                share = other.result()
        except (TargetError, MachineError) as error:
            if self._complete and isinstance(error, MachineError):
                raise
            if self._complete:
                self._judge(entries, step)
            return  # or it was interrupted before there was anything to tell
        self._done += other.done
        self._complete &= share.complete
        self._xfail.join(share.xfail)
        self._session.retries += share.retries
        self._left += share.left
        for symbol, verdict in share.verdicts.items():
            verdict.xfail = self._xfail
            self._verdicts[symbol] = verdict

    def results(self) -> Results:
        """Return what was found, with the verdict that follows from it."""
        profile, settings, xfail = self._settings.profile, self._settings, self._xfail
        selection = self._chosen.selection
        if self._stopped:
            selection = replace(selection, stopped=True, planned=self._total)
        entries = [
            v.result(None if symbol == self._stopped else len(self._chosen.of(v.entry).heads), selection.whole)
            if symbol in self._session.symbols
            else v.missing()
            for symbol, v in self._verdicts.items()
        ]
        if self._stopped:
            selection = replace(selection, done=sum(entry.cases for entry in entries))
        findings = [*self._findings, *(found for v in self._verdicts.values() for found in v.findings())]
        subnormals, mixed = told(self._probed.subnormals, [v.subnormals for v in self._verdicts.values()])
        findings += [Finding("subnormals", "", "warning", mixed)] if mixed else []
        findings += self._closing
        findings += [
            Finding("stale-xfail", "", "warning", f"{xfail.name}, line {e.line}: no failure is like this ({e.reason}).")
            for e in (xfail.stale() if self._complete and selection.whole else [])
        ]
        orders = {symbol: best for symbol, v in self._verdicts.items() if (best := v.orders.best())}
        platform = platform_of(profile)
        uncovered = [e.symbol for e in profile.required() if e not in self._chosen.covered]
        verdict, reason = overall(entries, platform, uncovered, selection)
        if not self._complete:
            judged = sum(entry.cases for entry in entries)
            verdict, reason = "fails", f"Interrupted after {judged} of {self._total} cases."
        return Results(
            schema=SCHEMA,
            golden=__version__,
            verdict=verdict,
            reason=reason,
            platform=platform,
            target=self._target,
            library=self._library,
            host=host(),
            vectors=_vectors(settings, self._files, self._chosen.total),
            selection=selection,
            options=self._options(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            judge=judge(),
            probe=replace(self._probed, evaluation_order=orders, subnormals=subnormals),
            seconds=round(time.monotonic() - self._started, 3),
            entry_points=entries,
            findings=findings,
            complete=self._complete,
        )

    def _refused(self, verdict: EntryPointVerdict) -> bool:
        """Tell whether an entry point is not run at all, and have its verdict say why."""
        found, numbers = self._probed.numbering, self._numbering
        if found in (numbers, "unknown", "other") or not verdict.entry.operator.choices:
            return False
        verdict.refuse(
            NUMBERING_OPTION,
            f"This build numbers {choice_words()} {found}, not {numbers} as the page does: validate with "
            f"--{NUMBERING_OPTION} {found} to judge the rest.",
        )
        return True

    def _close(self) -> list[Finding]:
        """End the session; what decides is held against its entry point, the rest is returned as remarks."""
        remarks: Counter[tuple[str, str]] = Counter()
        for found in [*self._left, *self._session.close()]:
            verdict = self._verdicts.get(found.symbol)
            if verdict is None:
                remarks[found.kind, found.message] += 1
                continue
            heads = self._chosen.of(verdict.entry).heads
            verdict.died(next((head for head in heads if head.id == found.call), None), found.message)
        return [
            Finding(f"close-{kind}", "", "warning", message + (f" {count} times." if count > 1 else ""))
            for (kind, message), count in sorted(remarks.items())
        ]

    def _options(self) -> dict[str, str]:
        settings, accept = self._settings, self._settings.profile.accept
        return {
            "half-abi": settings.half_abi,
            NUMBERING_OPTION: settings.numbering or page_numbering(),
            "strict": "yes" if settings.strict else "no",
            "timeout": f"{settings.timeout:g} s",
            "memory": settings.memory,
            "xfail": self._xfail.name or "none",
            "draw": self._draw,
            **({"recheck": "yes"} if settings.recheck else {}),
            **{option: " ".join(patterns) for option, patterns in settings.wanted.options.items()},
            **({"fail-fast": "yes"} if settings.fail_fast else {}),
            **({"require": accept.grade} if accept.grade != "legal" else {}),
            **(
                {"max-ulp": " ".join(f"{d}={x:g}" for d, x in sorted(accept.max_ulp.items()))} if accept.max_ulp else {}
            ),
            **self._session.facts(),
        }


def host() -> Host:
    """Return where a run takes place."""
    of = host_platform
    return Host(of.machine(), of.system(), of.python_version(), np.__version__)


def _vectors(settings: Settings, files: Sequence[VectorFile], cases: int) -> Vectors:
    private = sorted({f.seed.removeprefix(PRIVATE_SEED) for f in files if f.seed.startswith(PRIVATE_SEED)})
    public = all(f.suite in PUBLIC_SUITES and f.seed == PUBLIC_SEED for f in files)
    return Vectors(
        settings.suite,
        cases,
        digests_of(files),
        list(settings.vectors),
        "private" if private else "public" if public else "own",
        ", ".join(private),
        settings.disclosed,
    )


def platform_of(profile: Profile) -> Platform:
    """Return what results say of a profile."""
    return Platform(
        profile.name,
        profile.cores,
        profile.subnormals,
        profile.half,
        list(profile.dtypes),
        list(profile.provenance.stated),
        list(profile.provenance.assumed),
        *profile.origin,
        profile.arithmetic,
        profile.accept,
        profile.calling,
    )
