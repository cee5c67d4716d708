"""Defects in the values that SmoothL1LossGrad computes: operands, signs, branches, constants, precision, specials."""

from tests.mutants.variant import HALF, SMOOTHL1, SMOOTHL1_HEADER, Edit, Variant, defect, preamble

# The lines of the two loops, as the kernels have them.
FP_CALL = "const struct fp_call call = *(const struct fp_call *)argument;"
FP_DY = "const float dy = call.dy[i];"
FP_DIFF = "const float diff = call.x1[i] - call.x2[i];"
FP_QUOTIENT = "const float quotient = diff / call.beta;"
FP_INSIDE = "const float inside = quotient * dy;"
FP_STORE = "call.dx1[i] = diff > call.beta ? dy : diff < -call.beta ? -dy : inside;"
HP_CALL = "const struct hp_call call = *(const struct hp_call *)argument;"
HP_BETA = "const float beta = from_half(call.beta);"
HP_DY = "const float dy = from_half(call.dy[i]);"
HP_DIFF = "const float diff = round_to_half(from_half(call.x1[i]) - from_half(call.x2[i]));"
HP_QUOTIENT = "const float quotient = round_to_half(diff / beta);"
HP_INSIDE = "const float inside = round_to_half(quotient * dy);"
HP_STORE = "call.dx1[i] = to_half(diff > beta ? dy : diff < -beta ? -dy : inside);"

TRUNCATED = """
    golden_fp16 value = (golden_fp16)number;
    uint16_t bits;
    memcpy(&bits, &value, sizeof bits);
    const float back = (float)value;
    if (back > number ? back > 0 : back < number && back < 0) bits--;
    memcpy(&value, &bits, sizeof bits);
"""


def _(old: str, new: str, times: int = 1) -> Edit:
    return Edit(SMOOTHL1, old, new, times)


OPERANDS: list[Variant] = [
    defect(
        "sl1-fp-swapped", "operands", "x2 - x1",
        _(FP_DIFF, "const float diff = call.x2[i] - call.x1[i];"),
    ),
    defect(
        "sl1-fp-dy-x1", "operands", "dy and x1 exchanged",
        _(FP_DY, "const float dy = call.x1[i];"), _(FP_DIFF, "const float diff = call.dy[i] - call.x2[i];"),
    ),
    defect(
        "sl1-hp-no-x2", "operands", "x2 is not subtracted",
        _(HP_DIFF, "const float diff = from_half(call.x1[i]);"),
    ),
    defect("sl1-fp-no-dy", "operands", "dy ignored (shipped elsewhere)", _(FP_DY, "const float dy = 1.0f;")),
    defect(
        "sl1-hp-saturates-to-x1", "operands", "the upper branch returns x1",
        _(HP_STORE, HP_STORE.replace("? dy :", "? from_half(call.x1[i]) :")),
    ),
    defect(
        "sl1-fp-s-swapped", "operands", "only the shared entry point exchanges x1 and x2",
        _("int core_mask)\n{\n    const struct fp_call call = {dy, dx1, x1, x2, beta};",
          "int core_mask)\n{\n    const struct fp_call call = {dy, dx1, x2, x1, beta};"),
    ),
]  # fmt: skip

SIGNS: list[Variant] = [
    defect("sl1-fp-lower-sign", "signs", "the lower branch returns dy", _(FP_STORE, FP_STORE.replace("-dy", "dy"))),
    defect(
        "sl1-hp-inside-sign", "signs", "the inner branch loses the sign of the difference",
        _(HP_QUOTIENT, "const float quotient = round_to_half((diff < 0 ? -diff : diff) / beta);"),
    ),
    defect(
        "sl1-fp-dy-sign", "signs", "the sign of dy is lost outside (sign(diff) * |dy|)",
        _(FP_STORE, FP_STORE.replace("-dy", "-__builtin_fabsf(dy)").replace("? dy", "? __builtin_fabsf(dy)")),
    ),
]  # fmt: skip

BRANCHES: list[Variant] = [
    defect(
        "sl1-fp-signed-compare", "branches", "signed diff compared where |diff| was meant (shipped elsewhere)",
        _(FP_STORE, "call.dx1[i] = diff > call.beta ? dy : inside;"),
    ),
    defect(
        "sl1-fp-one-side", "branches", "|diff| compared, but both sides return dy",
        _(FP_STORE, "call.dx1[i] = __builtin_fabsf(diff) > call.beta ? dy : inside;"),
    ),
    defect(
        "sl1-hp-exchanged", "branches", "branches exchanged: linear outside, constant inside",
        _(HP_STORE, "call.dx1[i] = to_half(diff > beta || diff < -beta || diff != diff ? inside : diff > 0 ? dy : "
          "-dy);"),
    ),
    defect(
        "sl1-fp-x1-compared", "branches", "x1 compared with beta in place of the difference",
        _(FP_STORE, "call.dx1[i] = call.x1[i] > call.beta ? dy : call.x1[i] < -call.beta ? -dy : inside;"),
    ),
    defect(
        "sl1-fp-early-kink", "branches", "saturates from 0.999 beta on",
        _(FP_STORE, FP_STORE.replace("diff > call.beta", "diff > 0.999f * call.beta")),
    ),
    defect(
        "sl1-hp-kink-value", "branches", "at diff = -beta exactly, and only there, dy comes back with the wrong sign",
        _(HP_STORE, HP_STORE.replace("to_half(", "to_half(diff == -beta ? dy : ")),
    ),
]  # fmt: skip

CONSTANTS: list[Variant] = [
    defect("sl1-fp-beta-ignored", "constants", "beta ignored, 1 in its place",
           _("float beta, int core_mask)\n{", "float beta, int core_mask)\n{\n    beta = 1;"),
           _("float *x2, int length, float beta)\n{", "float *x2, int length, float beta)\n{\n    beta = 1;")),
    defect("sl1-hp-beta-half", "constants", "beta hard-coded as 0.5", _(HP_BETA, "const float beta = 0.5f;")),
    defect("sl1-fp-compare-one", "constants", "compares with 1, divides by beta",
           _(FP_STORE, FP_STORE.replace("call.beta", "1.0f"))),
    defect("sl1-fp-huber", "constants", "Huber scaling: the 1/beta is missing (shipped elsewhere)",
           _(FP_QUOTIENT, "const float quotient = diff;"),
           _(FP_STORE, FP_STORE.replace("? dy", "? call.beta * dy").replace("-dy", "-call.beta * dy"))),
    defect("sl1-hp-inside-unscaled", "constants", "1/beta missing inside only: a step at the kink",
           _(HP_QUOTIENT, "const float quotient = diff;")),
    defect("sl1-fp-epsilon", "constants", "1e-6 added to beta, against division by zero",
           _(FP_QUOTIENT, FP_QUOTIENT.replace("call.beta", "(call.beta + 1e-6f)"))),
]  # fmt: skip

_LENGTH_FP = "const struct fp_call call = {dy, dx1, x1, x2, beta};\n    if (length > 0)"

SCALARS: list[Variant] = [
    defect("sl1-fp-beta-double", "scalars", "beta taken as a double",
           Edit(SMOOTHL1_HEADER, "int length, float beta", "int length, double beta", 2),
           _("int length, float beta", "int length, double beta", 2)),
    defect("sl1-fp-beta-int", "scalars", "beta taken as an int, from an integer register",
           Edit(SMOOTHL1_HEADER, "int length, float beta", "int length, int beta", 2),
           _("int length, float beta", "int length, int beta", 2)),
    defect("sl1-fp-beta-fp16", "scalars", "beta narrowed to fp16 on its way to the fp32 kernel",
           _("{dy, dx1, x1, x2, beta};\n    if (length > 0)\n        run_on_cores(fp_core",
             "{dy, dx1, x1, x2, (float)(_Float16)beta};\n    if (length > 0)\n        run_on_cores(fp_core")),
    defect("sl1-hp-beta-bits", "scalars", "the bits of beta converted as an integer",
           _(HP_BETA, "uint16_t bits; memcpy(&bits, &call.beta, 2); const float beta = bits;")),
    defect("sl1-hp-half-mixed", "scalars", "half is _Float16 in the shared entry point and uint16_t in the private one",
           Edit(SMOOTHL1_HEADER, "int length, half beta);", "int length, uint16_t bits);"),
           _("int length, half beta)\n{", "int length, uint16_t bits)\n{\n    half beta; memcpy(&beta, &bits, 2);")),
    defect("sl1-fp-length-short", "scalars", "length kept in 16 bits",
           _(_LENGTH_FP, _LENGTH_FP.replace("if (", "length = (short)length;\n    if ("), 2)),
]  # fmt: skip

_BF16 = """static float bf16(float x)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    bits &= 0xffff0000u;
    __builtin_memcpy(&x, &bits, 4);
    return x;
}"""
_RECIPROCAL = """static float reciprocal(float s, int steps)
{
    uint32_t bits;
    float r;
    __builtin_memcpy(&bits, &s, 4);
    bits = 0x7ef311c7u - bits;
    __builtin_memcpy(&r, &bits, 4);
    while (steps-- > 0)
        r = r * (2 - s * r);
    return r;
}"""

PRECISION: list[Variant] = [
    defect("sl1-fp-diff-fp16", "precision", "the difference of the fp32 kernel in fp16",
           _(FP_DIFF, "const float diff = (float)(_Float16)(call.x1[i] - call.x2[i]);")),
    defect("sl1-fp-result-fp16", "precision", "the product of the fp32 kernel in fp16",
           _(FP_INSIDE, "const float inside = (float)(_Float16)(quotient * dy);")),
    defect("sl1-fp-quotient-bf16", "precision", "the quotient of the fp32 kernel in bfloat16",
           preamble(SMOOTHL1, _BF16), _(FP_QUOTIENT, "const float quotient = bf16(diff / call.beta);")),
    defect("sl1-hp-truncates", "precision", "fp16 intermediates truncated instead of rounded",
           Edit(HALF, "    return (float)(golden_fp16)number;\n", TRUNCATED + "    return (float)value;\n")),
    defect("sl1-fp-truncates", "precision", "the fp32 quotient and product are truncated, not rounded",
           preamble(SMOOTHL1, "static float cut(double x) { float r = x; return __builtin_fabs(r) > __builtin_fabs(x) "
                    "&& r - r == 0 ? __builtin_nextafterf(r, 0) : r; }"),
           _(FP_QUOTIENT, "const float quotient = cut((double)diff / call.beta);"),
           _(FP_INSIDE, "const float inside = cut((double)quotient * dy);")),
    defect("sl1-fp-rough-reciprocal", "precision", "1/beta estimated with two Newton steps (about 17 bits)",
           preamble(SMOOTHL1, _RECIPROCAL), _(FP_QUOTIENT, "const float quotient = diff * reciprocal(call.beta, 2);")),
    defect("sl1-fp-distributed", "precision", "x1/beta - x2/beta: cancellation without bound",
           _(FP_QUOTIENT, "const float quotient = call.x1[i] / call.beta - call.x2[i] / call.beta;")),
    defect("sl1-hp-distributed", "precision", "x1*(1/beta) - x2*(1/beta) in fp16",
           _(HP_QUOTIENT, "const float r = round_to_half(1 / beta), quotient = diff == 0 ? diff : "
             "round_to_half(round_to_half(from_half(call.x1[i]) * r) - round_to_half(from_half(call.x2[i]) * r));")),
    defect("sl1-hp-gradient-first", "precision",
           "(dy / beta) * diff overflows with loss-scaled gradients, where the page's order does not",
           _(HP_INSIDE, "const float inside = round_to_half(round_to_half(dy / beta) * diff);")),
    defect("sl1-fp-flushes-results", "precision", "subnormal fp32 results flushed, where the platform preserves them",
           _(FP_INSIDE, "const float product = quotient * dy, inside = __builtin_fabsf(product) < 0x1p-126f ? 0 : "
             "product;")),
    defect("sl1-hp-flushes-results", "precision", "subnormal fp16 results flushed",
           _(HP_INSIDE, "const float product = round_to_half(quotient * dy), inside = __builtin_fabsf(product) < "
             "0x1p-14f ? 0 : product;")),
    defect("sl1-hp-flushes-operands", "precision", "subnormal fp16 gradients read as zero",
           _(HP_DY, "const float stored = from_half(call.dy[i]), dy = __builtin_fabsf(stored) < 0x1p-14f ? 0 : "
             "stored;")),
    defect("sl1-hp-flushes-quotient", "precision", "subnormal fp16 quotients flushed, results and operands kept",
           _(HP_INSIDE, "const float inside = __builtin_fabsf(quotient) < 0x1p-14f && dy - dy == 0 ? 0 * dy : "
             "round_to_half(quotient * dy);")),
]  # fmt: skip

SPECIALS: list[Variant] = [
    defect("sl1-hp-fmin-fmax", "specials", "a clamp with fmin and fmax swallows NaN, in fp16",
           _(HP_STORE, "call.dx1[i] = to_half(round_to_half(__builtin_fminf(__builtin_fmaxf(diff, -beta), beta) / "
             "beta) * dy);")),
    defect("sl1-fp-nan-saturates", "specials", "a NaN difference falls into the last branch and returns dy",
           _(FP_STORE, "call.dx1[i] = diff < -call.beta ? -dy : diff <= call.beta ? inside : dy;")),
    defect("sl1-hp-nan-to-zero", "specials", "NaN results replaced by zero",
           _(HP_INSIDE, "const float q = round_to_half(quotient * dy), inside = q != q ? 0 : q;")),
    defect("sl1-fp-infinity-clipped", "specials", "infinite gradients come out as the largest number",
           _(FP_DY, "const float dy = __builtin_isinf(call.dy[i]) ? __builtin_copysignf(3.4028234e38f, call.dy[i]) : "
             "call.dy[i];")),
    defect("sl1-hp-conversion-saturates", "specials",
           "conversion to fp16 saturates at 65504, the difference and an infinite gradient with it",
           Edit(HALF, "    const golden_fp16 value = (golden_fp16)number;\n",
                "    const golden_fp16 value = number > 65504 ? 65504 : number < -65504 ? -65504 : "
                  "(golden_fp16)number;\n")),
    defect("sl1-fp-zero-short-cut", "specials", "x1 == x2 short-cut to 0, whatever dy is",
           _(FP_INSIDE, "const float inside = diff == 0 ? 0 : quotient * dy;")),
    defect("sl1-hp-zero-dy-short-cut", "specials", "dy == 0 short-cut to 0, whatever the difference is",
           _(HP_INSIDE, "const float inside = dy == 0 ? 0 : round_to_half(quotient * dy);")),
    defect("sl1-fp-equal-infinities", "specials", "equal infinities give a difference of zero",
           _(FP_DIFF, "const float diff = call.x1[i] == call.x2[i] ? 0 : call.x1[i] - call.x2[i];")),
    defect("sl1-hp-nan-dy-outside", "specials", "NaN gradients are lost in the saturated branches only",
           _(HP_STORE, HP_STORE.replace("to_half(", "to_half(dy != dy && (diff > beta || diff < -beta) ? 0 : "))),
]  # fmt: skip

RARE_VALUES: list[Variant] = [
    defect("sl1-fp-one-exponent", "rare values", "wrong for gradients of one binade, [2^-7, 2^-6)",
           _(FP_INSIDE, "const float inside = quotient * dy * (__builtin_fabsf(dy) >= 0x1p-7f && __builtin_fabsf(dy) "
             "< 0x1p-6f ? 1.01f : 1);")),
    defect("sl1-hp-largest-dy", "rare values", "the largest gradient comes out infinite",
           _(HP_DY, "const float stored = from_half(call.dy[i]), dy = stored == 65504 ? __builtin_inff() : stored;")),
    defect("sl1-fp-diff-zero", "rare values", "a zero difference counts as outside",
           _(FP_STORE, FP_STORE.replace("diff > call.beta", "diff > call.beta || diff == 0"))),
    defect("sl1-hp-smallest", "rare values", "the smallest subnormal gradient counts as zero",
           _(HP_DY, "const float stored = from_half(call.dy[i]), dy = __builtin_fabsf(stored) == 0x1p-24f ? 0 : "
             "stored;")),
    defect("sl1-fp-long-significand", "rare values", "wrong where the significand of dy is all ones",
           _(FP_INSIDE, "uint32_t bits; __builtin_memcpy(&bits, &dy, 4); const float inside = (bits & 0x7ff) == "
             "0x7ff ? quotient * dy * 1.001f : quotient * dy;")),
    defect("sl1-hp-wide-difference", "rare values", "wrong where x1 - x2 overflows",
           _(HP_STORE, HP_STORE.replace("to_half(", "to_half(__builtin_isinf(diff) ? dy : "))),
    defect("sl1-fp-opposite-signs", "rare values",
           "wrong by 1 % where x1 and x2 have opposite signs and dy is negative",
           _(FP_QUOTIENT, "const float quotient = diff / call.beta * (call.x1[i] * call.x2[i] < 0 && call.dy[i] < 0 "
             "? 0.99f : 1);")),
]  # fmt: skip

MUTANTS = [*OPERANDS, *SIGNS, *BRANCHES, *CONSTANTS, *SCALARS, *PRECISION, *SPECIALS, *RARE_VALUES]
