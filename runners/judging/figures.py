"""The smallest change of a platform's terms under which results would be legal: what a build's arithmetic is like.

A build that divides by an estimate, truncates or flushes is wrong for a platform that is said not to. Which figure it
fails by is the first thing to know about it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from golden.case import Case
from golden.distinct import distinct
from golden.formats import Array, Format
from golden.legal import parts_of
from golden.operator import EntryPoint, Points
from golden.program import Program
from golden.terms import Figures, PlatformArithmetic, Terms

#: Beyond that many different failing elements nothing is said; with so many at first, chosen again until all agree, it
#: is found.
LIMIT, _TRIED = 1 << 18, 512
#: Figures are looked for in steps of that many ulp, up to the largest that a profile may have.
_STEP, _LARGEST = 0.01, 512.0
#: In which order single figures are tried.
_OPERATIONS = ("divide", "reciprocal", "multiply", "add", "convert")
_ALL = Figures(*[_LARGEST] * len(_OPERATIONS))
#: Names of orders and their programs.
_Programs = tuple[tuple[str, Program], ...]


@dataclass
class Illegal:
    """Elements of one entry point that were outside every legal bound, as points of the operator's programs."""

    entry: EntryPoint
    #: One is of an element that no program computes, or there are too many to tell.
    hopeless: bool = False
    #: By the programs that compute them.
    _held: dict[_Programs, list[tuple[tuple[Array, ...], Array]]] = field(default_factory=dict)
    _count: int = 0

    def add(self, case: Case, at: Array, output: Array) -> None:
        """Take in the failing elements ``at`` of an output; alike ones once, since a large case repeats its data."""
        points = case.operator.points(case.scalars, case.operands, at)
        self.hopeless |= points.at.size < at.size
        got = output[at]
        if not self.hopeless:
            first, _ = distinct([v.view(f"u{v.itemsize}") for v in (*points.values, got)])
            points, got = Points(np.arange(first.size), tuple(v[first] for v in points.values)), got[first]
        self._count += got.size
        self.hopeless |= self._count > LIMIT
        if self.hopeless:
            self._held.clear()
            return
        programs = tuple(case.operator.programs(case.scalars).items())
        self._held.setdefault(programs, []).append((points.values, got))

    @property
    def empty(self) -> bool:
        """Tell whether there are none."""
        return self._count == 0

    def points(self) -> list["_Points"]:
        """Return them by the programs that compute them."""
        return [_Points(self.entry.fmt, programs, held) for programs, held in self._held.items()]


class _Points:
    """Points of one set of programs, and those of them that are looked at."""

    def __init__(self, fmt: Format, programs: _Programs, held: list[tuple[tuple[Array, ...], Array]]) -> None:
        self._fmt, self._programs = fmt, dict(programs)
        self._got = np.concatenate([output for _, output in held]).astype(np.float64)
        columns = zip(*(values for values, _ in held), strict=True)
        self._values = [np.concatenate(column).astype(fmt.dtype) for column in columns]
        self.tried = np.arange(0, self._got.size, max(1, self._got.size // _TRIED))

    def legal(self, terms: Terms, at: Array) -> Array:
        """Tell which of the points ``at`` terms make legal."""
        points = Points(np.arange(at.size), tuple(values[at] for values in self._values))
        legal = np.zeros(at.size, bool)
        for part in parts_of(self._programs, self._fmt, points, at.size, terms):
            legal[part.at] |= part.holds(self._got[at]) & part.counts(terms.any_range)
        return legal

    def widened(self, terms: Terms) -> bool:
        """Look at points that these terms leave illegal, too; tell whether there are any."""
        every = np.arange(self._got.size)
        left = every[~self.legal(terms, every)][:_TRIED]
        self.tried = np.concatenate([self.tried, left])
        return left.size > 0


def would_conform(illegal: Illegal, terms: Terms) -> str:
    """Return the smallest change of the terms that makes all of the elements legal, as a profile says it; or "".

    What a build does otherwise than rounding comes first (flushing, range), then the figure of a division, which is
    what platforms do most coarsely, then truncation, then estimates, which are not exact for powers of two, then other
    figures, then one figure for all of them.
    """
    points = [] if illegal.hopeless else illegal.points()
    while points:
        changed = _smallest_change(points, terms, illegal.entry.fmt.name)
        if changed is None:
            return ""
        if sum(group.widened(changed) for group in points) == 0:
            return changed.told(terms)
    return ""


def _smallest_change(points: Sequence[_Points], terms: Terms, dtype: str) -> Terms | None:
    def legal(changed: Terms) -> bool:
        return all(group.legal(changed, group.tried).all() for group in points)

    most = msgspec.structs.replace(terms.arithmetic, fp32=_ALL, fp16=_ALL, exact_powers=False)
    if not legal(msgspec.structs.replace(terms, flush=True, any_range=True, arithmetic=most)):
        return None
    names_of = [[name] for name in _names(dtype)]
    divisions, others = names_of[:2], names_of[2:]
    truncating = list(_truncating(terms))
    # Estimates are not exact where the divisor is a power of two; alone, or by a build that truncates as well.
    estimating = [one for base in truncating for one in _estimating(base) or [base]]
    steps: list[tuple[Terms, list[tuple[str, str]]]] = [
        *((base, []) for base in _policies(terms)),
        *((terms, names) for names in divisions),
        *((base, []) for base in truncating),
        *((base, names) for base in (*_estimating(terms), *estimating) for names in divisions),
        *((terms, names) for names in others),
        (terms, [name for [name] in names_of]),
    ]
    for base, names in steps:
        if not names:
            if legal(base):
                return base
        elif (figure := _smallest(legal, base, names)) is not None:
            return _with(base, names, figure)
    return None


def _estimating(terms: Terms) -> list[Terms]:
    """Return the terms without exact quotients of powers of two, if they have them."""
    arithmetic = terms.arithmetic
    if not arithmetic.exact_powers:
        return []
    return [msgspec.structs.replace(terms, arithmetic=msgspec.structs.replace(arithmetic, exact_powers=False))]


def _policies(terms: Terms) -> Iterator[Terms]:
    """Yield the terms with one thing more allowed that is no figure."""
    if not terms.flush:
        yield msgspec.structs.replace(terms, flush=True)
    if not terms.any_range:
        yield msgspec.structs.replace(terms, any_range=True)
    yield from _estimating(terms)


def _truncating(terms: Terms) -> Iterator[Terms]:
    """Yield the terms with every operation truncating, and then with flushing besides."""
    ones = Figures(1, 1, 1, 1, 1)
    truncating = msgspec.structs.replace(terms.arithmetic, fp32=ones, fp16=ones, rounding="toward-zero")
    for flush in sorted({terms.flush, True}):
        yield msgspec.structs.replace(terms, arithmetic=truncating, flush=flush)


def _names(dtype: str) -> Iterator[tuple[str, str]]:
    """Yield the figures that concern results of a dtype, divisions first."""
    for operation in _OPERATIONS:
        if dtype == "fp16" or operation != "convert":
            yield dtype, operation


def _with(terms: Terms, names: Sequence[tuple[str, str]], figure: float) -> Terms:
    """Return the terms with some figures raised to at least ``figure``."""
    arithmetic: PlatformArithmetic = terms.arithmetic
    for dtype, operation in names:
        old: Figures = getattr(arithmetic, dtype)
        new = msgspec.structs.replace(old, **{operation: max(getattr(old, operation), figure)})
        arithmetic = msgspec.structs.replace(arithmetic, **{dtype: new})
    return msgspec.structs.replace(terms, arithmetic=arithmetic)


def _smallest(legal: Callable[[Terms], bool], terms: Terms, names: Sequence[tuple[str, str]]) -> float | None:
    """Return the smallest figure, a multiple of the step, that makes all legal: more allows more."""
    low, high = 50, round(_LARGEST / _STEP)
    if not legal(_with(terms, names, _LARGEST)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if legal(_with(terms, names, round(middle * _STEP, 2))):
            high = middle
        else:
            low = middle
    return round(high * _STEP, 2)
