"""Validation: every case of a suite on every entry point that the platform requires, judged, as results."""

import hashlib
import platform as host_platform
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np

from golden import __version__
from golden.case import Case
from golden.errors import TargetError
from golden.operator import EntryPoint
from golden.profile import Profile
from golden.results import (
    SCHEMA,
    EntryPointResult,
    Finding,
    Host,
    Library,
    Platform,
    Probe,
    Results,
    Vectors,
)
from golden.selfcheck import check_arithmetic
from golden.sources import judge
from golden.vectorfile import VectorFile
from golden.verdicts import overall
from runners.library import HalfAbi, LibrarySession, call_for
from runners.plan import invocations
from runners.positions import comparable_bits
from runners.probe import PROBED_OPERATOR, choose_half_abi, choose_reductions, probe_subnormals
from runners.protocol import Invocation, Session
from runners.sandbox import Mode
from runners.verdict import EntryPointVerdict
from runners.xfail import read_xfail

#: Calls that are on their way to the worker while the judge works on earlier ones.
_AHEAD = 3


@dataclass(frozen=True)
class Settings:
    """What a run was asked for."""

    profile: Profile
    suite: str
    strict: bool = False
    half_abi: str = "auto"
    reduction_enum: str = "sum-mean-none"
    timeout: float = 10.0
    memory: str = "any"
    xfail: Path | None = None
    sandbox: Mode = "auto"
    draw: str = ""
    recheck: bool = False


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
    """Run and judge every case of ``files`` on every entry point that the platform requires.

    An interrupt (KeyboardInterrupt) ends the run early; its results lack the footer ``complete``.

    Raises :class:`TargetError` if the target has none of the entry points that vectors and platform ask for.
    """
    check_arithmetic()
    started = time.monotonic()
    xfail = read_xfail(settings.xfail)
    profile = settings.profile
    by_kind = {(f.operator.name, f.dtype): f for f in files}
    wanted = [e for e in profile.required() if (e.operator.name, e.fmt.name) in by_kind]
    if not any(e.symbol in session.symbols for e in wanted):
        asked = ", ".join(e.symbol for e in wanted) or "nothing, because the vectors hold no case for this platform"
        raise TargetError(f"{target} has none of the entry points asked for: {asked}.")
    probe, reduction_enum, findings = _probe(session, settings, wanted)
    half_abi: HalfAbi = "uint16" if probe.half_abi == "uint16" else "float16"
    findings += [
        Finding(f"load-{f.kind}", "", "warning", f"Loading the library: {f.message}") for f in session.load_findings
    ]

    if session.blind:
        message = f"This way of running cannot observe {'; '.join(session.blind)}: nothing is said about them."
        findings.append(Finding("not-observable", "", "info", message))

    total = sum(len(by_kind[e.operator.name, e.fmt.name].cases) for e in wanted if e.symbol in session.symbols)
    done, complete = 0, True
    entries: list[EntryPointResult] = []
    outputs: dict[str, bytes] = {}  # digests of the shared entry points', for comparison with the private ones
    orders: dict[str, str] = {}
    misnumbered = probe.reduction_enum not in (reduction_enum, "unknown", "other")
    for entry in wanted:
        verdict = EntryPointVerdict(entry, profile, settings.strict, xfail, session.unobservable)
        if entry.symbol not in session.symbols:
            entries.append(verdict.missing())
            continue
        cases = by_kind[entry.operator.name, entry.fmt.name].cases
        if misnumbered and any(s.kind == "reduction" for s in entry.operator.scalars):
            verdict.refuse(
                "reduction-enum",
                f"This build numbers reductions {probe.reduction_enum}, not {reduction_enum} as the gradient's page "
                f"does: validate with --reduction-enum {probe.reduction_enum} to judge the rest.",
            )
        else:
            session.restart()  # what a library does in its first call of a process is judged like the rest
            try:
                for _ in _run(session, entry, cases, profile, half_abi, reduction_enum, verdict, outputs):
                    done += 1
                    progress(Progress(entry.symbol, done, total))
            except KeyboardInterrupt:
                complete = False
        entries.append(verdict.result(expected=len(cases)))
        findings += verdict.findings()
        if best := verdict.orders.best():
            orders[entry.symbol] = best
        if not complete:
            break
    closing = Counter((f.kind, f.message) for f in session.close())
    findings += [
        Finding(f"close-{kind}", "", "warning", message + (f" {count} times." if count > 1 else ""))
        for (kind, message), count in closing.items()
    ]

    check_arithmetic()  # of what was imported meanwhile, something may have changed the mode
    findings += [
        Finding("stale-xfail", "", "warning", f"{xfail.name}, line {e.line}: no failure is like this ({e.reason}).")
        for e in (xfail.stale() if complete else [])
    ]
    platform = Platform(
        profile.name,
        profile.cores,
        profile.subnormals,
        profile.half,
        list(profile.dtypes),
        list(profile.provenance.stated),
        list(profile.provenance.assumed),
        *profile.origin,
    )
    verdict_word, reason = overall(entries, platform, [e.symbol for e in profile.required() if e not in wanted])
    if not complete:
        verdict_word, reason = "fails", f"Interrupted after {done} of {total} cases."
    return Results(
        schema=SCHEMA,
        golden=__version__,
        verdict=verdict_word,
        reason=reason,
        platform=platform,
        target=target,
        library=library,
        host=Host(host_platform.machine(), host_platform.system(), host_platform.python_version(), np.__version__),
        vectors=Vectors(settings.suite, sum(len(f.cases) for f in files), {f.path.name: f.digest for f in files}),
        options={
            "half-abi": settings.half_abi,
            "reduction-enum": settings.reduction_enum,
            "strict": "yes" if settings.strict else "no",
            "timeout": f"{settings.timeout:g} s",
            "memory": settings.memory,
            "xfail": xfail.name or "none",
            **({"recheck": "yes"} if settings.recheck else {}),
            **session_facts(session),
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        judge=judge(),
        probe=Probe(probe.half_abi, probe.reduction_enum, probe.subnormals, orders),
        seconds=round(time.monotonic() - started, 3),
        entry_points=entries,
        findings=findings,
        complete=complete,
    )


def session_facts(session: Session) -> dict[str, str]:
    """Return what kept a library in its process, and what its run was drawn from; nothing for other targets."""
    facts = {"retries": str(session.retries)} if session.retries else {}
    if isinstance(session, LibrarySession):
        facts |= {"sandbox": ", ".join(sorted(session.layers)) or "none", "draw": session.draw}
    return facts


def _probe(session: Session, settings: Settings, wanted: Iterable[EntryPoint]) -> tuple[Probe, str, list[Finding]]:
    """Find out what has to be known before judging; returns it with the reduction numbers to use."""
    # The only entry points with a half by value whose results tell how it arrived.
    uses_half = any(
        e.fmt.name == "fp16" and e.operator.name == PROBED_OPERATOR for e in wanted if e.symbol in session.symbols
    )
    half_abi, on_half = choose_half_abi(session, settings.half_abi, uses_half)
    numbers, reduction_enum, on_numbers = choose_reductions(session, settings.reduction_enum)
    remarks = {"half-abi": on_half, "reduction-enum": on_numbers}
    findings = [Finding(kind, "", "warning", message) for kind, message in remarks.items() if message]
    subnormals = probe_subnormals(session, "uint16" if half_abi == "uint16" else "float16")
    return Probe(half_abi, numbers, subnormals), reduction_enum, findings


def _run(
    session: Session,
    entry: EntryPoint,
    cases: Sequence[Case],
    profile: Profile,
    half_abi: HalfAbi,
    reduction_enum: str,
    verdict: EntryPointVerdict,
    outputs: dict[str, bytes],
) -> Iterator[None]:
    """Run and judge all cases of an entry point, keeping the worker busy; yields after each.

    Nothing of a case may outlive its turn: the largest take hundreds of megabytes.
    """

    def submit(batch: Iterable[Case]) -> None:
        for case in batch:
            plan = invocations(case, entry, profile)
            call = call_for(entry, case.scalars, case.operands, plan, half_abi=half_abi, reduction_enum=reduction_enum)
            session.submit(call)
            running.append((case, plan))

    running: deque[tuple[Case, list[Invocation]]] = deque()
    waiting = iter(cases)
    submit(islice(waiting, _AHEAD))
    while running:
        case, plan = running.popleft()
        outcomes = session.collect()
        submit(islice(waiting, 1))
        verdict.add(case, plan, outcomes)
        if outcomes[0].status == "ok":
            _compare_storages(verdict, entry, case, outcomes[0].output, outputs)
        del case, plan, outcomes
        yield


def _compare_storages(
    verdict: EntryPointVerdict, entry: EntryPoint, case: Case, output: bytes, outputs: dict[str, bytes]
) -> None:
    bits = comparable_bits(case.fmt, np.frombuffer(output, case.fmt.dtype))
    digest = hashlib.sha256(bits.data).digest()
    if entry.storage == "shared":
        outputs[case.id] = digest
    elif (other := outputs.pop(case.id, None)) is not None:
        verdict.storage_compared(case, other == digest)
