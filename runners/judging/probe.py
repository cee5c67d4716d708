"""What a target is like: half ABI, numbers of choices, subnormals. Found out with inputs that cannot be confused.

Any operator whose results can tell serves: for the half ABI one with a scalar of fp16, for the numbers of a choice one
that has it, and for subnormals one that gives an exact one.
"""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import TypeVar

import numpy as np

from golden.errors import UsageError
from golden.formats import FORMATS, Array, Format
from golden.operator import (
    EntryPoint,
    Operator,
    Scalar,
    Storage,
    choice_words,
    entry_points,
    numberings,
    operators,
    page_numbering,
)
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.session import Session
from runners.judging.trial import Trial

T = TypeVar("T")
#: Tried in this order: private entry points have no core mask that a wrong guess could garble.
_STORAGES: tuple[Storage, ...] = ("private", "shared")
_HALF_ABIS: tuple[HalfAbi, ...] = ("float16", "uint16")
#: Numbers of operands whose results tell which value a scalar has, and the values that it is given.
_TELLING = (0.25, -0.375, 0.5, -0.625, 3.0, -5.0, 7.0, -11.0)
_VALUES = (0.75, 3.0)
#: Different numbers, so that products and quotients of any of them differ.
_PRIMES = (2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0, 23.0, 29.0, 31.0, 37.0)


def takes_half(entry: EntryPoint) -> bool:
    """Tell whether an entry point takes ``half`` by value, so that its results tell how that arrives."""
    return entry.fmt.width == 16 and any(s.kind == "real" for s in entry.operator.scalars)


def probe_half_abi(session: Session) -> str:
    """Return how a target takes ``half`` by value: ``float16``, ``uint16``, or ``unknown``; "none" if it says so.

    What a target states is taken as it is. Else two values of a scalar, and points at which these give results far from
    each other: only a scalar that arrives gives both. The first operator with one answer decides. ``unknown`` where
    there is none: no way works, or both seem to.
    """
    if session.stated_half_abi:
        return session.stated_half_abi
    for page, fmt in _kinds(session):
        if fmt.width == 16 and any(s.kind == "real" for s in page.scalars):
            answers = {abi: _asked(session, page, fmt, partial(_scalars_arrive, session, abi)) for abi in _HALF_ABIS}
            working = [abi for abi, arrives in answers.items() if arrives]
            if len(working) == 1:
                return working[0]
    return "unknown"


def _scalars_arrive(session: Session, abi: HalfAbi, entry: EntryPoint) -> bool | None:
    """Tell whether results are near those of a call's scalars; None where it does not return."""
    reals = [s.name for s in entry.operator.scalars if s.kind == "real"]
    try:
        trials = [Trial(entry, _TELLING, **dict.fromkeys(reals, value)) for value in _VALUES]
    except UsageError:  # outside the page's domain: what it does there says nothing
        return False
    first, second = (trial.value.astype(np.float64) for trial in trials)
    apart = np.abs(first - second) > 0.25 * np.maximum(np.abs(first), np.abs(second))
    telling = apart & np.isfinite(first) & np.isfinite(second) & (first != 0) & (second != 0)
    for trial in trials:
        found = trial.run(session, telling, abi, page_numbering())
        if found is None:
            return None
        if not np.allclose(found[1], trial.value[found[0]].astype(np.float64), rtol=0.05):
            return False
    return True


def probe_numbering(session: Session) -> str:
    """Return which numbering of a choice a target implements: its name, ``other`` or ``unknown``.

    Each number is called with operands all different, so that what it stands for shows. ``other``: it answers, but not
    as any known numbering.
    """
    for page in operators().values():
        for scalar in page.choices:
            if found := _numbering(session, page, scalar):
                return found
    return "unknown"


def _numbering(session: Session, page: Operator, scalar: Scalar) -> str:
    """Return the numbering of one choice of an operator; "" where no call is answered as any name of it would be."""
    meaning = tuple(_meaning(session, page, scalar, name) for name in scalar.names())
    if not any(meaning):
        return ""
    return "-".join(meaning) if meaning in scalar.numberings else "other"


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


def choose_numbering(session: Session, asked: str) -> tuple[str, str, str]:
    """Return the numbering of choices that a target has, the one to use, and a remark on that, or ""."""
    found = probe_numbering(session)
    if asked != "auto":
        return found, asked, ""
    used = found if found in numberings() else page_numbering()
    remark = f"This build numbers {choice_words()} {used}; the page says {page_numbering()}."
    return found, used, remark if used != page_numbering() else ""


def _meaning(session: Session, page: Operator, scalar: Scalar, mine: str) -> str:
    """Return the name that a number stands for, "" if that is none; ``mine``: what it stands for on the page."""
    for fmt in sorted((f for p, f in _kinds(session) if p is page), key=lambda f: -f.width):
        if found := _asked(session, page, fmt, partial(_named, session, scalar, mine)):
            return found
    return ""


def _named(session: Session, scalar: Scalar, mine: str, entry: EntryPoint) -> str | None:
    """Return the name whose result a call gives, "" if it is that of none; None where the call does not return.

    ``mine``: what the call's number stands for on the page.
    """
    page, names = entry.operator, scalar.names()
    given = page.given(entry.fmt, {})
    arrangement = page.arrangements(given)[-1]
    n = session.manner.lengths.up(2)
    scalars = {**given, **page.sizes(arrangement, n)}
    shapes = [page.shapes({**scalars, scalar.name: name}) for name in names]
    operands, primes = dict[str, Array](), cycle(_PRIMES)
    for p in page.inputs:  # as long as any name needs it, whatever the number means
        if p.name in arrangement.index:
            operands[p.name] = arrangement.index[p.name](n)
        else:
            size = max(int(np.prod(shape[p.name])) for shape in shapes)
            operands[p.name] = np.array([next(primes) for _ in range(size)], entry.fmt.dtype)
    call = call_for(entry, {**scalars, scalar.name: mine}, operands, [session.manner.invocation()])
    outcome = session.run(call)[0]
    if outcome.status != "ok":
        return None
    got = np.frombuffer(outcome.output, entry.fmt.dtype).astype(np.float64)
    for name, shape in zip(names, shapes, strict=True):
        own = {k: v[: int(np.prod(shape[k]))] for k, v in operands.items()}
        want = page.oracle(entry.fmt, {**scalars, scalar.name: name}, own).value
        if want.shape == got.shape and np.allclose(got, want.astype(np.float64), rtol=0.01, atol=0):
            return name
    return ""


def probe_subnormals(session: Session, half_abi: HalfAbi = "float16", numbering: str = "") -> str:
    """Return ``preserve``, ``flush``, ``mixed`` or ``unknown``, from subnormal results of every dtype there is.

    The results are exact, and those of normal operands. An operator that gives neither them nor zeros says nothing, as
    long as another does.
    """
    found = set[str]()
    for page, fmt in _kinds(session):
        answer = _asked(session, page, fmt, partial(_subnormals, session, half_abi, numbering))
        found |= {answer} if answer else set()
    clear = found - {"mixed"} or found
    return clear.pop() if len(clear) == 1 else "mixed" if clear else "unknown"


def _subnormals(session: Session, half_abi: HalfAbi, numbering: str, entry: EntryPoint) -> str | None:
    """Return what an entry point does with subnormal results; None where it has none, or the call does not return."""
    tiny = entry.fmt.smallest_normal
    trial = Trial(entry, (1.5 * tiny, 1.25 * tiny, -1.75 * tiny, tiny, 0.5, -0.5, 1.0, 0.0))
    size = np.abs(trial.value.astype(np.float64))
    got = trial.run(session, (size > 0) & (size < tiny) & (trial.residual == 0), half_abi, numbering)
    if got is None:
        return None
    kept = got[1] == trial.value[got[0]].astype(np.float64)
    return "preserve" if kept.all() else "flush" if (got[1] == 0).all() else "mixed"


def _kinds(session: Session) -> list[tuple[Operator, Format]]:
    """Return the operators and dtypes that a target has an entry point of."""
    known = {(e.operator.name, e.fmt.name) for e in entry_points().values() if e.symbol in session.symbols}
    return [(operators()[name], FORMATS[dtype]) for name, dtype in sorted(known)]


def _asked(session: Session, page: Operator, fmt: Format, ask: Callable[[EntryPoint], T | None]) -> T | None:
    """Return the answer of the first entry point that has one."""
    for storage in _STORAGES:
        entry = EntryPoint(page, fmt, storage)
        if entry.symbol in session.symbols and (answer := ask(entry)) is not None:
            return answer
    return None
