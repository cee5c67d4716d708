/* The second stage: grades misrounded elements, whole vectors at a time, where simple bounds make the grade certain;
 * the simplest ones first, since most elements need no others.
 *
 * Proof 5. Let d = |output - y| in ulp, output and y of one sign, B = 2^floor(log2 |y|).
 * - Errors are computed as golden/judge.py does, from the residual as a float; only that everything is divided by ulp,
 *   a power of two, before the subtractions and not after. So d differs from q's by 2^-25 at most, which the 2^-22 of
 *   proof 4 covers besides what it is there for: 2^-24 + 2^-25 + 2^-25 < 2^-22.
 * - Where |output| >= B, the midpoint between output and its neighbour on y's side is at least half an ulp from output:
 *   need <= d - 1/2; elsewhere need <= d. So slack (1 - 2^-40) >= d - 1/2 + 2^-22 is sufficient for any slack that
 *   is not larger than the true one. Here that is the relative term, and for the documented order in a second step the
 *   term of an underflowing quotient. With d < 1 the widest order's is sufficient: the grade is faithful.
 * - Where B <= |output| < 2B, need = d - 1/2 exactly (output = B has its closer neighbour on the other side), and
 *   where a is not below the threshold of underflow the documented slack is the relative term alone. So d - 1/2 >
 *   slack (1 + 2^-40) + 2^-22 proves that the documented order cannot give this. A saturated difference gives it no
 *   slack at all. Flushing gives more slack: nothing is graded "legal" then.
 * - Rounding: the residual is 2^-24 ulp or more from a midpoint (proof 3). An element with golden's bits would then
 *   have been settled by screen(): its distance is the residual. So all that are graded here are misrounded.
 * - An output of the other sign is not graded (`along` > 0), nor one where golden overflows; NaN compares as not within.
 * - Zero and infinity are graded in the second step, where y is not zero. Zero, of either sign, is below B, and is
 *   misrounded where d >= 1/2: nearer to it golden is zero, too. Infinity counts as 2^(emax + 1), an ulp above the
 *   largest number, and so is like any other; besides it is legal where the documented order's quotient overflows
 *   (proof 4).
 */
#ifndef ACCEPT_H
#define ACCEPT_H

#include "lanes.h"

/* Constants of a job's slack, a little less or more than the true ones (proof 4). */
typedef struct {
    doubles none, one, legal, legal_rounded, beyond_none, beyond_one, step;
    scaling by;
    double small, large, overflow;
    int power, smooth;
    uint32_t not_flushing;
} limits;

inline_always limits limits_of(const golden_job *job, int smooth)
{
    const double less = 1 - 0x1p-40, more = 1 + 0x1p-40;
    const double underflow = job->scales_exactly ? 0 : job->small * fabs(job->divisor);
    return (limits){
        .none = splat(job->documented[0] * less),
        .one = splat(job->documented[1] * less),
        .legal = splat(job->legal[0] * less),
        .legal_rounded = splat(job->legal[1] * less),
        .beyond_none = splat(job->documented[0] * more),
        .beyond_one = splat(job->documented[1] * more),
        .step = splat(job->step * less),
        .by = scaling_of(job, smooth),
        .small = underflow * less,
        .large = underflow * more,
        .overflow = job->overflow,
        .power = job->is_power,
        .smooth = smooth,
        .not_flushing = job->flush ? 0 : ALL,
    };
}

/* A vector of picked elements: operands, y, rounding, error, and what the simplest bounds say of it. */
typedef struct {
    doubles x, y, z, d, a, magnitude, along, base, scaled, inverse, half, distance;
    floats error; /* signed */
    uint32_t usual, below, between, within, close;
} looked;

/* `any`: zeros and infinities, too. */
inline_always looked look(const picked *s, int i, const limits *m, format f, int any)
{
    looked e = {.x = load(s->first + i), .y = load(s->second + i)};
    e.a = e.d = e.y;
    if (m->smooth) {
        e.z = load(s->third + i);
        e.d = e.y - e.z;
        e.a = clamp(e.d, m->by.divisor);
    }
    const doubles q = quotients(e.a * e.x, m->by, m->power);
    e.magnitude = magnitude_of(q);
    const words sign = (words)q & SIGN;
    e.base = (doubles)((words)q & EXPONENT);
    e.inverse = inverse_ulp(e.base, f);
    e.scaled = e.magnitude * e.inverse; /* in ulp: proof 1 with an ulp of 1 */
    const doubles golden = (e.scaled + splat(0x1.8p52)) - splat(0x1.8p52), residual = e.scaled - golden;
    e.along = (doubles)((words)load(s->got + i) ^ sign);
    if (any)
        e.along = least_of(splat(f.over), e.along); /* NaN stays */
    const doubles error = fused(e.along, e.inverse, -(golden + as_floats(residual))); /* the product is exact */
    e.distance = magnitude_of(error);
    e.error = CONVERT((doubles)((words)error ^ sign), floats);

    const uint32_t firm = LESS(magnitude_of(residual), splat(0.5 - 0x1p-24));
    e.usual = LESS(splat(0), e.along);
    if (any) {
        e.usual |= EQUAL(splat(0), e.along) & AT_MOST(splat(0.5), e.distance);
        e.usual &= LESS(splat(0), e.magnitude);
    }
    e.usual &= firm & LESS(e.magnitude, splat(f.overflows));
    e.below = LESS(e.distance, splat(1)) & e.usual;
    e.between = m->smooth ? LESS(magnitude_of(e.d), splat(m->by.divisor)) & e.usual : e.usual;
    e.half = (doubles)((longs)splat(0.5) & (e.along >= e.base)) - 0x1p-22;
    e.within = AT_MOST(e.distance, fused(e.scaled, m->none, e.half)) & e.between;
    e.close = AT_MOST(e.distance, fused(e.scaled, m->legal, e.half)) & e.below;
    return e;
}

/* Lanes whose difference is below beta, so that it does not overflow, and rounded. */
inline_always uint32_t rounded_differences(const looked *e, format f)
{
    const doubles size = magnitude_of(e->d), back = e->d - e->y;
    const doubles lost = (e->y - (e->d - back)) + (-e->z - back); /* TwoSum */
    const uint32_t kept = EQUAL(lost, splat(0)) & EQUAL(round_lanes(size, f).value, size);
    return e->between & ~kept;
}

/* Numbers of elements: all that are graded, those that are faithful or legal, and results of zero or infinity. */
typedef struct {
    int64_t all, faithful, legal, zero, infinite;
} grades;

/* Grade what is within the simplest bounds, which is most; lists the others and returns their number. */
inline_always int accept_simply(picked *s, const limits *m, format f, grades *g, int32_t *index)
{
    int listed = 0;
    for (int i = 0; i < s->n; i += LANES) {
        const looked e = look(s, i, m, f, 0);
        uint32_t done = e.within | e.close;
        if (m->smooth && m->power) /* then what has no rounded difference has no slack, and is not misrounded */
            done |= AT_MOST(e.distance, fused(e.scaled, m->one, e.half)) & rounded_differences(&e, f);
        *(floats *)(s->error + i) = blend((floats){} + NAN, done, e.error);
        g->all += __builtin_popcount(done);
        g->faithful += __builtin_popcount(done & e.below);
        listed = list(index, listed, i, ~done & ALL);
    }
    while (listed && index[listed - 1] >= s->n) /* what pads the last vector */
        listed--;
    return listed;
}

/* Grade what is within less simple bounds: underflow and overflow allow more, and so does a rounded difference; or beyond
 * what the documented order allows, but not beyond what others do. Lists the others and returns their number. */
inline_always int accept_others(picked *s, const limits *m, format f, grades *g, int32_t *index)
{
    int listed = 0;
    for (int i = 0; i < s->n; i += LANES) {
        const looked e = look(s, i, m, f, 1);
        const doubles size_a = magnitude_of(e.a), lost_below = magnitude_of(e.x) * m->step * e.inverse;
        const doubles slack = (doubles)((longs)lost_below & (size_a > 0) & (size_a < m->small)) + e.half;
        uint32_t within = e.within, rounded = 0;
        if (m->smooth) {
            rounded = rounded_differences(&e, f);
            within |= AT_MOST(e.distance, fused(e.scaled, m->one, slack)) & rounded;
        }
        within |= AT_MOST(e.distance, fused(e.scaled, m->none, slack)) & e.between;
        const uint32_t infinite = EQUAL(splat(f.over), e.along);
        if (infinite) /* errors are held below 2^127: the last stage cuts off what is larger */
            within |= infinite & e.usual & LESS(e.distance, splat(0x1p127)) & AT_MOST(splat(m->overflow), size_a);
        const uint32_t plain = AT_MOST(e.base, e.along) & LESS(e.along, e.base + e.base) & ~LESS(size_a, splat(m->large));
        const doubles edge = e.half + 0x1p-21;
        uint32_t beyond = LESS(fused(e.scaled, m->beyond_none, edge), e.distance);
        uint32_t reached = AT_MOST(e.distance, fused(e.scaled, m->legal, e.half));
        if (m->smooth) {
            beyond &= LESS(fused(e.scaled, m->beyond_one, edge), e.distance) | ~rounded;
            reached |= AT_MOST(e.distance, fused(e.scaled, m->legal_rounded, e.half)) & rounded;
        }
        const uint32_t other = plain & beyond & reached & e.usual & ~(e.below | within) & m->not_flushing;
        const uint32_t done = within | e.close | other;
        *(floats *)(s->error + i) = blend((floats){} + NAN, done, e.error);
        g->all += __builtin_popcount(done);
        g->faithful += __builtin_popcount(done & e.below);
        g->legal += __builtin_popcount(other);
        g->zero += __builtin_popcount(done & EQUAL(splat(0), e.along));
        g->infinite += __builtin_popcount(done & infinite);
        const uint32_t inside = s->n - i < LANES ? (1u << (s->n - i)) - 1 : ALL;
        listed = list(index, listed, i, inside & ~done);
    }
    return listed;
}

inline_always int accept(picked *s, const golden_job *job, golden_tally *t, int32_t *index, int smooth, int simply)
{
    const format f = format_of(job->fp32);
    const limits m = limits_of(job, smooth);
    grades g = {};
    const int left = simply ? accept_simply(s, &m, f, &g, index) : accept_others(s, &m, f, &g, index);
    t->misrounded += g.all;
    t->faithful += g.faithful;
    t->legal += g.legal;
    t->zero += g.zero;
    t->overflow += g.infinite;
    t->formula += g.all - g.faithful - g.legal;
    return left;
}

/* The two steps of this stage; each lists what it leaves, and returns the number. */
static NOINLINE int accept_most(picked *s, const golden_job *job, golden_tally *t, int32_t *index)
{
    return job->smooth ? accept(s, job, t, index, 1, 1) : accept(s, job, t, index, 0, 1);
}

static NOINLINE int accept_more(picked *s, const golden_job *job, golden_tally *t, int32_t *index)
{
    return job->smooth ? accept(s, job, t, index, 1, 0) : accept(s, job, t, index, 0, 0);
}

#endif
