"""Sample results, built by hand: what the report tests render."""

import msgspec

from golden.files.sweeps import SweepResult
from golden.results import (
    SCHEMA,
    Binade,
    Contract,
    Element,
    EntryPointResult,
    Failure,
    Finding,
    Grade,
    Host,
    Landscape,
    Library,
    Number,
    Platform,
    Probe,
    Results,
    Selection,
    Status,
    Tally,
    Vectors,
)
from golden.terms import Accept
from golden.verdicts import overall

#: Text of others at its worst: markup, delimiters, control and bidirectional characters.
HOSTILE = "<script>alert('x')</script>\"&amp;|`}{$\\#_%~^\x1b[31m\x00\u202etxt.so]]>"
GROUPS = {
    "smoothl1lossgrad": ["beta=0.1", "beta=0.25", "beta=1/3", "beta=0.5", "beta=0.7", "beta=1.0"],
    "nlllossgrad": ["reduction=none", "reduction=sum", "reduction=mean"],
}
CLASSES = [
    "uniform-bits",
    "log-uniform",
    "kink",
    "cancellation",
    "hard",
    "ties",
    "subnormal",
    "special",
    "lengths",
]
SYMBOLS = [
    f"{prefix}_{operator}_{storage}"
    for operator in ("smoothl1lossgrad", "nlllossgrad")
    for prefix in ("hp", "fp")
    for storage in "sp"
]

ONE = Number("0x1p+0", "0x3c00", "1.0")
NAN = Number("nan", "0x7e00", "nan")
WANTED = Number("0x1.8p+3", "0x4a00", "12.0")
GOT = Number("-0x1.8p+3", "0xca00", "-12.0")


BAD_CASE = "smoothl1lossgrad/fp16/beta=0.5/kink/n=33"


def element(kind: str = "value", ulp: float = 3072.0, case: str = BAD_CASE) -> Element:
    """Return one bad element; ``ulp`` 0 for kinds that are no distances."""
    inputs = {
        "dy": WANTED,
        "x1": ONE,
        "x2": Number("0x1.8p-1", "0x3a00", "0.75"),
        "beta": Number("0x1p-1", "0x3800", "0.5"),
    }
    return Element(case, "kink", 7, inputs, WANTED, NAN if kind == "nan" else GOT, kind, ulp, 1.5)


def landscapes(failures: int = 0) -> list[Landscape]:
    """Return plausible landscapes; the failures are where the difference is about beta."""
    result = [Binade(e, False, 900 - 10 * abs(e), 5 * (e > -9), 0, 0.5 + (e > -9) * 0.23, 0.25) for e in range(-14, 9)]
    own = [
        Binade(e, negative, 700, 9 * (e < 0), failures * (e == 0), 3072.0 if failures and e == 0 else 0.6, 0.2)
        for negative, exponents in ((True, range(3, -8, -1)), (False, range(-7, 4)))
        for e in exponents
    ]
    return [Landscape("result", False, 160, result), Landscape("diff / beta", True, 3, own)]


def contracts(broken: int = 0) -> list[Contract]:
    """Return contracts: one broken or not, one that was not checked, one that cannot be seen."""
    return [
        Contract("returns", 8295),
        Contract("outside-access", observable=False),
        Contract("outside-write", 8295, broken),
        Contract("output-written", 866),
        Contract("core-mask", 5134),
        Contract("position", 0),
    ]


def sweep(exhaustive: bool = True, **other: object) -> SweepResult:
    """Return a sweep of the conforming build."""
    points = 1 << 32 if exhaustive else 1000
    values = {
        "golden": "0.1.0",
        "target": "build/libops.so",
        "library": Library("build/libops.so", "9f2c" * 16, "GCC: (Debian 12.2.0-14) 12.2.0", "EM_X86_64"),
        "symbol": "hp_smoothl1lossgrad_p",
        "operator": "smoothl1lossgrad",
        "dtype": "fp16",
        "space": "diff-dy" if exhaustive else "random",
        "parameters": {"beta": Number("0x1p-1", "0x3800", "0.5"), "x2": Number("0x0p+0", "0x0000", "0.0")},
        "flush": False,
        "points": points,
        "total_points": points,
        "share": 1.0 if exhaustive else 1e-6,
        "exhaustive": exhaustive,
        "bound_exceeded": 0,
        "tally": tally(elements=points, cases=1, measured=points - 4096, max_ulp=0.75),
        "seconds": 22.5,
        "kernel_seconds": 20.0,
        "rate": 1.9e8,
        "judge": "native",
        "jobs": 2,
        "complete": True,
    }
    return SweepResult(**(values | other))  # type: ignore[arg-type]


def tally(grade: Grade = "faithful", elements: int = 120_000, **other: object) -> Tally:
    """Return a tally with a plausible histogram."""
    histogram = {f"{(k + 1) / 32:g}": elements // 18 for k in range(16)} | {
        "0.53125": elements // 180,
        "0.75": 3,
    }
    values = {
        "cases": 40,
        "elements": elements,
        "measured": elements - 500,
        "misrounded": elements // 180,
        "max_ulp": 0.7311,
        "mean_ulp": 0.2512,
        "p999_ulp": 0.53125,
        "bias_ulp": -0.0021,
        "grade": grade,
        "histogram": histogram,
        "worst": Element(
            "smoothl1lossgrad/fp16/beta=0.5/hard/n=4096",
            "hard",
            1203,
            {"dy": ONE, "label": 3},
            WANTED,
            Number("0x1.804p+3", "0x4a01", "12.01"),
            "value",
            0.7311,
            1.5,
        ),
    }
    if grade == "correctly-rounded":
        values |= {"misrounded": 0, "max_ulp": 0.4998, "p999_ulp": 0.5, "worst": None}
        values["histogram"] = {edge: n for edge, n in histogram.items() if float(edge) <= 0.5}
    return Tally(**(values | other))  # type: ignore[arg-type]


def entry(symbol: str, status: Status = "pass", grade: Grade = "faithful", **other: object) -> EntryPointResult:
    """Return an entry point with all groups and classes; without any where it did not run."""
    prefix, operator, storage = symbol.split("_")
    ran = status in ("pass", "fail")
    groups = {name: tally(grade) for name in GROUPS[operator]} if ran else {}
    values = {
        "symbol": symbol,
        "operator": operator,
        "dtype": {"hp": "fp16", "fp": "fp32"}[prefix],
        "storage": {"s": "shared", "p": "private"}[storage],
        "required": True,
        "status": status,
        "grade": grade if ran else "fails",
        "max_ulp": max((t.max_ulp for t in groups.values()), default=0.0),
        "misrounded": sum(t.misrounded for t in groups.values()),
        "elements": sum(t.elements for t in groups.values()),
        "cases": sum(t.cases for t in groups.values()),
        "failures": 0,
        "groups": groups,
        "stress": {"beta=10": tally("legal", 2000, max_ulp=4096.0)} if ran else {},
        "classes": {name: {"cases": 26, "failures": 0} for name in CLASSES} if ran else {},
        "landscapes": landscapes() if ran else [],
        "contracts": contracts() if ran else [],
        "worst": [t.worst for t in groups.values() if t.worst][:1],
        "bits": dict.fromkeys(CLASSES, "00112233aabbccdd") if ran else {},
    }
    return EntryPointResult(**(values | other))  # type: ignore[arg-type]


def failing_entry(symbol: str, first: Element | None = None, kind: str = "value") -> EntryPointResult:
    """Return an entry point that fails in class ``kink``."""
    bad = first or element()
    message = f"33 of 33 elements have a wrong sign at ±beta ({symbol[:2]})"
    failing = [
        Failure(bad.case, "kink", "required", kind, message, 33, bad),
        Failure("x/contract/n=5", "lengths", "required", "outside-write", "wrote 2 bytes after the output"),
    ]
    result = entry(symbol, "fail", failures=14, failing=failing, detail="14 cases fail.")
    result.classes["kink"]["failures"] = 13
    result.classes["lengths"]["failures"] = 1
    group = "beta=0.5" if "beta=0.5" in result.groups else "reduction=sum"
    result.groups[group] = tally(
        "fails",
        failures=900,
        nan=4 if bad.kind == "nan" else 0,
        zero=2,
        max_ulp=3072.0 if bad.ulp else 0.7311,
        worst=bad,
        histogram=tally().histogram | {"4096": 900},
    )
    result.grade = "fails"
    result.landscapes, result.contracts = landscapes(failures=900), contracts(broken=1)
    result.max_ulp = max(t.max_ulp for t in result.groups.values())
    result.misrounded = sum(t.misrounded for t in result.groups.values())
    return result


def results(entry_points: list[EntryPointResult] | None = None, **other: object) -> Results:
    """Return a run; conforming unless told otherwise."""
    chosen = entry_points if entry_points is not None else [entry(s, grade="correctly-rounded") for s in SYMBOLS]
    bad = [e.symbol for e in chosen if e.required and e.status != "pass"]
    values = {
        "schema": SCHEMA,
        "golden": "0.1.0",
        "verdict": "fails" if bad or not chosen else "conforms",
        "reason": f"{len(bad)} of {len(chosen)} required entry points fail."
        if bad
        else f"All {len(chosen)} required entry points pass.",
        "platform": Platform(
            "MT7004",
            8,
            "unspecified",
            "_Float16",
            ["fp16", "fp32"],
            ["MT7004 supports fp16 and fp32.", "The examples use core mask 0xff."],
            ["8 cores.", "Subnormals may be flushed.", "half is _Float16."],
        ),
        "target": "build/libops.so",
        "library": Library("build/libops.so", "9f2c" * 16, "GCC: (Debian 12.2.0-14) 12.2.0", "EM_X86_64"),
        "host": Host("x86_64", "Linux 6.1", "3.11.2", "2.1.0"),
        "vectors": Vectors("core", 2104, {"smoothl1lossgrad-fp16.h5": "ab" * 32, "nlllossgrad-fp32.h5": "cd" * 32}),
        "options": {"strict": "false", "timeout": "10"},
        "probe": Probe("float16", "sum-mean-none", "preserve", {"fp_smoothl1lossgrad_s": "d/beta*dy (100 %)"}),
        "seconds": 7.25,
        "entry_points": chosen,
        "findings": [],
        "complete": True,
    }
    return Results(**(values | other))  # type: ignore[arg-type]


def conforming() -> Results:
    """Everything passes, with a remark."""
    remark = Finding("zero-sign", "hp_smoothl1lossgrad_s", "info", "3 zeros have the other sign.", "a/b/c")
    return results(findings=[remark])


def failing() -> Results:
    """Two entry points compute wrong values in the same way."""
    bad = ("hp_smoothl1lossgrad_s", "hp_smoothl1lossgrad_p")
    finding = Finding("outside-write", bad[0], "failure", "Wrote 2 bytes after the output.", "x/contract/n=5")
    return results([failing_entry(s) if s in bad else entry(s) for s in SYMBOLS], findings=[finding])


def missing() -> Results:
    """All four fp16 entry points are absent."""
    return results([entry(s, "missing") if s.startswith("hp") else entry(s) for s in SYMBOLS])


def crashing() -> Results:
    """One entry point crashes, another never returns."""
    crash = Failure("a/crash/n=0", "lengths", "required", "crash", "SIGSEGV in the kernel at length 0")
    bad = {
        "fp_nlllossgrad_s": entry(
            "fp_nlllossgrad_s", "crash", detail="SIGSEGV in a/crash/n=0.", failing=[crash], failures=1
        ),
        "fp_nlllossgrad_p": entry("fp_nlllossgrad_p", "timeout", detail="No answer within 10 s."),
    }
    return results([bad.get(s) or entry(s) for s in SYMBOLS])


def nan() -> Results:
    """The worst element is a NaN, which has no distance."""
    return results([failing_entry("fp_smoothl1lossgrad_s", element("nan", 0.0), "nan")])


def hostile() -> Results:
    """Every text that is not golden's own is :data:`HOSTILE`."""
    bad = element(case=HOSTILE)
    result = results(
        [
            failing_entry("hp_smoothl1lossgrad_s", bad),
            entry("fp_smoothl1lossgrad_s", "crash", detail=HOSTILE),
        ],
        target=HOSTILE,
        library=Library("out/" + HOSTILE, "00" * 32, HOSTILE, HOSTILE),
        reason=HOSTILE,
        options={HOSTILE: HOSTILE},
        findings=[Finding(HOSTILE, "hp_smoothl1lossgrad_s", "failure", HOSTILE, HOSTILE)],
        vectors=Vectors(HOSTILE, 1, {HOSTILE: HOSTILE}),
        probe=Probe(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}),
        platform=Platform(HOSTILE, 1, HOSTILE, HOSTILE, [HOSTILE], [HOSTILE], [HOSTILE]),
    )
    first = result.entry_points[0]
    first.failing.append(Failure(HOSTILE, HOSTILE, "required", HOSTILE, HOSTILE, 1, bad))
    first.classes[HOSTILE] = {"cases": 1, "failures": 1}
    first.groups[HOSTILE] = tally("fails", worst=bad)
    return msgspec.convert(msgspec.to_builtins(result), Results)  # as it is read


def nothing() -> Results:
    """Nothing was run, which is a failure."""
    return results([], reason="No entry point was run.")


def partial() -> Results:
    """Nothing fails of a selection, held to more than the page."""
    chosen = [entry(s, grade="correctly-rounded") for s in SYMBOLS[:4]]
    selection = Selection({"operator": ["smoothl1lossgrad"], "class": ["kink"]}, 480, 2000, 4, 8)
    run = results(chosen, selection=selection)
    platform = msgspec.structs.replace(run.platform, accept=Accept(grade="faithful", max_ulp={"fp32": 4.0}))
    verdict, reason = overall(chosen, platform, (), selection)
    return msgspec.structs.replace(run, platform=platform, verdict=verdict, reason=reason)


SAMPLES = {
    "conforming": conforming,
    "partial": partial,
    "failing": failing,
    "missing": missing,
    "crashing": crashing,
    "nan": nan,
    "hostile": hostile,
    "nothing": nothing,
}
