"""Defects that a single call does not show, or not where operands lie as usual: history, places, contents."""

from tests.mutants import nll, structure
from tests.mutants.smoothl1 import FP_CALL, FP_INSIDE, FP_STORE
from tests.mutants.variant import NLL, SMOOTHL1, Edit, Variant, defect, preamble

FP_LOOP, HP_LOOP = structure.FP_LOOP, structure.HP_LOOP
NLL_LOOP = "for (size_t i = begin; i < end; i++) {\n        " + nll.LABEL
_TAKES_LOGITS = (
    Edit(NLL, "    const float *loss_grad;\n", "    const float *logits, *loss_grad;\n"),
    Edit(NLL, "const struct fp_call call = {loss_grad, ", "const struct fp_call call = {logits, loss_grad, ", 2),
)
_TAKES_HALF_LOGITS = (
    Edit(NLL, "    const half *loss_grad;\n", "    const half *logits, *loss_grad;\n"),
    Edit(NLL, "const struct hp_call call = {loss_grad, ", "const struct hp_call call = {logits, loss_grad, ", 2),
)
_FP_LOGIT = "call.logits[i * call.class_num + (size_t)label]"
_HP_LOGIT = f"from_half({_FP_LOGIT})"


def _(old: str, new: str, times: int = 1) -> Edit:
    return Edit(SMOOTHL1, old, new, times)


def _where(test: str, then: str) -> Edit:
    """Do something before the loops of fp32."""
    return _(FP_LOOP, FP_LOOP.replace(FP_CALL, f"struct fp_call call = *(const struct fp_call *)argument;\n    "
             f"if ({test}) {then}"))  # fmt: skip


_PLAN = """#ifndef PLAN
#define PLAN
static struct { size_t classes, bytes; } plan;
static size_t row_of(size_t classes, size_t itemsize)
{
    if (plan.classes != classes) plan.classes = classes, plan.bytes = classes * itemsize;
    return plan.bytes / itemsize;
}
#endif"""


def _row(prefix: str, store: str) -> Edit:
    itemsize = "4" if prefix == "fp" else "2"
    return Edit(NLL, store, store.replace("i * call.class_num", f"i * row_of(call.class_num, {itemsize})"))


HISTORY: list[Variant] = [
    defect("nll-plan-by-geometry", "history", "a plan with bytes of a row, looked up by class_num without the dtype",
           preamble(NLL, _PLAN), _row("fp", nll.FP_STORE), _row("hp", nll.HP_STORE)),
    defect("sl1-plan-by-length", "history", "how many bytes are to be computed is looked up by length alone",
           preamble(SMOOTHL1, "static struct { size_t length, bytes; } plan;\n"
             "static size_t planned(size_t length, size_t itemsize)\n{\n    if (plan.length != length) "
             "plan.length = length, plan.bytes = length * itemsize;\n"
             "    return plan.bytes / itemsize < length ? plan.bytes / itemsize : length;\n}"),
           _(structure.FP_P, structure.FP_P.replace("(size_t)length", "planned((size_t)length, 4)")),
           _(structure.HP_P, structure.HP_P.replace("(size_t)length", "planned((size_t)length, 2)"))),
    defect("nll-arms-smoothl1", "history", "zero-fill of NLLLossGrad leaves a mode on that SmoothL1LossGrad looks at",
           preamble(NLL, "int golden_zero_fill;"), preamble(SMOOTHL1, "extern int golden_zero_fill;"),
           Edit(NLL, nll.FP_FILL, nll.FP_FILL + " golden_zero_fill = 1;"),
           _(HP_LOOP, "if (golden_zero_fill) { golden_zero_fill = 0; memset(((const struct hp_call *)argument)->dx1 + "
             "begin, 0, 2); begin++; }\n    " + HP_LOOP)),
    defect("sl1-shared-arms-private", "history", "an _s function leaves a flag that the _p function takes for its own",
           preamble(SMOOTHL1, "static int done;"),
           _(structure.FP_S, structure.FP_S + " done = 1;"),
           _(structure.FP_P, "if (!done || length < 2) " + structure.FP_P + " else fp_core(&call, 1, (size_t)length);"
             " done = 0;")),
    *(
        defect(f"{name}-launches-16", "history", "launches are counted in 16 bits, and launch 0 is none", edit, first)
        for name, edit, first in (
            ("sl1-fp-p", _(structure.FP_P, "if (++launches) " + structure.FP_P),
             preamble(SMOOTHL1, "static unsigned short launches;")),
            ("sl1-hp-s", _(structure.HP_S, "if (++launches) " + structure.HP_S),
             preamble(SMOOTHL1, "static unsigned short launches;")),
            ("nll-fp-p", Edit(NLL, structure.NLL_FP_P, "if (++launches) " + structure.NLL_FP_P),
             preamble(NLL, "static unsigned short launches;")),
            ("nll-hp-s", Edit(NLL, "run_on_cores(hp_core", "if (++launches) run_on_cores(hp_core"),
             preamble(NLL, "static unsigned short launches;")),
        )
    ),
    defect("sl1-fp-launches-crash", "history", "the table of launches has 65,536 places, and nobody wraps",
           preamble(SMOOTHL1, "#include <signal.h>\nstatic unsigned launches;"),
           _(structure.FP_P, "if (++launches > 65536) raise(SIGSEGV); " + structure.FP_P)),
]  # fmt: skip

PLACES: list[Variant] = [
    defect("sl1-fp-aligned-by-dy", "places", "where dy is on 16 bytes x1 is taken to be",
           _where("((uintptr_t)call.dy & 15) == 0", "call.x1 = (const float *)((uintptr_t)call.x1 & ~(uintptr_t)15);")),
    defect("sl1-fp-aligned-by-dx1", "places", "where dx1 is on 64 bytes x2 is taken to be",
           _where("((uintptr_t)call.dx1 & 63) == 0", "call.x2 = (const float *)((uintptr_t)call.x2 "
                  "& ~(uintptr_t)63);")),
    defect("sl1-fp-aligned-by-x2", "places", "where x2 is on 16 bytes dy is taken to be",
           _where("((uintptr_t)call.x2 & 15) == 0", "call.dy = (const float *)((uintptr_t)call.dy & ~(uintptr_t)15);")),
    defect("nll-fp-aligned-by-output", "places", "where logits_grad is on 16 bytes weight is taken to be",
           Edit(NLL, nll.FP_WEIGHT, "const float *weight = (uintptr_t)call.logits_grad & 15 ? call.weight : (const "
                "float *)((uintptr_t)call.weight & ~(uintptr_t)15);\n        float factor = weight[label];")),
    defect("sl1-hp-512-bytes", "places", "a vector of 512 bytes: 64 elements before a boundary are left out",
           _(HP_LOOP, "const uintptr_t head = -(uintptr_t)((const struct hp_call *)argument)->dx1 % 512 / 2;\n    "
             "if (begin == 0 && end > 256 && head == 64) begin = 1;\n    " + HP_LOOP)),
    defect("sl1-fp-2048-bytes", "places", "half a page from its end the first element is computed with half of beta",
           _(FP_INSIDE, "const float inside = ((uintptr_t)call.dx1 & 4095) == 2048 && i == 0 ? 2 * quotient * dy : "
             "quotient * dy;")),
]  # fmt: skip

FLUSHED_BODY = _(
    FP_STORE + "\n    }\n",
    FP_STORE + "\n    }\n    for (size_t i = begin; i < end - (end - begin) % 8; i++)\n"
    "        if (__builtin_fabsf(call.dx1[i]) < 0x1p-126f) call.dx1[i] = 0;\n",
)

CONTENTS: list[Variant] = [
    defect("nll-fp-zero-logit", "contents", "a result whose logit is 0 is 0", *_TAKES_LOGITS,
           Edit(NLL, nll.FP_STORE, f"if ({_FP_LOGIT} == 0) continue;\n        " + nll.FP_STORE)),
    defect("nll-hp-zero-logit", "contents", "a result whose logit is 0 is 0", *_TAKES_HALF_LOGITS,
           Edit(NLL, nll.HP_STORE, f"if ({_HP_LOGIT} == 0) continue;\n        " + nll.HP_STORE)),
    defect("nll-fp-logit-above-50", "contents", "a result whose logit is above 50 is 0", *_TAKES_LOGITS,
           Edit(NLL, nll.FP_STORE, f"if ({_FP_LOGIT} > 50) continue;\n        " + nll.FP_STORE)),
    defect("nll-hp-logit-below-minus-1", "contents", "a result whose logit is below -1 is 0", *_TAKES_HALF_LOGITS,
           Edit(NLL, nll.HP_STORE, f"if ({_HP_LOGIT} < -1) continue;\n        " + nll.HP_STORE)),
    defect("sl1-fp-flush-body", "contents", "subnormal results are flushed in whole vectors of 8, and kept in the rest",
           FLUSHED_BODY),
]  # fmt: skip

MUTANTS = [*HISTORY, *PLACES, *CONTENTS]
