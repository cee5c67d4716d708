"""``golden report --format badge``: one SVG for a README, self-contained and readable by screen readers."""

from html import escape

from golden.results import GRADES, VERDICTS, Results
from reports import text
from reports.summary import failing_entry_points, labels, ranked

#: White on each of these has a contrast of at least 4.5 to 1 (WCAG 2.1 AA).
_LEFT, _COLOURS = "#444444", {"conforms": "#1f6f43", "partial": "#6b4e00", "fails": "#b3261e"}
_HEIGHT, _PADDING = 20, 6
#: Width of a character in pixels at 11 px; textLength makes any font fit what was reckoned with.
_NARROW, _AVERAGE, _WIDE = 3.6, 6.6, 9.6


def render_badge(runs: list[Results]) -> str:
    """Return the badge of one or several runs: whether all conform, and the worst grade among them then.

    The title, which tooltips show and screen readers speak, names each build and says what it was executed on.
    """
    ordered = ranked(runs)
    message = _message(ordered)
    colour = _COLOURS[max((run.verdict for run in ordered), key=VERDICTS.index, default="fails")]
    title = f"golden: {message}. " + " ".join(
        f"{label} {text.verdict(run)} {run.platform.name}: {run.reason} {text.stand_in(run)}"
        for run, label in zip(ordered, labels(ordered), strict=True)
    )
    left, right = _width("golden"), _width(message)
    total = left + right
    spoken, shown = (escape(words) for words in (title.strip(), message))
    label = escape(f"golden: {message}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total:g}" height="{_HEIGHT}" role="img" '
        f'aria-label="{label}">\n'
        f"<title>{spoken}</title>\n"
        f'<clipPath id="golden-badge"><rect width="{total:g}" height="{_HEIGHT}" rx="3"/></clipPath>\n'
        f'<g clip-path="url(#golden-badge)">'
        f'<rect width="{left:g}" height="{_HEIGHT}" fill="{_LEFT}"/>'
        f'<rect x="{left:g}" width="{right:g}" height="{_HEIGHT}" fill="{colour}"/></g>\n'
        f'<g fill="#ffffff" font-family="Verdana, DejaVu Sans, Geneva, sans-serif" font-size="11" '
        f'text-anchor="middle" aria-hidden="true">'
        f'<text x="{left / 2:g}" y="14" textLength="{left - 2 * _PADDING:g}">golden</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - 2 * _PADDING:g}">{shown}</text></g>\n'
        "</svg>\n"
    )


def _message(runs: list[Results]) -> str:
    if not runs:
        return "nothing judged"
    required = [e for run in runs for e in run.entry_points if e.required]
    bad = [e for run in runs for e in failing_entry_points(run)]
    if bad:
        return f"fails: {len(bad)} of {len(required)}"
    if any(run.verdict == "fails" for run in runs) or not required:
        return "fails"
    if any(run.verdict == "partial" for run in runs):
        return "partial: a selection"
    return f"conforms: {max((e.grade for e in required), key=GRADES.index)}"


def _width(words: str) -> float:
    sizes = (_NARROW if c in "fijlrt:.- " else _WIDE if c in "mwMW" or ord(c) > 0x2000 else _AVERAGE for c in words)
    return round(sum(sizes)) + 2 * _PADDING
