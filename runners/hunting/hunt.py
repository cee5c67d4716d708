"""``golden hunt``: the input on which a build is worst, shrunk to one readable element and saved as a vector.

The search is :mod:`runners.hunting.search`'s. What remains is a case of one element that ``validate --vectors`` and
``show --vectors`` take.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from golden.case import Case
from golden.document import Document
from golden.errors import TargetError, unknown_name
from golden.files.vectors import write_vectors
from golden.operator import entry_points
from golden.terms import Terms
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.session import Session
from runners.hunting.points import Points
from runners.hunting.search import ROUNDS, search, shrink
from runners.judging.probe import probe_half_abi


class Hunted(msgspec.Struct, Document):
    """The worst input of one entry point. ``found_ulp``: before shrinking; ``fails``: outside every legal bound."""

    symbol: str
    case: str
    ulp: float
    found_ulp: float
    bound: float
    fails: bool
    evaluated: int
    file: str = ""


def chosen(session: Session, symbols: Sequence[str] = ()) -> list[str]:
    """Return the symbols to hunt on, once each: those that are given, or all that a target has and a hunt can take.

    Raises, before any is searched, :class:`UsageError` for one that there is no hunt on and :class:`TargetError` for
    one that the target lacks, or where nothing is left.
    """
    known, there = entry_points(), sorted(session.symbols)
    for symbol in symbols:
        if symbol not in known:
            raise unknown_name("entry point", symbol, known)
        if symbol not in there:
            raise TargetError(f"The target has no {symbol}; it has {', '.join(there) or 'nothing'}.")
    found = list(dict.fromkeys(symbols)) or there
    if not found:
        raise TargetError("The target has no entry point to hunt on.")
    return found


def hunt(
    session: Session,
    symbol: str,
    out: Path | None = None,
    *,
    seed: int = 0,
    rounds: int = ROUNDS,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    half_abi: str = "auto",
    numbering: str = "",
    progress: Callable[[int, float], None] = lambda turn, worst: None,
    **options: float | str,
) -> tuple[Hunted, Case]:
    """Search for the worst input of one entry point, shrink it, and write it as a vector file into the folder ``out``.

    ``options``: scalars by the words of the command line; ``rounds`` is the budget, a few thousand points each;
    ``progress`` gets the round and the worst error so far. Raises :class:`UsageError` for an unknown symbol or scalar
    and :class:`TargetError` if the target lacks it, crashes or hangs.
    """
    chosen(session, [symbol])
    entry = entry_points()[symbol]
    scalars = entry.operator.given(entry.fmt, options, hunt=True)
    abi: HalfAbi = "uint16" if half_abi == "uint16" else "float16"
    if half_abi == "auto" and probe_half_abi(session) == "uint16":
        abi = "uint16"
    target = Points(session, entry, scalars, terms, abi, numbering)
    row, bad = search(target, seed, rounds, progress)
    row = shrink(target, row, bad)
    case = target.case(row[None, :])
    outcome = session.run(
        call_for(entry, case.scalars, case.operands, [session.manner.invocation(one_core=True)], half_abi=abi,
                 numbering=numbering)
    )[0]  # fmt: skip
    output = np.frombuffer(outcome.output, entry.fmt.dtype)[:1]
    shrunk, bound, fails = target.errors(target.operands(row[None, :]), output)
    found = Hunted(
        symbol, case.id, _ulp(float(shrunk[0])), _ulp(bad), float(bound[0]), bool(fails[0]), target.evaluated
    )
    if out is not None:
        path = out / f"{symbol}-hunted.h5"
        write_vectors(path, "hunted", entry.operator, entry.fmt.name, [case], str(seed))
        found.file = str(path)
    return found, case


def _ulp(bad: float) -> float:
    """Return the error behind a badness; infinity where there is no distance."""
    if bad >= 2.0**600:
        return math.inf
    return bad / 2.0**300 if bad >= 2.0**300 else bad
