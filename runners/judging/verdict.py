"""The verdict on one entry point: what its cases show, counted, held against each other and merged."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count
from operator import attrgetter, itemgetter
from typing import NamedTuple

import msgspec
import numpy as np

from golden.case import Case, Head
from golden.flags import ORDER_ALONE
from golden.formats import Array, comparable_bits
from golden.judge import KEPT_FAILURES, Judged, judge_all
from golden.operator import EntryPoint
from golden.profile import Profile
from golden.results import POLICIES, EntryPointResult, Failure, Finding, Severity, Status
from golden.tally import Accumulator, Judgements, Measured
from golden.terms import Accept
from runners.calling.call import Invocation, Outcome
from runners.judging.contracts import Contracts
from runners.judging.figures import Illegal, would_conform
from runners.judging.orders import OrderShares, matches
from runners.judging.outcomes import (
    FAILING,
    Differing,
    Remark,
    Shown,
    allowed,
    array,
    broken_contracts,
    compared,
    differing,
    illegal_values,
)
from runners.judging.positions import Positions, look
from runners.judging.subnormals import Subnormals
from runners.judging.xfail import Xfail

#: Cases that are judged together: so many, or fewer with outputs of so many bytes.
TOGETHER, _TOGETHER_BYTES = 1024, 32 << 20


class _Noted(NamedTuple):
    """A kind of finding: the first one, and the cases in which it was seen."""

    rank: tuple[int, int]  #: place of its case in the suite, and a number that rises
    first: Finding
    cases: set[str]


class _Waiting(NamedTuple):
    """A case that is not judged yet."""

    place: int
    case: Case
    plan: Sequence[Invocation]
    outcomes: Sequence[Outcome]
    outputs: list[Array | None]


class EntryPointVerdict:
    """Collects what is found about one entry point, case by case.

    ``judgements``: of the run. ``fail_fast``: what was added behind the first failing case does not count. ``keep``:
    ids of the cases whose outputs are kept, to be compared with later. ``group``: names the row of the report that a
    case belongs to.
    """

    def __init__(
        self,
        entry: EntryPoint,
        profile: Profile,
        strict: bool,
        xfail: Xfail,
        unobservable: frozenset[str] = frozenset(),
        judgements: Judgements | None = None,
        fail_fast: bool = False,
        keep: frozenset[str] = frozenset(),
        group: Callable[[Head], str] = attrgetter("group"),
    ) -> None:
        self.entry = entry
        self._group = group
        self._judgements = judgements or Judgements(profile.terms)
        self.orders = OrderShares()
        self._profile = profile
        self._strict = strict
        self._fail_fast = fail_fast
        self._together = 1 if fail_fast else TOGETHER  # cases that are judged together
        self.xfail = xfail
        self._expected = 0
        self._evidence = 0
        self._held_ulp = 0.0
        self._required: dict[str, Accumulator] = {}
        self._stress: dict[str, Accumulator] = {}
        self._overall = Accumulator(detailed=True)
        self._classes: dict[str, Counter[str]] = {}
        self._failures: list[tuple[int, Failure]] = []  # with the place of the case
        self._failing = 0
        self._statuses: Counter[str] = Counter()
        self._cases = 0
        self._findings: dict[tuple[str, str], _Noted] = {}
        self._numbers = count()
        self._places: dict[str, int] = {}  # of cases by id
        self._groups: dict[str, int] = {}  # places of the first cases of classes and groups
        self._refused = ""
        self._only_values = True
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._positions = Positions()
        aliases = bool(profile.calling.aliases(entry.operator.output.name))
        self._checks = Contracts(entry, unobservable, aliases)
        self._bits: dict[str, list[tuple[int, bytes]]] = {}
        self._illegal = Illegal(entry)
        self.subnormals = Subnormals(entry.symbol, profile.terms)
        self._keep = keep
        #: What the cases to ``keep`` gave, by id.
        self.kept: dict[str, bytes] = {}

    def add(
        self,
        case: Case,
        plan: Sequence[Invocation],
        outcomes: Sequence[Outcome],
        place: int | None = None,
    ) -> None:
        """Take in the outcomes of one case, one an invocation of its plan; they are judged with those of others.

        Cases may come in any order: what is found is told in the order of the suite. ``place``: where the case stands
        in it, if not behind those that were added before.
        """
        case = self._tiered(case)
        place = len(self._places) if place is None else place
        self._places[case.id] = place
        for group in (case.klass, self._group(case)):
            self._groups[group] = min(self._groups.get(group, place), place)
        waiting = _Waiting(place, case, plan, outcomes, [array(case, o) for o in outcomes])
        self._waiting.append(waiting)
        self._waiting_bytes += len(plan) * len(outcomes[0].output)
        ended = self._fail_fast and any(o.status != "ok" for o in outcomes)  # another such call takes time
        if ended or len(self._waiting) >= self._together or self._waiting_bytes >= _TOGETHER_BYTES:
            self.judge()

    def judge(self) -> None:
        """Judge the cases that wait for others to be judged with."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        outputs = [(w.case, w.outputs[0]) for w in waiting if w.outputs[0] is not None]
        measured = iter(self._judgements.of(outputs))
        self.subnormals.add([(case, output) for case, output in outputs if case.tier == "required"])
        unlike = [[] if w.outputs[0] is None else differing(w.case, w.outcomes, w.outputs) for w in waiting]
        more = [(w.case, w.outputs[d.number]) for w, found in zip(waiting, unlike, strict=True) for d in found]
        judged = iter(judge_all([(case, output) for case, output in more if output is not None], self._profile.terms))
        others = [[(d, next(judged)) for d in found] for found in unlike]
        for w, mine in zip(waiting, others, strict=True):
            if self._fail_fast and self.fails:
                del self._places[w.case.id]
                continue
            self._judge(w, None if w.outputs[0] is None else next(measured), mine)
        self._together = min(2 * self._together, TOGETHER)  # judging each alone would take three times as long

    def _judge(
        self, waiting: "_Waiting", measured: Measured | None, unlike: Sequence[tuple[Differing, Judged]]
    ) -> None:
        place, case, plan, outcomes, outputs = waiting
        self._cases += 1
        self._classes.setdefault(case.klass, Counter())["cases"] += 1
        problems, remarks = broken_contracts(case, plan, outcomes)
        self._checks.add(case, plan, outcomes, outputs)
        first = outputs[0]
        digest = _bits_digest(case) if first is None or measured is None else measured.once(_bits_digest, case, first)
        if case.id in self._keep and first is not None:
            self.kept[case.id] = first.tobytes()
        self._bits.setdefault(case.klass, []).append((place, digest))
        if first is not None and measured is not None:
            terms = self._profile.terms
            accept = self._accept(case)
            others = compared(case, plan, outcomes, outputs, unlike, terms, accept)
            problems += illegal_values(case, first, measured.judged, terms, accept) + others.failures
            remarks += others.remarks + allowed(case, measured.judged, accept)
        self._note_all(remarks, case)
        self._checks.problems(case, problems)
        if problems and self.xfail.expects(self.entry.symbol, case.id):
            self._expected += 1
        else:
            self._evidence += is_evidence(case)
            if first is not None and measured is not None:
                self._count(case, first, measured, place)
            if problems:
                self._fail(case, problems)
                self._classes[case.klass]["failures"] += 1
                if measured is not None and first is not None and (case.tier == "required" or self._strict):
                    self._illegal.add(case, measured.judged.at[measured.judged.failing], first)
        if first is not None:
            self._compare_storages(case, digest)

    def _compare_storages(self, case: Case, digest: bytes) -> None:
        """Hold the private entry point's output against the shared one's, which is judged before it."""
        if self.entry.storage == "shared":
            self._judgements.shared[case.id] = digest
        elif (other := self._judgements.shared.pop(case.id, None)) is not None:
            self._checks.compared("storage", case, other == digest)
            if other != digest:
                self._note("storage-dependent", "warning", "_s and _p give different bits for the same case.", case)

    def _tiered(self, case: Case) -> Case:
        """Return the case as one of stress if the platform promises nothing of its NaNs and infinities."""
        if self._profile.calling.specials == "ieee" or case.tier == "stress":
            return case
        given = (v for v in case.operands.values() if v.dtype.kind == "f")
        return case if all(np.isfinite(v).all() for v in given) else replace(case, tier="stress")

    def _accept(self, case: Case) -> Accept:
        """Return what is accepted of a case: policies are for cases that decide."""
        return self._profile.accept if case.tier == "required" or self._strict else Accept()

    @property
    def fails(self) -> bool:
        """Tell whether a case has failed already."""
        return self._failing > 0

    @property
    def returns(self) -> bool:
        """Tell whether every call has returned, and there were some."""
        return self._cases > 0 and not (self._statuses["crash"] or self._statuses["timeout"])

    @property
    def varies(self) -> bool:
        """Tell whether the same call has given other bits already."""
        return self._checks.broken("repetition")

    def later(self, case: Case, shown: Shown, equal: bool, calls: int = 1) -> None:
        """Take in what calls of a case have shown in a process with a history."""
        self._checks.compared("history", case, equal, calls)
        self._note_all(shown.remarks, case)
        if shown.failures and not self.xfail.expects(self.entry.symbol, case.id):
            self._only_values = False
            self._fail(case, shown.failures)
            self._classes[case.klass]["failures"] += 1

    def again(self, runs: Iterable[tuple[Case, Sequence[Invocation], Sequence[Outcome]]]) -> None:
        """Judge cases that were run once more, with operands at the addresses of the call before."""
        runs = [(self._tiered(case), plan, outcomes) for case, plan, outcomes in runs]
        outputs = [array(case, outcomes[0]) for case, _, outcomes in runs]
        terms = self._profile.terms
        got = [(case, output) for (case, _, _), output in zip(runs, outputs, strict=True) if output is not None]
        judgements = iter(judge_all(got, terms))
        for (case, plan, outcomes), output in zip(runs, outputs, strict=True):
            problems, remarks = broken_contracts(case, plan, outcomes)
            self._note_all(remarks, case)
            if output is not None:
                where = " where operands lie as in the call before"
                problems += illegal_values(case, output, next(judgements), terms, self._accept(case), where)
            if problems and not self.xfail.expects(self.entry.symbol, case.id):
                self._fail(case, problems)

    def _count(self, case: Case, output: Array, measured: Measured, place: int) -> None:
        """Add the first output to the statistics."""
        rows = self._required if case.tier == "required" else self._stress
        judged = measured.judged
        rows.setdefault(self._group(case), Accumulator()).add(case, output, judged, measured, place)
        if case.tier == "required":
            self._overall.add(case, output, judged, measured, place)
            self._held_ulp = max(self._held_ulp, float(np.abs(judged.signed[judged.held]).max(initial=0.0)))
        if case.flags == ORDER_ALONE:
            self.orders.add(measured.once(matches, case, output))
        if "position" in case.flags:
            self._positions.add(case, measured.once(look, case, output), place)

    def _settle(self) -> None:
        """Hold the cases that were added against each other, once they are all there."""
        self.judge()
        for head, where in self._positions.differing():
            self._checks.compared("position", head, where is None)
            if where is not None:
                text = (
                    f"Element {where} has other bits than another element with the same inputs, within bounds or not."
                )
                self._note("position-dependent", "warning", text, head)
        self._positions = Positions()

    def _fail(self, case: Case, problems: Sequence[Failure]) -> None:
        # Memory and processes are not a matter of realistic operands: their contracts decide in every tier.
        deciding = [p for p in problems if p.kind in (*FAILING, "crash", "timeout", "not-run")]
        if case.tier == "stress" and not self._strict and not deciding:
            for problem in problems:
                self._note(f"stress-{problem.kind}", "warning", f"In the stress tier: {problem.message}", case)
            return
        self._failing += 1
        self._only_values &= all(p.first is not None and p.kind not in POLICIES for p in problems)
        self._statuses.update({_status_of(p) for p in problems})
        self._failures += [(self._places[case.id], problem) for problem in problems]

    def _note_all(self, remarks: Iterable[Remark], case: Case) -> None:
        for remark in remarks:
            self._note(*remark, case)

    def _note(self, kind: str, severity: Severity, message: str, case: Head) -> None:
        """Keep the first finding of a kind in the order of the suite, and in which cases it was seen."""
        key = (kind, case.klass if kind.startswith("stress") else "")
        rank = (self._places[case.id], next(self._numbers))
        noted = self._findings.get(key)
        if noted is None or rank < noted.rank:
            first = Finding(kind, self.entry.symbol, severity, message, case.id)
            noted = self._findings[key] = _Noted(rank, first, noted.cases if noted else set())
        noted.cases.add(case.id)

    def died(self, case: Head | None, message: str) -> None:
        """Fail because the target died after a call: that of a case, or of a probe."""
        if case is None:
            self._failures.append((0, Failure("", "", "required", "crash", message)))
            self._failing += 1
            self._only_values = False
        elif case.id not in self._places or self.xfail.expects(self.entry.symbol, case.id):
            return  # of an interrupted run, or expected
        else:
            failure = Failure(case.id, case.klass, case.tier, "crash", message)
            self._checks.problems(case, [failure])
            self._only_values = False
            if all(known.case != case.id for _, known in self._failures):
                self._classes[case.klass]["failures"] += 1
                self._failing += 1
            self._failures.append((self._places[case.id], failure))
        self._statuses["crash"] += 1

    def refuse(self, kind: str, message: str) -> None:
        """Fail without running: one sentence instead of thousands of failures."""
        self._refused = message
        self._failing += 1
        self._statuses["fail"] += 1
        self._failures.append((0, Failure("", "", "required", kind, message)))

    def findings(self) -> list[Finding]:
        """Return the findings, with counts where a kind was seen more than once."""
        return [counted(found, cases) for found, cases in self.noted()]

    def noted(self) -> list[tuple[Finding, int]]:
        """Return the findings, each the first of its kind, and in how many cases there were such."""
        self._settle()
        return [(f, len(cases)) for _, f, cases in sorted(self._findings.values(), key=attrgetter("rank"))]

    def missing(self) -> EntryPointResult:
        """Return the result of an entry point that the target does not have."""
        return self._result("missing", f"{self.entry.symbol} is not in the library.")

    def result(self, expected: int | None, whole: bool = True) -> EntryPointResult:
        """Return the result after all cases; fewer than ``expected`` is a failure, None for what came until one failed.

        ``whole``: the run is one of everything. Results of a few cases that were chosen may all be constant.
        """
        self._settle()
        expected = self._cases if expected is None else expected
        if self._refused:
            return self._result("fail", self._refused)
        if self._cases != expected or not expected:
            return self._result("fail", f"Only {self._cases} of {expected} cases were run.")
        if whole and not self._evidence:
            return self._result(
                "fail", f"None of {expected} cases is evidence: all were expected to fail, or have constant results."
            )
        return self.so_far(expected)

    def so_far(self, expected: int) -> EntryPointResult:
        """Return what the cases that were added come to, out of ``expected``, whether they are evidence or not."""
        self._settle()
        if not self._failing:
            return self._result("pass", "")
        status: Status = "crash" if self._statuses["crash"] else "timeout" if self._statuses["timeout"] else "fail"
        worst = next(f for f in self._ordered_failures() if _status_of(f) == status)
        text = f"{worst.case}: {worst.message}" if worst.case else worst.message
        return self._result(status, f"{self._failing} of {expected} cases fail; {text}")

    def _ordered_failures(self) -> list[Failure]:
        """Order failures so that one of every (class, kind) comes first, required ones before stress."""
        seen: Counter[tuple[str, str]] = Counter()
        ranked = []
        for position, (_, failure) in enumerate(sorted(self._failures, key=itemgetter(0))):
            key = (failure.klass, failure.kind)
            ranked.append((failure.tier == "stress", seen[key], position, failure))
            seen[key] += 1
        return [failure for *_, failure in sorted(ranked, key=lambda r: r[:3])]

    def _result(self, status: Status, detail: str) -> EntryPointResult:
        tally = self._overall.tally()
        return EntryPointResult(
            symbol=self.entry.symbol,
            operator=self.entry.operator.name,
            dtype=self.entry.fmt.name,
            storage=self.entry.storage,
            required=True,
            status=status,
            grade=tally.grade if status == "pass" else "fails",
            max_ulp=tally.max_ulp,
            held_ulp=self._held_ulp,
            misrounded=tally.misrounded,
            elements=tally.elements,
            cases=self._cases,
            failures=self._failing,
            detail=detail,
            would_conform=would_conform(self._illegal, self._profile.terms) if self._only_values else "",
            groups={name: self._required[name].tally() for name in self._in_order(self._required)},
            stress={name: self._stress[name].tally() for name in self._in_order(self._stress)},
            classes={k: {n: self._classes[k][n] for n in ("cases", "failures")} for k in self._in_order(self._classes)},
            bits={k: _digest(self._bits[k]) for k in self._in_order(self._bits)},
            expected_failures=self._expected,
            evidence=self._evidence,
            failing=self._ordered_failures()[:KEPT_FAILURES],
            worst=self._overall.worst_cases(),
            landscapes=self._overall.landscapes(),
            contracts=self._checks.result() if self._cases else [],
        )

    def _in_order(self, names: Iterable[str]) -> list[str]:
        """Return classes or groups as they first come in the suite."""
        return sorted(names, key=self._groups.__getitem__)


def counted(found: Finding, cases: int) -> Finding:
    """Return a finding that says in how many cases there were such."""
    if cases < 2:
        return found
    return msgspec.structs.replace(found, message=f"{found.message} {cases} cases like this.")


def _digest(parts: Iterable[tuple[int, bytes]]) -> str:
    """Return the digest of digests, in the order of the places that they come with."""
    return hashlib.sha256(b"".join(digest for _, digest in sorted(parts))).hexdigest()[:16]


def _status_of(failure: Failure) -> Status:
    """Return the status that a failure gives its entry point; cases not run count as what stopped them."""
    if failure.kind == "timeout" or (failure.kind == "not-run" and "time-out" in failure.message):
        return "timeout"
    return "crash" if failure.kind in ("crash", "not-run") else "fail"


def _bits_digest(case: Case, output: Array | None = None) -> bytes:
    """Return the digest of an output's bits and of whose they are; NaN payloads do not count."""
    bits = b"" if output is None else comparable_bits(case.fmt, output).tobytes()
    return hashlib.sha256(case.id.encode() + bits).digest()


def is_evidence(case: Case) -> bool:
    """Tell whether a case could show anything: it has one non-zero number, or several that are not one constant."""
    value = case.golden.value
    numbers = value[np.isfinite(value) & (value != 0)]
    return bool(numbers.size and (numbers.size == 1 or (numbers != numbers[0]).any()))
