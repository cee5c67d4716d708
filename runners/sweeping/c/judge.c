/* The judge's hot loop: exact value, rounding, comparison, error in ulp and tally in one pass over cache-sized blocks.
 *
 * Computes y = a * b / s in double for SmoothL1LossGrad (a = clamp(x1 - x2), b = dy, s = beta) and NLLLossGrad (a = w,
 * b = g, s = total_weight or 1, negated), element by element, and tallies what runners/sweeping/tally.py tallies, bit for bit.
 * What it cannot settle beyond doubt it does not count: it returns the element's index, and NumPy's path settles it.
 * Written with the compilers' vector extension (vectors.h): correct without -march, fast with it. Must not be
 * compiled with -ffast-math, and needs round to nearest and subnormals as the standard has them.
 *
 * Elements pass through three stages, each of which handles what the one before left, side by side: screen() settles
 * what has golden's bits, block by block; when enough is left over, accept() grades what is misrounded within simple
 * bounds, examine() and settle() the rest.
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
 *    Infinity is legal where the documented quotient overflows: |a| >= limit * |s| tells, exactly in double, for
 *    the right side is exact (golden/scaled_product.py). NaN there goes to NumPy.
 *    Where golden overflows, y >= 2^(emax + 1) - ulp / 2, golden/judge.py has D = y - 2^(emax + 1) with a relative
 *    error of 2^-24 and no slack from 1.5 * 2^(emax + 1) on. Slack is below 9 u y: the relative term is below 5 u y,
 *    that of an underflowing 1 / s, step |s| y, below 4.1 u y, and the others are zero, for |a / s| or |b / s| below
 *    N (1 + u)^3 makes |y| < 5, and |a b| < N (1 + u)^3 would need |1 / s| > 2^(emax - emin), beyond 1 / eta. So a finite
 *    result is legal only if D < 32 ulp (ulp that of 2^emax), where D has an error of 2^-19 ulp: 2^-18 ulp, not 2^-22, is
 *    the room there. From 1.5 * 2^(emax + 1) on the result is a third of y or more away, and no slack reaches that.
 * 5 and 6: accept.h, screen.h.
 */
#include "accept.h"
#include "grade.h"
#include "lanes.h"
#include "screen.h"

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
#if defined(AVX512)
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

/* What is left: value, rounding and comparison of anything; what needs more is noted for settle(). */
static NOINLINE int examine(picked *s, const golden_job *job, golden_tally *t)
{
    const format f = format_of(job->fp32);
    const scaling by = scaling_of(job, job->smooth);
    const floats absent = (floats){} + NAN;
    uint32_t left = 0;
    for (int i = 0; i < s->n; i += LANES) {
        const uint32_t inside = s->n - i < LANES ? (1u << (s->n - i)) - 1 : ALL;
        const doubles x = load(s->first + i), y = load(s->second + i), output = load(s->got + i);
        const doubles product = x * (job->smooth ? clamp(y - load(s->third + i), by.divisor) : y);
        const doubles rough = product * splat(by.reciprocal), size = magnitude_of(rough);
        const longs usual = (size > 0) & (size < INFINITY); /* otherwise proof 2 does not hold, and this is right */
        const doubles q = choose(usual, quotients(product, by, job->is_power), rough);
        const elements e = compare_lanes(q, output, f);
        const words sign = (words)q & SIGN;
        const uint32_t q_nan = IS_NAN(q), got_nan = IS_NAN(output), flip = NEGATIVE((words)q ^ (words)output);
        const uint32_t same = EQUAL(e.got, e.golden) & ~(q_nan | got_nan), zero = EQUAL(e.golden, splat(0));
        const uint32_t real = LESS(e.golden, splat(f.over)) & ~(q_nan | EQUAL(e.magnitude, splat(0)));
        const uint32_t agrees = (same & (~flip | zero)) | (q_nan & got_nan);
        uint32_t near = 0;
        if (job->smooth && job->fp32) { /* proof 3 */
            near = AT_MOST(magnitude_of(magnitude_of(e.residual) - 0.5), splat(0x1p-25)) & inside;
            near &= LESS(e.magnitude, splat(f.large));
            for (uint32_t rest = near; rest; rest &= rest - 1)
                if (is_exact(s, i + __builtin_ctz(rest), job))
                    near &= ~(rest & -rest);
        }
        const uint32_t certain = inside & ~near, grade = ~agrees & real & ~got_nan & certain;
        const uint32_t special = ~agrees & ~(real & ~got_nan) & certain;
        const uint32_t zero_sign = agrees & same & flip & zero & certain;

        const doubles along = (doubles)((words)e.got | (((words)q ^ (words)output) & SIGN));
        const doubles error = (along - (e.golden + as_floats(e.held) * e.ulp)) * e.inverse;
        const doubles distance = least_of(magnitude_of(error), splat(0x1p127));
        const floats held = CONVERT((doubles)((words)e.held ^ sign ^ SIGN), floats);
        const floats far = CONVERT((doubles)((words)distance | (((words)error ^ sign) & SIGN)), floats);
        *(floats *)(s->error + i) = blend(blend(absent, agrees & real & certain, held), grade, far);
        s->grade[i / LANES] = (uint8_t)grade;
        s->special[i / LANES] = (uint8_t)special;
        s->zero_sign[i / LANES] = (uint8_t)zero_sign;
        s->unsure[i / LANES] = (uint8_t)near;
        left |= grade | special | zero_sign | near;
        t->misrounded += __builtin_popcount(grade);
    }
    return left != 0;
}

/* Settle one element that the loops left over. Returns whether it fails; it is handed back with error NaN. */
static int settle(picked *s, int i, int64_t at, const golden_job *job, golden_tally *t, uint32_t *back)
{
    const format f = format_of(job->fp32);
    const double q = value_of(s, i, job);
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
        /* NaN is legal beside what may underflow, and where an overflown quotient meets zero, or what may be flushed. */
        const int times_zero = overflows(s, i, job) && (e.magnitude == 0 || job->flush);
        const int undefined = output != output && (infinite || times_zero);
        if (!unordered && !infinite && e.golden == f.over && e.got < f.over) { /* no error is measured */
            decision = decide(s, i, job, t, f);
            if (decision) {
                t->misrounded++;
                t->infinity++;
                return decision == 2;
            }
        } else if (!undefined && (unordered || infinite || e.magnitude == 0)) {
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
    back[t->handed_back++] = (uint32_t)at;
    return 0;
}

static NOINLINE void settle_rest(stages *all, const golden_job *job, golden_tally *t, uint32_t *back)
{
    picked *const s = &all->rest;
    cursor c = {0, 0};
    for (int v = 0; v * LANES < s->n; v++)
        for (uint32_t left = s->grade[v] | s->special[v] | s->zero_sign[v] | s->unsure[v]; left; left &= left - 1) {
            const int i = v * LANES + __builtin_ctz(left);
            const int64_t at = position(all, s->index[i], &c);
            if (settle(s, i, at, job, t, back) && t->first_failure < 0)
                t->first_failure = at;
        }
}

#define HALF 0x3f000000 /* 0.5f */
#define TWO 0x40000000
#define FOUR 0x40800000
#define FINE 64 /* bins below two ulp, counted in vectors */
#define FEW 32
#define NO_BIN (BINS - 1)

/* Sums of errors of any size, in 2^-22 ulp. */
typedef struct {
    longs total, bias;
} sums;

/* Bins and sums of a vector of any errors; NaN: none, which goes to NO_BIN. */
static NOINLINE void count_any(const float *error, golden_tally *t, sums *sum)
{
    const wide_ints size = *(const wide_ints *)error & 0x7fffffff, is = size <= 0x7f800000, low = size < FOUR;
    const wide_ints fine = CONVERT((wide_floats)(size & low) * 32.0f, wide_ints), octave = (size >> 23) - 1; /* 126 + exponent */
    const wide_ints bin = (((fine & low) | (octave & ~low)) & is) | (~is & NO_BIN);
    for (int j = 0; j < WIDE; j++)
        t->histogram[bin[j]]++;
    t->measured += __builtin_popcount(packed(LANES_SET(is)));
    for (int part = 0; part < WIDE; part += LANES) {
        const doubles e = load(error + part), known = choose(e == e, e, splat(0));
        const doubles units = least_of(magnitude_of(known), splat(65536)) * splat(0x1p22);
        const longs whole = (longs)(units + splat(0x1.8p52)) - (longs)splat(0x1.8p52); /* rounded, ties to even */
        sum->total += whole;
        sum->bias += (whole ^ (known < 0)) - (known < 0);
    }
}

/* Bins, sums and maximum of the picked elements' errors, most of which are from 0.5 to 2 ulp. */
static NOINLINE void count(stages *all, golden_tally *t, words table[FINE])
{
    picked *const s = &all->found;
    wide_ints top = {}, total = {}, negative = {}, present = {};
    sums others = {};
    const int chunks = (s->n + CHUNK - 1) / CHUNK, few = s->n < FEW;
    for (int i = s->n; i < chunks * CHUNK; i++)
        s->error[i] = NAN;
    for (int i = 0; i < chunks * CHUNK; i += CHUNK) {
        wide_ints bins = {};
        for (int part = 0; part < CHUNK; part += WIDE) {
            const wide_ints word = (wide_ints)*(const wide_floats *)(s->error + i + part), size = word & 0x7fffffff;
            const wide_ints is = size <= 0x7f800000, bits = size & is;
            top = most_of_ints(top, bits);
            const wide_ints outside = (wide_ints)((wide_words)(size - HALF) >= (uint32_t)(TWO - HALF));
            if (few || packed(LANES_SET(outside & is))) {
                count_any(s->error + i + part, t, &others);
                bins |= ((wide_ints){} + 255) << part / WIDE * 8;
                continue;
            }
            const wide_floats distance = (wide_floats)bits;
            const wide_ints units = (wide_ints)(distance * 0x1p22f + 0x1p23f) - 0x4b000000; /* rounded, ties to even */
            bins |= (CONVERT(distance * 32.0f, wide_ints) | (~is & 255)) << part / WIDE * 8;
            total += units;
            negative += units & word >> 31;
            present -= is;
        }
        s->bin[i / CHUNK] = bins;
    }
    int32_t largest = 0;
    for (int j = 0; j < WIDE; j++) {
        t->total += total[j];
        t->bias += total[j] - 2 * negative[j];
        t->measured += present[j];
        largest = top[j] > largest ? top[j] : largest;
    }
    for (int j = 0; j < LANES; j++) {
        t->total += others.total[j];
        t->bias += others.bias[j];
    }
    for (int first = 16; !few && first < FINE && 32 * float_of((uint32_t)largest) >= (float)first; first += 16)
        count_bins(s->bin, chunks, first, table + first);
    if ((uint32_t)largest >= fbits_of(t->largest))
        for (int i = 0; i < s->n; i++)
            if ((fbits_of(s->error[i]) & 0x7fffffffu) == (uint32_t)largest) {
                note_largest(t, float_of((uint32_t)largest), position(all, i, &(cursor){0, 0}));
                break;
            }
}

/* Zeros behind the elements, up to a whole vector. */
inline_always void pad(picked *s)
{
    for (int i = s->n; i % LANES; i++)
        s->first[i] = s->second[i] = s->third[i] = s->got[i] = 0;
}

/* Copy the listed elements of the stage before side by side. */
static NOINLINE void gather(picked *s, const picked *from, int smooth)
{
    for (int i = 0; i < s->n; i++) {
        const int at = s->index[i];
        s->first[i] = from->first[at];
        s->second[i] = from->second[at];
        s->third[i] = smooth ? from->third[at] : 0;
        s->got[i] = from->got[at];
    }
    pad(s);
}

/* Put errors where the first stage has its own. */
static void write_errors(const picked *s, picked *found)
{
    for (int i = 0; i < s->n; i++)
        found->error[s->index[i]] = s->error[i];
}

/* Grade the elements that screening has left. */
static NOINLINE void grade(stages *s, const golden_job *job, golden_tally *t, words table[FINE], uint32_t *back)
{
    picked *const found = &s->found, *const others = &s->others, *const rest = &s->rest;
    if (found->n == 0)
        return;
    pad(found);
    others->n = accept_most(found, job, t, others->index);
    if (others->n) {
        gather(others, found, job->smooth);
        rest->n = accept_more(others, job, t, rest->index);
        write_errors(others, found);
        if (rest->n) {
            gather(rest, others, job->smooth);
            for (int i = 0; i < rest->n; i++)
                rest->index[i] = others->index[rest->index[i]];
            if (examine(rest, job, t))
                settle_rest(s, job, t, back);
            write_errors(rest, found);
        }
    }
    count(s, t, table);
    found->n = s->chunks = 0;
}

/* Errors of a block, its operands as floats: in place where they are that already, else in `room`. */
static block prepare(float (*room)[BLOCK], float *error, int64_t at, int n, const golden_job *job, errors_of measure)
{
    const void *const from[4] = {job->first, job->second, job->third, job->output};
    const int64_t strides[4] = {job->stride_first, job->stride_second, job->stride_third, 1};
    const float *placed[4];
    for (int k = 0; k < 4; k++)
        placed[k] = job->fp32 && strides[k] && n == BLOCK ? (const float *)from[k] + at : room[k];
    const block b = {placed[0], placed[1], placed[2], placed[3]};
    int stop = n;
    for (int k = 0; k < 4; k++)
        if (placed[k] == room[k] && from[k] && (strides[k] || at == 0))
            widen(room[k], from[k], at, strides[k], n, job->fp32);
    for (; stop % CHUNK; stop++)
        room[0][stop] = room[1][stop] = room[2][stop] = room[3][stop] = 0;
    measure(error, &b, stop, job);
    return b;
}

static NOINLINE void judge(const golden_job *job, golden_tally *t, uint32_t *handed_back)
{
    float room[4][BLOCK] __attribute__((aligned(64)));
    screened first = {.largest = -1};
    stages s;
    words table[FINE] = {};
    const errors_of measure = job->smooth ? job->is_power ? errors_smooth_power : errors_smooth
                                          : job->is_power ? errors_product_power : errors_product;
    memset(t, 0, sizeof *t);
    t->first_failure = t->worst = -1;
    s.found.n = s.chunks = 0;
    for (int at = 0; at < job->count; at += BLOCK) {
        const int n = job->count - at < BLOCK ? (int)(job->count - at) : BLOCK;
        const block b = prepare(room, first.error, at, n, job, measure);
        if (s.found.n + BLOCK > BATCH)
            grade(&s, job, t, table, handed_back);
        (job->smooth ? screen_smooth : screen_product)(&first, &b, n, at, job, t, &s);
        if (first.chunks + BLOCK / CHUNK > BINNED) {
            count_bins(first.bin, first.chunks, 0, table);
            first.chunks = 0;
        }
        if (first.vectors > SUMMED)
            add_sums(&first, t);
    }
    grade(&s, job, t, table, handed_back);
    count_bins(first.bin, first.chunks, 0, table);
    add_sums(&first, t);
    for (int k = 0; k < FINE; k++)
        for (int j = 0; j < LANES; j++)
            t->histogram[k] += (int64_t)table[k][j];
    t->histogram[NO_BIN] = 0;
}

/* Add the tally of points that begin at `first`. */
static void add_tally(golden_tally *all, const golden_tally *t, int64_t first)
{
    int64_t *const sums = (int64_t *)all;
    const int64_t *const more = (const int64_t *)t;
    for (int k = 0; k < SUMS; k++)
        sums[k] += more[k];
    for (int k = 0; k < BINS; k++)
        all->histogram[k] += t->histogram[k];
    if (all->first_failure < 0 && t->first_failure >= 0)
        all->first_failure = first + t->first_failure;
    if (t->largest > all->largest) {
        all->largest = t->largest;
        all->worst = first + t->worst;
    }
    all->handed_back += t->handed_back;
}

/* Judge rows of points, one after the other: positions count on from row to row. */
void golden_judge(const golden_job *jobs, int64_t rows, golden_tally *all, uint32_t *handed_back)
{
    golden_tally t;
    int64_t first = 0;
    memset(all, 0, sizeof *all);
    all->first_failure = all->worst = -1;
    for (int64_t row = 0; row < rows; row++) {
        uint32_t *const back = handed_back + all->handed_back;
        judge(jobs + row, &t, back);
        for (int64_t k = 0; k < t.handed_back; k++)
            back[k] += (uint32_t)first;
        add_tally(all, &t, first);
        first += jobs[row].count;
    }
}
