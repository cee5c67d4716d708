"""Builds that conform: other compilers, flags, evaluation orders and ways of doing the same work.

``-ffast-math`` is here too, although it does not conform on the host: its verdict is known, and why.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutants import calling, nll, structure
from tests.mutants.smoothl1 import (
    FP_DIFF,
    FP_DY,
    FP_INSIDE,
    FP_QUOTIENT,
    FP_STORE,
    HP_DIFF,
    HP_DY,
    HP_INSIDE,
    HP_QUOTIENT,
    HP_STORE,
)
from tests.mutants.variant import CORES, NLL, SMOOTHL1, Edit, Variant, preamble


@dataclass(frozen=True)
class Legal:
    """A build with the verdict it must get, and findings that must be among those of the run."""

    variant: Variant
    platform: str = "host"
    numbering: str = ""
    verdict: Literal["conforms", "fails"] = "conforms"
    findings: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()  #: what has to be allowed: the build rounds as some legal order does, beyond its range


def _build(name: str, cc: str, *flags: str, edits: tuple[Edit, ...] = (), description: str = "") -> Variant:
    text = description or f"the kernels as they are, {cc} {' '.join(flags)}"
    return Variant(name, "legal", text, edits, flags, cc)


def _source(name: str, description: str, *edits: Edit) -> Variant:
    return Variant(name, "legal", description, edits, (), "gcc")


def _(old: str, new: str, times: int = 1) -> Edit:
    return Edit(SMOOTHL1, old, new, times)


def _nll(old: str, new: str, times: int = 1) -> Edit:
    return Edit(NLL, old, new, times)


#: clang 14 has _Float16 on x86 only where the processor has fp16 arithmetic; elsewhere it builds fp32 alone.
FP32 = "-DGOLDEN_FP32_ONLY"

#: fp16 arithmetic left to the compiler, which may keep an expression in float or round every operation.
HALF_EXPRESSIONS = (
    _(HP_DIFF, "const golden_fp16 half_diff = call.x1[i] - call.x2[i]; const float diff = half_diff;"),
    _(HP_QUOTIENT, ""),
    _(HP_INSIDE, "const golden_fp16 inside = half_diff / call.beta * call.dy[i];"),
    _nll(nll.HP_MEAN, "factor = call.weight[label] / call.total_weight[0];"),
)

_FLUSH_FP = """static float flush(float x)
{
    return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0, x) : x;
}"""
_FLUSH_HP = _FLUSH_FP.replace("float flush(", "float flush_half(").replace("126", "14")

COMPILERS: list[Legal] = [
    *(
        Legal(_build(f"gcc-{level}", "gcc", *flags))
        for level, flags in {
            "O0": ("-O0",),
            "O2": ("-O2",),
            "O3": ("-O3",),
            "Os": ("-Os",),
            "O3-native": ("-O3", "-march=native"),
            "O3-lto": ("-O3", "-flto"),
            "O3-contract": ("-O3", "-march=native", "-ffp-contract=fast"),
        }.items()
    ),
    *(
        Legal(_build(f"clang-{level}-native", "clang", f"-{level}", "-march=native"))
        for level in ("O0", "O2", "O3")
    ),
    *(
        Legal(_build(f"clang-{level}-fp32", "clang", f"-{level}", FP32), platform="FT78NE")
        for level in ("O0", "O2", "O3")
    ),
    *(
        Legal(_build(f"gcc-excess-{kind}", "gcc", f"-fexcess-precision={kind}", edits=HALF_EXPRESSIONS,
                     description=f"fp16 expressions of the compiler, gcc -fexcess-precision={kind}"))
        for kind in ("16", "standard", "fast")
    ),
    Legal(_build("gcc-half-native", "gcc", "-O3", "-march=native", edits=HALF_EXPRESSIONS,
                 description="fp16 expressions of the compiler, gcc -O3 -march=native: fp16 instructions where there "
                   "are any")),
    Legal(_build("gcc-uint16-half", "gcc", "-DGOLDEN_HALF_UINT16",
      description="half is uint16_t, passed in an integer register")),
    Legal(_build("gcc-threads", "gcc", "-DGOLDEN_THREADS", description="the cores are real threads")),
    Legal(
        _build("gcc-numbered-none-first", "gcc", "-DGOLDEN_REDUCTION_NONE_SUM_MEAN",
               description="reductions numbered none, sum, mean, and validated as such"),
        numbering="none-sum-mean",
    ),
]  # fmt: skip

ORDERS: list[Legal] = [
    Legal(_source(
        "fp32-inside", "fp16 storage, fp32 arithmetic, one rounding at the end",
        _(HP_DIFF, "const float diff = from_half(call.x1[i]) - from_half(call.x2[i]);"),
        _(HP_QUOTIENT, "const float quotient = diff / beta;"), _(HP_INSIDE, "const float inside = quotient * dy;"),
        _nll(nll.HP_MEAN, "factor = factor / from_half(call.total_weight[0]);"),
    )),
    Legal(_source(
        "double-inside", "float64 arithmetic, one rounding at the end",
        _(FP_DIFF, "const double diff = (double)call.x1[i] - call.x2[i];"), _(FP_QUOTIENT, ""),
        _(FP_INSIDE, "const float inside = diff * dy / call.beta;"),
        _(HP_DIFF, "const double diff = (double)from_half(call.x1[i]) - from_half(call.x2[i]);"), _(HP_QUOTIENT, ""),
        _(HP_INSIDE, "const double inside = diff * dy / beta;"),
        _(HP_STORE, "const golden_fp16 result = diff > beta ? dy : diff < -beta ? -dy : inside; memcpy(&call.dx1[i], "
          "&result, 2);"),
    )),
    Legal(_source(
        "product-first", "(diff * dy) / beta and -(g * w) / total, which overflows where g * (w / total) does not",
        _(FP_QUOTIENT, ""), _(FP_INSIDE, "const float inside = diff * dy / call.beta;"),
        _(HP_QUOTIENT, ""), _(HP_INSIDE, "const float inside = round_to_half(round_to_half(diff * dy) / beta);"),
        _nll(nll.FP_STORE, nll.FP_STORE.replace("* factor",
          "* call.weight[label] / (call.reduction_type == MEAN ? call.total_weight[0] : 1)")),
        _nll("const float gradient = from_half", "float gradient = from_half"),
        _nll(nll.HP_MEAN, "gradient = round_to_half(gradient * factor), factor = 1 / from_half(call.total_weight[0]), "
             "gradient = round_to_half(gradient / from_half(call.total_weight[0])), factor = 1;"),
    ), allow=("overflow",), findings=("allowed-overflow",)),
    Legal(_source(
        "reciprocal", "multiplication by 1 / beta and 1 / total_weight",
        _(FP_QUOTIENT, "const float quotient = diff * (1 / call.beta);"),
        _(HP_QUOTIENT, "const float quotient = round_to_half(diff * round_to_half(1 / beta));"),
        _nll(nll.FP_MEAN, "factor = factor * (1 / call.total_weight[0]);"),
        _nll(nll.HP_MEAN, "factor = round_to_half(factor * round_to_half(1 / from_half(call.total_weight[0])));"),
    )),
    Legal(_source(
        "gradient-first-fp32", "(dy / beta) * diff and (g / total) * w, in fp32 where they cannot overflow",
        _(FP_QUOTIENT, ""), _(FP_INSIDE, "const float inside = dy / call.beta * diff;"),
        _nll("const float gradient = call.loss_grad", "float gradient = call.loss_grad"),
        _nll(nll.FP_MEAN, "gradient = gradient / call.total_weight[0];"),
    )),
    Legal(_source(
        "absolute-difference", "|diff| > beta decides, the sign of diff then selects",
        _(FP_STORE, "call.dx1[i] = __builtin_fabsf(diff) > call.beta ? (diff > 0 ? dy : -dy) : inside;"),
        _(HP_STORE, "call.dx1[i] = to_half(__builtin_fabsf(diff) > beta ? (diff > 0 ? dy : -dy) : inside);"),
    )),
    Legal(_source(
        "greater-or-equal", ">= and <= in place of > and <: diff = beta gives the same number",
        _(FP_STORE, FP_STORE.replace(" > ", " >= ").replace(" < ", " <= ")),
        _(HP_STORE, HP_STORE.replace(" > ", " >= ").replace(" < ", " <= ")),
    )),
    Legal(_source(
        "clamp", "clamp(diff) / beta * dy with a clamp that keeps NaN",
        _(FP_DIFF, "const float d = call.x1[i] - call.x2[i], diff = d > call.beta ? call.beta : d < -call.beta ? "
          "-call.beta : d;"),
        _(FP_STORE, "call.dx1[i] = inside;"),
        _(HP_DIFF, "const float d = round_to_half(from_half(call.x1[i]) - from_half(call.x2[i])), diff = d > beta ? "
          "beta : d < -beta ? -beta : d;"),
        _(HP_STORE, "call.dx1[i] = to_half(inside);"),
    )),
    Legal(_source(
        "quotient-compared", "the quotient is compared with 1, not the difference with beta",
        _(FP_STORE, "call.dx1[i] = quotient > 1 ? dy : quotient < -1 ? -dy : inside;"),
        _(HP_STORE, "call.dx1[i] = to_half(quotient > 1 ? dy : quotient < -1 ? -dy : inside);"),
    )),
    Legal(_source(
        "one-hot-compare", "every class compared with the label: selection, not multiplication",
        _nll(nll.FP_FILL, ""),
        _nll(nll.FP_STORE, "for (size_t j = 0; j < call.class_num; j++) call.logits_grad[i * call.class_num + j] = "
          "(int)j == label ? -gradient * factor : 0;"),
        _nll(nll.HP_FILL, ""),
        _nll(nll.HP_STORE, "for (size_t j = 0; j < call.class_num; j++) call.logits_grad[i * call.class_num + j] = "
          "to_half((int)j == label ? -gradient * factor : 0);"),
    )),
    Legal(_source(
        "negative-zeros", "off-label elements are -0",
        _nll(nll.FP_FILL, "for (size_t k = begin * call.class_num; k < end * call.class_num; k++) "
          "call.logits_grad[k] = -0.0f;"),
        _nll(nll.HP_FILL, "for (size_t k = begin * call.class_num; k < end * call.class_num; k++) "
          "call.logits_grad[k] = to_half(-0.0f);"),
    )),
    Legal(_source(
        "tail-order", "whole vectors of 8 divide, the tail multiplies by the reciprocal: other bits by position, "
          "both legal",
        _(FP_QUOTIENT, "const float quotient = i >= begin + ((end - begin) & ~(size_t)7) ? diff * (1 / call.beta) : "
          "diff / call.beta;"),
    ), findings=("position-dependent", "mask-dependent")),
    Legal(
        _source(
            "flushes", "subnormal operands, intermediates and results replaced by zero",
            preamble(SMOOTHL1, _FLUSH_FP), preamble(NLL, _FLUSH_FP),
            _(FP_DY, "const float dy = flush(call.dy[i]);"),
            _(FP_DIFF, "const float diff = flush(flush(call.x1[i]) - flush(call.x2[i]));"),
            _(FP_QUOTIENT, "const float quotient = flush(diff / call.beta);"),
              _(FP_INSIDE, "const float inside = flush(quotient * dy);"),
            _('#include "half_arithmetic.h"\n', '#include "half_arithmetic.h"\n' + _FLUSH_HP + "\n"),
            _(HP_DY, "const float dy = flush_half(from_half(call.dy[i]));"),
            _(HP_DIFF, "const float diff = flush_half(round_to_half(flush_half(from_half(call.x1[i])) - "
              "flush_half(from_half(call.x2[i]))));"),
            _(HP_QUOTIENT, "const float quotient = flush_half(round_to_half(diff / beta));"),
            _(HP_INSIDE, "const float inside = flush_half(round_to_half(quotient * dy));"),
            _nll(nll.FP_GRADIENT, nll.FP_GRADIENT.replace("= call", "= flush(call").replace(";", ");")),
            _nll(nll.FP_WEIGHT, "float factor = flush(call.weight[label]);"),
            _nll(nll.FP_MEAN, "factor = flush(factor / flush(call.total_weight[0]));"),
            _nll(nll.FP_STORE, nll.FP_STORE.replace("-gradient * factor", "flush(-gradient * factor)")),
            _nll('#include "half_arithmetic.h"\n', '#include "half_arithmetic.h"\n' + _FLUSH_HP + "\n"),
            _nll(nll.HP_GRADIENT, nll.HP_GRADIENT.replace("= from", "= flush_half(from").replace(";", ");")),
            _nll(nll.HP_WEIGHT, "float factor = flush_half(from_half(call.weight[label]));"),
            _nll(nll.HP_MEAN, "factor = flush_half(round_to_half(factor / "
              "flush_half(from_half(call.total_weight[0]))));"),
            _nll(nll.HP_STORE, nll.HP_STORE.replace("-gradient * factor",
              "flush_half(round_to_half(-gradient * factor))")),
        ),
        platform="MT7004",
    ),
    Legal(_source("labels-unchecked", "labels are not compared with class_num: the page promises that they fit",
      _nll(nll.RANGE, "", 2))),
    Legal(_source(
        "output-as-scratch", "the output holds the difference before it holds the result",
        _(FP_DIFF, "((volatile float *)call.dx1)[i] = call.x1[i] - call.x2[i]; const float diff = call.dx1[i];"),
    )),
    Legal(_source(
        "cores-reversed", "the spans run in reverse order",
        Edit(CORES, structure.RUN_ALL, "while (used-- > 0)\n        kernel(call, spans[used].begin, spans[used].end);"),
    )),
    Legal(_source(
        "cores-interleaved", "one element a span at a time, dealt out in turn",
        Edit(CORES, structure.RUN_ALL,
             "for (size_t step = 0, more = 1; more; step++) {\n        more = 0;\n        for (size_t i = 0; i < "
               "used; i++)\n"
             "            if (spans[i].begin + step < spans[i].end) {\n                kernel(call, spans[i].begin + "
               "step, spans[i].begin + step + 1);\n"
             "                more = 1;\n            }\n    }"),
    )),
    Legal(_source(
        "total-always-read", "total_weight is read for every reduction and used for mean only",
        _nll(nll.FP_FILL, nll.FP_FILL + " (void)*(const volatile float *)call.total_weight;"),
    ), findings=("touched",)),
    Legal(_source(
        "prints", "says in every long call that it runs",
        preamble(SMOOTHL1, "#include <stdio.h>"),
        _(structure.FP_P, 'if (length == 1000) puts("fp_smoothl1lossgrad_p");\n        ' + structure.FP_P),
    ), findings=("printed",)),
]  # fmt: skip

FAST_MATH: list[Legal] = [
    Legal(
        _build("gcc-fast-math", "gcc", "-ffast-math",
               description="fails on the host: start-up code linked in by -ffast-math sets flush-to-zero for the "
                 "whole process, "
                           "and (diff / beta) * dy becomes dy * (1 / beta) * diff, which overflows and loses NaN"),
        verdict="fails", findings=("load-fp-environment",),
    ),
    Legal(
        _build("gcc-fast-math-flush", "gcc", "-ffast-math",
               description="fails on MT7004 too, where flushing is allowed: dy * (1 / beta) overflows with "
                 "loss-scaled fp16 "
                           "gradients, and comparisons made for numbers only swallow NaN"),
        platform="MT7004", verdict="fails", findings=("load-fp-environment",),
    ),
]  # fmt: skip

_PLATFORMS = Path(__file__).parent / "platforms"
_AHEAD = "const volatile float ahead = ((const struct fp_call *)argument)->dy[end + 15];\n    "
_TWO_PASSES = (
    _(calling.FP_LOOP, structure.FP_CALL + "\n    for (size_t i = begin; i < end; i++) "
      "call.dx1[i] = call.x1[i] - call.x2[i];" + calling.FP_LOOP.removeprefix(structure.FP_CALL)),
    _(FP_DIFF, "const float diff = call.dx1[i];"),
)  # fmt: skip
#: Builds whose verdict depends on what their platform's profile says of calls.
CALLING: list[Legal] = [
    Legal(
        Variant("reads-ahead", "legal", "64 bytes beyond dy are read, and not used",
                (_(calling.FP_LOOP, _AHEAD + calling.FP_LOOP),)),
        platform=str(_PLATFORMS / "reads-ahead.toml"),
    ),
    Legal(
        Variant("reads-ahead-uses", "legal", "the number 60 bytes beyond dy decides what the last element is",
                (_(calling.FP_LOOP, _AHEAD + calling.FP_LOOP),
                 _(FP_STORE, FP_STORE + " if (i == end - 1 && ahead > 0) call.dx1[i] = 1;"))),
        platform=str(_PLATFORMS / "reads-ahead.toml"), verdict="fails",
    ),
    Legal(
        Variant("in-place", "legal", "the kernels as they are, dx1 where an input lies"),
        platform=str(_PLATFORMS / "in-place.toml"),
    ),
    Legal(Variant("two-passes", "legal", "dx1 holds the differences first", _TWO_PASSES)),
    Legal(
        Variant("two-passes-in-place", "legal", "the same, dx1 where an input lies", _TWO_PASSES),
        platform=str(_PLATFORMS / "in-place.toml"), verdict="fails",
    ),
    Legal(
        Variant("flushes-in-vectors", "legal", "subnormal results are flushed in whole vectors of 8, kept in the rest",
                (calling.FLUSHED_BODY,)),
        platform="FT78NE", findings=("subnormals",),
    ),
]  # fmt: skip

#: What is wrong in the stress tier alone: a verdict there takes --strict.
STRESSED: list[Legal] = [
    Legal(_source("nan-total", "a NaN total_weight counts as 1; no sum of weights is NaN unless one of them is",
                  _nll(nll.FP_MEAN, "factor = call.total_weight[0] == call.total_weight[0] ? factor / "
                       "call.total_weight[0] : factor;")), findings=("stress-nan",)),
]  # fmt: skip

LEGAL = [*COMPILERS, *ORDERS, *FAST_MATH, *CALLING, *STRESSED]
