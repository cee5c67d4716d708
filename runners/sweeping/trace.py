"""Operators' programs in C: golden's own arithmetics, run on :mod:`runners.sweeping.lanes`, write themselves down.

The rules of running error analysis and of double-double arithmetic are in :mod:`golden` and nowhere else: what is
compiled here is what NumPy does there, operation by operation, so that intervals are equal bit by bit. It is made of
functions of whole vectors:

- ``page_members``: whether a result is a member of a part of the legal set that the page's order gives in the stored
  format, and whether that is all there is to say of it;
- ``all_members``: the same for every order and format of intermediates;
- ``precise`` and ``exact_value``: the exact value in float64, as :mod:`golden.oracle` has it, for operators that leave
  it to that; the first one for elements without anything special.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from golden.formats import FP32, Format
from golden.operator import Operator, Scalars
from golden.oracle import Double, DoubleDouble
from golden.program import Program
from golden.running_error import RunningError, Value, interval, modes
from golden.terms import Flush, Terms
from runners.sweeping.lanes import Lanes, Trace

#: Largest error of an exact value in double-double arithmetic, of the value or of the smallest step: far below what
#: decides between two numbers of a format, or between two of float64.
_PRECISE = 2.0**-80


class _Bounds(RunningError):  # noqa: N818 - no exception
    """Running error analysis, traced: flushing is followed, branches are assumed not to be there."""

    def __init__(self, trace: Trace, fmt: Format, flush: Flush, terms: Terms) -> None:
        super().__init__(fmt, flush, terms.arithmetic)
        self._trace = trace
        self.two_sum, self.two_product = trace.two_sum, trace.two_product

    def numbers(self, values: Any) -> Any:
        """Return numbers, or what stands for some."""
        return values if isinstance(values, Lanes) else super().numbers(values)

    def _operand(self, a: Value) -> Value:
        with self._trace.following():
            return super()._operand(a)

    def _settle_subnormal(self, fmt: Format, a: Value, finite: Any) -> None:
        with self._trace.following():
            super()._settle_subnormal(fmt, a, finite)

    def _branch(self, kind: int, unsure: Any) -> Any:
        if isinstance(unsure, Lanes):
            self._trace.aside.append(unsure)
        return np.False_


class _Exact(DoubleDouble):
    """Double-double arithmetic, traced."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.two_sum, self.two_product = trace.two_sum, trace.two_product

    def numbers(self, values: Any) -> Any:
        """Return numbers, or what stands for some."""
        return values if isinstance(values, Lanes) else super().numbers(values)


def members(
    name: str, programs: Sequence[Program], fmt: Format, inners: Sequence[Format], count: int, terms: Terms
) -> str:
    """Return a C function: is ``got`` in what the programs may give, the first of which is the page's?

    Intermediates are of one of the formats ``inners``.

    Its results are masks. ``page``, ``any``: a member of a part of the page's order, of any. ``page_open``,
    ``any_open``: there may be more parts, which this code does not follow.
    """
    trace, names = Trace(), variables(count)
    got = trace.variable("got", fmt)
    given = [trace.variable(v, fmt) for v in names]
    found: dict[str, Any] = dict.fromkeys(("page", "page_open", "any", "any_open"), np.False_)
    for number, program in enumerate(programs):
        for inner in inners:
            concerned: Any = np.True_
            for flush in modes(terms.flush):
                m = _Bounds(trace, inner, flush, terms)
                loaded = [m.load(v) if inner is fmt else m.narrow(v, fmt) for v in given]
                low, high = interval(fmt, m.store(program(m, *loaded), fmt), terms.arithmetic)
                doubtful = trace.doubtful()
                inside = (low <= got) & (got <= high) & ~doubtful & concerned
                for kind in ("page", "any") if number == 0 else ("any",):
                    found[kind] = found[kind] | inside
                    found[f"{kind}_open"] = found[f"{kind}_open"] | doubtful & concerned
                if flush is Flush.NONE:
                    concerned = m.subnormal
    return trace.function(name, [*names, "got"], found)


def exact_value(name: str, program: Program, fmt: Format, count: int, *, special: bool) -> str:
    """Return a C function of the exact value: ``hi``, as golden's oracle has it; ``lo``, what is beyond float64.

    Where ``open``, it is not known well enough; without ``special``, also where something is not finite.
    """
    trace, names = Trace(assuming=not special), variables(count)
    m = _Exact(trace)
    found: Double = program(m, *(m.load(trace.variable(v, fmt)) for v in names))
    unknown = trace.doubtful() | m.unsure | ~(found.err <= np.maximum(np.abs(found.hi), fmt.step) * _PRECISE)
    exact = (found.err == 0) & (found.lo == 0)
    return trace.function(name, names, {"hi": found.hi, "exact": exact, "open": unknown})


def variables(count: int) -> list[str]:
    """Return the names of a program's variables in C."""
    return [f"v{k}" for k in range(count)]


def functions(operator: Operator, fmt: Format, scalars: Scalars, terms: Terms) -> str:
    """Return the C functions that judge an operator's elements; raises :class:`UntraceableError`."""
    programs, count = list(operator.programs(scalars).values()), len(operator.variables(scalars))
    page, inners = programs[0], (fmt,) if fmt is FP32 else (fmt, FP32)
    # The first is for what is most common: intermediates of the stored format.
    text = [
        members("page_members", programs[:1], fmt, inners[:1], count, terms),
        members("all_members", programs, fmt, inners, count, terms),
    ]
    if operator.scaled(scalars) is None:
        text += [exact_value("precise", page, fmt, count, special=False)]
        text += [exact_value("exact_value", page, fmt, count, special=True)]
    return "".join(text)
