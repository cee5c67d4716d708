/* The judge's hot loop: exact value, rounding, comparison, error in ulp and tally in one pass over cache-sized blocks.
 *
 * Computes y = a * b / s in double for SmoothL1LossGrad (a = clamp(x1 - x2), b = dy, s = beta) and NLLLossGrad (a = w,
 * b = g, s = total_weight or 1, negated), element by element, and tallies what runners/blocks.py tallies, bit for bit.
 * What it cannot settle beyond doubt it does not count: it returns the element's index, and NumPy's path settles it.
 * Written with the compilers' vector extension (eight.h): correct without -march, fast with it. Must not be
 * compiled with -ffast-math, and needs round to nearest and subnormals as the standard has them.
 *
 * Proofs. p is the format's precision, "ulp" the spacing 2^(max(floor(log2 y), emin) - p + 1) at y, all in double.
 *
 * 1. Rounding. c + M - M with M = 1.5 * 2^52 * ulp is c rounded to a multiple of ulp, ties to even: the sum lies in
 *    [2^52, 2^53) * ulp, where doubles are the multiples of ulp, and 1.5 * 2^52 is even. That is rounding to the
 *    format, subnormals included, and c minus the result is exact.
 * 2. Quotient. q0 = P * (1/s) is within 2 double ulps of P/s; P - q0 * s by a fused multiply-add has a relative error
 *    of 2^-53; so q0 + (P - q0 * s) * (1/s) differs from P/s by less than 2^-49 double ulp before its one rounding. s
 *    has 24 bits at most: P/s is a double's midpoint only if s is a power of two (and then q0 is exact), else at
 *    least 2^-25 ulp from one. Hence the result is the correctly rounded quotient, the one that a division gives. Zeros
 *    and non-finite numbers keep q0, which is right for them. Nothing underflows: all is within 2^+-600.
 * 3. Correct rounding. fp16, and products and quotients of NLLLossGrad: golden/operators proves that one rounding of
 *    the double q is the correctly rounded result. fp32 SmoothL1LossGrad: q has a relative error of 3.01 * 2^-53,
 *    that is 2^-27 ulp. Ziv's test in golden/rounding.py takes 2^-50, 2^-26 ulp; here elements within 2^-25 ulp of a
 *    midpoint are handed back, unless difference, product and quotient are all exact, which makes q the exact value.
 * 4. Legal or not. With need = max(m- - y, y - m+), m-+ the midpoints around the result, the interval test of
 *    golden/judge.py asks slack >= need but for ties and for its widening by 2^-24 ulp. Its exact value differs from
 *    q by 2^-25 ulp at most, and its float64 evaluation of the slack from this one by a relative 2^-45. So
 *    slack * (1 - 2^-40) - 2^-22 ulp >= need proves the result legal, slack * (1 + 2^-40) + 2^-22 ulp < need proves
 *    that it is not, and anything between is handed back. The conditions "an intermediate is below N (1 + u)^3" are
 *    evaluated with thresholds moved by 2^-40 either way.
 * 5. The quick test in accept() uses a smaller slack (no absolute terms but the documented one) and smaller half
 *    spacings (m- <= result - ulp/2 above y, m+ >= result + ulp/2 in y's binade, m+ >= result below it): sufficient.
 */
#include "eight.h"
#include "grade.h"

/* Numbers of a block as floats; exact for both formats. */
static void widen(float *to, const void *from, int64_t at, int64_t stride, int n, int fp32)
{
    if (fp32) {
        const float *source = (const float *)from + at * stride;
        if (stride)
            memcpy(to, source, sizeof(float) * (size_t)n);
        else
            for (int i = 0; i < n; i++)
                to[i] = *source;
        return;
    }
    const uint16_t *source = (const uint16_t *)from + at * stride;
    int i = 0;
#if defined(__AVX512F__)
    if (stride)
        for (; i + 16 <= n; i += 16)
            _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(source + i))));
#elif defined(__F16C__)
    if (stride)
        for (; i + 8 <= n; i += 8)
            _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(source + i))));
#endif
    for (; i < n; i++) {
        const uint32_t h = source[i * stride], magnitude = h & 0x7fff;
        /* Exponent rebiased by a multiplication, which normalises subnormals; infinities and NaNs keep theirs. */
        const float scaled = float_of(magnitude << 13) * 0x1p112f;
        const uint32_t word = magnitude >= 0x7c00 ? 0x7f800000u | magnitude << 13 : fbits_of(scaled);
        to[i] = float_of(word | (h & 0x8000) << 16);
    }
}

inline_always double quotient(double product, double divisor, double reciprocal)
{
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    const double q0 = product * reciprocal;
    const double q1 = __builtin_fma(__builtin_fma(-q0, divisor, product), reciprocal, q0);
    const double magnitude = fabs(q0);
    return ((magnitude > 0) & (magnitude < INFINITY)) ? q1 : q0; /* proof 2 */
#else
    (void)reciprocal;
    return product / divisor;
#endif
}

static NOINLINE void smooth_values(scratch *restrict s, int n, double beta)
{
    const double reciprocal = 1.0 / beta;
    for (int i = 0; i < n; i++) {
        const double d = (double)s->second[i] - (double)s->third[i];
        double c = d > beta ? beta : d; /* NaN fails both comparisons and stays */
        c = c < -beta ? -beta : c;
        s->q[i] = quotient(c * (double)s->first[i], beta, reciprocal);
    }
}

static NOINLINE void product_values(scratch *restrict s, int n, double divisor, int divide)
{
    if (!divide) {
        for (int i = 0; i < n; i++)
            s->q[i] = -((double)s->first[i] * (double)s->second[i]);
        return;
    }
    const double reciprocal = 1.0 / divisor;
    for (int i = 0; i < n; i++)
        s->q[i] = -quotient((double)s->first[i] * (double)s->second[i], divisor, reciprocal);
}

/* First look at a block: settles what has golden's bits. Returns what is left. */
inline_always int look(scratch *restrict s, int n, int fp32, int ziv)
{
    const format f = format_of(fp32);
    const floats absent = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    uint32_t grades = 0, others = 0, doubts = 0;
    for (int i = 0; i < n; i += LANES) {
        const doubles q = *(doubles *)(s->q + i), output = CONVERT(*(floats *)(s->got + i), doubles);
        const elements e = compare_eight(q, output, f);
        const words sign = (words)q & ((uint64_t)1 << 63);
        const floats error = CONVERT((doubles)((words)e.held ^ sign ^ ((uint64_t)1 << 63)), floats);
        const uint32_t differs = DIFFER(output, (words)e.golden | sign), nothing = EQUAL(e.magnitude, splat(0));
        uint32_t near = ziv ? AT_MOST(magnitude_of(magnitude_of(e.residual) - 0.5), splat(0x1p-25)) : 0;
        uint32_t grade = 0, special = 0, zero_sign = 0, none = nothing;
        if (differs | near) { /* most often all eight have golden's bits */
            const uint32_t q_nan = IS_NAN(q), got_nan = IS_NAN(output), flip = NEGATIVE((words)q ^ (words)output);
            const uint32_t same = EQUAL(e.got, e.golden) & ~(q_nan | got_nan), zero = EQUAL(e.golden, splat(0));
            const uint32_t real = LESS(e.golden, splat(f.over)) & ~(q_nan | nothing), gradable = real & ~got_nan;
            const uint32_t agrees = (same & (~flip | zero)) | (q_nan & got_nan);
            near &= LESS(e.magnitude, splat(f.large));
            grade = ~agrees & gradable & ~near & 255;
            special = ~agrees & ~gradable & ~near & 255;
            zero_sign = agrees & same & flip & zero & ~near;
            none = ~(agrees & real & ~near) & 255;
        }
        *(floats *)(s->error + i) = error;
        if (none)
            store_some(s->error + i, absent, none);
        s->grade[i / LANES] = (uint8_t)grade;
        s->special[i / LANES] = (uint8_t)special;
        s->zero_sign[i / LANES] = (uint8_t)zero_sign;
        s->unsure[i / LANES] = (uint8_t)near;
        grades |= grade;
        others |= special | zero_sign;
        doubts |= near;
    }
    return (grades ? GRADE : 0) | (others ? OTHER : 0) | (doubts ? UNSURE : 0);
}

/* The variants, each a loop of its own: compilers vectorise them better apart. */
static NOINLINE int look_fp16(scratch *restrict s, int n)
{
    return look(s, n, 0, 0);
}

static NOINLINE int look_fp32(scratch *restrict s, int n)
{
    return look(s, n, 1, 0);
}

static NOINLINE int look_ziv(scratch *restrict s, int n)
{
    return look(s, n, 1, 1);
}

/* Error and quick test (proof 5) of the elements to grade; those that it accepts are done. Tells if any is left. */
inline_always int accept(scratch *restrict s, int n, const golden_job *job, golden_tally *t, int fp32, int smooth)
{
    const format f = format_of(fp32);
    const double threshold = job->scales_exactly ? 0 : job->small * job->divisor * (1 - 0x1p-40), beta = job->divisor;
    const doubles step = splat(job->step), none = splat(job->documented[0]), one = splat(job->documented[1]);
    int64_t graded = 0, faithful = 0, formula = 0, zero = 0, overflow = 0;
    uint32_t left = 0;
    for (int i = 0; i < n; i += LANES) {
        const uint32_t wanted = s->grade[i / LANES];
        if (!wanted)
            continue;
        const doubles q = *(doubles *)(s->q + i), output = CONVERT(*(floats *)(s->got + i), doubles);
        const doubles x = CONVERT(*(floats *)(s->first + i), doubles), y = CONVERT(*(floats *)(s->second + i), doubles);
        const elements e = compare_eight(q, output, f);
        const doubles along = (doubles)((words)e.got | (((words)q ^ (words)output) & ((uint64_t)1 << 63)));
        const doubles residual = CONVERT(CONVERT(e.held, floats), doubles);
        const doubles error = (along - (e.golden + residual * e.ulp)) * e.inverse, distance = magnitude_of(error);
        doubles a = magnitude_of(y), size = a, z = {}, d = {};
        uint32_t inside = wanted;
        if (smooth) {
            z = CONVERT(*(floats *)(s->third + i), doubles);
            d = y - z;
            size = magnitude_of(d);
            inside &= LESS(size, splat(beta)); /* no slack for ±dy in the documented order */
            a = least_of(size, splat(beta));
        }
        const doubles absolute = (doubles)((longs)(step * magnitude_of(x)) & (a < threshold));
        const doubles base = (doubles)((words)e.magnitude & EXPONENT);
        const doubles half = (doubles)((longs)splat(0.5) & (along >= base));
        const doubles need = distance - half + 0x1p-22, scale = e.inverse * (1 - 0x1p-40);
        uint32_t within = AT_MOST(need, (e.magnitude * none + absolute) * scale) & inside;
        if (smooth && inside & ~within) { /* a rounded difference allows more */
            const doubles back = d - y, lost = (y - (d - back)) + (-z - back);
            const uint32_t exact = EQUAL(lost, splat(0)) & EQUAL(compare_eight(d, output, f).golden, size);
            within |= AT_MOST(need, (e.magnitude * one + absolute) * scale) & inside & ~exact;
        }
        const uint32_t below = LESS(distance, splat(1));
        const words sign = ((words)error ^ (words)q) & ((uint64_t)1 << 63);
        store_some(s->error + i, CONVERT((doubles)((words)least_of(distance, splat(0x1p127)) | sign), floats), wanted);
        s->grade[i / LANES] = (uint8_t)(wanted & ~within);
        left |= wanted & ~within;
        graded += __builtin_popcount(wanted);
        faithful += __builtin_popcount(within & below);
        formula += __builtin_popcount(within & ~below);
        zero += __builtin_popcount(within & EQUAL(e.got, splat(0)));
        overflow += __builtin_popcount(within & EQUAL(e.got, splat(f.over)));
    }
    t->misrounded += graded;
    t->faithful += faithful;
    t->formula += formula;
    t->zero += zero;
    t->overflow += overflow;
    return left != 0;
}

static NOINLINE int accept_fp16_smooth(scratch *restrict s, int n, const golden_job *job, golden_tally *t)
{
    return accept(s, n, job, t, 0, 1);
}

static NOINLINE int accept_fp16_product(scratch *restrict s, int n, const golden_job *job, golden_tally *t)
{
    return accept(s, n, job, t, 0, 0);
}

static NOINLINE int accept_fp32_smooth(scratch *restrict s, int n, const golden_job *job, golden_tally *t)
{
    return accept(s, n, job, t, 1, 1);
}

static NOINLINE int accept_fp32_product(scratch *restrict s, int n, const golden_job *job, golden_tally *t)
{
    return accept(s, n, job, t, 1, 0);
}

/* Settle one element that the loops left over. Returns whether it fails; it is handed back with error NaN. */
static int settle(scratch *s, int i, int64_t at, const golden_job *job, golden_tally *t, uint32_t *back)
{
    const format f = format_of(job->fp32);
    const double q = s->q[i];
    const float output = s->got[i];
    const element e = compare(q, output, f);
    const int vector = i / LANES, lane = i % LANES;
    int decision = 0; /* 0: handed back */
    if (s->zero_sign[vector] >> lane & 1) {
        t->zero_sign++;
        return 0;
    }
    if (s->grade[vector] >> lane & 1) {
        decision = decide(s, i, job, t, f);
        if (decision) {
            t->zero += e.got == 0;
            t->overflow += e.got == f.over;
            return decision == 2;
        }
        t->misrounded--;
    } else if (!(s->unsure[vector] >> lane & 1)) {
        const int infinite = fabs(q) == INFINITY, unordered = q != q || output != output;
        if (unordered || infinite || e.magnitude == 0) {
            t->nan += unordered;
            t->infinity += !unordered && infinite;
            t->zero += !unordered && !infinite && e.got < f.over;
            t->overflow += !unordered && !infinite && e.got == f.over;
            t->misrounded++;
            t->failures++;
            return 1;
        }
    }
    s->error[i] = NAN;
    back[t->handed_back++] = (uint32_t)(at + i);
    return 0;
}

static NOINLINE void leftovers(scratch *s, int n, int64_t at, const golden_job *job, golden_tally *t, uint32_t *back)
{
    for (int v = 0; v < n / LANES; v++)
        for (uint32_t left = s->grade[v] | s->special[v] | s->zero_sign[v] | s->unsure[v]; left; left &= left - 1) {
            const int i = v * LANES + __builtin_ctz(left);
            if (settle(s, i, at, job, t, back) && t->first_failure < 0)
                t->first_failure = at + i;
        }
}

#define EIGHT 0x41000000 /* 8.0f */
#define FOUR 0x40800000

/* Bin and sums of an element whose neighbourhood has errors from 8 ulp on. */
inline_always void count_one(scratch *restrict s, int i, int32_t word, int64_t *total, int64_t *negative)
{
    const int32_t size = word & 0x7fffffff;
    s->bin[i] = 255;
    if (size > 0x7f800000)
        return;
    const float distance = float_of((uint32_t)size);
    s->bin[i] = (uint8_t)(distance < 4 ? (int32_t)(distance * 32) : (size >> 23) - 127 - 2 + 128);
    const double units = (double)(distance < 65536.0f ? distance : 65536.0f) * 0x1p22;
    const int64_t whole = (int64_t)((units + 0x1p52) - 0x1p52);
    *total += whole;
    *negative += word < 0 ? whole : 0;
}

/* Histogram bins, sums and maximum of a block's errors. Sums are of whole 2^-22 ulp: any order gives the same. */
static NOINLINE void count(scratch *restrict s, int n, int64_t at, golden_tally *t, uint32_t table[8][BINS])
{
    int64_t measured = 0, total = 0, negative = 0;
    ints top = {};
    for (int start = 0; start < n; start += 32 * LANES) {
        ints sum = {}, minus = {}, present = {}; /* 32 times 8 * 2^22 fits into a lane */
        const int stop = start + 32 * LANES < n ? start + 32 * LANES : n;
        for (int i = start; i < stop; i += LANES) {
            const ints word = *(ints *)(s->error + i), size = word & 0x7fffffff;
            const ints is = size <= 0x7f800000, bits = size & is;
            const ints larger = bits > top;
            top = (bits & larger) | (top & ~larger);
            present -= is;
            if (any_of(bits >= EIGHT)) {
                for (int j = 0; j < LANES; j++)
                    count_one(s, i + j, word[j], &total, &negative);
                continue;
            }
            const floats distance = (floats)bits, scaled = distance * 0x1p22f;
            /* From 2^23 on floats are whole; below, adding 2^23 rounds to whole ones. */
            const ints small = scaled < 0x1p23f;
            const floats rounded = (scaled + 0x1p23f) - 0x1p23f;
            const ints units = CONVERT((floats)((small & (ints)rounded) | (~small & (ints)scaled)), ints);
            const ints fine = distance < 4.0f;
            const floats limited = (floats)((fine & bits) | (~fine & FOUR)); /* 4 to 8 ulp is the bin after 4 * 32 */
            *(chars *)(s->bin + i) = CONVERT(CONVERT(limited * 32.0f, ints) | (~is & 255), chars);
            sum += units;
            minus += units & (word >> 31);
        }
        for (int j = 0; j < LANES; j++) {
            measured += present[j];
            total += sum[j];
            negative += minus[j];
        }
    }
    uint32_t largest = 0;
    for (int j = 0; j < LANES; j++)
        largest = (uint32_t)top[j] > largest ? (uint32_t)top[j] : largest;
    t->measured += measured;
    t->total += total;
    t->bias += total - 2 * negative;
    if (largest > fbits_of(t->largest)) {
        t->largest = float_of(largest);
        for (int i = 0; i < n; i++)
            if ((fbits_of(s->error[i]) & 0x7fffffffu) == largest) {
                t->worst = at + i;
                break;
            }
    }
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t eight;
        memcpy(&eight, s->bin + i, 8);
        for (int j = 0; j < 8; j++)
            table[j][eight >> 8 * j & 255]++;
    }
    for (; i < n; i++)
        table[0][s->bin[i]]++;
}

/* Ziv's test doubts exact ties too, which structured inputs are full of: settle those. */
static NOINLINE int settle_ties(scratch *s, int n, int seen, const golden_job *job)
{
    uint8_t unsure[BLOCK / LANES];
    int doubtful = 0, settled = 0;
    for (int v = 0; v < n / LANES; v++) {
        unsure[v] = 0;
        for (uint32_t left = s->unsure[v]; left; left &= left - 1) {
            const int lane = __builtin_ctz(left), exact = is_exact(s, v * LANES + lane, job);
            unsure[v] |= (uint8_t)(!exact << lane);
            doubtful += !exact;
            settled += exact;
        }
    }
    if (settled == 0)
        return seen;
    seen = look_fp32(s, n);
    for (int v = 0; v < n / LANES && doubtful; v++) {
        s->unsure[v] = unsure[v];
        s->grade[v] &= (uint8_t)~unsure[v];
        s->special[v] &= (uint8_t)~unsure[v];
        s->zero_sign[v] &= (uint8_t)~unsure[v];
        for (uint32_t left = unsure[v]; left; left &= left - 1)
            s->error[v * LANES + __builtin_ctz(left)] = NAN;
    }
    return seen | (doubtful ? UNSURE : 0);
}

void golden_judge(const golden_job *job, golden_tally *t, uint32_t *handed_back)
{
    scratch block, *s = &block;
    uint32_t table[8][BINS];
    memset(table, 0, sizeof table);
    memset(t, 0, sizeof *t);
    t->first_failure = t->worst = -1;
    for (int64_t at = 0; at < job->count; at += BLOCK) {
        const int n = job->count - at < BLOCK ? (int)(job->count - at) : BLOCK;
        const int first = at == 0;
        if (job->stride_first || first)
            widen(s->first, job->first, at, job->stride_first, n, job->fp32);
        if (job->stride_second || first)
            widen(s->second, job->second, at, job->stride_second, n, job->fp32);
        if (job->smooth && (job->stride_third || first))
            widen(s->third, job->third, at, job->stride_third, n, job->fp32);
        widen(s->got, job->output, at, 1, n, job->fp32);
        int seen;
        if (job->smooth)
            smooth_values(s, n, job->divisor);
        else
            product_values(s, n, job->divisor, !job->rounded_once);
        const int padded = (n + LANES - 1) / LANES * LANES;
        for (int i = n; i < padded; i++) /* zero where zero is expected: counts nowhere */
            s->q[i] = s->got[i] = s->first[i] = s->second[i] = s->third[i] = 0;
        if (!job->fp32)
            seen = look_fp16(s, padded);
        else if (!job->smooth)
            seen = look_fp32(s, padded);
        else if ((seen = look_ziv(s, padded)) & UNSURE)
            seen = settle_ties(s, padded, seen, job);
        int left = seen & (OTHER | UNSURE);
        if (seen & GRADE)
            left |= (job->fp32 ? job->smooth ? accept_fp32_smooth : accept_fp32_product
                               : job->smooth ? accept_fp16_smooth : accept_fp16_product)(s, padded, job, t);
        if (left)
            leftovers(s, padded, at, job, t, handed_back);
        count(s, padded, at, t, table);
    }
    for (int j = 0; j < 8; j++)
        for (int b = 0; b < BINS; b++)
            t->histogram[b] += table[j][b];
}
