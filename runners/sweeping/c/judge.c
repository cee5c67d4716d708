/* The judge's hot loop: exact value, rounding, comparison, error in ulp and tally in one pass over cache-sized blocks.
 *
 * Tallies what runners/sweeping/tally.py tallies, bit for bit. What it cannot settle beyond doubt it does not count: it
 * returns the element's index, and NumPy's path settles it. This is the end of a generated file, which says what is judged
 * (runners/sweeping/judge.py). Written with the compilers' vector extension (vectors.h): correct without -march, fast
 * with it. Must not be compiled with -ffast-math, and needs round to nearest and subnormals as the standard has them.
 *
 * Elements pass through two stages, the second of which handles what the first one left, side by side: screen() settles
 * what has golden's bits, block by block; when enough is left over, grade() grades it.
 *
 * Proofs. p is the format's precision, "ulp" the spacing 2^(max(floor(log2 y), emin) - p + 1) at y, all in double.
 *
 * 1. Rounding. c + M - M with M = 1.5 * 2^52 * ulp is c rounded to a multiple of ulp, ties to even: the sum lies in
 *    [2^52, 2^53) * ulp, where doubles are the multiples of ulp, and 1.5 * 2^52 is even. That is rounding to the
 *    format, subnormals included, and c minus the result is exact.
 * 2 and 3: scaled.h, traced.h; 4: grade.h; 6: screen.h.
 */
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
    for (int i = s->n; i % LANES; i++) {
        for (int k = 0; k < VARY; k++)
            s->value[k][i] = 0;
        s->got[i] = 0;
    }
}

/* Copy the listed elements of the stage before side by side. */
static NOINLINE void gather(picked *s, const picked *from)
{
    for (int i = 0; i < s->n; i++) {
        const int at = s->index[i];
        for (int k = 0; k < VARY; k++)
            s->value[k][i] = from->value[k][at];
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
static NOINLINE void grade(stages *s, const golden_job *job, int power, golden_tally *t, words table[FINE], uint32_t *back)
{
    picked *const found = &s->found, *const others = &s->others;
    if (found->n == 0)
        return;
    pad(found);
    others->n = grade_most(found, job, power, t, others->index);
    while (others->n && others->index[others->n - 1] >= found->n) /* what pads the last vector */
        others->n--;
    if (others->n) {
        gather(others, found);
        grade_rest(s, job, power, t, back);
        write_errors(others, found);
    }
    count(s, t, table);
    found->n = s->chunks = 0;
}

static NOINLINE void errors_power(float *error, const block *b, int n, const golden_job *job)
{
    errors(error, b, n, job, SCALED);
}

static NOINLINE void errors_any(float *error, const block *b, int n, const golden_job *job)
{
    errors(error, b, n, job, 0);
}

/* Errors of a block, its operands as floats: in place where they are that already, else in `room`. */
static block prepare(float (*room)[BLOCK], float *error, int64_t at, int n, const golden_job *job, int power)
{
    block b;
    int stop = n;
    for (int k = 0; k <= VARY; k++) { /* the last one is the output */
        const void *const from = k < VARY ? job->from[k] : job->output;
        const int64_t stride = k < VARY ? job->stride[k] : 1;
        const float *placed = room[k];
        if (FP32 && stride && n == BLOCK)
            placed = (const float *)from + at;
        else if (stride || at == 0)
            widen(room[k], from, at, stride, n, FP32);
        *(k < VARY ? &b.value[k] : &b.got) = placed;
    }
    for (; stop % CHUNK; stop++)
        for (int k = 0; k <= VARY; k++)
            room[k][stop] = 0;
    (SCALED && power ? errors_power : errors_any)(error, &b, stop, job);
    return b;
}

static NOINLINE void judge(golden_job *job, golden_tally *t, uint32_t *handed_back)
{
    float room[VARY + 1][BLOCK] __attribute__((aligned(64)));
    screened first = {.largest = -1};
    stages s;
    words table[FINE] = {};
    const int power = divides_by_power(job);
    job->reciprocal = 1 / job->uniform[0];
    memset(t, 0, sizeof *t);
    t->first_failure = t->worst = -1;
    s.found.n = s.chunks = 0;
    for (int at = 0; at < job->count; at += BLOCK) {
        const int n = job->count - at < BLOCK ? (int)(job->count - at) : BLOCK;
        const block b = prepare(room, first.error, at, n, job, power);
        if (s.found.n + BLOCK > BATCH)
            grade(&s, job, power, t, table, handed_back);
        screen(&first, &b, n, at, job, t, &s);
        if (first.chunks + BLOCK / CHUNK > BINNED) {
            count_bins(first.bin, first.chunks, 0, table);
            first.chunks = 0;
        }
        if (first.vectors > SUMMED)
            add_sums(&first, t);
    }
    grade(&s, job, power, t, table, handed_back);
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
void golden_judge(golden_job *jobs, int64_t rows, golden_tally *all, uint32_t *handed_back)
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
