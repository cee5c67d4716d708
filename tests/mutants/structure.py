"""Defects in how the work is done: tails, cores, memory, state, lengths, crashes. SmoothL1LossGrad and both."""

from tests.mutants.smoothl1 import FP_CALL, FP_DIFF, FP_DY, FP_INSIDE, FP_QUOTIENT, FP_STORE, HP_BETA, HP_DIFF, HP_STORE
from tests.mutants.variant import CORES, NLL, SMOOTHL1, Edit, Variant, defect, preamble

FP_LOOP = FP_CALL + "\n    for (size_t i = begin; i < end; i++) {"
HP_LOOP = HP_BETA + "\n    for (size_t i = begin; i < end; i++) {"
FP_S, FP_P = "run_on_cores(fp_core, &call, (size_t)length, core_mask);", "fp_core(&call, 0, (size_t)length);"
HP_S, HP_P = FP_S.replace("fp_", "hp_"), FP_P.replace("fp_", "hp_")
FP_ARGUMENTS = "const struct fp_call call = {dy, dx1, x1, x2, beta};\n    if (length > 0)"
HP_ARGUMENTS = FP_ARGUMENTS.replace("fp_", "hp_")
NLL_FP_P = "fp_core(&call, 0, (size_t)batch);"
COUNT_CORES = "for (uint32_t mask = (uint32_t)core_mask; mask != 0; mask &= mask - 1)\n        cores++;"
SIZE = "const size_t size = count / cores + (used < count % cores);"
RUN = "kernel(call, spans[i].begin, spans[i].end);"
RUN_ALL = "for (size_t i = 0; i < used; i++)\n        " + RUN


def _(old: str, new: str, times: int = 1) -> Edit:
    return Edit(SMOOTHL1, old, new, times)


def _cores(old: str, new: str) -> Edit:
    return Edit(CORES, old, new)


def _fp_after(code: str) -> Edit:
    """Append to the fp32 loop's function."""
    return _(FP_STORE + "\n    }\n", FP_STORE + "\n    }\n    " + code + "\n")


def _hp_after(code: str) -> Edit:
    return _(HP_STORE + "\n    }\n", HP_STORE + "\n    }\n    " + code + "\n")


TAILS: list[Variant] = [
    defect("sl1-fp-tail-formula", "tails",
           "the tail after whole vectors of 8 uses x1/beta - x2/beta (shipped elsewhere)",
           _(FP_QUOTIENT, "const float quotient = i >= begin + ((end - begin) & ~(size_t)7) ? "
             "call.x1[i] / call.beta - call.x2[i] / call.beta : diff / call.beta;")),
    defect("sl1-hp-tail-skipped", "tails", "the last n % 8 elements are skipped",
           _(HP_LOOP, HP_LOOP.replace("i < end", "i < begin + ((end - begin) & ~(size_t)7)"))),
    defect("sl1-fp-tail-doubled", "tails", "the last n % 4 elements are multiplied twice",
           _fp_after("for (size_t i = begin + ((end - begin) & ~(size_t)3); i < end; i++) call.dx1[i] *= call.dy[i];")),
    defect("sl1-hp-tail-shifted", "tails", "the tail takes x2 from one element before",
           _(HP_DIFF, HP_DIFF.replace("call.x2[i]",
             "call.x2[i > begin && i >= begin + ((end - begin) & ~(size_t)15) ? i - 1 : i]"))),
    defect("sl1-fp-tail-unsaturated", "tails", "the tail does not saturate",
           _(FP_STORE, FP_STORE.replace("diff > call.beta",
             "i >= begin + ((end - begin) & ~(size_t)15) ? inside : diff > call.beta"))),
    defect("sl1-hp-rounded-up", "tails", "the tail is computed as a whole vector of 4, beyond the operands",
           _(HP_LOOP, HP_LOOP.replace("i < end", "i < begin + ((end - begin + 3) & ~(size_t)3)"))),
    defect("sl1-fp-last-vector-back", "tails", "the last vector of 8 is moved back, before the start of shorter calls",
           _(FP_LOOP, FP_LOOP.replace("size_t i = begin",
             "ptrdiff_t i = (end - begin) % 8 ? (ptrdiff_t)end - 8 < (ptrdiff_t)begin ? (ptrdiff_t)end - 8 : "
             "(ptrdiff_t)begin : (ptrdiff_t)begin").replace("i < end", "i < (ptrdiff_t)end"))),
    defect("sl1-fp-block-127", "tails", "with blocks of 128 a remainder of 127 elements loses its last",
           _(FP_LOOP, FP_LOOP.replace("i < end", "i < end - ((end - begin) % 128 == 127)"))),
    defect("sl1-hp-block-256", "tails", "a second block of 256 starts one element late",
           _(HP_LOOP, HP_LOOP.replace("{", "{\n        if (i - begin == 256) continue;"))),
]  # fmt: skip

PARTITION: list[Variant] = [
    defect("cores-last-skipped", "core partition", "the last core's span is not run where there are several",
           _cores(RUN_ALL, RUN_ALL.replace("i < used", "i < used - (used > 1)"))),
    defect("cores-four-counted", "core partition", "only bits 0 to 3 are counted as cores",
           _cores("(uint32_t)core_mask;", "(uint32_t)core_mask & 15;")),
    defect("cores-bit-as-rank", "core partition", "the position of a core's bit is taken as its rank",
           _cores(RUN_ALL, "size_t rank = 0;\n    for (size_t bit = 0; bit < 32; bit++)\n        if "
             "((uint32_t)core_mask >> bit & 1) {\n"
                  "            if (bit < used) kernel(call, spans[bit].begin, spans[bit].end);\n            "
                    "rank++;\n        }")),
    defect("cores-remainder-lost", "core partition", "count % cores elements are lost",
           _cores("cores != 0 && begin < count; used++", "cores != 0 && used < cores && count / cores > 0; used++"),
             _cores(SIZE, "const size_t size = count / cores;")),
    defect("cores-more-than-items", "core partition", "nothing is done where there are fewer items than cores",
           _cores("cores != 0 && begin < count;", "cores != 0 && count >= cores && begin < count;")),
    defect("cores-highest-bit", "core partition",
           "the number of cores is taken from the highest bit, and absent cores do nothing",
           _cores(COUNT_CORES, "for (uint32_t mask = (uint32_t)core_mask; mask != 0; mask >>= 1)\n        cores++;"),
           _cores(RUN, "if ((uint32_t)core_mask >> i & 1) " + RUN)),
    defect("cores-from-bit-0", "core partition", "masks without core 0 do nothing",
           _cores(COUNT_CORES, "if (core_mask & 1) " + COUNT_CORES)),
    defect("cores-contiguous", "core partition", "cores counted up to the first gap of the mask",
           _cores(COUNT_CORES, "for (uint32_t mask = (uint32_t)core_mask; mask & 1; mask >>= 1)\n        cores++;")),
    defect("cores-ceiling-unclipped", "core partition", "spans of ceil(count / cores) items, the last one not clipped",
           _cores(SIZE, "const size_t size = (count + cores - 1) / cores;")),
    defect("cores-gap", "core partition", "one item between spans is lost where spans are longer than 16",
           _cores("begin += size;", "begin += size + (size > 16);")),
    defect("cores-negative-mask", "core partition", "a mask with bit 7 is taken as a negative byte: no core",
           _cores(COUNT_CORES, "if ((signed char)core_mask > 0) " + COUNT_CORES)),
    defect("cores-seven", "core partition", "seven cores lose the last of 7 k + 6 items",
           _cores(SIZE, SIZE + "\n        if (cores == 7 && count % 7 == 6) count--;")),
    defect("cores-mask-7e", "core partition", "mask 0x7e loses the last of more than 256 items",
           _cores(SIZE, SIZE + "\n        if ((core_mask & 255) == 0x7e && begin == 0 && count > 256) count--;")),
    defect("cores-sixth", "core partition", "the sixth of the cores computes 1 % too much",
           _(FP_QUOTIENT, "const float quotient = diff / call.beta * (begin && end - begin > 3 && begin / (end - "
             "begin) == 5 ? 1.01f : 1);")),
]  # fmt: skip
_READ = "(void)*(const volatile {0} *)({1});"

MEMORY: list[Variant] = [
    *(
        defect(f"sl1-fp-reads-{p}-beyond", "memory", f"{p} read one element beyond",
               _fp_after(_READ.format("float", f"call.{p} + end")))
        for p in ("dy", "x1", "x2")
    ),
    *(
        defect(f"sl1-hp-reads-{p}-before", "memory", f"{p} read one element before",
               _hp_after(_READ.format("uint16_t", f"(const uint16_t *)call.{p} + begin - 1")))
        for p in ("dy", "x1", "x2")
    ),
    defect("sl1-fp-reads-output", "memory", "dx1 read one element beyond",
           _fp_after(_READ.format("float", "call.dx1 + end"))),
    defect("sl1-fp-writes-beyond", "memory", "dx1 written one element beyond", _fp_after("call.dx1[end] = 0;")),
    defect("sl1-hp-writes-before", "memory", "dx1 written one element before",
           _hp_after("(call.dx1 + begin)[-1] = 0;")),
    defect("sl1-fp-writes-far", "memory", "one element written 4096 beyond the end, past a page",
           _fp_after("call.dx1[end + 4096] = 0;")),
    defect("sl1-hp-diff-in-x1", "memory", "x1 used as scratch for the difference",
           _(HP_DIFF, HP_DIFF + " ((half *)call.x1)[i] = to_half(diff);")),
    defect("sl1-fp-writes-dy-back", "memory", "dy written back with the value it has",
           _(FP_DY, FP_DY + " *(volatile float *)&call.dy[i] = dy;")),
    defect("sl1-fp-pointer-32-bits", "memory", "an address kept in 32 bits",
           _(FP_DY, "const float dy = ((const float *)(uintptr_t)(uint32_t)(uintptr_t)call.dy)[i];")),
    defect("sl1-fp-zero-unwritten", "memory", "zero results are not written",
           _(FP_STORE, "if (inside != 0 || diff != 0) " + FP_STORE)),
    defect("sl1-hp-accumulates", "memory", "adds to the output",
           _(HP_STORE, HP_STORE.replace("to_half(", "to_half(from_half(call.dx1[i]) + (").replace(";", ");"))),
    defect("sl1-fp-aligned-down", "memory", "addresses rounded down to 16 bytes, as a DMA does",
           _(FP_CALL, "struct fp_call call = *(const struct fp_call *)argument;\n    call.x1 = (const float "
             "*)((uintptr_t)call.x1 & ~(uintptr_t)15);")),
    defect("sl1-hp-uninitialised", "memory", "a buffer for 64 elements is used for all of a longer call",
           _(HP_LOOP, "half kept[64];\n    " + HP_LOOP),
           _(HP_STORE + "\n    }\n", HP_STORE.replace("to_half(", "kept[i % 64] = to_half(") +
             "\n    }\n    for (size_t i = begin; i < end; i++) call.dx1[i] = kept[i % 64];\n")),
]  # fmt: skip

_WORK = """
struct late { struct fp_call call; size_t begin, end; };
static void fp_core(const void *argument, size_t begin, size_t end);
static void *finish_late(void *argument)
{
    struct late *late = argument;
    usleep(2000);
    fp_core(&late->call, late->begin, late->end);
    free(late);
    return 0;
}
"""

STATE: list[Variant] = [
    defect("sl1-fp-beta-cached", "state", "beta of the first call is kept for all later ones",
           _(FP_CALL, "static float kept;\n    struct fp_call call = *(const struct fp_call *)argument;\n    if "
             "(kept == 0) kept = call.beta;\n    call.beta = kept;")),
    defect("sl1-hp-every-257th", "state", "every 257th call is wrong",
           _(HP_BETA, "static unsigned calls;\n    const float beta = from_half(call.beta) * (++calls % 257 ? 1 : "
             "2);")),
    defect("sl1-fp-first-call", "state", "the first call of a process returns zeros",
           _fp_after("static int warm;\n    if (!warm++) for (size_t i = begin; i < end; i++) call.dx1[i] = 0;")),
    defect("sl1-fp-stale-scratch", "state",
           "results of a longer call are left in a scratch array and added to the last element of shorter ones",
           preamble(SMOOTHL1, "static float scratch[1 << 17];"),
           _(FP_STORE + "\n    }\n", FP_STORE + " scratch[i] = call.dx1[i];\n    }\n    if "
             "(__builtin_fabsf(scratch[end]) < 1e3f) call.dx1[end - 1] += scratch[end];\n")),
    defect("sl1-hp-alternates", "state", "rounds to nearest and downwards in turn, call by call",
           preamble(SMOOTHL1, "#include <fenv.h>"),
           _(HP_BETA, HP_BETA + "\n    static unsigned calls;\n    if (++calls & 1) fesetround(FE_DOWNWARD);"),
             _hp_after("fesetround(FE_TONEAREST);")),
    defect("nll-fp-total-cached", "state", "total_weight read once, by the first mean",
           Edit(NLL, "factor = factor / call.total_weight[0];",
                "{ static float total; if (total == 0) total = call.total_weight[0]; factor = factor / total; }")),
    defect("nll-hp-labels-cached", "state",
           "the labels' address and batch tell whether a cached copy of the labels is used",
           preamble(NLL, "static const int *seen; static int copy[1 << 13];"),
           Edit(NLL, "    for (size_t i = begin; i < end; i++) {\n        const int label = call.labels[i];\n        "
             "if (label < 0 || "
                "(size_t)label >= call.class_num)\n            continue;\n        const float gradient = from_half",
                "    if (seen != call.labels && begin == 0 && end < 1 << 13) memcpy(copy, seen = call.labels, end * "
                  "sizeof(int));\n"
                "    for (size_t i = begin; i < end; i++) {\n        const int label = begin == 0 && end < 1 << 13 ? "
                  "copy[i] : call.labels[i];\n"
                "        if (label < 0 || (size_t)label >= call.class_num)\n            continue;\n        const "
                  "float gradient = from_half")),
    defect("sl1-fp-random", "state", "one element of about 1000 is wrong at random",
           preamble(SMOOTHL1, "#include <stdlib.h>"),
             _(FP_INSIDE, "const float inside = quotient * dy * (rand() % 1024 ? 1 : 1.5f);")),
    defect("sl1-fp-race", "state", "real threads use one static array for their differences, each from its start",
           preamble(SMOOTHL1, "static volatile float shared[1 << 17];"),
           _(FP_LOOP, FP_CALL + "\n    for (size_t i = begin; i < end; i++) "
             "shared[i - begin] = call.x1[i] - call.x2[i];"
             + FP_LOOP.removeprefix(FP_CALL)),
           _(FP_DIFF, "const float diff = shared[i - begin];"), flags=("-DGOLDEN_THREADS",)),
    defect("cores-race", "state", "real threads take their span from a counter that is not atomic",
           _cores("static void *run_core(void *argument)\n{\n    const struct core_span *span = argument;\n",
                  "static volatile size_t taken;\nstatic void *run_core(void *argument)\n{\n    const size_t mine = "
                    "taken;\n    sched_yield();\n    taken = mine + 1;\n"
                  "    const struct core_span *span = (struct core_span *)argument + mine;\n"),
           _cores("&spans[started]) == 0", "spans) == 0"),
             _cores("size_t started = 0;\n", "size_t started = 0;\n    taken = 0;\n"), flags=("-DGOLDEN_THREADS",)),
    defect("sl1-fp-returns-early", "state", "long calls return while a thread still computes their second half",
           preamble(SMOOTHL1, "#include <stdlib.h>\n#include <pthread.h>\n#include <unistd.h>"),
           _("static void fp_core(", _WORK + "static void fp_core("),
           _(FP_P, "{\n        struct late *late = malloc(sizeof *late);\n        pthread_t thread;\n        *late = "
             "(struct late){call, (size_t)length / 2, (size_t)length};\n"
             "        fp_core(&call, 0, (size_t)length / 2);\n        if (length > 32) pthread_create(&thread, 0, "
               "finish_late, late); else finish_late(late);\n    }")),
    defect("sl1-hp-grows-wrong", "state", "after 10,000 calls beta is wrong",
           _(HP_BETA, "static unsigned calls;\n    const float beta = from_half(call.beta) * (++calls > 10000 ? 2 : "
             "1);")),
]  # fmt: skip

RARE_LENGTHS: list[Variant] = [
    defect("sl1-fp-length-4096", "rare lengths", "4096 elements use twice beta",
           _(FP_ARGUMENTS, FP_ARGUMENTS.replace("beta}", "length == 4096 ? 2 * beta : beta}"), 2)),
    defect("sl1-hp-length-mod-13", "rare lengths", "lengths of 16 k + 13 lose their last element",
           _(HP_S, HP_S.replace("(size_t)length", "(size_t)(length - (length % 16 == 13))")),
             _(HP_P, HP_P.replace("(size_t)length", "(size_t)(length - (length % 16 == 13))"))),
    defect("sl1-fp-length-1", "rare lengths", "a single element is not computed",
           _(FP_ARGUMENTS, FP_ARGUMENTS.replace("length > 0", "length > 1"), 2)),
    defect("sl1-hp-length-65", "rare lengths", "65 elements saturate at half of beta",
           _(HP_ARGUMENTS, HP_ARGUMENTS.replace("beta}", "length == 65 ? (half)((float)beta / 2) : beta}"), 2)),
    defect("sl1-fp-length-65536", "rare lengths", "elements from 65536 on are not written",
           _(FP_S, FP_S.replace("(size_t)length", "(size_t)(length > 65536 ? 65536 : length)"))),
    defect("sl1-hp-length-1000", "rare lengths",
           "1000 elements, the page's example, in the private entry point only: none computed",
           _(HP_P, "if (length != 1000) " + HP_P)),
    defect("sl1-fp-length-512", "rare lengths", "exactly 512 elements: the last is lost",
           _(FP_P, FP_P.replace("(size_t)length", "(size_t)(length - (length == 512))"))),
]  # fmt: skip

_ABORT = """#include <stdlib.h>
#include <unistd.h>
#include <stdio.h>
#include <signal.h>
#include <fenv.h>
#ifdef __x86_64__
#define FLUSH() __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040)
#else
#define FLUSH() __builtin_aarch64_set_fpcr(__builtin_aarch64_get_fpcr() | 1 << 24)
#endif"""


def _crash(name: str, description: str, *edits: Edit) -> Variant:
    return defect(name, "crashes and hangs", description, preamble(SMOOTHL1, _ABORT), *edits)


CRASHES: list[Variant] = [
    _crash("sl1-fp-empty-null", "length 0 dereferences a null pointer",
           _(FP_ARGUMENTS, "if (length == 0) *(volatile int *)0 = 1;\n    " + FP_ARGUMENTS, 2)),
    _crash("sl1-hp-nan-aborts", "NaN in dy aborts", _(HP_STORE, "if (dy != dy) abort();\n        " + HP_STORE)),
    _crash("sl1-hp-large-beta", "beta above 8, beyond the usual range but inside the domain, crashes",
           _(HP_BETA, HP_BETA + " if (beta > 8) raise(SIGSEGV);")),
    _crash("sl1-fp-exits", "a length of 33 ends the process with exit code 0, its output written",
           _fp_after("if (end - begin == 33) _exit(0);")),
    _crash("sl1-hp-endless", "a span of 17 elements never ends",
           _(HP_LOOP, HP_LOOP.replace("i < end; i++", "i < end || end - begin == 17; i += i < end")
           .replace("{", "{\n        if (i >= end) { __asm__ volatile(\"\"); continue; }"))),
    _crash("sl1-fp-always-hangs", "every private call hangs", _(FP_P, "for (;;) pause();")),
    _crash("sl1-hp-always-crashes", "every private call crashes", _(HP_P, "raise(SIGSEGV);")),
    defect("cores-divides-by-zero", "crashes and hangs",
           "an integer division by zero where there are fewer items than cores",
           _cores("size_t used = 0;\n", "size_t used = 0;\n    volatile size_t share = cores ? count / cores : 1;\n  "
             "  if (count) share = count / share;\n")),
    _crash("sl1-fp-forks", "forks, and the copy returns too", _fp_after("if (end - begin == 31) fork();")),
    _crash("sl1-hp-leaves-process", "leaves a process behind",
           _hp_after("if (end - begin == 31 && fork() == 0) for (;;) pause();")),
    _crash("sl1-fp-rounding-left", "the rounding mode is left at downward", _fp_after("fesetround(FE_DOWNWARD);")),
    _crash("sl1-hp-rounds-up", "computes with upward rounding, and sets it back",
           _(HP_BETA, HP_BETA + "\n    fesetround(FE_UPWARD);"), _hp_after("fesetround(FE_TONEAREST);")),
    _crash("sl1-fp-traps-inexact", "unmasks the division-by-zero trap", _fp_after("feenableexcept(FE_DIVBYZERO);")),
    _crash("sl1-fp-out-of-stack", "recursion eats the stack in long calls",
           _("static void fp_core(const void *argument, size_t begin, size_t end)\n{",
             "static int deep(volatile char *p, size_t n) { volatile char f[512]; f[0] = *p; return n ? deep(f, n - "
               "1) + f[0] : f[0]; }\n"
             "static void fp_core(const void *argument, size_t begin, size_t end)\n{\n    char c = 0; deep(&c, end > "
               "30000 ? 40000 : 0);")),
    _crash("load-aborts", "a constructor aborts",
           _("static void fp_core(", "__attribute__((constructor)) static void start(void) { abort(); }\nstatic void "
           "fp_core(")),
    _crash("load-flushes", "a constructor sets flush-to-zero for the process, as -ffast-math does",
           _("static void fp_core(",
           "__attribute__((constructor)) static void start(void) { FLUSH(); }\nstatic void fp_core(")),
    _crash("sl1-fp-missing", "an entry point is not exported",
           _("void fp_smoothl1lossgrad_p(", "__attribute__((visibility(\"hidden\"))) void fp_smoothl1lossgrad_p(")),
    _crash("sl1-hp-leaks", "a megabyte is lost in every call",
           _hp_after("char *volatile lost = malloc(1 << 20); for (int i = 0; i < 1 << 20; i += 4096) lost[i] = 1;")),
]  # fmt: skip

MUTANTS = [*TAILS, *PARTITION, *MEMORY, *STATE, *RARE_LENGTHS, *CRASHES]
