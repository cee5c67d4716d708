"""The verdict on one entry point: outcomes judged, contracts held against each other, findings merged."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from golden.case import Case
from golden.formats import Array
from golden.judge import KEPT_FAILURES, Judged, element, judge
from golden.operator import EntryPoint
from golden.profile import Profile
from golden.results import EntryPointResult, Failure, Finding, Severity, Status
from golden.tally import Accumulator, baseline_of
from runners.contracts import Contracts
from runners.positions import Positions, comparable_bits
from runners.probe import OrderShares
from runners.protocol import POISONS, Invocation, Outcome
from runners.xfail import Xfail

#: Broken contracts that make an entry point fail; other findings are remarks.
FAILING = {
    "output-underrun": "memory before the output was written",
    "output-overrun": "memory beyond the output was written",
    "input-written": "an input was written",
    "guard": "memory outside an operand was accessed",
    "fp-environment": "the floating-point environment was left changed",
    "registers": "registers that the calling convention preserves were changed",
    "intrusion": "the call reached for other processes, or for the system",
    "forked": "the call started a process",
    "left-process": "processes that the call had started were left behind",
    "unwritten": "output elements were not written",
    "unread-influence": "an operand that must not be read changed the result",
    "poison-influence": "what the output held before the call changed the result",
}


#: Remarks that are no reason to look further: arithmetic raises these flags.
_INFO = ("exception-flags",)


class EntryPointVerdict:
    """Collects what is found about one entry point, case by case."""

    def __init__(
        self,
        entry: EntryPoint,
        profile: Profile,
        strict: bool,
        xfail: Xfail,
        unobservable: frozenset[str] = frozenset(),
    ) -> None:
        self.entry = entry
        self.orders = OrderShares()
        self._profile = profile
        self._strict = strict
        self._xfail = xfail
        self._expected = 0
        self._evidence = 0
        self._required: dict[str, Accumulator] = {}
        self._stress: dict[str, Accumulator] = {}
        self._overall = Accumulator(detailed=True)
        self._classes: dict[str, Counter[str]] = {}
        self._failures: list[Failure] = []
        self._failing = 0
        self._statuses: Counter[str] = Counter()
        self._cases = 0
        self._findings: dict[tuple[str, str], tuple[Finding, set[str]]] = {}
        self._refused = ""
        self._positions = Positions()
        self._checks = Contracts(entry, unobservable)
        self._bits: dict[str, hashlib._Hash] = {}

    def add(self, case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome]) -> None:
        """Judge the outcomes of one case, one an invocation of its plan."""
        self._cases += 1
        row = self._classes.setdefault(case.klass, Counter())
        row["cases"] += 1
        problems = self._contracts(case, plan, outcomes)
        outputs = [self._array(case, o) for o in outcomes]
        self._checks.add(case, plan, outcomes, outputs)
        first = outputs[0]
        digest = self._bits.setdefault(case.klass, hashlib.sha256())
        digest.update(case.id.encode() + (b"" if first is None else comparable_bits(case.fmt, first).tobytes()))
        judged = None if first is None else judge(case, first, self._profile.may_flush)
        if first is not None and judged is not None:
            problems += self._value_failures(case, first, judged)
            problems += self._compare(case, plan, outcomes, outputs)
        self._checks.problems(case, problems)
        if problems and self._xfail.expects(self.entry.symbol, case.id):
            self._expected += 1
            return
        self._evidence += _is_evidence(case)
        if first is not None and judged is not None:
            self._count(case, first, judged)
        if problems:
            self._fail(case, problems)
            row["failures"] += 1

    @property
    def fails(self) -> bool:
        """Tell whether a case has failed already."""
        return self._failing > 0

    def again(self, case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome]) -> None:
        """Judge a case that was run once more, with operands at the addresses of the call before."""
        problems = self._contracts(case, plan, outcomes)
        if (output := self._array(case, outcomes[0])) is not None:
            judged = judge(case, output, self._profile.may_flush)
            problems += self._value_failures(case, output, judged, " where operands lie as in the call before")
        if problems and not self._xfail.expects(self.entry.symbol, case.id):
            self._fail(case, problems)

    def _count(self, case: Case, output: Array, judged: Judged) -> None:
        """Add the first output to the statistics."""
        rows = self._required if case.tier == "required" else self._stress
        baseline = baseline_of(case)
        rows.setdefault(case.group, Accumulator()).add(case, output, judged, baseline)
        if case.tier == "required":
            self._overall.add(case, output, judged, baseline)
        if case.klass == "order-distinguishing":
            self.orders.add(case, output)
        if "position" in case.flags:
            where = self._positions.differing(case, output)
            self._checks.compared("position", case, where is None)
            if where is None:
                return
            text = f"Element {where} has other bits than another element with the same inputs, within bounds or not."
            self._note("position-dependent", "warning", text, case)

    def _value_failures(self, case: Case, output: Array, judged: Judged, where: str = "") -> list[Failure]:
        failing = judged.failing
        if failing.size == 0:
            return []
        # The worst number says most; without numbers, the first element.
        sizes = np.nan_to_num(np.abs(judged.signed[failing]), nan=-1.0)
        worst = element(case, output, judged, int(failing[np.argmax(sizes)]))
        message = (
            f"{failing.size} of {output.size} elements outside every legal bound{where}; "
            f"element {worst.index}: expected {worst.expected.decimal}, got {worst.got.decimal}"
        )
        message += f" ({worst.ulp:.4g} ulp, at most {worst.bound:.4g} legal)." if worst.ulp else f" ({worst.kind})."
        return [Failure(case.id, case.klass, case.tier, worst.kind, message, int(failing.size), worst)]

    def _compare(
        self, case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome], outputs: Sequence[Array | None]
    ) -> list[Failure]:
        """Hold every other invocation against the first: bits must not depend on how a case is run."""
        first = outputs[0]
        assert first is not None
        problems: list[Failure] = []
        seen = {hashlib.sha256(first.data).digest()}
        unwritten = self._unwritten(case, plan, outcomes)
        if unwritten.size:
            message = (
                f"{unwritten.size} of {first.size} output elements were not written, first element {unwritten[0]}."
            )
            problems.append(Failure(case.id, case.klass, case.tier, "unwritten", message, int(unwritten.size)))
        for invocation, output in zip(plan[1:], outputs[1:], strict=True):
            if output is None or (digest := hashlib.sha256(output.data).digest()) in seen:
                continue
            seen.add(digest)
            differ = np.flatnonzero(comparable_bits(case.fmt, output) != comparable_bits(case.fmt, first))
            if differ.size == 0:
                continue
            kind = _what_differs(plan[0], invocation)
            judged = judge(case, output, self._profile.may_flush)
            bad = self._value_failures(case, output, judged, f" with {_describe(invocation)}")
            if bad and not unwritten.size:
                problems += bad
            if not bad:
                self._note(
                    kind,
                    "warning",
                    f"{differ.size} of {first.size} elements have other bits with {_describe(invocation)} than with "
                    f"{_describe(plan[0])}, all within bounds; the first is element {differ[0]}.",
                    case,
                )
        return problems

    def _unwritten(self, case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome]) -> Array:
        """Return the elements that hold, under either fill of the output, what it was filled with."""
        held: dict[int, Array] = {}
        for invocation, outcome in zip(plan, outcomes, strict=True):
            output = self._array(case, outcome)
            if output is not None:
                fill = outcome.fill or bytes([POISONS[invocation.poison]]) * output.nbytes
                same = case.fmt.bits(output) == case.fmt.bits(np.frombuffer(fill, case.fmt.dtype))
                held[invocation.poison] = held.get(invocation.poison, same) | same
        if len(held) < 2:
            return np.empty(0, np.int64)
        return np.flatnonzero(held[0] & held[1])

    def _contracts(self, case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome]) -> list[Failure]:
        """Turn what the runner saw into failures and remarks; at most one failure of a kind and case."""
        problems: dict[str, Failure] = {}
        for invocation, outcome in zip(plan, outcomes, strict=True):
            touched = any(f.kind == "touched" for f in outcome.findings)
            for found in outcome.findings:
                text = f"{found.message} ({_describe(invocation)})"
                if found.kind in FAILING:
                    problems.setdefault(found.kind, Failure(case.id, case.klass, case.tier, found.kind, text))
                    self._note(found.kind, "failure", found.message, case)
                else:
                    self._note(found.kind, "info" if found.kind in _INFO else "warning", found.message, case)
            if outcome.status not in ("ok", "not-run") and not touched:
                text = f"{outcome.message.rstrip('.')} ({_describe(invocation)})."
                if outcome.stderr.strip():
                    text += f" It wrote: {outcome.stderr.strip().splitlines()[-1][:200]}"
                status = "timeout" if outcome.status == "timeout" else "crash"
                problems.setdefault(status, Failure(case.id, case.klass, case.tier, status, text))
        if not problems and any(o.status == "not-run" for o in outcomes):
            message = next(o.message for o in outcomes if o.status == "not-run")
            problems["not-run"] = Failure(case.id, case.klass, case.tier, "not-run", message)
        return list(problems.values())

    def _fail(self, case: Case, problems: Sequence[Failure]) -> None:
        # Memory and processes are not a matter of realistic operands: their contracts decide in every tier.
        deciding = [p for p in problems if p.kind in (*FAILING, "crash", "timeout", "not-run")]
        if case.tier == "stress" and not self._strict and not deciding:
            for problem in problems:
                self._note(f"stress-{problem.kind}", "warning", f"In the stress tier: {problem.message}", case)
            return
        self._failing += 1
        self._statuses.update({_status_of(p) for p in problems})
        self._failures += problems

    def _note(self, kind: str, severity: Severity, message: str, case: Case) -> None:
        """Keep the first finding of a kind, and in which cases it was seen."""
        key = (kind, case.klass if kind.startswith("stress") else "")
        first = Finding(kind, self.entry.symbol, severity, message, case.id)
        self._findings.setdefault(key, (first, set()))[1].add(case.id)

    def storage_compared(self, case: Case, equal: bool) -> None:
        """Take in whether the private entry point gave the bits of the shared one."""
        self._checks.compared("storage", case, equal)
        if not equal:
            self._note("storage-dependent", "warning", "_s and _p give different bits for the same case.", case)

    def refuse(self, kind: str, message: str) -> None:
        """Fail without running: one sentence instead of thousands of failures."""
        self._refused = message
        self._failing += 1
        self._statuses["fail"] += 1
        self._failures.append(Failure("", "", "required", kind, message))

    def findings(self) -> list[Finding]:
        """Return the findings, with counts where a kind was seen more than once."""
        return [
            Finding(
                f.kind, f.symbol, f.severity, f.message + (f" {len(c)} cases like this." if len(c) > 1 else ""), f.case
            )
            for f, c in self._findings.values()
        ]

    def missing(self) -> EntryPointResult:
        """Return the result of an entry point that the target does not have."""
        return self._result("missing", f"{self.entry.symbol} is not in the library.")

    def result(self, expected: int) -> EntryPointResult:
        """Return the result after all cases; fewer than ``expected`` is a failure."""
        if self._refused:
            return self._result("fail", self._refused)
        if self._cases != expected or not expected:
            return self._result("fail", f"Only {self._cases} of {expected} cases were run.")
        if not self._evidence:
            return self._result(
                "fail", f"None of {expected} cases is evidence: all were expected to fail, or have constant results."
            )
        if not self._failing:
            return self._result("pass", "")
        status: Status = "crash" if self._statuses["crash"] else "timeout" if self._statuses["timeout"] else "fail"
        worst = next(f for f in self._ordered_failures() if _status_of(f) == status)
        return self._result(status, f"{self._failing} of {expected} cases fail; {worst.case}: {worst.message}")

    def _ordered_failures(self) -> list[Failure]:
        """Order failures so that one of every (class, kind) comes first, required ones before stress."""
        seen: Counter[tuple[str, str]] = Counter()
        ranked = []
        for position, failure in enumerate(self._failures):
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
            misrounded=tally.misrounded,
            elements=tally.elements,
            cases=self._cases,
            failures=self._failing,
            detail=detail,
            groups={name: rows.tally() for name, rows in self._required.items()},
            stress={name: rows.tally() for name, rows in self._stress.items()},
            classes={k: {"cases": c["cases"], "failures": c["failures"]} for k, c in self._classes.items()},
            bits={k: digest.hexdigest()[:16] for k, digest in self._bits.items()},
            expected_failures=self._expected,
            evidence=self._evidence,
            failing=self._ordered_failures()[:KEPT_FAILURES],
            worst=self._overall.worst_cases(),
            landscapes=self._overall.landscapes(),
            contracts=self._checks.result() if self._cases else [],
        )

    def _array(self, case: Case, outcome: Outcome) -> Array | None:
        if outcome.status != "ok":
            return None
        return np.frombuffer(outcome.output, case.fmt.dtype)


def _status_of(failure: Failure) -> Status:
    """Return the status that a failure gives its entry point; cases not run count as what stopped them."""
    if failure.kind == "timeout" or (failure.kind == "not-run" and "time-out" in failure.message):
        return "timeout"
    return "crash" if failure.kind in ("crash", "not-run") else "fail"


def _is_evidence(case: Case) -> bool:
    """Tell whether a case could show anything: its non-zero numbers are not one constant (a single one may be)."""
    value = case.golden.value
    numbers = value[np.isfinite(value) & (value != 0)]
    return bool(numbers.size and (value.size == 1 or (numbers != numbers[0]).any()))


def _what_differs(first: Invocation, other: Invocation) -> str:
    """Name the contract that an invocation with other bits breaks, by what was varied."""
    if first == other:
        return "nondeterministic"
    if first.core_mask != other.core_mask:
        return "mask-dependent"
    return "position-dependent"


def _describe(invocation: Invocation) -> str:
    """Say how a case was run, in words."""
    words = [] if invocation.core_mask is None else [f"core mask {invocation.core_mask & 0xFFFFFFFF:#x}"]
    words.append(f"operands {'before' if invocation.placement == 'end' else 'after'} a guard page")
    if invocation.offset or invocation.skew:
        words.append(f"offset {invocation.offset} and skew {invocation.skew} elements")
    words.append(f"{('first', 'second')[invocation.poison]} fill of the output")
    return ", ".join(words)
