"""Arrays that are not there yet: NumPy functions of :class:`Lanes` write the C that computes them.

A program that is written for NumPy arrays, element by element, runs on these unchanged, by NumPy's own protocols
(``__array_ufunc__``, NEP 13; ``__array_function__``, NEP 18). Each operation becomes one statement on vectors of
float64, of masks or of bit patterns, equal ones only once, and is the same float64 operation as NumPy's. Constants stay
NumPy's; what follows from them alone (a sum with an error that is zero, a choice between equal numbers) is left out.

**Assumptions.** Control flow that depends on data ("where any element is infinite, ...") cannot be written down. It
asks ``mask.any()`` or :func:`numpy.isfinite`, and each question becomes an assumption: that there is no such element,
that all are finite. :attr:`Trace.aside` collects where assumptions are wrong: nothing is said of these elements, and
they are not judged by this code. A sum, difference or product is finite only if its operands are, which saves most
questions. Instead, with :attr:`Trace.follows`, what is done where any element is so is written down for all: that has
to be right for the others, too.

**What float64 loses** in a sum or a product is known to be nothing where the operands have few bits: each value has
a largest exponent, a smallest unit and a number of significant bits.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from golden.formats import FORMATS, Format
from golden.oracle import two_product, two_sum

#: Exponents within which products lose nothing to the limits of float64, Dekker's splitting included.
_TOP, _UNIT = 990, -1000


class UntraceableError(Exception):
    """A program that this cannot write in C."""


class Extent(NamedTuple):
    """What is known of a number: a multiple of 2**unit below 2**top with so many significant bits, or zero."""

    unit: int
    top: int
    bits: int

    @classmethod
    def of(cls, value: float) -> "Extent":
        """Return what is known of a constant."""
        if value == 0 or not math.isfinite(value):
            return cls(0, 0, 0)
        numerator, denominator = abs(value).as_integer_ratio()
        zeros = (numerator & -numerator).bit_length() - 1
        unit = zeros - denominator.bit_length() + 1
        bits = (numerator >> zeros).bit_length()
        return cls(unit, unit + bits, bits)

    def both(self, other: "Extent") -> "Extent":
        """Return what is known of one or the other."""
        return Extent(min(self.unit, other.unit), max(self.top, other.top), max(self.bits, other.bits))

    def plus(self, other: "Extent") -> "Extent":
        """Return what is known of an exact sum."""
        unit, top = min(self.unit, other.unit), max(self.top, other.top) + 1
        return Extent(unit, top, top - unit)

    def times(self, other: "Extent") -> "Extent":
        """Return what is known of an exact product."""
        return Extent(self.unit + other.unit, self.top + other.top, self.bits + other.bits)

    def over(self, other: "Extent") -> "Extent":
        """Return what is known of a quotient in float64."""
        return Extent(self.unit - other.top - 53, self.top - other.unit, 53)

    def rounded(self) -> "Extent":
        """Return what is known of the number in float64; rounding keeps to the unit."""
        return self._replace(bits=min(self.bits, 53))

    def fits(self, fmt: Format) -> bool:
        """Tell whether this is a number of a format for certain."""
        least = fmt.emin - fmt.precision + 1
        return self.bits <= fmt.precision and self.unit >= least and self.top <= fmt.emax + 1


#: What is known of any float64.
ANY = Extent(-1074, 1024, 53)


@dataclass(eq=False)
class Lanes(NDArrayOperatorsMixin):
    """One value of every element: ``kind`` is C's type; ``positive``: never below zero; ``choices``: all it may be."""

    trace: "Trace"
    kind: str
    text: str
    arguments: tuple["Lanes", ...] = ()
    extent: Extent = ANY
    positive: bool = False
    choices: frozenset[float] | None = None
    number_of: Format | None = None
    name: str = ""
    shape: tuple[()] = field(default=(), init=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **_: Any) -> Any:
        """Write a NumPy function; in-place operators give a new value, too."""
        write = _UFUNCS.get(ufunc.__name__)
        if method != "__call__" or write is None:
            raise UntraceableError(f"numpy.{ufunc.__name__}")
        return write(self.trace, *(v if isinstance(v, Lanes) else np.asarray(v) for v in inputs))

    def __array_function__(self, function: Any, _: Any, arguments: Sequence[Any], options: Any) -> Any:
        """Write a NumPy function that is no ufunc."""
        name = function.__name__
        if name == "where":
            return _where(self.trace, *arguments)
        if name == "broadcast_to":
            return self
        if name == "unique" and self.choices is not None:
            return np.array(sorted(self.choices))
        raise UntraceableError(f"numpy.{name}")

    def __bool__(self) -> bool:
        raise UntraceableError("a decision that depends on an element")

    def any(self) -> bool:
        """Assume that no element is true; of numbers, that some may be other than zero."""
        if self.kind != "mask" or self.trace.follows:
            return True
        self.trace.aside.append(self)
        return False

    def astype(self, dtype: Any) -> "Lanes":
        """Return the numbers rounded to a format, as float64."""
        fmt = next((f for f in FORMATS.values() if f.dtype == dtype), None)
        if fmt is None or self.number_of is fmt or self.extent.fits(fmt):
            return self
        unit = max(self.extent.unit, fmt.emin - fmt.precision + 1)
        extent = Extent(unit, max(self.extent.top + 1, unit + 1), fmt.precision)
        return self.trace.write("doubles", f"nearest_{fmt.name}({{0}})", self, extent=extent, number_of=fmt)

    def view(self, dtype: Any) -> "Lanes":
        """Return the bit patterns, or the numbers of some."""
        kind = "doubles" if np.dtype(dtype) == np.float64 else "words"
        return self.trace.write(kind, f"({kind}){{0}}", self, positive=self.positive)


@dataclass
class Trace:
    """The statements so far. ``aside``: where assumptions are wrong, since :meth:`doubtful` was last asked.

    ``assuming``: that numbers are finite; ``follows``: what is done where any element is true.
    """

    assuming: bool = True
    follows: bool = False
    aside: list[Any] = field(default_factory=list)
    _known: dict[str, Lanes] = field(default_factory=dict)
    _written: list[Lanes] = field(default_factory=list)
    _finite: list[Lanes] = field(default_factory=list)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow what is done where any element is true."""
        self.follows = True
        yield
        self.follows = False

    def variable(self, name: str, fmt: Format) -> Lanes:
        """Return a variable of the C function that is made, a number of a format."""
        extent = Extent(fmt.emin - fmt.precision + 1, fmt.emax + 1, fmt.precision)
        found = Lanes(self, "doubles", name, (), extent, number_of=fmt, name=name)
        return self._known.setdefault(name, found)

    def write(self, kind: str, text: str, *operands: Any, **known: Any) -> Lanes:
        """Write a statement, unless it is there; ``text`` has the operands' places."""
        arguments = tuple(v for v in operands if isinstance(v, Lanes))
        words = any(v.kind == "words" for v in arguments)
        full = text.format(*(v.name if isinstance(v, Lanes) else _constant(v, words) for v in operands))
        if full not in self._known:
            made = Lanes(self, kind, full, arguments, name=f"t{len(self._written)}", **known)
            self._known[full] = made
            self._written.append(made)
        return self._known[full]

    def finite(self, value: Lanes) -> Any:
        """Assume that a number is finite, or ask."""
        if not self.assuming:
            return self.write("mask", "is_finite({0})", value)
        self._finite.append(value)
        return np.True_

    def infinite(self, value: Lanes) -> Any:
        """Assume that a number is not infinite, or ask."""
        if not self.assuming:
            return self.write("mask", "is_equal(magnitude_of({0}), splat(INFINITY))", value)
        return ~self.finite(value)

    def doubtful(self) -> Any:
        """Return where assumptions are wrong, and begin anew."""
        last, found = {id(v) for v in self._finite}, np.False_
        for value in self._finite:
            for operand in _making_finite(value):
                last.discard(id(operand))
        for mask in self.aside:
            found = found | mask
        for value in self._finite:
            if id(value) in last:
                last.discard(id(value))
                found = found | ~self.write("mask", "is_finite({0})", value)
        self.aside, self._finite = [], []
        return found

    def function(self, name: str, variables: Sequence[str], results: dict[str, Any]) -> str:
        """Return a C function of vectors that gives the results in a structure, with the statements that it needs."""
        needed: set[int] = set()
        waiting = [v for v in results.values() if isinstance(v, Lanes)]
        while waiting:
            value = waiting.pop()
            if id(value) not in needed:
                needed.add(id(value))
                waiting += value.arguments
        lines = [f"    const {v.kind} {v.name} = {v.text};" for v in self._written if id(v) in needed]
        kinds = {k: v.kind if isinstance(v, Lanes) else _kind(v) for k, v in results.items()}
        members = " ".join(f"{kind} {k};" for k, kind in kinds.items())
        texts = (v.name if isinstance(v, Lanes) else _constant(v) for v in results.values())
        unused = "".join(f"    (void){v};\n" for v in variables)
        return (
            f"typedef struct {{ {members} }} {name}_result;\n\n"
            f"inline_always {name}_result {name}({', '.join(f'doubles {v}' for v in variables)})\n{{\n{unused}"
            + "\n".join(lines)
            + f"\n    return ({name}_result){{{', '.join(texts)}}};\n}}\n\n"
        )

    def two_sum(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return a + b and what float64 lost, which is nothing where that is known."""
        if extent(a).plus(extent(b)).bits <= 53:
            return a + b, np.float64(0)
        return two_sum(a, b)

    def two_product(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return a * b and what float64 lost, by a fused operation where there is one."""
        y = a * b
        whole = extent(a).times(extent(b))
        if not isinstance(y, Lanes):
            return two_product(a, b)
        if whole.bits <= 53:
            return y, np.float64(0)
        if max(extent(a).top, extent(b).top, whole.top) > _TOP or whole.unit < _UNIT:
            raise UntraceableError("products near float64's limits")
        return y, self.write("doubles", "lost_product({0}, {1}, {2})", a, b, y, extent=whole.rounded())


def extent(value: Any) -> Extent:
    """Return what is known of a number."""
    return value.extent if isinstance(value, Lanes) else Extent.of(float(value))


def _making_finite(value: Lanes) -> list[Lanes]:
    """Return what is finite if a value is: operands of sums and products, dividends, and theirs."""
    found: list[Lanes] = []
    waiting = [value]
    while waiting:
        top = waiting.pop()
        made: Sequence[Lanes] = ()
        if any(o in top.text for o in (" + ", " - ", " * ")) or top.text.startswith("-"):
            made = top.arguments
        elif " / " in top.text and top.text.startswith(top.arguments[0].name):
            made = top.arguments[:1]
        fresh = [v for v in made if not any(v is f for f in found)]
        found += fresh
        waiting += fresh
    return found


def _kind(value: Any) -> str:
    return "mask" if np.asarray(value).dtype == bool else "doubles"


def _constant(value: Any, words: bool = False) -> str:
    value = np.asarray(value)
    if value.dtype == bool:
        return "ALL_LANES" if value else "NO_LANES"
    if words:
        return f"{int(value):#x}"
    number = float(value)
    return f"splat({number.hex() if math.isfinite(number) else '-INFINITY' if number < 0 else 'INFINITY'})"


def _is(value: Any, constant: float | bool) -> bool:
    return not isinstance(value, Lanes) and bool(value == constant)


def _positive(value: Any) -> bool:
    return value.positive if isinstance(value, Lanes) else not math.copysign(1, value) < 0


def _choices(value: Any) -> frozenset[float] | None:
    return value.choices if isinstance(value, Lanes) else frozenset({float(value)}) if _kind(value) != "mask" else None


def _number_of(*values: Any) -> Format | None:
    found = {v.number_of for v in values if isinstance(v, Lanes)}
    return found.pop() if len(found) == 1 else None


def _add(t: Trace, a: Any, b: Any) -> Any:
    for x, zero in ((a, b), (b, a)):
        if _is(zero, 0) and _positive(x):
            return x
    known = extent(a).plus(extent(b)).rounded()
    return t.write("doubles", "{0} + {1}", a, b, extent=known, positive=_positive(a) and _positive(b))


def _subtract(t: Trace, a: Any, b: Any) -> Any:
    if _is(b, 0):
        return a
    if a is b and t.assuming:
        return np.float64(0)
    return t.write("doubles", "{0} - {1}", a, b, extent=extent(a).plus(extent(b)).rounded())


def _multiply(t: Trace, a: Any, b: Any) -> Any:
    if _is(a, 0) or _is(b, 0):  # an error of zero; no program multiplies by the number 0
        return np.float64(0)
    known = extent(a).times(extent(b)).rounded()
    return t.write("doubles", "{0} * {1}", a, b, extent=known, positive=_positive(a) and _positive(b))


def _divide(t: Trace, a: Any, b: Any) -> Any:
    if _is(a, 0):
        return np.float64(0)
    known = extent(a).over(extent(b))
    return t.write("doubles", "{0} / {1}", a, b, extent=known, positive=_positive(a) and _positive(b))


def _negative(t: Trace, a: Lanes) -> Lanes:
    return t.write("doubles", "-{0}", a, extent=a.extent, number_of=a.number_of)


def _absolute(t: Trace, a: Lanes) -> Lanes:
    if a.positive:
        return a
    return t.write("doubles", "magnitude_of({0})", a, extent=a.extent, positive=True, number_of=a.number_of)


def _extreme(name: str, fold: Callable[[float, float], float]) -> Callable[..., Any]:
    def write(t: Trace, a: Any, b: Any) -> Any:
        if isinstance(a, Lanes):
            a, b = b, a  # where a number is NaN, C's gives the second
        if isinstance(a, Lanes) and t.assuming:
            t.finite(a)
        if a is b or (fold is max and _is(a, 0) and _positive(b)):
            return b
        some = None
        if (mine := _choices(a)) is not None and (others := _choices(b)) is not None:
            some = frozenset(fold(x, y) for x in mine for y in others)
            if len(some) == 1:
                return np.float64(next(iter(some)))
        sign = _positive(a) or _positive(b) if fold is max else _positive(a) and _positive(b)
        known = extent(a).both(extent(b))
        return t.write("doubles", f"{name}({{0}}, {{1}})", a, b, extent=known, positive=sign, choices=some,
                       number_of=_number_of(a, b))  # fmt: skip

    return write


def _compared(name: str, turned: bool = False, negated: bool = False) -> Callable[..., Any]:
    def write(t: Trace, a: Any, b: Any) -> Any:
        if a is b and name == "is_equal" and t.assuming:
            return np.bool_(not negated)
        a, b = (b, a) if turned else (a, b)
        found = t.write("mask", f"{name}({{0}}, {{1}})", a, b)
        return _invert(t, found) if negated else found

    return write


def _and(t: Trace, a: Any, b: Any) -> Any:
    if any(isinstance(v, Lanes) and v.kind == "words" for v in (a, b)):
        cleared = any(not isinstance(v, Lanes) and not int(v) >> 63 for v in (a, b))  # the sign
        return t.write("words", "{0} & {1}", a, b, positive=cleared)
    if _is(a, False) or _is(b, False):
        return np.False_
    if _is(a, True) or a is b:
        return b
    return a if _is(b, True) else t.write("mask", "both({0}, {1})", a, b)


def _or(t: Trace, a: Any, b: Any) -> Any:
    if _is(a, True) or _is(b, True):
        return np.True_
    if _is(a, False) or a is b:
        return b
    return a if _is(b, False) else t.write("mask", "either({0}, {1})", a, b)


def _invert(t: Trace, a: Lanes) -> Lanes:
    return a.arguments[0] if a.text.startswith("is_not(") else t.write("mask", "is_not({0})", a)


def _where(t: Trace, chosen: Any, a: Any, b: Any) -> Any:
    if not isinstance(chosen, Lanes):
        return a if chosen else b
    constants = not isinstance(a, Lanes) and not isinstance(b, Lanes)
    if a is b or (constants and _constant(a) == _constant(b)):
        return a
    if _kind_of(a) == "mask":
        return _or(t, _and(t, chosen, a), _and(t, _invert(t, chosen), b))
    mine, others = _choices(a), _choices(b)
    return t.write("doubles", "where({0}, {1}, {2})", chosen, a, b, extent=extent(a).both(extent(b)),
                   positive=_positive(a) and _positive(b), number_of=_number_of(a, b),
                   choices=None if mine is None or others is None else mine | others)  # fmt: skip


def _kind_of(value: Any) -> str:
    return value.kind if isinstance(value, Lanes) else _kind(value)


def _nextafter(t: Trace, a: Lanes, to: Any) -> Lanes:
    fmt = next(f for f in FORMATS.values() if f.dtype == to.dtype)
    if not _is(to, -math.inf):
        raise UntraceableError("numpy.nextafter upwards")
    return t.write("doubles", f"below_{fmt.name}({{0}})", a, extent=a.extent, number_of=fmt)


def _frexp(t: Trace, a: Lanes) -> tuple[Lanes, None]:
    t.finite(a)
    return t.write("doubles", "fraction_of({0})", a), None


_UFUNCS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "negative": _negative,
    "absolute": _absolute,
    "maximum": _extreme("most_of", max),
    "minimum": _extreme("least_of", min),
    "less": _compared("is_less"),
    "less_equal": _compared("is_at_most"),
    "greater": _compared("is_less", turned=True),
    "greater_equal": _compared("is_at_most", turned=True),
    "equal": _compared("is_equal"),
    "not_equal": _compared("is_equal", negated=True),
    "bitwise_and": _and,
    "bitwise_or": _or,
    "invert": _invert,
    "copysign": lambda t, a, b: t.write("doubles", "with_sign({0}, {1})", a, b, extent=extent(a)),
    "isfinite": Trace.finite,
    "isinf": Trace.infinite,
    "isnan": lambda t, a: t.write("mask", "is_not(is_equal({0}, {0}))", a),
    "frexp": _frexp,
    "nextafter": _nextafter,
}
