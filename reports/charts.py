"""Geometry of the drawings in the HTML report; the markup is in the template."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from golden.results import Tally
from reports import text
from reports.summary import Shares

WIDTH, HEIGHT = 360, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 8, 10, 30
#: Errors up to here are drawn to scale, beyond it one octave takes as much room as half an ulp.
_LINEAR = 4.0
#: No share that is not zero is drawn thinner than this: one wrong element among millions stays in sight.
_THINNEST = 2.0
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Segment:
    """A part of a stacked bar, in percent of its width."""

    name: str
    label: str
    elements: int
    x: float
    width: float


@dataclass(frozen=True)
class Bar:
    """One bin: a rectangle in pixels and its description."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: position in pixels and text."""

    at: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """Distribution of the error: ``bound`` is the legal bound's position, where it is known."""

    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    bound: Tick | None
    label: str
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def segments(shares: Shares) -> list[Segment]:
    """Return the stacked bar of verdict classes, empty when there are no elements."""
    parts = [
        ("correct", "correctly rounded", shares.correct),
        ("legal", "other legal", shares.legal),
        ("failing", "failing", shares.failing),
    ]
    widths = [max(100 * n / shares.elements, _THINNEST) if n else 0.0 for _, _, n in parts if shares.elements]
    result, x = [], 0.0
    for (name, label, elements), width in zip(parts, widths, strict=False):
        share = 100 * width / sum(widths)
        if elements:
            result.append(Segment(name, label, elements, round(x, 2), round(share, 2)))
        x += share
    return result


def histogram(tally: Tally) -> Histogram | None:
    """Return the histogram of the error over measured elements, or None where nothing was measured."""
    bins = sorted((float(edge), n) for edge, n in tally.histogram.items() if n > 0)
    if not bins:
        return None
    bound = tally.worst.bound if tally.worst and tally.worst.bound > 0 else None
    end = max(_position(bins[-1][0]), _position(bound * 1.08) if bound else 0.0, 0.5)
    span = WIDTH - _LEFT - _RIGHT
    base = HEIGHT - _BOTTOM
    top = math.log10(bins_max := max(n for _, n in bins)) + 0.3

    def across(error: float) -> float:
        return round(_LEFT + span * min(_position(error) / end, 1.0), 2)

    bars = []
    previous = 0.0
    for edge, elements in bins:
        start = max(previous, _lower_edge(edge))
        height = round((base - _TOP) * (math.log10(elements) + 0.3) / top, 2)
        label = f"{text.ulp(start)} to {text.ulp(edge)} ulp: {text.plural(elements, 'element')}"
        width = max(round(across(edge) - across(start) - 0.4, 2), 1.0)
        bars.append(Bar(across(start), round(base - height, 2), width, height, label))
        previous = edge
    label = (
        f"Histogram of the error of {text.plural(sum(n for _, n in bins), 'element')}, "
        f"all below {text.ulp(bins[-1][0])} ulp; counts on a logarithmic scale"
    )
    y_ticks = [
        Tick(round(base - (base - _TOP) * (power + 0.3) / top, 2), _power(power))
        for power in range(int(math.log10(bins_max)) + 1)
    ]
    mark = Tick(across(bound), f"legal up to {text.ulp(bound)}") if bound else None
    if mark:
        label += f"; the worst element's legal bound, {text.ulp(bound or 0)} ulp, is marked"
    return Histogram(bars, _x_ticks(end, across), _thinned(y_ticks), mark, label)


def _position(error: float) -> float:
    """Place an error on the axis: to scale up to ``_LINEAR``, logarithmic beyond."""
    if error <= _LINEAR:
        return error
    return _LINEAR + min(math.log2(error / _LINEAR), 1100.0) / 2


def _lower_edge(edge: float) -> float:
    """Return where the bin that ends at ``edge`` begins: bins are 1/32 ulp wide, then one octave."""
    return max(edge - 1 / 32, 0.0) if edge <= _LINEAR else edge / 2


def _x_ticks(end: float, across: Callable[[float], float]) -> list[Tick]:
    candidates = [k / 2 for k in range(2 * int(_LINEAR) + 1)] + [_LINEAR * 2.0**k for k in range(1, 400)]
    shown: list[Tick] = []
    for error in candidates:
        if _position(error) > end + 1e-9:
            break
        at = across(error)
        label = text.ulp(error) if error < 10_000 else "2" + str(round(math.log2(error))).translate(_SUPERSCRIPT)
        room = 34 if at <= WIDTH - _RIGHT - 12 else 48  # the last label ends at its tick
        if not shown or at - shown[-1].at >= room:
            shown.append(Tick(at, label))
    return shown


def _thinned(ticks: list[Tick]) -> list[Tick]:
    step = -(-len(ticks) // 5)
    return ticks[::step]


def _power(exponent: int) -> str:
    return str(10**exponent) if exponent < 3 else "10" + str(exponent).translate(_SUPERSCRIPT)
