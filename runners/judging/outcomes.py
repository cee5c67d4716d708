"""What the outcomes of one case show: broken contracts, illegal values, bits that depend on how it was run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from golden.case import Case
from golden.formats import Array, comparable_bits
from golden.judge import Judged, element, overflow_of
from golden.results import Element, Failure, Severity
from golden.terms import Accept, Terms
from runners.calling.call import FILLS, Invocation, Outcome
from runners.judging.policy import exempt, refused

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
}
#: Remarks that are no reason to look further: arithmetic raises these flags.
_INFO = ("exception-flags",)
_WHERE = {
    "end": "operands before a guard page",
    "begin": "operands after a guard page",
    "plain": "operands in plain memory",
}


class Remark(NamedTuple):
    """Something to note about a case."""

    kind: str
    severity: Severity
    message: str


class Shown(NamedTuple):
    """Why a case fails, and what there is to note about it."""

    failures: list[Failure]
    remarks: list[Remark]


def array(case: Case, outcome: Outcome) -> Array | None:
    """Return the output of an invocation; None where it did not end well."""
    if outcome.status != "ok":
        return None
    return np.frombuffer(outcome.output, case.fmt.dtype)


def broken_contracts(case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome]) -> Shown:
    """Turn what the runner saw into failures and remarks; at most one failure of a kind and case."""
    failures: dict[str, Failure] = {}
    remarks = []
    for invocation, outcome in zip(plan, outcomes, strict=True):
        touched = bool(outcome.findings) and any(f.kind == "touched" for f in outcome.findings)
        for found in outcome.findings:
            text = f"{found.message} ({_describe(invocation)})"
            severity: Severity = "info" if found.kind in _INFO else "warning"
            if found.kind in FAILING:
                failures.setdefault(found.kind, Failure(case.id, case.klass, case.tier, found.kind, text))
                severity = "failure"
            remarks.append(Remark(found.kind, severity, found.message))
        if outcome.status not in ("ok", "not-run") and not touched:
            text = f"{outcome.message.rstrip('.')} ({_describe(invocation)})."
            if outcome.stderr.strip():
                text += f" It wrote: {outcome.stderr.strip().splitlines()[-1][:200]}"
            status = "timeout" if outcome.status == "timeout" else "crash"
            failures.setdefault(status, Failure(case.id, case.klass, case.tier, status, text))
    if not failures and any(o.status == "not-run" for o in outcomes):
        message = next(o.message for o in outcomes if o.status == "not-run")
        failures["not-run"] = Failure(case.id, case.klass, case.tier, "not-run", message)
    return Shown(list(failures.values()), remarks)


def illegal_values(
    case: Case, output: Array, judged: Judged, terms: Terms, accept: Accept, where: str = ""
) -> list[Failure]:
    """Return a failure for elements outside every legal bound, or else for each policy that is not met.

    ``accept``: the policies. ``where``: how the case was run.
    """
    failing = judged.failing
    if failing.size == 0:
        return list(refused(case, output, judged, accept, where))
    # The worst number says most; without numbers, the first element.
    sizes = np.nan_to_num(np.abs(judged.signed[failing]), nan=-1.0)
    at = int(failing[np.argmax(sizes)])
    worst = element(case, output, judged, at)
    message = (
        f"{failing.size} of {output.size} elements outside every legal bound{where}; "
        f"element {worst.index}: expected {worst.expected.decimal}, got {worst.got.decimal}"
    )
    message += f" ({_measured(worst)})."
    if cause := overflow_of(case, output, judged, at, terms):
        message += f" There {cause}."
    return [Failure(case.id, case.klass, case.tier, worst.kind, message, int(failing.size), worst)]


def _measured(found: Element) -> str:
    """Say how far a result is off, and what would have been legal."""
    if not found.ulp:
        return found.kind
    legal = f"at most {found.bound:.4g} legal" if found.bound else "only the correctly rounded number is legal"
    return f"{found.ulp:.4g} ulp, {legal}"


#: What the terms accept beyond the page.
_ALLOWED = {
    "allowed-overflow": "results of an order that overflows on the way, where the page's does not",
    "allowed-nan": "results that are a number where the page's are NaN",
    "allowed-distance": "results further off than max-ulp, which does not concern what is flushed or allowed",
}


def allowed(case: Case, judged: Judged, accept: Accept) -> list[Remark]:
    """Return what was accepted only because the terms allow it, with its count."""
    found = {
        "allowed-overflow": int((judged.allowed & judged.beyond).sum()),
        "allowed-nan": int((judged.allowed & ~judged.beyond).sum()),
        "allowed-distance": exempt(case, judged, accept),
    }
    return [
        Remark(kind, "info", f"Accepted as the terms say: {count} {_ALLOWED[kind]}.")
        for kind, count in found.items()
        if count
    ]


class Differing(NamedTuple):
    """An invocation, by its number, whose output has other bits than the first one's: in these elements."""

    number: int
    elements: Array


def differing(case: Case, outcomes: Sequence[Outcome], outputs: Sequence[Array | None]) -> list[Differing]:
    """Return the invocations with other bits than the first, which has an output; one for each output there is."""
    first = outputs[0]
    assert first is not None
    found, seen, reference = [], {outcomes[0].output}, None
    for number, (outcome, output) in enumerate(zip(outcomes, outputs, strict=True)):
        if output is None or outcome.output in seen:
            continue
        seen.add(outcome.output)
        reference = comparable_bits(case.fmt, first) if reference is None else reference
        elements = np.flatnonzero(comparable_bits(case.fmt, output) != reference)
        if elements.size:
            found.append(Differing(number, elements))
    return found


def compared(
    case: Case,
    plan: Sequence[Invocation],
    outcomes: Sequence[Outcome],
    outputs: Sequence[Array | None],
    others: Sequence[tuple[Differing, Judged]],
    terms: Terms,
    accept: Accept,
) -> Shown:
    """Hold every other invocation against the first, which has an output: bits must not depend on how a case is run.

    ``others``: what :func:`differing` found, judged. ``terms``: see :func:`golden.judge.judge`; ``accept``: see
    :func:`illegal_values`.
    """
    first = outputs[0]
    assert first is not None
    failures: list[Failure] = []
    remarks = []
    unwritten = _unwritten(case, plan, outcomes)
    if unwritten.size:
        message = f"{unwritten.size} of {first.size} output elements were not written, first element {unwritten[0]}."
        failures.append(Failure(case.id, case.klass, case.tier, "unwritten", message, int(unwritten.size)))
    for (number, differ), judged in others:
        invocation, output = plan[number], outputs[number]
        assert output is not None
        bad = illegal_values(case, output, judged, terms, accept, f" with {_describe(invocation)}")
        if bad and not unwritten.size:
            failures += bad
        if not bad:
            message = (
                f"{differ.size} of {first.size} elements have other bits with {_describe(invocation)} than with "
                f"{_describe(plan[0])}, all within bounds; the first is element {differ[0]}."
            )
            remarks.append(Remark(_what_differs(plan[0], invocation), "warning", message))
    return Shown(failures, remarks)


def _unwritten(case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome]) -> Array:
    """Return the elements that hold, under either fill of the output, what it was filled with.

    The fills are each other's complement: where the output is the same under both, everything was written.
    """
    filled = {
        (invocation.fill, outcome.output, outcome.fill)
        for invocation, outcome in zip(plan, outcomes, strict=True)
        if invocation.fill != 2 and not invocation.alias and outcome.status == "ok"
    }
    if len({output for _, output, _ in filled}) < 2:
        return np.empty(0, np.int64)
    held: dict[int, Array] = {}
    for number, output, fill in filled:
        dtype = case.fmt.bits_dtype
        fill = fill or bytes([FILLS[number]]) * len(output)  # noqa: PLW2901
        same = np.frombuffer(output, dtype) == np.frombuffer(fill, dtype)
        held[number] = held.get(number, same) | same
    return np.flatnonzero(held[0] & held[1]) if len(held) == 2 else np.empty(0, np.int64)


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
    words.append(_WHERE[invocation.placement])
    if invocation.alone:
        words.append(f"{invocation.alone} alone moved by {invocation.offset} elements")
    elif invocation.offset or invocation.skew:
        words.append(f"offset {invocation.offset} and skew {invocation.skew} elements")
    if invocation.grid:
        words.append(f"on multiples of {invocation.grid & -invocation.grid} bytes")
    if invocation.alias:
        return ", ".join([*words, f"output at the address of {invocation.alias}"])
    words.append(f"{('first', 'second', 'zero')[invocation.fill]} fill of the output")
    return ", ".join(words)
