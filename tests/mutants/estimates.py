"""Builds whose single operations are less accurate than IEEE 754 has them, as on DSPs, and whose range is not.

Division by an 8-bit estimate of the reciprocal and Newton-Raphson steps (TI's RCPSP, Hexagon's sfrecipa, Arm's FRECPE,
PowerPC's fres give such), units that truncate, units that flush subnormals in some places only. The C is in estimates.h.

Each has the smallest figures of a profile's ``[arithmetic]`` that describe it, in :data:`STEPS`: tests/mutants/measure.py
measures them, a witness shows that the next smaller step is too small, and ``reason`` says why none is larger where
fp32 is too large to be measured whole.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from tests.mutants import nll, structure
from tests.mutants.smoothl1 import (
    FP_DIFF,
    FP_INSIDE,
    FP_QUOTIENT,
    HP_DIFF,
    HP_INSIDE,
    HP_QUOTIENT,
    HP_STORE,
)
from tests.mutants.variant import CORES, NLL, SMOOTHL1, Edit, Variant

#: Errors of an operation in ulp that figures are chosen from; measured errors are rounded up to the next.
STEPS = (
    *(0.5, 0.51, 0.53125, 0.5625, 0.625, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0),
    *(16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0),
)


@dataclass(frozen=True)
class Witness:
    """One result: ``a`` op ``b`` as bits of the dtype (a reciprocal has a = 1), what the build gives, its error in ulp."""

    a: int
    b: int
    got: int
    error: float


@dataclass(frozen=True)
class Figure:
    """The smallest step that an operation's errors do not exceed.

    ``witness``: a result whose error exceeds the next smaller step. ``reason``: why no result exceeds the figure.
    """

    key: str
    ulp: float
    witness: Witness
    reason: str


@dataclass(frozen=True)
class Estimated:
    """A build, and the profile under which it conforms.

    ``figures``: those that are not 0.5. ``powers``: quotients by powers of two are exact. ``truncates``: results lie between
    0 and the exact ones. ``flushes``: where subnormals become zero, for the profile must then leave that open.
    """

    variant: Variant
    figures: tuple[Figure, ...] = ()
    powers: bool = True
    truncates: bool = False
    flushes: str = ""

    @property
    def arithmetic(self) -> str:
        """The table ``[arithmetic]`` of the profile as TOML, or nothing where its defaults will do."""
        lines = []
        for dtype in ("fp32", "fp16"):
            of = {f.key.split(".")[1]: f.ulp for f in self.figures if f.key.startswith(dtype)}
            if of:
                lines.append(f"{dtype} = {{ {', '.join(f'{k} = {v}' for k, v in of.items())} }}")
        lines += ['rounding = "toward-zero"'] * self.truncates + ["exact-powers = false"] * (not self.powers)
        return "\n".join(lines)

    @property
    def names(self) -> str:
        """What a report is expected to name where the profile lacks it: the figure, or the key of subnormals."""
        return f"{self.figures[0].key} = {self.figures[0].ulp}" if self.figures else "subnormals" * bool(self.flushes)


def profile_of(estimated: Estimated) -> str:
    """Return the TOML of a profile under which a build conforms: this machine's, with the build's arithmetic."""
    table = f"\n[arithmetic]\n{estimated.arithmetic}\n" if estimated.arithmetic else ""
    name = estimated.variant.name
    return f"""name = "{name}"
summary = "arithmetic of {name}"
dtypes = ["fp16", "fp32"]
cores = 8
subnormals = "{"unspecified" if estimated.flushes else "preserve"}"
half = "unspecified"
{table}
[provenance]
assumed = ["figures measured by tests/mutants/measure.py"]
"""

_TEXT = Path(__file__).with_name("estimates.h").read_text(encoding="utf-8")
_STDINT = "#include <stdint.h>\n"

FP_DIVIDE = (
    Edit(SMOOTHL1, FP_QUOTIENT, "const float quotient = divide(diff, call.beta);"),
    Edit(NLL, nll.FP_MEAN, "factor = divide(factor, call.total_weight[0]);"),
)
FP_INVERSE = (
    Edit(SMOOTHL1, FP_QUOTIENT, "const float quotient = diff * inverse(call.beta);"),
    Edit(NLL, nll.FP_MEAN, "factor = factor * inverse(call.total_weight[0]);"),
)
FP_TRUNCATE = (
    Edit(SMOOTHL1, FP_DIFF, "const float diff = sum(call.x1[i], -call.x2[i]);"),
    Edit(SMOOTHL1, FP_INSIDE, "const float inside = product(quotient, dy);"),
    Edit(NLL, nll.FP_STORE, nll.FP_STORE.replace("-gradient * factor", "product(-gradient, factor)")),
)
FP_RATIO = tuple(Edit(e.file, e.old, e.new.replace("divide(", "ratio(")) for e in FP_DIVIDE)
HP_DIVIDE = (
    Edit(SMOOTHL1, HP_QUOTIENT, "const float quotient = round_to_half(divide(diff, beta));"),
    Edit(NLL, nll.HP_MEAN, "factor = round_to_half(divide(factor, from_half(call.total_weight[0])));"),
)
HP_INVERSE = (
    Edit(SMOOTHL1, HP_QUOTIENT, "const float quotient = round_to_half(diff * round_to_half(inverse(beta)));"),
    Edit(
        NLL,
        nll.HP_MEAN,
        "factor = round_to_half(factor * round_to_half(inverse(from_half(call.total_weight[0]))));",
    ),
)
HP_TRUNCATE = (
    Edit(SMOOTHL1, HP_DIFF, "const float diff = sum(from_half(call.x1[i]), -from_half(call.x2[i]));"),
    Edit(SMOOTHL1, HP_INSIDE, "const float inside = product(quotient, dy);"),
    Edit(NLL, nll.HP_STORE, nll.HP_STORE.replace("-gradient * factor", "product(-gradient, factor)")),
)
HP_RATIO = tuple(Edit(e.file, e.old, e.new.replace("divide(", "ratio(")) for e in HP_DIVIDE)
#: fp32 inside, truncated once where the result is stored.
HP_CONVERT = (
    Edit(SMOOTHL1, HP_DIFF, "const float diff = from_half(call.x1[i]) - from_half(call.x2[i]);"),
    Edit(SMOOTHL1, HP_QUOTIENT, "const float quotient = diff / beta;"),
    Edit(SMOOTHL1, HP_INSIDE, "const float inside = rounded(quotient * dy, 0);"),
    Edit(NLL, nll.HP_MEAN, "factor = factor / from_half(call.total_weight[0]);"),
    Edit(NLL, nll.HP_STORE, nll.HP_STORE.replace("-gradient * factor", "rounded(-gradient * factor, 0)")),
)


def _arithmetic(*macros: str) -> Edit:
    """Put estimates.h into the kernels, with what it is to be: macros as NAME or NAME VALUE."""
    return Edit(CORES, _STDINT, "\n".join([_STDINT, *(f"#define {m}" for m in macros), "", _TEXT]))


def _flushing(where: str, operands: bool, results: bool) -> tuple[Edit, ...]:
    """Flush operands or results of operations where a C condition on i, begin and end holds. Moves flush nothing."""
    lines = {
        (SMOOTHL1, FP_DIFF): "const float diff = R(O(call.x1[i]) - O(call.x2[i]));",
        (SMOOTHL1, FP_QUOTIENT): "const float quotient = R(O(diff) / O(call.beta));",
        (SMOOTHL1, FP_INSIDE): "const float inside = R(O(quotient) * O(dy));",
        (SMOOTHL1, HP_DIFF): "const float diff = R(round_to_half(O(from_half(call.x1[i])) - O(from_half(call.x2[i]))));",
        (SMOOTHL1, HP_QUOTIENT): "const float quotient = R(round_to_half(O(diff) / O(beta)));",
        (SMOOTHL1, HP_INSIDE): "const float inside = R(round_to_half(O(quotient) * O(dy)));",
        (NLL, nll.FP_MEAN): "factor = R(O(factor) / O(call.total_weight[0]));",
        (NLL, nll.FP_STORE): nll.FP_STORE.replace("-gradient * factor", "R(-O(gradient) * O(factor))"),
        (NLL, nll.HP_MEAN): "factor = R(round_to_half(O(factor) / O(from_half(call.total_weight[0]))));",
        (NLL, nll.HP_STORE): nll.HP_STORE.replace("-gradient * factor", "R(round_to_half(-O(gradient) * O(factor)))"),
    }
    edits = []
    for (file, old), new in lines.items():
        flush = f"flushed({where}, {'0x1p-14f' if 'half' in new else '0x1p-126f'}, "
        edits.append(Edit(file, old, new.replace("O(", flush if operands else "(").replace("R(", flush if results else "(")))
    return (_arithmetic(), *edits)


def _build(name: str, description: str, *edits: Edit) -> Variant:
    return Variant(name, "estimates", description, edits, ("-ffp-contract=off",), "gcc")


def _divides(name: str, description: str, *macros: str) -> Variant:
    """fp16 where HALF is among the macros, or fp16 through fp32 where the name says so; else fp32."""
    edits = HP_DIVIDE if name.startswith("hp") else FP_DIVIDE
    return _build(name, description, _arithmetic(*macros), *edits)


def _inverts(name: str, description: str, *macros: str) -> Variant:
    return _build(name, description, _arithmetic(*macros), *(HP_INVERSE if name.startswith("hp") else FP_INVERSE))


def _by(estimate: str, steps: int, step: str, corrections: int = 0, *more: str) -> tuple[str, ...]:
    return (estimate, f"STEPS {steps}", f"STEP {step}", f"CORRECTIONS {corrections}", *more)


VARIANTS = [
    _divides("fp-table-1", "8-bit estimate of a table, one step in fma", *_by("TABLE", 1, "FUSED")),
    _divides("fp-table-2", "the same, two steps", *_by("TABLE", 2, "FUSED")),
    _divides("fp-table-3", "the same, three steps", *_by("TABLE", 3, "FUSED")),
    _divides("fp-table-1-corrected", "one step in fma, then q += (a - q b) y", *_by("TABLE", 1, "FUSED", 1)),
    _divides("fp-table-2-corrected", "two steps in fma, then q += (a - q b) y", *_by("TABLE", 2, "FUSED", 1)),
    _divides("fp-table-2-corrected-twice", "the same, corrected twice, as Hexagon's run-time library does",
             *_by("TABLE", 2, "FUSED", 2)),
    _divides("fp-table-3-corrected", "three steps in fma, then q += (a - q b) y", *_by("TABLE", 3, "FUSED", 1)),
    _divides("fp-table-2-split", "two steps without fma, corrected by exact products of 12-bit halves",
             *_by("TABLE", 2, "PLAIN", 1, "SPLIT")),
    _divides("fp-leading-1", "estimate as TI's RCPSP, one step y (2 - b y)", *_by("LEADING", 1, "PLAIN")),
    _divides("fp-leading-2", "the same, two steps, as TI's manuals have it", *_by("LEADING", 2, "PLAIN")),
    _divides("fp-leading-3", "the same, three steps", *_by("LEADING", 3, "PLAIN")),
    _divides("fp-arm-1", "Arm's estimate, one step with a fused 2 - b y", *_by("ARM", 1, "FUSED_TWO")),
    _divides("fp-arm-2", "the same, two steps", *_by("ARM", 2, "FUSED_TWO")),
    _divides("fp-arm-3", "the same, three steps", *_by("ARM", 3, "FUSED_TWO")),
    _inverts("fp-inverse-table-1", "times 1 / b by a table and one step in fma", *_by("TABLE", 1, "FUSED")),
    _inverts("fp-inverse-table-2", "the same, two steps", *_by("TABLE", 2, "FUSED")),
    _inverts("fp-inverse-table-3", "the same, three steps", *_by("TABLE", 3, "FUSED")),
    _inverts("fp-inverse-leading-2", "times 1 / b by TI's estimate and two steps, none fused", *_by("LEADING", 2, "PLAIN")),
    _inverts("fp-inverse-arm-2", "times 1 / b by Arm's estimate and two steps", *_by("ARM", 2, "FUSED_TWO")),
    _divides("hp-through-fp-1", "fp16 quotients in fp32, one step in fma, rounded once", *_by("TABLE", 1, "FUSED")),
    _divides("hp-through-fp-2", "the same, two steps y (2 - b y)", *_by("LEADING", 2, "PLAIN")),
    _divides("hp-table-1", "8-bit estimate, one step in fma, every operation in fp16", *_by("TABLE", 1, "FUSED", 0, "HALF")),
    _divides("hp-table-2", "the same, two steps", *_by("TABLE", 2, "FUSED", 0, "HALF")),
    _divides("hp-table-1-corrected", "one step in fma, then q += (a - q b) y, in fp16", *_by("TABLE", 1, "FUSED", 1, "HALF")),
    _divides("hp-table-0-corrected", "no step: q += (a - q b) y with the estimate, in fp16", *_by("TABLE", 0, "FUSED", 1, "HALF")),
    _divides("hp-leading-1", "TI's estimate, one step y (2 - b y), none fused, in fp16", *_by("LEADING", 1, "PLAIN", 0, "HALF")),
    _divides("hp-arm-1", "Arm's estimate, one step with a fused 2 - b y, in fp16", *_by("ARM", 1, "FUSED_TWO", 0, "HALF")),
    _inverts("hp-inverse-table-1", "times 1 / b by a table and one step in fma, in fp16", *_by("TABLE", 1, "FUSED", 0, "HALF")),
    _inverts("hp-inverse-leading-2", "times 1 / b by TI's estimate and two steps, none fused, in fp16", *_by("LEADING", 2, "PLAIN", 0, "HALF")),
    _build("fp-truncates", "every fp32 operation truncated", _arithmetic("TOWARD_ZERO"), *FP_TRUNCATE, *FP_RATIO),
    _build("fp-truncates-table-2", "every fp32 operation truncated, division by a table and two steps in fma",
           _arithmetic("TOWARD_ZERO", *_by("TABLE", 2, "FUSED")), *FP_TRUNCATE, *FP_DIVIDE),
    _build("fp-truncates-leading-3", "every fp32 operation truncated, division by TI's estimate and three steps",
           _arithmetic("TOWARD_ZERO", *_by("LEADING", 3, "PLAIN")), *FP_TRUNCATE, *FP_DIVIDE),
    _build("hp-truncates", "every fp16 operation truncated", _arithmetic("HALF", "TOWARD_ZERO"), *HP_TRUNCATE, *HP_RATIO),
    _build("hp-truncates-table-1", "every fp16 operation truncated, division by a table and one step in fma",
           _arithmetic("HALF", "TOWARD_ZERO", *_by("TABLE", 1, "FUSED")), *HP_TRUNCATE, *HP_DIVIDE),
    _build("hp-converts-truncating", "fp32 inside, truncated once to fp16", _arithmetic("HALF", "TOWARD_ZERO"), *HP_CONVERT),
    _build("flush-vectors", "whole vectors of 8 flush operands and results, the tail nothing",
           *_flushing("i < begin + ((end - begin) & ~(size_t)7)", True, True)),
    _build("flush-odd-blocks", "every second block of 64 flushes operands and results",
           *_flushing("i >> 6 & 1", True, True)),
    _build("flush-odd-cores", "every second core flushes operands and results",
           *_flushing("odd_core", True, True),
           Edit(CORES, structure.RUN_ALL, "for (size_t i = 0; i < used; i++) {\n        odd_core = i & 1;\n        "
                + structure.RUN + "\n    }\n    odd_core = 0;")),
    _build("flush-operands", "subnormal operands are zeros (DAZ), results stay", *_flushing("1", True, False)),
    _build("flush-results", "subnormal results become zeros (FTZ), operands stay", *_flushing("1", False, True)),
]  # fmt: skip
