/* The second stage: grades misrounded elements, whole vectors at a time, where simple bounds make the grade certain.
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
 * - An output of zero or of the other sign is not graded (`along` > 0), nor one where golden overflows; an infinity or
 *   NaN compares as not within. Those that are right all the same are let go: see agrees().
 */
#ifndef ACCEPT_H
#define ACCEPT_H

#include "lanes.h"

/* Lanes that are golden's without being measured: NaN, zero where y is zero, and infinity where golden overflows or y
 * is infinite. `rough` is y where it is zero or not finite, and has y's sign. */
inline_always uint32_t agrees(doubles rough, doubles output, uint32_t overflows)
{
    const doubles size = magnitude_of(rough), got = magnitude_of(output);
    const uint32_t infinite = EQUAL(got, splat(INFINITY)) & (EQUAL(size, splat(INFINITY)) | overflows);
    const uint32_t zero = EQUAL(got, splat(0)) & EQUAL(size, splat(0));
    return (IS_NAN(rough) & IS_NAN(output)) | ((infinite | zero) & ~NEGATIVE((words)rough ^ (words)output));
}

/* Grade the picked elements for which that is certain; lists the others and returns their number. */
inline_always int accept(picked *s, const golden_job *job, golden_tally *t, int32_t *index, int smooth)
{
    const format f = format_of(job->fp32);
    const double divisor = smooth ? job->divisor : -job->divisor, less = 1 - 0x1p-40;
    const double underflow = job->scales_exactly ? 0 : job->small * fabs(divisor);
    const double small = underflow * less, large = underflow * (2 - less), more = (2 - less) / less;
    const doubles none = splat(job->documented[0] * less), one = splat(job->documented[1] * less);
    const doubles legal = splat(job->legal[0] * less), legal_rounded = splat(job->legal[1] * less);
    const doubles step = splat(job->step * less);
    const floats absent = (floats){} + NAN;
    const int n = s->n, power = job->is_power;
    const uint32_t not_flushing = job->flush ? 0 : ALL;
    int64_t graded = 0, faithful = 0, legally = 0;
    int listed = 0;
    for (int i = 0; i < n; i += LANES) {
        const doubles x = load(s->first + i), y = load(s->second + i), output = load(s->got + i);
        doubles a = y, d = y, z = {};
        if (smooth) {
            z = load(s->third + i);
            d = y - z;
            a = clamp(d, divisor);
        }
        const doubles product = a * x, q = quotients(product, divisor, power), magnitude = magnitude_of(q);
        const words sign = (words)q & SIGN;
        const rounding r = round_lanes(magnitude, f);
        const doubles along = (doubles)((words)output ^ sign), scaled = magnitude * r.inverse;
        const doubles golden = fused(r.value, r.inverse, as_floats(r.residual)); /* the products are exact */
        const doubles error = fused(along, r.inverse, -golden);
        const doubles distance = magnitude_of(error);
        *(floats *)(s->error + i) = CONVERT((doubles)((words)error ^ sign), floats);

        const uint32_t firm = LESS(magnitude_of(r.residual), splat(0.5 - 0x1p-24));
        const uint32_t usual = firm & LESS(splat(0), along) & LESS(r.value, splat(f.over));
        const uint32_t below = LESS(distance, splat(1)) & usual;
        const uint32_t between = smooth ? LESS(magnitude_of(d), splat(divisor)) & usual : usual;
        const doubles base = (doubles)((words)q & EXPONENT);
        const doubles half = (doubles)((longs)splat(0.5) & (along >= base)) - 0x1p-22;
        uint32_t within = AT_MOST(distance, fused(scaled, none, half)) & between;
        const uint32_t close = AT_MOST(distance, fused(scaled, legal, half)) & below;
        uint32_t done = within | close;
        if (done != ALL) {
            /* Underflow allows more, and so does a rounded difference. */
            const doubles size_a = magnitude_of(a), lost_below = magnitude_of(x) * step * r.inverse;
            const doubles slack = (doubles)((longs)lost_below & (size_a > 0) & (size_a < small)) + half;
            uint32_t rounded = 0;
            if (smooth) {
                const doubles back = d - y, lost = (y - (d - back)) + (-z - back), size = magnitude_of(d);
                const uint32_t kept = EQUAL(lost, splat(0)) & EQUAL(round_lanes(size, f).value, size);
                rounded = between & ~(kept & LESS(size, splat(f.over)));
                within |= AT_MOST(distance, fused(scaled, one, slack)) & rounded;
            }
            within |= AT_MOST(distance, fused(scaled, none, slack)) & between;
            /* Or beyond what the documented order allows, but not beyond what others do. */
            const uint32_t plain = AT_MOST(base, along) & LESS(along, base + base) & ~LESS(size_a, splat(large));
            const doubles edge = half + 0x1p-21;
            uint32_t beyond = LESS(fused(scaled, none * more, edge), distance);
            uint32_t reached = AT_MOST(distance, fused(scaled, legal, half));
            if (smooth) {
                beyond &= LESS(fused(scaled, one * more, edge), distance) | ~rounded;
                reached |= AT_MOST(distance, fused(scaled, legal_rounded, half)) & rounded;
            }
            const uint32_t other = plain & beyond & reached & usual & ~(below | within) & not_flushing;
            done = within | close | other;
            legally += __builtin_popcount(other);
            store_some(s->error + i, absent, ~done & ALL);
            const uint32_t inside = n - i < LANES ? (1u << (n - i)) - 1 : ALL;
            uint32_t rest = inside & ~done;
            if (rest)
                rest &= ~agrees(product * splat(1.0 / divisor), output, firm & AT_MOST(splat(f.over), r.value));
            for (; rest; rest &= rest - 1)
                index[listed++] = s->index[i + __builtin_ctz(rest)];
        }
        graded += __builtin_popcount(done);
        faithful += __builtin_popcount(done & below);
    }
    t->misrounded += graded;
    t->faithful += faithful;
    t->legal += legally;
    t->formula += graded - faithful - legally;
    return listed;
}

static NOINLINE int accept_smooth(picked *s, const golden_job *job, golden_tally *t, int32_t *index)
{
    return accept(s, job, t, index, 1);
}

static NOINLINE int accept_product(picked *s, const golden_job *job, golden_tally *t, int32_t *index)
{
    return accept(s, job, t, index, 0);
}

#endif
