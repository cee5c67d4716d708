"""What a target is like: half ABI, reduction numbers, subnormals. Found out with inputs that cannot be confused."""

import numpy as np

from golden.errors import UsageError
from golden.formats import FORMATS, Array, Format
from golden.operator import REDUCTION_ENUMS, EntryPoint, Operands, Scalars, Storage, operators
from runners.calling.call import Invocation
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.session import Session

#: The operator whose ``half`` by value is probed.
PROBED_OPERATOR = "smoothl1lossgrad"
#: Tried in this order: private entry points have no core mask that a wrong guess could garble.
_STORAGES: tuple[Storage, ...] = ("private", "shared")
_HALF_ABIS: tuple[HalfAbi, ...] = ("float16", "uint16")
#: Every core of the largest examples on the pages.
MASK = 0xFF


def probe_half_abi(session: Session) -> str:
    """Return how a target takes ``half`` by value: ``float16``, ``uint16``, or ``unknown``; "none" if it says so.

    What a target states is taken as it is. Else two values of beta and differences well inside them: the result is
    diff / beta * dy, so that no other beta gives it. ``unknown`` also where neither works or both seem to.
    """
    if session.stated_half_abi:
        return session.stated_half_abi
    working = []
    for abi in _HALF_ABIS:
        if all(_beta_arrives(session, beta, abi) for beta in (0.75, 3.0)):
            working.append(abi)
    return working[0] if len(working) == 1 else "unknown"


def _beta_arrives(session: Session, beta: float, abi: HalfAbi) -> bool:
    fmt = FORMATS["fp16"]
    diff = np.array([0.5, -0.25, 0.625, -0.375], fmt.dtype)
    operands = {"dy": np.array([3, 5, -7, 11], fmt.dtype), "x1": diff, "x2": np.zeros(4, fmt.dtype)}
    scalars: Scalars = {"length": 4, "beta": beta}
    got = _run(session, PROBED_OPERATOR, fmt, scalars, operands, half_abi=abi)
    want = diff.astype(np.float64) / beta * operands["dy"].astype(np.float64)
    return got is not None and bool(np.allclose(got.astype(np.float64), want, rtol=0.05))


def probe_reductions(session: Session) -> str:
    """Return which numbering of reductions a target implements: a name of REDUCTION_ENUMS, ``other`` or ``unknown``.

    Each number 0, 1, 2 is called with distinct gradients per sample, weights and a total: sum, mean and none give
    results that differ by factors. ``other``: it answers, but not as any known numbering.
    """
    meaning: dict[int, str] = {}
    for number in range(3):
        meaning[number] = _reduction_of(session, number)
    if set(meaning.values()) == {""}:
        return "unknown"
    for name, numbers in REDUCTION_ENUMS.items():
        if all(meaning[number] == reduction for reduction, number in numbers.items()):
            return name
    return "other"


def choose_half_abi(session: Session, asked: str, used: bool) -> tuple[str, str]:
    """Return how ``half`` goes to a target (or ``unknown``: as float16), and a remark on that, or "".

    It is as ``asked``, or for ``auto`` found out, where the results tell (``used``). Raises :class:`UsageError` if the
    target itself says otherwise than asked.
    """
    stated = session.stated_half_abi
    if asked != "auto":
        if stated not in ("", "none", asked):
            raise UsageError(f"--half-abi {asked}: this target says that it takes half as {stated}; use auto.")
        return asked, ""
    if not used:
        return stated or "float16", ""
    found = probe_half_abi(session)
    remark = "Neither _Float16 nor uint16_t as the type of half gives plausible results; _Float16 was used."
    return found, remark if found == "unknown" else ""


def choose_reductions(session: Session, asked: str) -> tuple[str, str, str]:
    """Return the numbering of reductions that a target has, the one to use, and a remark on that, or ""."""
    found = probe_reductions(session)
    if asked != "auto":
        return found, asked, ""
    used = found if found in REDUCTION_ENUMS else "sum-mean-none"
    remark = f"This build numbers reductions {used}; the gradient's page says sum-mean-none."
    return found, used, remark if used != "sum-mean-none" else ""


def _reduction_of(session: Session, number: int) -> str:
    """Return the reduction that a number stands for, or "" where the result is none of them."""
    for fmt in (FORMATS["fp32"], FORMATS["fp16"]):
        operands = {
            "loss_grad": np.array([2, 3], fmt.dtype),  # as long as none needs it, whatever the number means
            "labels": np.array([1, 0], np.int32),
            "weight": np.array([5, 7], fmt.dtype),
            "total_weight": np.array([16], fmt.dtype),
        }
        name = {n: r for r, n in REDUCTION_ENUMS["sum-mean-none"].items()}[number]
        scalars: Scalars = {"batch": 2, "class_num": 2, "reduction_type": name}
        got = _run(session, "nlllossgrad", fmt, scalars, operands)
        if got is None:
            continue
        results = {"sum": (-14, -10), "mean": (-14 / 16, -10 / 16), "none": (-14, -15)}
        for reduction, (first, second) in results.items():
            if np.allclose(got.astype(np.float64), [0, first, second, 0], rtol=0.01, atol=0):
                return reduction
    return ""


def probe_subnormals(session: Session, half_abi: HalfAbi = "float16") -> str:
    """Return ``preserve``, ``flush``, ``mixed`` or ``unknown``, from subnormal results of every dtype there is."""
    found = set()
    for fmt in FORMATS.values():
        tiny = fmt.smallest_normal
        dy = np.array([1.5 * tiny, 1.25 * tiny, -1.75 * tiny], fmt.dtype)
        half = np.full(3, 0.5, fmt.dtype)
        operands = {"dy": dy, "x1": half, "x2": np.zeros(3, fmt.dtype)}
        scalars: Scalars = {"length": 3, "beta": 1.0}
        got = _run(session, "smoothl1lossgrad", fmt, scalars, operands, half_abi=half_abi)
        if got is not None:
            kept = got.astype(np.float64) == dy.astype(np.float64) / 2
            found.add("preserve" if kept.all() else "flush" if (got == 0).all() else "mixed")
    return found.pop() if len(found) == 1 else "mixed" if found else "unknown"


def _run(
    session: Session,
    operator: str,
    fmt: Format,
    scalars: Scalars,
    operands: Operands,
    half_abi: HalfAbi = "float16",
) -> Array | None:
    """Run one call on the first entry point that answers; None where there is none."""
    op = operators().get(operator)
    for storage in _STORAGES if op else ():
        assert op is not None
        entry = EntryPoint(op, fmt, storage)
        if entry.symbol not in session.symbols:
            continue
        call = call_for(entry, scalars, operands, [Invocation(core_mask=MASK)], half_abi=half_abi)
        outcome = session.run(call)[0]
        if outcome.status == "ok":
            return np.frombuffer(outcome.output, fmt.dtype)
    return None
