/* The exact value where an operator says that it is a scaled product (golden/scaled_product.py):
 * y = a * b / s, b = FIRST, a = SECOND or clamp(SECOND - THIRD, -s, s), s = the UNIFORM number or 1.
 *
 * 2. Quotient. q0 = P * (1/s) is within 2 double ulps of P/s; P - q0 * s by a fused multiply-add has a relative error
 *    of 2^-53; so q0 + (P - q0 * s) * (1/s) differs from P/s by less than 2^-49 double ulp before its one rounding. s
 *    has 24 bits at most: P/s is a double's midpoint only if s is a power of two (and then q0 is exact), else at
 *    least 2^-25 ulp from one. Hence the result is the correctly rounded quotient, the one that a division gives. Zeros
 *    and non-finite numbers keep q0, which is right for them. Nothing underflows: all is within 2^+-600.
 * 3. Correct rounding. fp16, and products without a difference: golden/operators proves that one rounding of the double
 *    q is the correctly rounded result. fp32 with a difference: q has a relative error of 3.01 * 2^-53, that is 2^-27
 *    ulp. Ziv's test in golden/rounding.py takes 2^-50, 2^-26 ulp; here elements within 2^-25 ulp of a midpoint are
 *    handed back, unless difference, product and quotient are all exact, which makes q the exact value.
 */
#ifndef SCALED_H
#define SCALED_H

#include "lanes.h"

inline_always doubles clamp(doubles d, double limit)
{
    return most_of(splat(-limit), least_of(splat(limit), d)); /* NaN stays */
}

inline_always wide_floats clamp_floats(wide_floats d, float limit)
{
    const wide_floats high = (wide_floats){} + limit;
    const wide_ints above = d > high, below = d < -high;
    const wide_ints bound = (above & (wide_ints)high) | (below & (wide_ints)-high);
    return (wide_floats)(bound | (~(above | below) & (wide_ints)d)); /* NaN stays */
}

/* What products are divided by, with the result's sign; and the limit of differences. */
typedef struct {
    double divisor, reciprocal, limit;
} scaling;

inline_always scaling scaling_of(const golden_job *job)
{
    const double limit = UNIFORM ? job->uniform[0] : 1, reciprocal = UNIFORM ? job->reciprocal : 1;
    return NEGATED ? (scaling){-limit, -reciprocal, limit} : (scaling){limit, reciprocal, limit};
}

static int divides_by_power(const golden_job *job)
{
    int exponent;
    return fabs(frexp(scaling_of(job).divisor, &exponent)) == 0.5;
}

/* Correctly rounded quotients, unless zero or infinite; proof 2. `power`: the divisor is a power of two. */
inline_always doubles quotients(doubles product, scaling by, int power)
{
    const doubles rough = product * splat(by.reciprocal);
    if (power)
        return rough;
#if defined(FUSED)
    return fused(fused(rough, splat(-by.divisor), product), splat(by.reciprocal), rough);
#else
    return product / splat(by.divisor);
#endif
}

/* a, where operands are those of a block or picked. */
#define factor(value, i, by) \
    (CLAMPED ? clamp(load((value)[SECOND] + (i)) - load((value)[THIRD] + (i)), (by).limit) : load((value)[SECOND] + (i)))

inline_always void errors(float *to, const block *b, int n, const golden_job *job, int power)
{
    const format f = format_of(FP32);
    const scaling by = scaling_of(job);
    const uint64_t top = (uint64_t)(2046 + f.p - 1 + 22) << 52;
    for (int i = 0; i < n; i += LANES) {
        const doubles q = quotients(factor(b->value, i, by) * load(b->value[FIRST] + i), by, power);
        /* 2^e of q's binade, at least 2^emin. */
        const doubles base = most_of((doubles)((words)q & EXPONENT), splat(double_of(f.least)));
        const doubles scale = (doubles)(top - (words)base);
        *(floats *)(to + i) = CONVERT((load(b->got + i) - q) * scale, floats);
    }
}

/* Which of these lanes, of fp32, are right without being measured. Twice the rounding errors of y (proof 3)
 * are less than 2^-50, so that what is that far above 2^(emax + 1) overflows. */
inline_always uint64_t unmeasured_floats(const block *b, int i, uint64_t lanes, const golden_job *job)
{
    const double over = format_of(1).over * (1 + 0x1p-50);
    const scaling by = scaling_of(job);
    uint64_t found = 0;
    for (uint64_t left = lanes; left;) {
        const int at = __builtin_ctzll(left) / LANES * LANES;
        const doubles rough = factor(b->value, i + at, by) * load(b->value[FIRST] + i + at) * splat(by.reciprocal);
        const uint32_t right = agrees(rough, load(b->got + i + at), AT_MOST(splat(over), magnitude_of(rough)));
        found |= (uint64_t)right << at;
        left &= ~((uint64_t)ALL << at);
    }
    return found & lanes;
}

/* The same for fp16, in float: difference, product, reciprocal and quotient are zero only where they are so exactly,
 * else within 2^+-64, neither subnormal nor overflowing, each with a relative error of 2^-24: together below 2^-21. */
inline_always uint64_t unmeasured_halves(const block *b, int i, uint64_t lanes, const golden_job *job)
{
    const float limit = (float)scaling_of(job).limit, by = (float)scaling_of(job).reciprocal;
    const wide_floats over = (wide_floats){} + (float)format_of(0).over * (1 + 0x1p-20f);
    uint64_t found = 0;
    for (uint64_t left = lanes; left;) {
        const int at = __builtin_ctzll(left) / WIDE * WIDE;
        wide_floats a = *(const wide_there *)(b->value[SECOND] + i + at);
        if (CLAMPED)
            a = clamp_floats(a - *(const wide_there *)(b->value[THIRD] + i + at), limit);
        const wide_floats rough = a * *(const wide_there *)(b->value[FIRST] + i + at) * by;
        const wide_floats output = *(const wide_there *)(b->got + i + at);
        const wide_floats size = (wide_floats)((wide_ints)rough & 0x7fffffff);
        const wide_floats got = (wide_floats)((wide_ints)output & 0x7fffffff);
        const choices flip = LANES_SET((wide_ints)rough ^ (wide_ints)output);
        const choices infinite = FLOATS_AT_MOST((wide_floats){} + INFINITY, got) & FLOATS_AT_MOST(over, size);
        const choices nonzero = NOT_ZERO(got) | NOT_ZERO(rough);
        const choices right = (FLOATS_NAN(rough) & FLOATS_NAN(output)) | ((infinite | ~nonzero) & ~flip);
        found |= (uint64_t)packed(right) << at;
        left &= ~((uint64_t)ALL_WIDE << at);
    }
    return found & lanes;
}

inline_always uint64_t unmeasured(const block *b, int i, uint64_t lanes, const golden_job *job)
{
    return FP32 ? unmeasured_floats(b, i, lanes, job) : unmeasured_halves(b, i, lanes, job);
}

/* The double evaluation is exact, so that an apparent tie is one (proof 3). */
static int is_exact(const picked *s, int i, double limit)
{
    const double y = (double)s->value[SECOND][i], z = (double)s->value[THIRD][i];
    const double d = y - z, back = d - y, lost = (y - (d - back)) + (-z - back);
    const double c = d > limit ? limit : d < -limit ? -limit : d;
    const double product = c * (double)s->value[FIRST][i];
    const int saturated = fabs(c) == limit;
    const int products = fma(c, (double)s->value[FIRST][i], -product) == 0 && fma(product / limit, limit, -product) == 0;
    return (saturated || lost == 0) && products;
}

/* Exact values of picked elements; `open`: where they are not known well enough. */
inline_always doubles values_of(const picked *s, int i, const golden_job *job, int power, uint32_t *open)
{
    const format f = format_of(FP32);
    const scaling by = scaling_of(job);
    const doubles product = factor(s->value, i, by) * load(s->value[FIRST] + i);
    const doubles rough = product * splat(by.reciprocal), size = magnitude_of(rough);
    const longs usual = (size > 0) & (size < INFINITY); /* otherwise proof 2 does not hold, and this is right */
    const doubles q = choose(usual, quotients(product, by, power), rough);
    *open = 0;
    if (CLAMPED && FP32) {
        const rounding r = round_lanes(least_of(magnitude_of(q), splat(f.large)), f);
        *open = AT_MOST(magnitude_of(magnitude_of(r.residual) - 0.5), splat(0x1p-25)) & LESS(magnitude_of(q), splat(f.large));
        for (uint32_t rest = *open; rest; rest &= rest - 1)
            if (is_exact(s, i + __builtin_ctz(rest), by.limit))
                *open &= ~(rest & -rest);
    }
    return q;
}

#endif
