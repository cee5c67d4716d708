"""Defects of NLLLossGrad: operands, signs, indices, reductions, weights, total_weight, precision, specials."""

from tests.mutants.variant import HALF, NLL, Edit, Variant, defect, preamble

FP_CALL = "const struct fp_call call = *(const struct fp_call *)argument;"
FP_FILL = "memset(call.logits_grad + begin * call.class_num, 0, (end - begin) * call.class_num * sizeof(float));"
LABEL = "const int label = call.labels[i];"  # in both loops
RANGE = "        if (label < 0 || (size_t)label >= call.class_num)\n            continue;\n"  # in both loops
FP_GRADIENT = "const float gradient = call.loss_grad[call.reduction_type == NONE ? i : 0];"
FP_WEIGHT = "float factor = call.weight[label];"
FP_MEAN = "factor = factor / call.total_weight[0];"
FP_STORE = "call.logits_grad[i * call.class_num + (size_t)label] = -gradient * factor;"
HP_CALL = FP_CALL.replace("fp_", "hp_")
HP_FILL = FP_FILL.replace("float", "half")
HP_GRADIENT = "const float gradient = from_half(call.loss_grad[call.reduction_type == NONE ? i : 0]);"
HP_WEIGHT = "float factor = from_half(call.weight[label]);"
HP_MEAN = "factor = round_to_half(factor / from_half(call.total_weight[0]));"
HP_STORE = "call.logits_grad[i * call.class_num + (size_t)label] = to_half(-gradient * factor);"
ENUM = "enum reduction { SUM, MEAN, NONE };"


def _(old: str, new: str, times: int = 1) -> Edit:
    return Edit(NLL, old, new, times)


def _label(expression: str) -> Edit:
    return _(LABEL, f"const int label = {expression};", 2)


OPERANDS: list[Variant] = [
    defect("nll-fp-grad-weight", "operands", "loss_grad[0] and weight[0] taken for each other where the label is 0",
           _(FP_GRADIENT, FP_GRADIENT.replace("call.loss_grad[", "label == 0 ? call.weight[0] : call.loss_grad[")),
           _(FP_WEIGHT, "float factor = label == 0 ? call.loss_grad[0] : call.weight[label];")),
    defect("nll-hp-quotient-inverted", "operands", "mean divides total_weight by the weight",
           _(HP_MEAN, "factor = round_to_half(from_half(call.total_weight[0]) / factor);")),
    defect("nll-fp-reads-logits", "operands", "scaled by logits, which hold ones in the author's test",
           _("    const float *loss_grad;\n", "    const float *logits, *loss_grad;\n"),
           _("const struct fp_call call = {loss_grad, ", "const struct fp_call call = {logits, loss_grad, ", 2),
           _(FP_STORE, FP_STORE.replace("-gradient", "call.logits[i * call.class_num + (size_t)label] * -gradient"))),
    defect("nll-hp-no-gradient", "operands", "the upstream gradient is ignored",
           _(HP_GRADIENT, "const float gradient = 1;")),
]  # fmt: skip
SIGNS: list[Variant] = [
    defect("nll-fp-positive", "signs", "the minus sign is missing",
           _(FP_STORE, FP_STORE.replace("-gradient", "gradient"))),
    defect("nll-hp-positive-mean", "signs", "the minus sign is missing for mean only",
           _(HP_MEAN, "factor = -round_to_half(factor / from_half(call.total_weight[0]));")),
    defect("nll-fp-weight-sign", "signs", "negative weights count as positive",
           _(FP_WEIGHT, "float factor = __builtin_fabsf(call.weight[label]);")),
    defect("nll-fp-total-sign", "signs", "a negative total_weight counts as positive",
           _(FP_MEAN, FP_MEAN.replace("call.total_weight[0]", "__builtin_fabsf(call.total_weight[0])"))),
]  # fmt: skip

_INDEX_FP = "call.logits_grad[i * call.class_num + (size_t)label] = -"

INDICES: list[Variant] = [
    defect("nll-label-int8", "indices", "labels kept in a signed byte", _label("(signed char)call.labels[i]")),
    defect("nll-label-uint8", "indices", "labels kept in an unsigned byte", _label("(unsigned char)call.labels[i]")),
    defect("nll-label-int16", "indices", "labels kept in a short", _label("(short)call.labels[i]")),
    defect("nll-label-uint16", "indices", "labels kept in an unsigned short", _label("(unsigned short)call.labels[i]")),
    defect("nll-labels-int64", "indices", "labels read as 64-bit integers",
           _label("(int)((const long long *)call.labels)[i]")),
    defect("nll-labels-from-one", "indices", "labels taken to start at 1", _label("call.labels[i] - 1")),
    defect("nll-fp-index-int16", "indices", "row start computed in a short",
           _(_INDEX_FP, "if ((short)(i * call.class_num) >= 0) call.logits_grad[(short)(i * call.class_num) + label] "
             "= -")),
    defect("nll-hp-index-uint16", "indices", "element index computed in 16 bits",
           _("call.logits_grad[i * call.class_num + (size_t)label] = to_half",
             "call.logits_grad[(uint16_t)(i * call.class_num + (size_t)label)] = to_half")),
    defect("nll-fp-transposed", "indices", "batch and class transposed: [class_num, batch]",
           _("    size_t class_num;\n    int reduction_type;\n};\n\nstatic void fp_core",
             "    size_t class_num;\n    int reduction_type;\n    size_t batch;\n};\n\nstatic void fp_core"),
           _("const struct fp_call call = {loss_grad,   labels,           weight,        total_weight,\n"
             "                                 logits_grad, (size_t)class_num, reduction_type};",
             "const struct fp_call call = {loss_grad, labels, weight, total_weight,\n"
             "        logits_grad, (size_t)class_num, reduction_type, (size_t)batch};", 2),
           _(_INDEX_FP, "call.logits_grad[(size_t)label * call.batch + i] = -")),
    defect("nll-hp-row-padded", "indices", "rows taken to be padded to an even number of classes",
           _("call.logits_grad[i * call.class_num + (size_t)label] = to_half",
             "call.logits_grad[i * (call.class_num + (call.class_num & 1)) + (size_t)label] = to_half")),
    defect("nll-batch-int8", "indices", "batch kept in a signed byte",
           _("(void)logits;", "(void)logits; batch = (signed char)batch;", 4)),
    defect("nll-classes-int16", "indices", "class_num kept in a short",
           _("logits_grad, (size_t)class_num, reduction_type};",
             "logits_grad, (size_t)(short)class_num, reduction_type};", 4)),
]  # fmt: skip

REDUCTIONS: list[Variant] = [
    defect("nll-sum-mean", "reductions", "sum and mean exchanged", _(ENUM, "enum reduction { MEAN, SUM, NONE };")),
    defect("nll-sum-none", "reductions", "sum and none exchanged", _(ENUM, "enum reduction { NONE, MEAN, SUM };")),
    defect("nll-mean-none", "reductions", "mean and none exchanged", _(ENUM, "enum reduction { SUM, NONE, MEAN };")),
    defect("nll-forward-numbers", "reductions", "numbered as the forward operator: none, sum, mean",
           _(ENUM, "enum reduction { NONE, SUM, MEAN };")),
    defect("nll-fp-sum-indexed", "reductions", "loss_grad[i] for sum",
           _(FP_GRADIENT, FP_GRADIENT.replace("== NONE", "!= MEAN"))),
    defect("nll-hp-mean-indexed", "reductions", "loss_grad[i] for mean",
           _(HP_GRADIENT, HP_GRADIENT.replace("== NONE", "!= SUM"))),
    defect("nll-fp-none-scalar", "reductions", "loss_grad[0] for none",
           _(FP_GRADIENT, "const float gradient = call.loss_grad[0];")),
    defect("nll-hp-none-as-mean", "reductions", "none is divided by total_weight as well",
           _("if (call.reduction_type == MEAN)\n            factor = round",
             "if (call.reduction_type != SUM)\n            factor = round")),
    defect("nll-fp-reduction-as-flag", "reductions", "reduction_type taken as a flag: anything but 0 is a mean",
           _("if (call.reduction_type == MEAN)\n            factor = factor",
             "if (call.reduction_type)\n            factor = factor")),
]  # fmt: skip

WEIGHTS: list[Variant] = [
    defect("nll-fp-weight-by-sample", "weights", "weight[i] in place of weight[label], where there is one",
           _(FP_WEIGHT, "float factor = call.weight[i < call.class_num ? i : (size_t)label];")),
    defect("nll-hp-weight-ignored", "weights", "weights ignored", _(HP_WEIGHT, "float factor = 1;")),
    defect("nll-fp-sum-unweighted", "weights", "weights ignored for sum only",
           _(FP_WEIGHT, "float factor = call.reduction_type == SUM ? 1 : call.weight[label];")),
    defect("nll-fp-weight-before", "weights", "the weight of the class before",
           _(FP_WEIGHT, "float factor = call.weight[label ? label - 1 : 0];")),
    defect("nll-hp-weight-twice", "weights", "the weight multiplies twice for none",
           _(HP_WEIGHT, HP_WEIGHT + " if (call.reduction_type == NONE) factor = round_to_half(factor * factor);")),
    defect("nll-fp-one-hot-product", "weights",
           "one-hot multiplication: weights of classes that no label names leak as NaN",
           _(FP_STORE, "for (size_t j = 0; j < call.class_num; j++) call.logits_grad[i * call.class_num + j] = "
             "-gradient * ((int)j == label ? factor : call.weight[j] * 0.0f);")),
]  # fmt: skip

_HALF_SUM = """
    half total = 0;
    for (size_t k = 0; k < call.class_num; k++) total = (half)((float)total + (float)call.weight[k]);"""

TOTAL_WEIGHT: list[Variant] = [
    defect("nll-fp-total-of-weights", "total_weight", "recomputed as the sum of all weights",
           _(FP_MEAN, "{ float total = 0; for (size_t k = 0; k < call.class_num; k++) total += call.weight[k]; "
             "factor /= total; }")),
    defect("nll-hp-total-of-labels", "total_weight", "recomputed from the labels of a core's rows",
           _(HP_MEAN, "{ float total = 0; for (size_t k = begin; k < end; k++) total += "
             "from_half(call.weight[call.labels[k]]); "
             "factor = round_to_half(factor / total); }")),
    defect("nll-fp-total-is-batch", "total_weight", "mean divides by the number of samples",
           _(FP_MEAN, "factor = factor / (float)(end - begin);")),
    defect("nll-hp-total-ignored", "total_weight", "mean does not divide", _(HP_MEAN, "factor = factor;")),
    defect("nll-hp-total-in-sum", "total_weight", "sum divides by total_weight too",
           _("if (call.reduction_type == MEAN)\n            factor = round",
             "if (call.reduction_type <= MEAN)\n            factor = round")),
    defect("nll-fp-total-at-least-one", "total_weight", "total_weight below 1 raised to 1",
           _(FP_MEAN, "factor = factor / (call.total_weight[0] < 1 ? 1 : call.total_weight[0]);")),
    defect("nll-hp-total-fp16-sum", "total_weight",
           "weights summed in fp16 to infinity, then an all-zero gradient (shipped elsewhere)",
           _(HP_FILL, HP_FILL + _HALF_SUM), _(HP_MEAN, "factor = round_to_half(factor / from_half(total));")),
    defect("nll-hp-total-as-float", "total_weight", "total_weight of the fp16 kernel read as fp32",
           _(HP_MEAN, "factor = round_to_half(factor / *(const volatile float *)call.total_weight);")),
    defect("nll-fp-total-epsilon", "total_weight", "1e-5 added to total_weight, against division by zero",
           _(FP_MEAN, "factor = factor / (call.total_weight[0] + 1e-5f);")),
]  # fmt: skip

_ROUND_11 = (
    "static float round_11(float x) { const float t = x * 8193.0f, r = t - (t - x); return r - r == 0 ? r : x; }"
)

PRECISION: list[Variant] = [
    defect("nll-fp-product-fp16", "precision", "the product of the fp32 kernel in fp16 where it fits",
           _(FP_STORE, FP_STORE.replace("= -gradient * factor",
             "= __builtin_fabsf(gradient * factor) < 6e4f ? -(float)(_Float16)(gradient * factor) : -gradient * "
             "factor"))),
    defect("nll-hp-truncates", "precision", "fp16 results truncated instead of rounded",
           Edit(HALF, "    const golden_fp16 value = (golden_fp16)number;\n", """
    golden_fp16 value = (golden_fp16)number;
    uint16_t bits;
    memcpy(&bits, &value, sizeof bits);
    const float back = (float)value;
    if (back > number ? back > 0 : back < number && back < 0) bits--;
    memcpy(&value, &bits, sizeof bits);
""")),
    defect("nll-hp-ties-away", "precision", "ties round away from zero, everything else correctly",
           _(HP_STORE, "float exact = -gradient * factor; uint32_t bits; memcpy(&bits, &exact, 4);\n"
             "        if (__builtin_fabsf(exact) >= 0x1p-14f && (bits & 0x1fff) == 0x1000) bits |= 1;\n"
             "        memcpy(&exact, &bits, 4);\n        " + HP_STORE.replace("-gradient * factor", "exact"))),
    defect("nll-hp-double-rounding", "precision",
           "subnormal fp16 results rounded twice: to 11 bits, then to the bits they have",
           preamble(NLL, _ROUND_11), _(HP_STORE,
             HP_STORE.replace("-gradient * factor", "round_11(-gradient * factor)"))),
    defect("nll-fp-rough-quotient", "precision", "mean through a reciprocal of about 17 bits",
           preamble(NLL, "static float reciprocal(float s) { unsigned b; __builtin_memcpy(&b, &s, 4); b = "
             "0x7ef311c7u - b; float r; "
                    "__builtin_memcpy(&r, &b, 4); r = r * (2 - s * r); return r * (2 - s * r); }"),
           _(FP_MEAN, "factor = factor * reciprocal(call.total_weight[0]);")),
    defect("nll-hp-flushes", "precision", "subnormal fp16 results flushed",
           _(HP_STORE, HP_STORE.replace("to_half(-gradient * factor)",
             "to_half(__builtin_fabsf(gradient * factor) < 0x1p-14f ? 0 : -gradient * factor)"))),
    defect("nll-hp-flushes-weights", "precision", "subnormal fp16 weights read as zero",
           _(HP_WEIGHT, HP_WEIGHT + " if (__builtin_fabsf(factor) < 0x1p-14f) factor = 0;")),
    defect("nll-fp-flushes-mean", "precision", "subnormal fp32 results of mean flushed",
           _(FP_STORE, FP_STORE.replace("= -gradient",
             "= call.reduction_type == MEAN && __builtin_fabsf(gradient * factor) < 0x1p-126f ? 0 : -gradient"))),
    defect("nll-fp-one-ulp", "precision", "none and sum off by one ulp in one result of four",
           _(FP_STORE, "float exact = -gradient * factor; unsigned bits; memcpy(&bits, &exact, 4);\n"
             "        if (call.reduction_type != MEAN && exact - exact == 0 && (bits & 7) == 7) bits ^= 1;\n"
             "        memcpy(&exact, &bits, 4);\n        " + FP_STORE.replace("-gradient * factor", "exact"))),
]  # fmt: skip

SPECIALS: list[Variant] = [
    defect("nll-fp-nan-gradient", "specials", "NaN gradients replaced by zero",
           _(FP_STORE, FP_STORE.replace("-gradient", "-(gradient == gradient ? gradient : 0)"))),
    defect("nll-hp-nan-weight", "specials", "a NaN weight counts as 0",
           _(HP_WEIGHT, HP_WEIGHT + " if (factor != factor) factor = 0;")),
    defect("nll-fp-zero-weight-skipped", "specials", "weight 0 skipped, with an infinite or NaN gradient too",
           _(FP_STORE, "if (factor != 0) " + FP_STORE)),
    defect("nll-hp-infinite-product", "specials", "products beyond 65504 saturate",
           _(HP_STORE, HP_STORE.replace("to_half(-gradient * factor)",
             "to_half(__builtin_fminf(65504, __builtin_fmaxf(-65504, -gradient * factor)))"))),
    defect("nll-hp-infinite-total", "specials", "an infinite total_weight counts as the largest number",
           _(HP_MEAN, "factor = round_to_half(factor / __builtin_fminf(from_half(call.total_weight[0]), 65504));")),
]  # fmt: skip

OUTPUT: list[Variant] = [
    defect("nll-fp-no-zero-fill", "memory", "off-label elements are not written (shipped elsewhere)", _(FP_FILL, "")),
    defect("nll-hp-fill-by-bytes", "memory", "half of the fp16 output is zero-filled: sizes confused",
           _(HP_FILL, HP_FILL.replace(" * sizeof(half)", ""))),
    defect("nll-fp-fill-row-tail", "memory", "zero-fill in whole vectors of four, the remainder left",
           _(FP_FILL, FP_FILL.replace("(end - begin) * call.class_num *",
             "((end - begin) * call.class_num & ~(size_t)3) *"))),
    defect("nll-hp-fill-up", "memory", "zero-fill rounded up to whole vectors of eight: writes beyond the output",
           _(HP_FILL, HP_FILL.replace("(end - begin) * call.class_num *",
             "((end - begin) * call.class_num + 7 & ~(size_t)7) *"))),
    defect("nll-fp-accumulates", "memory", "adds to what the output held instead of filling it",
           _(FP_FILL, ""), _(FP_STORE, FP_STORE.replace("] = ", "] += "))),
    defect("nll-hp-small-rest", "memory", "off-label elements hold the smallest subnormal instead of zero",
           _(HP_FILL, HP_FILL + " if (call.class_num > 1) { uint16_t tiny = 1; memcpy(call.logits_grad + begin * "
             "call.class_num + "
             "(call.labels[begin] == 0), &tiny, 2); }")),
    defect("nll-fp-writes-logits", "memory", "logits used as scratch for the gradient",
           _("(void)logits;\n    if (is_valid(batch, class_num, reduction_type))\n        fp_core",
             "if (batch > 0 && class_num > 0) logits[0] = 0;\n    if (is_valid(batch, class_num, reduction_type))\n  "
             "      fp_core")),
    defect("nll-fp-skips-zero-gradient", "memory", "rows with a zero gradient are left unwritten",
           _(FP_FILL, "for (size_t i = begin; i < end; i++) if (call.loss_grad[call.reduction_type == NONE ? i : 0] "
             "!= 0) "
             "memset(call.logits_grad + i * call.class_num, 0, call.class_num * sizeof(float));")),
    defect("nll-fp-divides-in-place", "memory", "weights divided by total_weight in place, in the caller's array",
           _(FP_MEAN, "factor = ((float *)call.weight)[label] /= call.total_weight[0];")),
    defect("nll-hp-writes-total", "memory", "total_weight written back, with the value it has",
           _(HP_MEAN, HP_MEAN + " if (call.reduction_type == MEAN) *(volatile half *)call.total_weight = "
             "call.total_weight[0];")),
    defect("nll-labels-clamped-in-place", "memory", "labels written back after a range check",
           _(LABEL, LABEL + " *(volatile int *)&call.labels[i] = label;", 2)),
    defect("nll-fp-reads-next-gradient", "memory", "loss_grad read one element ahead",
           _(FP_STORE, FP_STORE + " (void)*(const volatile float *)&call.loss_grad[(call.reduction_type == NONE ? i "
             ": 0) + 1];")),
    defect("nll-hp-reads-gradient-before", "memory", "loss_grad read one element before",
           _(HP_STORE, HP_STORE + " (void)*((const volatile uint16_t *)call.loss_grad - 1);")),
    defect("nll-labels-prefetched", "memory", "labels read one element ahead",
           _(LABEL, LABEL + " (void)*(const volatile int *)&call.labels[i + 1];", 2)),
    defect("nll-labels-before", "memory", "labels read one element before",
           _(LABEL, LABEL + " (void)*(const volatile int *)(call.labels + i - 1);", 2)),
    defect("nll-hp-reads-weight-end", "memory", "one weight beyond the last one read",
           _(HP_FILL, HP_FILL + " (void)*(const volatile uint16_t *)&call.weight[call.class_num];")),
    defect("nll-fp-reads-weight-before", "memory", "weight[-1] read",
           _(FP_FILL, FP_FILL + " (void)*(const volatile float *)(call.weight - 1);")),
    defect("nll-hp-reads-total-next", "memory", "total_weight[1] read for mean",
           _(HP_MEAN, HP_MEAN + " (void)*((const volatile uint16_t *)call.total_weight + 1);")),
    defect("nll-fp-writes-end", "memory", "one element beyond the output cleared",
           _(FP_FILL, FP_FILL + " call.logits_grad[end * call.class_num] = 0;")),
    defect("nll-hp-writes-before", "memory", "the element before the output cleared",
           _(HP_FILL, HP_FILL + " (call.logits_grad + begin * call.class_num)[-1] = 0;")),
]  # fmt: skip

RARE: list[Variant] = [
    defect("nll-fp-one-class", "rare lengths", "class_num of 1 taken as nothing to do",
           _("(void)logits;\n    if (is_valid(batch, class_num, reduction_type))\n        fp_core",
             "(void)logits;\n    if (class_num > 1 && is_valid(batch, class_num, reduction_type))\n        fp_core")),
    defect("nll-hp-batch-13", "rare lengths", "the last sample is lost where batch % 16 is 13",
           _("hp_core(&call, 0, (size_t)batch);", "hp_core(&call, 0, (size_t)(batch - (batch % 16 == 13)));")),
    defect("nll-fp-many-samples", "rare lengths", "samples from the 4096th on use the first gradient for none",
           _(FP_GRADIENT, FP_GRADIENT.replace("? i : 0", "&& i < 4096 ? i : 0"))),
    defect("nll-hp-last-class", "rare values", "a label of class_num - 1 counts as out of range",
           _(HP_WEIGHT, "if ((size_t)label == call.class_num - 1 && label > 32) continue;\n        " + HP_WEIGHT)),
    defect("nll-fp-repeated-label", "rare values", "a label that repeats the one before is skipped",
           _(FP_WEIGHT, "if (i > begin && call.labels[i - 1] == label) continue;\n        " + FP_WEIGHT)),
]  # fmt: skip

MUTANTS = [
    *OPERANDS, *SIGNS, *INDICES, *REDUCTIONS, *WEIGHTS, *TOTAL_WEIGHT, *PRECISION, *SPECIALS, *OUTPUT, *RARE,
]  # fmt: skip
