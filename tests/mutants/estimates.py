"""Builds whose single operations are less accurate than IEEE 754 has them, as on DSPs, and whose range is not.

Division by an 8-bit estimate of the reciprocal and Newton-Raphson steps (docs/platform-profiles.md says whose), units
that truncate, units that flush subnormals in some places only. The C is in estimates.h.

Each has the smallest figures of a profile's ``[arithmetic]`` that describe it, of those in :data:`STEPS`. They were
measured by tests/mutants/measure.py; a witness shows that the next smaller step is too small, and ``reason`` says why
none is larger where fp32 is too large to be measured whole.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.mutants import nll, structure
from tests.mutants.smoothl1 import (
    FP_DIFF,
    FP_INSIDE,
    FP_QUOTIENT,
    HP_DIFF,
    HP_INSIDE,
    HP_QUOTIENT,
)
from tests.mutants.variant import CORES, NLL, SMOOTHL1, Edit, Variant

#: Errors of an operation in ulp that figures are chosen from; measured errors are rounded up to the next.
STEPS = (
    *(0.5, 0.501, 0.51, 0.53125, 0.5625, 0.625, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0),
    *(16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0),
)


#: Why no result exceeds a figure: all were measured; the bound of a product (tests/mutants/measure.py), with what the
#: build's own 1 / b are; an exact result is truncated. A build's name: the bound of a correction of its quotients.
ALL, PRODUCT, EXACT = "all", "product", "exact"


@dataclass(frozen=True)
class Witness:
    """A result whose error is above the next smaller step: operands and result as bits of the dtype, error in ulp."""

    a: int
    b: int
    got: int
    error: float


@dataclass(frozen=True)
class Figure:
    """The smallest step that errors of an operation do not exceed: key and value of ``[arithmetic]``.

    Operands of add, multiply and divide are a and b; a reciprocal is that of b, with a = 1; a conversion is that of
    a / b, which was divided in fp32. ``reason``: see :data:`ALL`.
    """

    key: str
    ulp: float
    reason: str
    witness: Witness | None = None


def _figure(key: str, ulp: float, reason: str, a: int, b: int, got: int, error: float) -> tuple[Figure, ...]:
    return (Figure(key, ulp, reason, Witness(a, b, got, error)),)


@dataclass(frozen=True)
class Estimated:
    """A build, and the profile under which it conforms.

    ``figures``: those that are not 0.5; none where every result is that of IEEE 754, or flushed. ``powers``: quotients
    by powers of two are exact. ``rounding``: of the profile's values.
    """

    variant: Variant
    figures: tuple[Figure, ...] = ()
    powers: bool = True
    rounding: str = "nearest"

    @property
    def flushes(self) -> bool:
        """Tell whether subnormals become zero, in some places or in some operations."""
        return self.variant.name.startswith("flush-")

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that the build has an arithmetic of its own for; the others are the bundled kernels."""
        return ("fp16", "fp32") if self.flushes else ("fp16",) if self.variant.name.startswith("hp-") else ("fp32",)

    @property
    def arithmetic(self) -> str:
        """The table ``[arithmetic]`` of the profile as TOML, or nothing where its defaults will do."""
        lines = []
        for dtype in ("fp32", "fp16"):
            of = {f.key.split(".")[1]: f.ulp for f in self.figures if f.key.startswith(dtype)}
            if of:
                lines.append(f"{dtype} = {{ {', '.join(f'{k} = {v}' for k, v in of.items())} }}")
        if self.rounding != "nearest":
            lines.append(f'rounding = "{self.rounding}"')
        if not self.powers:
            lines.append("exact-powers = false")
        return "\n".join(lines)

    @property
    def names(self) -> str:
        """What a report is expected to name where the profile lacks it: figure or key; nothing if all is right.

        A report may do with a smaller figure, as a suite need not have the worst operands; never with a larger one.
        """
        return f"{self.figures[0].key} = {self.figures[0].ulp}" if self.figures else "subnormals" * self.flushes


def profile_of(estimated: Estimated) -> str:
    """Return the TOML of a profile under which a build conforms: host's, with arithmetic and dtypes of the build."""
    table = f"\n[arithmetic]\n{estimated.arithmetic}\n" if estimated.arithmetic else ""
    name = estimated.variant.name
    return f"""name = "{name}"
summary = "arithmetic of {name}"
dtypes = [{", ".join(f'"{d}"' for d in estimated.dtypes)}]
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
        (
            SMOOTHL1,
            HP_DIFF,
        ): "const float diff = R(round_to_half(O(from_half(call.x1[i])) - O(from_half(call.x2[i]))));",
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
        edits.append(
            Edit(file, old, new.replace("O(", flush if operands else "(").replace("R(", flush if results else "("))
        )
    return (_arithmetic(), *edits)


def _build(name: str, description: str, *edits: Edit) -> Variant:
    return Variant(name, "estimates", description, edits, ("-ffp-contract=off",), "gcc")


def _divides(name: str, description: str, *macros: str) -> Variant:
    """fp16 where HALF is among the macros, or fp16 through fp32 where the name says so; else fp32."""
    edits = HP_DIVIDE if name.startswith("hp") else FP_DIVIDE
    return _build(name, description, _arithmetic(*macros), *edits)


def _inverts(name: str, description: str, *macros: str) -> Variant:
    return _build(name, description, _arithmetic(*macros), *(HP_INVERSE if name.startswith("hp") else FP_INVERSE))


def _by(estimate: str, steps: int, step: str, corrections: int = 0, *more: str, half: bool = False) -> tuple[str, ...]:
    return (estimate, f"STEPS {steps}", f"STEP {step}", f"CORRECTIONS {corrections}", *more, *(["HALF"] * half))


VARIANTS = [
    _divides("fp-table-1", "8-bit estimate of a table, one step in fma", *_by("TABLE", 1, "FUSED")),
    _divides("fp-table-2", "the same, two steps", *_by("TABLE", 2, "FUSED")),
    _divides("fp-table-3", "the same, three steps", *_by("TABLE", 3, "FUSED")),
    _divides("fp-table-1-corrected", "one step in fma, then q += (a - q b) y", *_by("TABLE", 1, "FUSED", 1)),
    _divides("fp-table-2-corrected", "two steps in fma, then q += (a - q b) y", *_by("TABLE", 2, "FUSED", 1)),
    _divides("fp-table-2-corrected-twice", "the same, corrected twice", *_by("TABLE", 2, "FUSED", 2)),
    _divides("fp-table-3-corrected", "three steps in fma, then q += (a - q b) y", *_by("TABLE", 3, "FUSED", 1)),
    _divides("fp-table-3-right", "the same, and y right for the one b that steps leave wrong, 2 - 2^-23",
             *_by("TABLE", 3, "FUSED", 1, "ALL_ONES")),
    _divides("fp-table-2-plain", "estimate of a table, two steps y (2 - b y), none fused", *_by("TABLE", 2, "PLAIN")),
    _divides("fp-table-2-split", "the same, corrected by exact products of 12-bit halves",
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
    _inverts("fp-inverse-leading-2", "times 1 / b by TI's estimate, two steps, none fused",
             *_by("LEADING", 2, "PLAIN")),
    _inverts("fp-inverse-arm-2", "times 1 / b by Arm's estimate and two steps", *_by("ARM", 2, "FUSED_TWO")),
    _divides("hp-through-fp-1", "fp16 quotients in fp32, one step in fma, rounded once", *_by("TABLE", 1, "FUSED")),
    _divides("hp-through-fp-2", "the same, two steps y (2 - b y)", *_by("LEADING", 2, "PLAIN")),
    _divides("hp-table-1", "8-bit estimate, one step in fma, every operation in fp16",
             *_by("TABLE", 1, "FUSED", half=True)),
    _divides("hp-table-2", "the same, two steps", *_by("TABLE", 2, "FUSED", half=True)),
    _divides("hp-table-1-corrected", "one step in fma, then q += (a - q b) y, in fp16",
             *_by("TABLE", 1, "FUSED", 1, half=True)),
    _divides("hp-table-0-corrected", "no step: q += (a - q b) y with the estimate, in fp16",
             *_by("TABLE", 0, "FUSED", 1, half=True)),
    _divides("hp-leading-1", "TI's estimate, one step y (2 - b y), none fused, in fp16",
             *_by("LEADING", 1, "PLAIN", half=True)),
    _divides("hp-arm-1", "Arm's estimate, one step with a fused 2 - b y, in fp16",
             *_by("ARM", 1, "FUSED_TWO", half=True)),
    _inverts("hp-inverse-table-1", "times 1 / b by a table and one step in fma, in fp16",
             *_by("TABLE", 1, "FUSED", half=True)),
    _inverts("hp-inverse-leading-2", "times 1 / b by TI's estimate and two steps, none fused, in fp16",
             *_by("LEADING", 2, "PLAIN", half=True)),
    _build("fp-truncates", "every fp32 operation truncated", _arithmetic("TOWARD_ZERO"), *FP_TRUNCATE, *FP_RATIO),
    _build("fp-truncates-table-2", "every fp32 operation truncated, division by a table and two steps in fma",
           _arithmetic("TOWARD_ZERO", *_by("TABLE", 2, "FUSED")), *FP_TRUNCATE, *FP_DIVIDE),
    _build("fp-truncates-leading-3", "every fp32 operation truncated, division by TI's estimate and three steps",
           _arithmetic("TOWARD_ZERO", *_by("LEADING", 3, "PLAIN")), *FP_TRUNCATE, *FP_DIVIDE),
    _build("hp-truncates", "every fp16 operation truncated",
           _arithmetic("HALF", "TOWARD_ZERO"), *HP_TRUNCATE, *HP_RATIO),
    _build("hp-truncates-table-1", "every fp16 operation truncated, division by a table and one step in fma",
           _arithmetic("HALF", "TOWARD_ZERO", *_by("TABLE", 1, "FUSED")), *HP_TRUNCATE, *HP_DIVIDE),
    _build("hp-converts-truncating", "fp32 inside, truncated once to fp16",
           _arithmetic("HALF", "TOWARD_ZERO"), *HP_CONVERT),
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

#: Beside a division by estimate; witnesses are those of fp-truncates and hp-truncates, whose code this is.
TRUNCATED_32 = (Figure("fp32.add", 1.0, EXACT), Figure("fp32.multiply", 1.0, EXACT))
TRUNCATED_16 = (Figure("fp16.add", 1.0, EXACT), Figure("fp16.multiply", 1.0, EXACT))

#: Those of builds with an operation that is not rounded correctly.
FIGURES: dict[str, tuple[Figure, ...]] = {
    "fp-table-1": _figure("fp32.divide", 256.0, PRODUCT, 0x3F7FBFFF, 0x3F800020, 0x3F7FBEC1, 254.06275),
    "fp-table-2": _figure("fp32.divide", 1.5, PRODUCT, 0x3FFF7FFF, 0x3FFFFF03, 0x3F7F80FD, 1.4903479),
    "fp-table-3": _figure("fp32.divide", 1.5, PRODUCT, 0x3FFF7FFF, 0x3FFFFF03, 0x3F7F80FD, 1.4903479),
    "fp-table-1-corrected": _figure("fp32.divide", 0.51, "fp-table-1", 0x3F7FFF4E, 0x3F810002, 0x3F7E0343, 0.50367831),
    "fp-table-2-corrected": _figure("fp32.divide", 0.501, "fp-table-2", 0x3FFDF7A1, 0x3FFFFFC1, 0x3F7DF7DF, 0.50000003),
    "fp-table-2-corrected-twice":
        _figure("fp32.divide", 0.501, "fp-table-2", 0x3FFDF7A1, 0x3FFFFFC1, 0x3F7DF7DF, 0.50000003),
    "fp-table-3-corrected": _figure("fp32.divide", 0.501, "fp-table-3", 0x3F800000, 0x3FFFFFFF, 0x3F000000, 0.50000003),
    "fp-table-2-plain": _figure("fp32.divide", 4.0, PRODUCT, 0x3FC9DCB3, 0x3FC9DCB4, 0x3F800001, 3.2681924),
    "fp-table-2-split":
        _figure("fp32.divide", 0.501, "fp-table-2-plain", 0x3F1EB7DB, 0x3F800143, 0x3F1EB64A, 0.50000006),
    "fp-leading-1": _figure("fp32.divide", 256.0, PRODUCT, 0x3FFF013E, 0x3FFF013F, 0x3F7FFF00, 254.9961),
    "fp-leading-2": _figure("fp32.divide", 4.0, PRODUCT, 0x3FC9E6DD, 0x3FC9E6DE, 0x3F800001, 3.267943),
    "fp-leading-3": _figure("fp32.divide", 2.5, PRODUCT, 0x3FAA9E14, 0x3FAAA321, 0x3F7FF86A, 2.1653288),
    "fp-arm-1": _figure("fp32.divide", 192.0, PRODUCT, 0x3F890004, 0x3F890007, 0x3F7FFF70, 138.39416),
    "fp-arm-2": _figure("fp32.divide", 2.5, PRODUCT, 0x3FE36591, 0x3FE36594, 0x3F7FFFFF, 2.3773564),
    "fp-arm-3": _figure("fp32.divide", 2.5, PRODUCT, 0x3FA5D37C, 0x3FA5D37E, 0x3F7FFFFF, 2.0875711),
    "fp-inverse-table-1": _figure("fp32.reciprocal", 256.0, ALL, 0x3F800000, 0x3F800020, 0x3F7FFEC2, 254.00024),
    "fp-inverse-table-2": _figure("fp32.reciprocal", 1.0, ALL, 0x3F800000, 0x7E820603, 0x007E020C, 0.75136245),
    "fp-inverse-table-3": _figure("fp32.reciprocal", 0.75, ALL, 0x3F800000, 0x7EF02A3B, 0x00443844, 0.74999998),
    "fp-inverse-leading-2": _figure("fp32.reciprocal", 2.0, ALL, 0x3F800000, 0x3F81D5F2, 0x3F7C6164, 1.9696605),
    "fp-inverse-arm-2": _figure("fp32.reciprocal", 1.5, ALL, 0x3F800000, 0x3F817839, 0x3F7D181A, 1.4872513),
    "hp-through-fp-1": _figure("fp16.divide", 0.53125, ALL, 0x3B4B, 0x3C08, 0x3B3C, 0.52713178),
    "hp-table-1": _figure("fp16.divide", 1.5, ALL, 0x3F90, 0x3FC1, 0x3BCC, 1.4448363),
    "hp-table-2": _figure("fp16.divide", 1.5, ALL, 0x3F90, 0x3FC1, 0x3BCC, 1.4448363),
    "hp-table-1-corrected": _figure("fp16.divide", 0.501, ALL, 0x3C00, 0x3FFF, 0x3800, 0.50024426),
    "hp-table-0-corrected": _figure("fp16.divide", 0.53125, ALL, 0x3B4B, 0x3C08, 0x3B3C, 0.52713178),
    "hp-leading-1": _figure("fp16.divide", 3.0, ALL, 0x3E72, 0x3E7C, 0x3BF1, 2.6626506),
    "hp-arm-1": _figure("fp16.divide", 2.5, ALL, 0x3D65, 0x3D69, 0x3BF8, 2.0851986),
    "hp-inverse-table-1": _figure("fp16.reciprocal", 1.0, ALL, 0x3C00, 0x76E9, 0x0250, 0.75070661),
    "hp-inverse-leading-2": _figure("fp16.reciprocal", 1.5, ALL, 0x3C00, 0x3C36, 0x3B98, 1.4100185),
    "fp-truncates": _figure("fp32.divide", 1.0, EXACT, 0x3FFFFFFE, 0x3FFFFFFF, 0x3F7FFFFE, 0.99999994)
    + _figure("fp32.add", 1.0, EXACT, 0x3F214B15, 0x3DC29FAF, 0x3F399F0A, 0.875)
    + _figure("fp32.multiply", 1.0, EXACT, 0x3F1956A4, 0x3F27B58B, 0x3EC8E884, 0.99997091),
    "fp-truncates-table-2":
        _figure("fp32.divide", 3.0, PRODUCT, 0x3FFFFFFB, 0x3FFFFFFC, 0x3F7FFFFC, 2.9999998) + TRUNCATED_32,
    "fp-truncates-leading-3":
        _figure("fp32.divide", 2.5, PRODUCT, 0x3FE785A6, 0x3FE79E07, 0x3F7FE50C, 2.0004152) + TRUNCATED_32,
    "hp-truncates": _figure("fp16.divide", 1.0, ALL, 0x17FF, 0x7800, 0x0000, 0.99951172)
    + _figure("fp16.add", 1.0, EXACT, 0x3881, 0x2E17, 0x3943, 0.875)
    + _figure("fp16.multiply", 1.0, EXACT, 0x38CD, 0x3BFB, 0x38C9, 0.99951172),
    "hp-truncates-table-1": _figure("fp16.divide", 3.0, ALL, 0x3FCF, 0x3FD5, 0x3BF7, 2.8713217) + TRUNCATED_16,
    "hp-converts-truncating": _figure("fp16.convert", 1.0, ALL, 0x17FF, 0x7800, 0x0000, 0.99951172),
}  # fmt: skip

#: Builds whose quotients by powers of two are not all exact.
INEXACT_POWERS = {"fp-table-1", "fp-arm-1", "fp-inverse-table-1", "fp-truncates-table-2", "hp-truncates-table-1"}

#: What results may become beside the nearest number. A reciprocal that is too large, or an intermediate result that is
#: rounded up, can take a truncated quotient above the exact one.
ROUNDING = {
    "fp-truncates": "toward-zero",
    "fp-truncates-table-2": "toward-zero",
    "fp-truncates-leading-3": "either",
    "hp-truncates": "toward-zero",
    "hp-truncates-table-1": "toward-zero",
    "hp-converts-truncating": "either",
}

ESTIMATES = [
    Estimated(v, FIGURES.get(v.name, ()), v.name not in INEXACT_POWERS, ROUNDING.get(v.name, "nearest"))
    for v in VARIANTS
]

#: Those that a platform which rounds correctly must not pass. The others divide so well that their results are those of
#: a correctly rounded division, or of a product with a correctly rounded reciprocal, which is a legal order.
UNLIKE = {
    *("fp-table-1", "fp-table-2-plain", "fp-leading-1", "fp-leading-2", "fp-leading-3", "fp-arm-1"),
    *("fp-inverse-table-1", "fp-inverse-leading-2", "hp-leading-1", "hp-arm-1"),
    *("fp-truncates", "fp-truncates-table-2", "hp-truncates", "hp-converts-truncating"),
    *("flush-vectors", "flush-odd-blocks", "flush-odd-cores", "flush-operands", "flush-results"),
}
