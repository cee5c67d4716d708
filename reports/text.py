"""How numbers, names and standing sentences are written, the same in every format."""

import math
import re
import shlex
import unicodedata

from golden.judge import KINDS
from golden.results import Element, Number, Results

#: The definition printed wherever an error in ulp is printed.
ULP_DEFINITION = (
    "Error in ulp is |got − y| / ulp(y), where y is the exact real result and "
    "ulp(y) = 2^(max(floor(log2 |y|), emin) − p + 1); other definitions differ at powers of two."
)
LOWER_BOUND = (
    "The vectors are a sample of all inputs, so every maximum is a lower bound of the true maximum "
    "(marked ≥): other inputs may be worse."
)
#: Grades with their meaning, best first.
GRADE_MEANINGS = {
    "correctly-rounded": "every element is the exact value rounded once to nearest, ties to even",
    "faithful": "every element is less than 1 ulp from the exact value",
    "formula": "every element is within the bound derived for the documented order of evaluation",
    "legal": "every element is within the bound derived for the widest legal order of evaluation",
    "fails": "some element is outside every legal bound, or a contract is broken, or it did not run",
}
#: What stands where there is no number.
NONE = "–"

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_FAILURE_WORDS = {"pass": "passes", "fail": "fails", "timeout": "timed out", "crash": "crashed"}


def visible(text: str) -> str:
    """Write control characters, bidirectional overrides and lone surrogates as escapes.

    Names come from files and command lines of others; what a reader sees must be what is there.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _INVISIBLE else c for c in text)


def _escaped(character: str) -> str:
    if character < "\x80":
        return repr(character)[1:-1]
    return character.encode("ascii", "backslashreplace").decode()


def words(name: str) -> str:
    """Write an identifier (a kind, a status) as words."""
    return _FAILURE_WORDS.get(name, name.replace("_", " "))


def count(number: int) -> str:
    """Write a count with thousands separators."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


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


def number(value: Number | int | str) -> str:
    """Write a number as hex-float with bits and decimal, anything else as itself."""
    return f"{value.hex} ({value.bits}, {value.decimal})" if isinstance(value, Number) else str(value)


def error(element: Element) -> str:
    """Write how far an element is off, and what kind of mismatch it is where it is not just a distance."""
    distance = f"{ulp(element.ulp)} ulp off, legal up to {ulp(element.bound)} ulp" if element.ulp else ""
    kind = "" if element.kind == "value" else KINDS.get(element.kind, words(element.kind))
    return "; ".join(filter(None, (kind, distance))) or "bits differ"


def repro_command(results: str, case: str, symbol: str) -> str:
    """Return the command that writes a C program showing a failing case; ``results``: path of the results file."""
    return shlex.join(["golden", "repro", results, case, "--symbol", symbol])


def build_label(results: Results) -> str:
    """Return the short name of what was judged: a file name, or the target as it was given."""
    name = re.split(r"[/\\]", results.library.path)[-1]
    return visible(name or results.target or "unnamed target")


def verdict(results: Results) -> str:
    """Return the verdict as part of a sentence."""
    return "conforms to" if results.verdict == "conforms" else "fails on"


def stand_in(results: Results) -> str:
    """Say on what the numbers were obtained, so that a host build is never read as a measured DSP."""
    kind = results.target.partition(":")[0]
    profile = results.platform.name
    host = f"{results.host.machine} ({results.host.system})"
    not_dsp = f", held to the profile of {profile}; it is not a measurement of that DSP" if profile != "host" else ""
    if kind == "reference":
        return f"This is a NumPy model and no compiled kernel, executed on {host}{not_dsp}."
    if kind in ("exec", "dump"):
        how = "by a command" if kind == "exec" else "elsewhere, and their outputs dumped"
        return (
            f"The kernels were executed {how}: on which machine is not known here, and whoever made the run "
            f"answers for it. The outputs were judged on {host} and held to the profile of {profile}."
        )
    machine = f"a build for {results.library.machine}" if results.library.machine else "a host build"
    return f"This is {machine} executed on {host}{not_dsp}."
