"""How numbers, names and standing sentences are written, the same in every format."""

import math
import re
import shlex
from collections.abc import Sequence

from golden.files.sweeps import SweepResult
from golden.judge import KINDS
from golden.results import POLICIES, Drawn, Element, Failure, Number, Results
from reports.messages import language, tr

#: The definition printed wherever an error in ulp is printed.
ULP_DEFINITION = (
    "Error in ulp is |got − y| / ulp(y), where y is the exact real result and "
    "ulp(y) = 2^(max(floor(log2 |y|), emin) − p + 1); other definitions differ at powers of two."
)
LOWER_BOUND = (
    "The vectors are a sample of all inputs, so every maximum is a lower bound of the true maximum "
    "(marked ≥): other inputs may be worse."
)
UPPER_BOUND = (
    "A sweep computes every input of a space, so its maximum is the true one for that space (marked ≤); "
    "inputs outside the space may be worse."
)
#: A path and no link: a report goes where golden does not.
GLOSSARY = "What words such as case, class, contract and finding mean: docs/glossary.md in golden's sources."
LANDSCAPE = (
    "Bars: the largest error in a binade; the mark in each: the mean. Below the thin line at 0.5 ulp every result "
    "is the correctly rounded one."
)
CONTRACTS_COUNTED = (
    "An invocation is one execution of a case; most cases are executed several times, with something that must not "
    "matter changed each time. Where several things were changed at once, a case counts as broken for each of them "
    "that cannot be excluded as the cause."
)
#: What each contract of golden.results.CONTRACTS demands.
CONTRACT_MEANINGS = {
    "returns": "every call returns: no crash, no hang",
    "outside-access": "nothing beside the operands is read or written (inaccessible pages on both sides)",
    "outside-write": "no byte beside the output is written",
    "inputs-unchanged": "no input is written",
    "untouched-operands": "operands that a call has no use for are not touched (they are inaccessible)",
    "fp-environment": "rounding mode, flush bits and traps are as they were before the call",
    "registers": "registers, direction flag and x87 stack are as the calling convention says",
    "processes": "no process is started or left behind",
    "output-written": "every output element is written (held against two different fillings)",
    "small-sizes": "outputs of no element and of one element",
    "core-mask": "same bits with every core mask",
    "placement": "same bits wherever the operands lie: side of the guard page, alignment, offset against each other",
    "output-fill": "same bits whatever the output held before",
    "unread-operands": "same bits whatever operands hold that are passed for their size only",
    "aliasing": "same bits where the output lies on an input, as the platform allows",
    "repetition": "same bits when the same call is repeated",
    "history": "same bits after calls of any other entry point and, in large suites, after 70,000 calls",
    "position": "same bits for the same inputs at every position",
    "storage": "same bits from shared and private storage",
}
#: Contracts that decide the verdict; other bits within every bound are a remark.
DECIDING = (
    *("returns", "outside-access", "outside-write", "inputs-unchanged", "fp-environment", "registers"),
    *("processes", "output-written", "small-sizes", "history"),
)
#: Grades with their meaning, best first.
GRADE_MEANINGS = {
    "correctly-rounded": "every element is the exact value rounded once to nearest, ties to even",
    "faithful": "every element is less than 1 ulp from the exact value",
    "formula": "every element is within the bound derived for the documented order of evaluation",
    "legal": "every element is within the bound derived for the widest legal order of evaluation",
    "fails": "some element is outside every legal bound, or a contract is broken, or it did not run",
}
EXECUTED_ELSEWHERE = (
    "The kernels were executed by a command: on which machine is not known here, and whoever made the run "
    "answers for it. The outputs were judged on {host} and held to the profile of {profile}."
)
DUMPED_ELSEWHERE = (
    "The kernels were executed elsewhere, and their outputs dumped: on which machine is not known here, and whoever "
    "made the run answers for it. The outputs were judged on {host} and held to the profile of {profile}."
)
#: What stands where there is no number.
NONE = "–"

#: A verdict as a word, and as a predicate. One of a selection is never told as if the rest had been run.
VERDICT_WORDS = {"conforms": "conforms", "partial": "partial", "fails": "fails"}
VERDICT_PHRASES = {"conforms": "conforms to", "partial": "was judged in part for", "fails": "fails on"}
STORAGES = {"shared": "shared", "private": "private"}
SEVERITIES = {"failure": "failure", "warning": "warning", "info": "info"}
#: What happened to an entry point or a case, as a predicate.
STATUS_WORDS = {
    "pass": "passes",
    "fail": "fails",
    "timeout": "timed out",
    "crash": "crashed",
    "missing": "is missing",
}
#: The same as a label.
STATUS_LABELS = {"pass": "pass", "fail": "fail", "timeout": "timeout", "crash": "crash", "missing": "missing"}


def maxima(runs: Sequence[Results], sweeps: Sequence[SweepResult]) -> str:
    """Say what the largest errors of a report are; where it has sampled and exhaustive ones, tables mark each."""
    return tr(UPPER_BOUND) if not runs and all(s.exhaustive for s in sweeps) else tr(LOWER_BOUND)


def words(name: str) -> str:
    """Write an identifier (a kind, a status) as words."""
    return tr(STATUS_WORDS[name]) if name in STATUS_WORDS else name.replace("_", " ")


def label(status: str) -> str:
    """Write a status as the label of a row."""
    return tr(STATUS_LABELS[status]) if status in STATUS_LABELS else status


def count(number: int) -> str:
    """Write a count with thousands separators."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """Write a count with its noun, an English one whose plural ends in s; the catalogue has it as ``{n} noun``."""
    if language() == "en":
        return f"{count(number)} {noun}{'' if number == 1 else 's'}"
    return tr("{n} " + noun, n=count(number))


def drawn(found: Drawn) -> str:
    """Say how much a run of drawn calls has covered."""
    return tr(
        "{calls} drawn, made in {ways} ways; {features} features seen; nothing new in the last {quiet}",
        calls=plural(found.calls, "call"),
        ways=count(found.ways),
        features=count(found.features),
        quiet=plural(found.quiet, "call"),
    )


def percent(part: int, whole: int) -> str:
    """Write a share. Never rounds one element away to ``0 %`` nor up to ``100 %``."""
    if whole <= 0:
        return NONE
    share = 100 * part / whole
    if part in (0, whole):
        return f"{share:.0f} %"
    if share < 0.001:
        return "< 0.001 %"
    return "> 99.9 %" if share > 99.9 else f"{share:.3g} %"


def misrounded(wrong: int, measured: int) -> str:
    """Write the share of misrounded results among elements whose exact value is a non-zero number.

    The zeros of a sparse output would dilute it. Wrong classes (a NaN, a non-zero for zero) count as wrong too.
    """
    return percent(wrong, max(measured, wrong))


def ulp(value: float) -> str:
    """Write an error in ulp with up to six digits."""
    return f"{value:.6g}" if math.isfinite(value) else str(value)


def mean(value: float) -> str:
    """Write a mean error in ulp: three digits are what a sample supports."""
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def signed(value: float) -> str:
    """Write a bias in ulp with its sign."""
    return f"{value:+.3g}" if value else "0"


def at_least(value: float, measured: int) -> str:
    """Write a maximum over a sample, or a dash where nothing was measured."""
    return f"≥ {ulp(value)}" if measured else NONE


def at_most(value: float, measured: int) -> str:
    """Write a maximum over a whole space, or a dash where nothing was measured."""
    return f"≤ {ulp(value)}" if measured else NONE


def number(value: Number | int | str) -> str:
    """Write a number as hex-float with bits and decimal, anything else as itself."""
    return f"{value.hex} ({value.bits}, {value.decimal})" if isinstance(value, Number) else str(value)


def error(element: Element) -> str:
    """Write how far an element is off, and what kind of mismatch it is where it is not just a distance."""
    off = tr("{ulp} ulp off, legal up to {bound} ulp", ulp=ulp(element.ulp), bound=ulp(element.bound))
    kind = tr(KINDS[element.kind]) if element.kind in KINDS else words(element.kind)
    told = filter(None, ("" if element.kind == "value" else kind, off if element.ulp else ""))
    return tr("; ").join(told) or tr("bits differ")


def reproducible(failure: Failure) -> bool:
    """Tell whether a program can show a failure: of legal results it could only say that they are."""
    return bool(failure.case) and failure.kind not in POLICIES


def repro_command(results: str, case: str, symbol: str) -> str:
    """Return the command that writes a C program showing a failing case; ``results``: path of the results file."""
    return shlex.join(["golden", "repro", results, case, "--symbol", symbol])


def build_label(judged: Results | SweepResult) -> str:
    """Return the short name of what was judged: a file name, or the target as it was given."""
    name = re.split(r"[/\\]", judged.library.path)[-1]
    return name or judged.target or tr("unnamed target")


def verdict(results: Results) -> str:
    """Return the verdict as part of a sentence, between the names of build and platform."""
    return tr(VERDICT_PHRASES[results.verdict])


def verdict_word(results: Results) -> str:
    """Return the verdict as a word."""
    return tr(VERDICT_WORDS[results.verdict])


def vectors_used(results: Results) -> str:
    """Say who can make the vectors of a run, as a build can be fitted to what its author has; "" in older results."""
    origin, digest = results.vectors.origin, results.vectors.seed_sha256
    if origin == "private":
        return tr("Vectors of a private seed (SHA-256 {digest}) were used.", digest=digest)
    if origin == "public":
        return tr("Public vectors alone were used: acceptance takes a private --seed and golden fuzz --time 600, too.")
    return tr("Vectors of the user’s own were used, without a private seed.") if origin else ""


def stand_in(results: Results) -> str:
    """Say on what the numbers were obtained, so that a host build is never read as a measured DSP."""
    kind = results.target.partition(":")[0]
    profile = results.platform.name
    host = f"{results.host.machine} ({results.host.system})"
    not_dsp = (
        tr(", held to the profile of {profile}; it is not a measurement of that DSP", profile=profile)
        if profile != "host"
        else ""
    )
    if kind == "reference":
        told = tr("This is a NumPy model and no compiled kernel, executed on {host}", host=host)
    elif kind in ("exec", "dump"):
        return tr(EXECUTED_ELSEWHERE if kind == "exec" else DUMPED_ELSEWHERE, host=host, profile=profile)
    elif results.library.machine:
        machine = results.library.machine
        told = tr("This is a build for {machine} executed on {host}", machine=machine, host=host)
    else:
        told = tr("This is a host build executed on {host}", host=host)
    return told + not_dsp + tr(".")
