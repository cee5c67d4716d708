"""Validation: every case of a suite on every entry point that the platform requires, judged, as results."""

import hashlib
import math
import platform as host_platform
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, cycle, islice
from operator import itemgetter
from pathlib import Path

import msgspec
import numpy as np

from golden import __version__
from golden.case import Case, Head
from golden.errors import TargetError
from golden.files.vectors import VectorFile
from golden.operator import EntryPoint
from golden.profile import Profile
from golden.results import SCHEMA, Finding, Host, Library, Platform, Probe, Results, Vectors
from golden.selfcheck import check_arithmetic
from golden.sources import judge
from golden.tally import Judgements
from golden.verdicts import overall
from runners.calling.call import Call, Invocation, Session
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.plan import guarded, invocations, shuffled
from runners.judging.positions import comparable_bits
from runners.judging.probe import PROBED_OPERATOR, choose_half_abi, choose_reductions, probe_subnormals
from runners.judging.verdict import EntryPointVerdict
from runners.judging.xfail import read_xfail
from runners.library.session import LibrarySession
from runners.process.sandbox import Mode, described

#: Calls that are on their way to the worker while the judge works on earlier ones: so many, or of so many bytes, but a
#: few in any case.
_AHEAD, _AHEAD_BYTES, _AHEAD_LEAST = 40, 4 << 20, 3
#: Cases that are run once more where the one before lay, and those that they are chosen from.
_IN_ONE_PLACE, _LOOKED_THROUGH = 6, 400


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
    """Run and judge every case of ``files`` on every entry point that the platform requires, in an order that is drawn.

    An interrupt (KeyboardInterrupt) ends the run early; its results lack the footer ``complete``.

    Raises :class:`TargetError` if the target has none of the entry points that vectors and platform ask for.
    """
    check_arithmetic()
    started = time.monotonic()
    draw = session.draw if isinstance(session, LibrarySession) else settings.draw or secrets.token_hex(8)
    profile, xfail = settings.profile, read_xfail(settings.xfail)
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
    done, complete, judgements = 0, True, Judgements(profile.may_flush)
    verdicts: dict[str, EntryPointVerdict] = {}
    outputs: dict[str, bytes] = {}  # digests of the shared entry points', for comparison with the private ones
    misnumbered = probe.reduction_enum not in (reduction_enum, "unknown", "other")
    for entry in wanted:
        file = by_kind[entry.operator.name, entry.fmt.name]
        verdict = EntryPointVerdict(entry, profile, settings.strict, xfail, session.unobservable, judgements)
        verdicts[entry.symbol] = verdict
        if entry.symbol not in session.symbols:
            continue
        if misnumbered and any(s.kind == "reduction" for s in entry.operator.scalars):
            verdict.refuse(
                "reduction-enum",
                f"This build numbers reductions {probe.reduction_enum}, not {reduction_enum} as the gradient's page "
                f"does: validate with --reduction-enum {probe.reduction_enum} to judge the rest.",
            )
        else:
            session.restart()  # what a library does in its first call of a process is judged like the rest
            try:
                for _ in _run(session, entry, file, profile, draw, half_abi, reduction_enum, verdict, outputs):
                    done += 1
                    progress(Progress(entry.symbol, done, total))
            except KeyboardInterrupt:
                complete = False
        if not complete:
            break
    closing = _close(session, verdicts, by_kind)  # before results: how the target ends may decide
    entries = [
        v.result(expected=len(by_kind[v.entry.operator.name, v.entry.fmt.name].cases))
        if symbol in session.symbols
        else v.missing()
        for symbol, v in verdicts.items()
    ]
    findings += [found for v in verdicts.values() for found in v.findings()] + closing
    orders = {symbol: best for symbol, v in verdicts.items() if (best := v.orders.best())}

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
            "draw": draw,
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


def _close(
    session: Session, verdicts: dict[str, EntryPointVerdict], files: dict[tuple[str, str], VectorFile]
) -> list[Finding]:
    """End the session; what decides is held against its entry point, the rest is returned as remarks."""
    remarks: Counter[tuple[str, str]] = Counter()
    for found in session.close():
        verdict = verdicts.get(found.symbol)
        if verdict is None:
            remarks[found.kind, found.message] += 1
            continue
        file = files[verdict.entry.operator.name, verdict.entry.fmt.name]
        verdict.died(next((head for head in file.heads if head.id == found.call), None), found.message)
    return [
        Finding(f"close-{kind}", "", "warning", message + (f" {count} times." if count > 1 else ""))
        for (kind, message), count in remarks.items()
    ]


def session_facts(session: Session) -> dict[str, str]:
    """Return what kept a library in its process, and how often something was tried again."""
    facts = {"retries": str(session.retries)} if session.retries else {}
    if isinstance(session, LibrarySession):
        facts["sandbox"] = described(session.layers)
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
    file: VectorFile,
    profile: Profile,
    draw: str,
    half_abi: HalfAbi,
    reduction_enum: str,
    verdict: EntryPointVerdict,
    outputs: dict[str, bytes],
) -> Iterator[None]:
    """Run and judge all cases of an entry point, keeping the worker busy; yields after each.

    Cases and the invocations of each are made in an order that is drawn, so that it tells a library nothing, and judged
    as if in that of the suite and the plan. Nothing of a case may outlive its turn: the largest take hundreds of
    megabytes.
    """

    def call(case: Case, ways: list[Invocation]) -> Call:
        made = call_for(entry, case.scalars, case.operands, ways, half_abi=half_abi, reduction_enum=reduction_enum)
        return msgspec.structs.replace(made, name=case.id)

    running: deque[tuple[int, Case, list[Invocation], list[int], int]] = deque()
    under_way = 0
    guards = guarded(draw, entry, file.heads)
    waiting = iter(shuffled(draw, entry.symbol, len(file.cases)))
    ways = random.Random(f"{draw} {entry.symbol} ways")

    def submit() -> None:
        nonlocal under_way
        while len(running) < _AHEAD_LEAST or (len(running) < _AHEAD and under_way < _AHEAD_BYTES):
            place = next(waiting, None)
            if place is None:
                return
            case = file.cases[place]
            plan = invocations(case, entry, profile, case.id in guards, session.plain)
            order = ways.sample(range(len(plan)), len(plan))
            made = call(case, [plan[number] for number in order])
            session.submit(made)
            size = made.size
            under_way += size
            running.append((place, case, plan, order, size))

    submit()
    while running:
        place, case, plan, order, size = running.popleft()
        made = zip(order, session.collect(), strict=True)
        outcomes = [outcome for _, outcome in sorted(made, key=itemgetter(0))]
        under_way -= size
        submit()
        verdict.add(case, plan, outcomes, place)
        if outcomes[0].status == "ok":
            _compare_storages(verdict, entry, case, outcomes[0].output, outputs)
        del case, plan, outcomes, made
        yield
    if isinstance(session, LibrarySession) and not verdict.fails:
        # Each alone, operands lie where those of the call before lay, as in most programs; among others they never do.
        for place in _of_one_size(file.heads):
            case = file.cases[place]
            plan = invocations(case, entry, profile)[:1]
            verdict.again(case, plan, session.run(call(case, plan)))


def _of_one_size(heads: Sequence[Head]) -> Iterator[int]:
    """Yield the places of a few cases whose operands have the same sizes."""
    sizes: dict[tuple[object, ...], list[int]] = {}
    for place, head in enumerate(heads[:_LOOKED_THROUGH]):
        if head.tier == "required" and all(math.prod(shape) for shape in head.operator.shapes(head.scalars).values()):
            key = tuple(value for value in head.scalars.values() if isinstance(value, int))
            sizes.setdefault(key, []).append(place)
    most = sorted(sizes.values(), key=len)[-1:]
    return islice(cycle(chain.from_iterable(most)), _IN_ONE_PLACE)


def _compare_storages(
    verdict: EntryPointVerdict, entry: EntryPoint, case: Case, output: bytes, outputs: dict[str, bytes]
) -> None:
    bits = comparable_bits(case.fmt, np.frombuffer(output, case.fmt.dtype))
    digest = hashlib.sha256(bits.data).digest()
    if entry.storage == "shared":
        outputs[case.id] = digest
    elif (other := outputs.pop(case.id, None)) is not None:
        verdict.storage_compared(case, other == digest)
