/* The exact value of any other operator, by double-double arithmetic traced from its program (runners/sweeping/trace.py).
 *
 * 2 and 3. precise() and exact_value() give what golden/oracle.py gives, operation by operation: hi, the exact value
 *    rounded to a double. Where its error is at most 2^-80 of it, and hi is no nearer than 2^-25 ulp to a midpoint, Ziv's
 *    test there succeeds, and golden is hi rounded. Nearer to one it is so, too, where hi is the exact value. Elsewhere,
 *    and where a comparison was too near to tell, elements are handed back.
 */
#ifndef TRACED_H
#define TRACED_H

#include "lanes.h"

#define OPERANDS(value, i) VARIABLES(value, i, job)

inline_always int divides_by_power(const golden_job *job)
{
    (void)job;
    return 0;
}

inline_always void errors(float *to, const block *b, int n, const golden_job *job, int power)
{
    const format f = format_of(FP32);
    const uint64_t top = (uint64_t)(2046 + f.p - 1 + 22) << 52;
    (void)power;
    for (int i = 0; i < n; i += LANES) {
        const precise_result y = precise(OPERANDS(b->value, i));
        const doubles base = most_of((doubles)((words)y.hi & EXPONENT), splat(double_of(f.least)));
        const doubles error = (load(b->got + i) - y.hi) * (doubles)(top - (words)base);
        *(floats *)(to + i) = CONVERT(where(y.open, splat(NAN), error), floats);
    }
}

/* Which of these lanes are right without being measured. */
inline_always uint64_t unmeasured(const block *b, int i, uint64_t lanes, const golden_job *job)
{
    const double over = format_of(FP32).over * (1 + 0x1p-50);
    uint64_t found = 0;
    for (uint64_t left = lanes; left;) {
        const int at = __builtin_ctzll(left) / LANES * LANES;
        const exact_value_result y = exact_value(OPERANDS(b->value, i + at));
        const uint32_t right = agrees(y.hi, load(b->got + i + at), AT_MOST(splat(over), magnitude_of(y.hi)));
        found |= (uint64_t)(right & ~lanes_of(y.open)) << at;
        left &= ~((uint64_t)ALL << at);
    }
    return found & lanes;
}

/* Exact values of picked elements; `open`: where they are not known well enough. */
inline_always doubles values_of(const picked *s, int i, const golden_job *job, int power, uint32_t *open)
{
    const format f = format_of(FP32);
    const exact_value_result y = exact_value(OPERANDS(s->value, i));
    const rounding r = round_lanes(least_of(magnitude_of(y.hi), splat(f.large)), f);
    const uint32_t near = AT_MOST(magnitude_of(magnitude_of(r.residual) - 0.5), splat(0x1p-25));
    (void)power;
    *open = lanes_of(y.open) | (near & ~lanes_of(y.exact) & LESS(magnitude_of(y.hi), splat(f.large)));
    return y.hi;
}

#endif
