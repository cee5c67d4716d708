"""One small run and one sweep, built by hand, with one of each thing that a report tells."""

from typing import Literal

import msgspec

from golden.files.sweeps import SweepResult
from golden.results import (
    Binade,
    ConfigFile,
    Contract,
    Element,
    Failure,
    Finding,
    Grade,
    Judge,
    Landscape,
    Number,
    Results,
    Tally,
    Vectors,
)
from golden.verdicts import overall
from tests.helpers import results_factory as factory

SYMBOL = "hp_smoothl1lossgrad_p"
BETA = Number("0x1p-1", "0x3800", "0.5")
ZERO = Number("0x0p+0", "0x0000", "0.0")
INFINITY = Number("inf", "0x7c00", "inf")
LARGEST = Number("0x1.ffcp+15", "0x7bff", "65504.0")
#: What was expected and what was got instead, by kind of failure: each kind that elements fail by.
WRONG = {
    "value": (factory.WANTED, factory.GOT),
    "nan": (factory.ONE, factory.NAN),
    "infinity": (INFINITY, LARGEST),
    "overflow": (LARGEST, INFINITY),
    "zero": (factory.ONE, ZERO),
    "nonzero": (ZERO, factory.ONE),
}
#: What else fails a case.
BROKEN = {
    "output-overrun": "2 bytes behind dx1 were written (core mask 0xff, first fill of the output).",
    "unwritten": "1 of 33 output elements were not written, first element 32.",
    "crash": f"{SYMBOL} crashed with SIGSEGV reading x1[33], beyond its 33 elements.",
    "timeout": f"{SYMBOL} did not return within 10 s.",
    "not-run": f"{SYMBOL} was not called again after 3 time-outs.",
}
SEEN: list[tuple[str, str, Literal["failure", "warning", "info"], str]] = [
    ("output-overrun", SYMBOL, "failure", "2 bytes behind dx1 were written."),
    ("mask-dependent", SYMBOL, "warning", "3 of 33 elements have other bits with core mask 0x1, all within bounds."),
    ("exception-flags", SYMBOL, "info", "Calls raise the exception flag of a division by zero."),
    ("printed", "", "warning", "12 bytes were printed on stdout."),
]


def element(kind: str, klass: str = "kink") -> Element:
    """Return an element that fails by a kind."""
    expected, got = WRONG[kind]
    inputs: dict[str, Number | int | str] = {"dy": factory.ONE, "x1": factory.WANTED, "x2": ZERO, "beta": BETA}
    ulp = 3072.0 if kind == "value" else 0.0
    return Element(
        f"smoothl1lossgrad/fp16/beta=0.5/{klass}/{kind}/n=33", klass, 7, inputs, expected, got, kind, ulp, 1.5
    )


def failures() -> list[Failure]:
    """Return a failure of each kind, and one of the stress tier."""
    found = []
    for number, kind in enumerate(WRONG, 1):
        first = element(kind)
        message = f"{number} of 33 elements outside every legal bound; element 7: expected {first.expected.decimal}."
        found.append(Failure(first.case, first.klass, "required", kind, message, number, first))
    for kind, message in BROKEN.items():
        elements = 1 if kind == "unwritten" else 0
        found.append(
            Failure(f"smoothl1lossgrad/fp16/lengths/{kind}/n=33", "lengths", "required", kind, message, elements)
        )
    first = msgspec.structs.replace(element("value", "huge"), ulp=4096.0)
    return [*found, Failure(first.case, "huge", "stress", "value", "1 of 33 elements is off.", 1, first)]


def tally(grade: Grade, elements: int, **other: object) -> Tally:
    """Return a tally of two cases with few bins."""
    histogram = {"0.25": elements // 2, "0.5": elements // 2 - 22}
    values = {"cases": 2, "measured": elements - 2, "histogram": histogram, "mean_ulp": 0.25}
    return factory.tally(grade, elements, **(values | other))


def run() -> Results:
    """Return a run of one entry point that fails in every way."""
    failing = failures()
    bad = {"failures": 21, "nan": 1, "infinity": 1, "overflow": 1, "zero": 2, "zero_sign": 3}
    worst = tally("fails", 330, cases=12, misrounded=30, max_ulp=3072.0, worst=element("value"), **bad)
    worst.histogram |= {"4096": 21}
    entry = factory.entry(
        SYMBOL,
        "crash",
        "fails",
        detail=f"11 of 14 cases fail; {BROKEN['crash']}",
        groups={"beta=0.5": worst, "beta=1.0": tally("correctly-rounded", 66)},
        stress={"beta=10": tally("legal", 66, misrounded=9, max_ulp=4096.0)},
        classes={"kink": {"cases": 7, "failures": 6}, "lengths": {"cases": 7, "failures": 5}},
        failures=11,
        failing=failing,
        worst=[first for failure in failing if (first := failure.first)],
        landscapes=[
            Landscape("result", False, 160, [Binade(e, False, 99, 5, 0, 0.75, 0.25) for e in (-14, 0, 3)]),
            Landscape(
                "diff / beta", True, 3, [Binade(-1, True, 9, 1, 0, 0.6, 0.2), Binade(0, False, 9, 9, 7, 3072.0, 4.0)]
            ),
        ],
        contracts=[
            Contract("returns", 70, 3),
            Contract("outside-access", observable=False),
            Contract("outside-write", 68, 1),
            Contract("output-written", 14, 1),
            Contract("core-mask", 42),
            Contract("position", 0),
        ],
    )
    for name in ("elements", "misrounded", "cases"):
        setattr(entry, name, sum(getattr(t, name) for t in entry.groups.values()))
    entry.max_ulp = worst.max_ulp
    made = factory.results(
        [entry],
        created="2026-11-29T09:06:12+00:00",
        judge=Judge("0.2.0", "84baafa", "5eed" * 16),
        config=ConfigFile("golden.toml", "c0de" * 16, ["timeout"]),
        option_sources={"timeout": "golden.toml"},
        options={"sandbox": "landlock, seccomp", "draw": "c0ffee", "timeout": "10"},
        vectors=Vectors("smoke", 14, {"smoothl1lossgrad-fp16.h5": "ab" * 32}),
        findings=[Finding(kind, symbol, severity, text, failing[0].case) for kind, symbol, severity, text in SEEN],
    )
    made.platform = msgspec.structs.replace(
        made.platform, name="board", source="board.toml", sha256="b0a4d" * 12 + "b0a4"
    )
    made.verdict, made.reason = overall(made.entry_points, made.platform)
    return made


def sweep() -> SweepResult:
    """Return an exhaustive sweep of the same build in which one input is outside every legal bound."""
    points = 1 << 16
    first = element("value", "sweep")
    found = tally("fails", points, cases=1, failures=1, max_ulp=3072.0, worst=first)
    return factory.sweep(points=points, total_points=points, bound_exceeded=1, tally=found, first_failure=first)
