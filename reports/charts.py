"""Geometry of the drawings in the HTML report; the markup is in the template."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from golden.results import Binade, Landscape, Tally
from reports import text
from reports.messages import tr
from reports.summary import Shares

WIDTH, HEIGHT = 360, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 8, 10, 30
#: Errors up to here are drawn to scale, beyond it one octave takes as much room as half an ulp.
_LINEAR = 4.0
#: No share that is not zero is drawn thinner than this: one wrong element among millions stays in sight.
_THINNEST = 2.0
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
#: Binades that no element reached take no more room than this many that one did.
_WIDEST_GAP = 3


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


@dataclass(frozen=True)
class Column:
    """One binade: a bar up to the largest error (``name``: the verdict class of its worst element), the mean's mark."""

    name: str
    x: float
    y: float
    width: float
    height: float
    mean: float
    label: str


@dataclass(frozen=True)
class Plot:
    """Error against a coordinate. ``half``: the position of 0.5 ulp."""

    axis: str
    own: bool  #: the operator's coordinate, named as the results name it
    columns: list[Column]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    half: float
    label: str
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def segments(shares: Shares) -> list[Segment]:
    """Return the stacked bar of verdict classes, empty when there are no elements."""
    parts = [
        ("correct", tr("correctly rounded"), shares.correct),
        ("legal", tr("other legal"), shares.legal),
        ("failing", tr("failing"), shares.failing),
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
        count = text.plural(elements, "element")
        label = tr("{start} to {end} ulp: {count}", start=text.ulp(start), end=text.ulp(edge), count=count)
        width = max(round(across(edge) - across(start) - 0.4, 2), 1.0)
        bars.append(Bar(across(start), round(base - height, 2), width, height, label))
        previous = edge
    label = tr(
        "Histogram of the error of {count}, all below {end} ulp; counts on a logarithmic scale",
        count=text.plural(sum(n for _, n in bins), "element"),
        end=text.ulp(bins[-1][0]),
    )
    y_ticks = [
        Tick(round(base - (base - _TOP) * (power + 0.3) / top, 2), _power(power))
        for power in range(int(math.log10(bins_max)) + 1)
    ]
    mark = Tick(across(bound), tr("legal up to {bound}", bound=text.ulp(bound))) if bound else None
    if bound:
        label += tr("; the worst element's legal bound, {bound} ulp, is marked", bound=text.ulp(bound))
    return Histogram(bars, _error_ticks(end, across, 34), _thinned(y_ticks), mark, label)


def landscape(found: Landscape) -> Plot | None:
    """Return the plot of error against a coordinate, or None where nothing was measured."""
    if not found.binades:
        return None
    places, extent = _places(found)
    width = (WIDTH - _LEFT - _RIGHT) / extent
    base, highest = HEIGHT - _BOTTOM, max(b.max_ulp for b in found.binades)
    end = max(_position(highest) * 1.04, 1.0)

    def up(error: float) -> float:
        return round(base - (base - _TOP) * min(_position(error) / end, 1.0), 1)

    columns = [
        Column(
            name="failing" if b.failures else "legal" if b.misrounded else "correct",
            x=round(_LEFT + width * place, 1),
            # Without a distance (a NaN) there is no height: failures reach to the top then.
            y=(top := up(b.max_ulp) if b.elements else float(_TOP)),
            width=max(round(width - 0.4, 1), 0.6),
            height=round(max(base - top, 0.6), 1),
            mean=up(b.mean_ulp),
            label=_told(b, found.limit),
        )
        for b, place in zip(found.binades, places, strict=True)
    ]
    own = found.axis != "result"
    label = tr(
        "Largest and mean error in ulp of {count}, by the binade of {axis}; the largest is {highest} ulp",
        count=text.plural(sum(b.elements for b in found.binades), "element"),
        axis=found.axis if own else tr("the exact value"),
        highest=text.ulp(highest),
    )
    ticks = _exponent_ticks(found.binades, [_LEFT + width * (place + 0.5) for place in places])
    return Plot(found.axis, own, columns, ticks, _error_ticks(end, up, 13), up(0.5), label)


def _places(found: Landscape) -> tuple[list[float], float]:
    """Return the position of each binade in binades from the left, and where the axis ends."""
    places: list[float] = []
    at, before = 0.0, None
    for b in found.binades:
        if before is not None:
            # From negative to positive coordinates runs a gap of one.
            turned = before.negative and not b.negative
            at += 2 if turned else min(abs(b.exponent - before.exponent), _WIDEST_GAP)
        places.append(at)
        before = b
    return places, at + 1


def _told(b: Binade, limit: int) -> str:
    """Say what a binade holds."""
    beyond, near = _binade(b.exponent, b.negative), _binade(b.exponent + 1, b.negative)
    where = (
        f"{beyond} … {'−' if b.negative else ''}∞: "
        if b.exponent == limit
        else f"0 … {near}: "
        if b.exponent == -limit
        else f"{beyond} … {near}: "
    )
    told = [text.plural(b.elements, "element")]
    if b.elements:
        told += [tr("max {max}, mean {mean} ulp", max=text.ulp(b.max_ulp), mean=text.mean(b.mean_ulp))]
    told += [tr("{count} misrounded", count=text.count(b.misrounded))] if b.misrounded else []
    told += [tr("{count} failing", count=text.count(b.failures))] if b.failures else []
    return where + tr(", ").join(told)


def _binade(exponent: int, negative: bool) -> str:
    return ("−" if negative else "") + "2" + str(exponent).translate(_SUPERSCRIPT)


def _exponent_ticks(binades: list[Binade], centres: list[float]) -> list[Tick]:
    """Return ticks that do not meet: where the coordinate is 1 first, then the ends, then every eighth binade."""
    marks = list(zip(binades, centres, strict=True))

    ones = [m for m in marks if m[0].exponent == 0]
    eighths = [m for m in marks if m[0].exponent % 8 == 0]
    shown: list[Tick] = []
    for b, at in (*ones, marks[0], marks[-1], *eighths):
        if all(abs(at - tick.at) >= 30 for tick in shown):
            shown.append(Tick(round(at, 1), _binade(b.exponent, b.negative)))
    return sorted(shown, key=lambda tick: tick.at)


def _position(error: float) -> float:
    """Place an error on the axis: to scale up to ``_LINEAR``, logarithmic beyond."""
    if error <= _LINEAR:
        return error
    return _LINEAR + min(math.log2(error / _LINEAR), 1100.0) / 2


def _lower_edge(edge: float) -> float:
    """Return where the bin that ends at ``edge`` begins: bins are 1/32 ulp wide, then one octave."""
    return max(edge - 1 / 32, 0.0) if edge <= _LINEAR else edge / 2


def _error_ticks(end: float, along: Callable[[float], float], room: float) -> list[Tick]:
    """Return ticks of an error axis that goes up to the position ``end``, at least ``room`` pixels apart."""
    fine = [k / 2 for k in range(2 * int(_LINEAR) + 1)] if end <= _LINEAR else [0.0, 1.0, 2.0, 3.0, _LINEAR]
    if abs(along(1.0) - along(0.0)) < room:
        fine = [0.0, 2.0, _LINEAR] if abs(along(2.0) - along(0.0)) >= room else [0.0, _LINEAR]
    candidates = fine + [_LINEAR * 2.0**k for k in range(1, 400)]
    shown: list[Tick] = []
    for error in candidates:
        if _position(error) > end + 1e-9:
            break
        at = along(error)
        label = text.ulp(error) if error < 10_000 else "2" + str(round(math.log2(error))).translate(_SUPERSCRIPT)
        at_the_end = at > WIDTH - _RIGHT - 12  # the last label of a horizontal axis ends at its tick
        if not shown or abs(at - shown[-1].at) >= room + (14 if at_the_end else 0):
            shown.append(Tick(at, label))
    return shown


def _thinned(ticks: list[Tick]) -> list[Tick]:
    step = -(-len(ticks) // 5)
    return ticks[::step]


def _power(exponent: int) -> str:
    return str(10**exponent) if exponent < 3 else "10" + str(exponent).translate(_SUPERSCRIPT)
