/* The first stage: settles what has golden's bits and lists the rest. Most elements end here.
 *
 * Proof 6. An element is settled if its output is not zero and |output - q| < (1/2 - 2^-25) ulp, ulp that of q,
 * computed in double and rounded to float: rounding is monotonic, and the limit is a float. Then
 * - no other number of the format is as near to q: beside q they are one ulp apart, and those below q's binade, half
 *   an ulp apart, are at least as far from q as from the power of two between. So the output is q correctly rounded,
 *   which is golden's value (proof 3: q is not within 2^-25 ulp of a midpoint), and its sign is q's.
 * - output - q is exact (both are within a factor of two: Sterbenz), and so is its quotient by ulp, a power of two.
 *   It is the negative of golden's residual. It is 0 or at least 2^-54, so that the float is rounded but not
 *   underflown, and scaling it by 2^22, which makes whole numbers of what the sums count, commutes with that.
 * - q = 0, which is not measured, has no output but zero as near.
 * An output of zero that is as near is settled if output - q, which is -q, has another sign than it: then q has the
 * same, and is not zero; and if it is at least 2^-122 ulp, so that the float is neither underflown nor below 2^-126.
 * Quotients leave the sign of zeros and what is not finite undefined: NaN and infinities do not compare as near.
 */
#ifndef SCREEN_H
#define SCREEN_H

#include "lanes.h"
#if SCALED
#include "scaled.h"
#else
#include "traced.h"
#endif

#define NEAR 2097151.875f /* (1/2 - 2^-25) 2^22 */
#define TINY 0x1p-100f    /* 2^-122 2^22 */
#define WHOLE 12582912.0f /* 1.5 * 2^23: added to a float below 2^22, it rounds it to a whole number, ties to even */

#define BINNED 30         /* chunks whose bins are counted at a time */
#define SUMMED 512        /* vectors whose sums stay within 32 bits */

/* A block, and what has gathered of the blocks before it. */
typedef struct {
    float error[BLOCK]; /* output - q in 2^-22 ulp */
    wide_ints bin[BINNED];
    wide_words total, signed_total;
    int chunks, vectors; /* in bin, and in the sums */
    int32_t largest;     /* bits of the largest error; -1: none yet */
} screened;

inline_always choices settled(wide_floats error, wide_floats got)
{
    const wide_floats size = (wide_floats)((wide_ints)error & 0x7fffffff), nothing = {};
    const choices near = FLOATS_LESS(size, nothing + NEAR), plain = NOT_ZERO(got);
    if (packed(plain) == ALL_WIDE)
        return near;
    const wide_ints turned = ((wide_ints)error ^ (wide_ints)got) >> 31;
    return near & (plain | (FLOATS_LESS(nothing + TINY, size) & LANES_SET(turned)));
}

static int is_settled(float error, float got)
{
    return fabsf(error) < NEAR && (got != 0 || (fabsf(error) > TINY && signbit(error) != signbit(got)));
}

#if defined(AVX512)
inline_always void copy_lanes(picked *to, int n, const block *b, int i, wide_ints lanes, int half)
{
    for (int k = 0; k < VARY; k++)
        permute(to->value[k] + n, b->value[k] + i, lanes, half);
    permute(to->got + n, b->got + i, lanes, half);
}
#endif

/* Copy what is left of the chunk at i behind the n elements picked before; returns how many there are now. */
inline_always int pick(picked *to, int n, const block *b, int i, uint64_t left)
{
#if defined(AVX512)
    const wide_ints all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int part = 0; part < CHUNK; part += WIDE) {
        const __mmask16 chosen = (__mmask16)(left >> part);
        if (!chosen)
            continue;
        const wide_ints lanes = (wide_ints)_mm512_maskz_compress_epi32(chosen, (__m512i)all);
        const int count = __builtin_popcount(chosen);
        if (count > WIDE / 2)
            copy_lanes(to, n, b, i + part, lanes, 0);
        else
            copy_lanes(to, n, b, i + part, lanes, 1);
        n += count;
    }
#else
    for (; left; left &= left - 1) {
        const int k = i + __builtin_ctzll(left);
        for (int v = 0; v < VARY; v++)
            to->value[v][n] = b->value[v][k];
        to->got[n++] = b->got[k];
    }
#endif
    return n;
}

static void note_largest(golden_tally *t, float largest, int64_t at)
{
    if (largest > t->largest || (largest == t->largest && at < t->worst)) {
        t->largest = largest;
        t->worst = at;
    }
}

/* Lanes of the chunk at i whose error is not a number, or is none: that of zero for zero. */
inline_always uint64_t wild(const float *error, uint64_t lanes)
{
    uint64_t found = 0;
    for (int part = 0; part < CHUNK; part += WIDE) {
        const wide_words size = (wide_words)(*(const wide_ints *)(error + part) & 0x7fffffff);
        found |= (uint64_t)packed(LANES_SET((wide_ints)(size - 1 >= 0x7f7fffffu))) << part;
    }
    return found & lanes;
}

/* Take a block's settled elements into account, and pick the others. */
static NOINLINE void screen(screened *s, const block *b, int n, int at, const golden_job *job, golden_tally *t,
                            stages *left)
{
    wide_words total = s->total, signed_total = s->signed_total;
    wide_ints top = {};
    const int before = left->found.n, chunks = (n + CHUNK - 1) / CHUNK;
    int listed = before, dropped = 0;
    for (int i = 0; i < n; i += CHUNK) {
        uint64_t done = 0;
        wide_ints bins = {};
        for (int part = 0; part < CHUNK; part += WIDE) {
            const wide_floats all = *(const wide_floats *)(s->error + i + part);
            const choices chosen = settled(all, *(const wide_there *)(b->got + i + part));
            const wide_floats error = only(chosen, all);
            const wide_floats size = (wide_floats)((wide_ints)error & 0x7fffffff);
            total += (wide_words)(size + WHOLE);
            signed_total += (wide_words)(error + WHOLE);
            top = most_of_ints(top, (wide_ints)size);
            bins |= CONVERT(size * 0x1p-17f, wide_ints) << part / WIDE * 8; /* 32 bins an ulp, a byte each */
            done |= (uint64_t)packed(chosen) << part;
        }
        s->bin[s->chunks + i / CHUNK] = bins;
        uint64_t lanes = ~done & ~(uint64_t)0 >> (64 - (n - i < CHUNK ? n - i : CHUNK));
        const uint64_t odd = lanes ? wild(s->error + i, lanes) : 0;
        if (odd) {
            const uint64_t right = unmeasured(b, i, odd, job);
            dropped += __builtin_popcountll(right);
            lanes &= ~right;
        }
        if (lanes) {
            left->origins[left->chunks++] = (origin){lanes, at + i};
            listed = pick(&left->found, listed, b, i, lanes);
        }
    }
    s->total = total;
    s->signed_total = signed_total;
    s->chunks += chunks;
    s->vectors += chunks * (CHUNK / WIDE);
    left->found.n = listed;
    t->measured += n - (listed - before) - dropped;
    t->histogram[0] -= chunks * CHUNK - n + (listed - before) + dropped; /* the others are in bin 0 too */
    if (!packed(LANES_SET((wide_ints)(top > s->largest))))
        return;
    int32_t largest = 0;
    for (int j = 0; j < WIDE; j++)
        largest = top[j] > largest ? top[j] : largest;
    for (int i = 0; i < n; i++)
        if ((fbits_of(s->error[i]) & 0x7fffffff) == (uint32_t)largest && is_settled(s->error[i], b->got[i])) {
            const float ulps = float_of((uint32_t)largest) * 0x1p-22f;
            note_largest(t, ulps > 0x1p-126f ? ulps : 0x1p-126f, at + i);
            s->largest = largest;
            break;
        }
}

/* Move the sums, which are whole numbers and offsets, to the tally. */
static void add_sums(screened *s, golden_tally *t)
{
    const uint32_t offset = (uint32_t)s->vectors * fbits_of(WHOLE);
    for (int j = 0; j < WIDE; j++) {
        t->total += (int32_t)(s->total[j] - offset);
        t->bias += (int32_t)(s->signed_total[j] - offset);
    }
    s->total = s->signed_total = (wide_words){};
    s->vectors = 0;
}

/* Count the bytes with each of the 16 values from `first` on, in up to 255 chunks: comparing a vector with all of them
 * takes fewer steps than as many increments. */
static NOINLINE void count_bins(const wide_ints *bin, int chunks, int first, words table[16])
{
#if defined(AVX512)
    /* Two values a byte: a nibble holds 15 chunks. Bytes of 128 and more select nothing. */
    const __m512i nibbles = _mm512_set1_epi8(15), none = _mm512_setzero_si512();
    for (int i = 0; i < chunks;) {
        __m512i pairs[8] = {};
        for (const int stop = i + 15 < chunks ? i + 15 : chunks; i < stop; i++) {
            const __m512i shifted = _mm512_sub_epi8((__m512i)bin[i], _mm512_set1_epi8((char)first));
            const __m512i select = _mm512_adds_epu8(shifted, _mm512_set1_epi8(0x70));
            for (int k = 0; k < 8; k++) {
                const int64_t one_of_two = (int64_t)0x1001 << 16 * (k & 3);
                const __m128i values = k < 4 ? _mm_set_epi64x(0, one_of_two) : _mm_set_epi64x(one_of_two, 0);
                const __m512i found = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), select);
                pairs[k] = _mm512_add_epi8(pairs[k], found);
            }
        }
        for (int k = 0; k < 8; k++) {
            const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(pairs[k], 4), nibbles);
            table[2 * k] += (words)_mm512_sad_epu8(_mm512_and_si512(pairs[k], nibbles), none);
            table[2 * k + 1] += (words)_mm512_sad_epu8(odd, none);
        }
    }
#else
    const uint64_t even = 0x00ff00ff00ff00ff;
    bytes sums[16] = {};
    for (int i = 0; i < chunks; i++)
        for (int k = 0; k < 16; k++)
            sums[k] -= (bytes)((bytes)bin[i] == (uint8_t)(first + k));
    for (int k = 0; k < 16; k++) {
        const words pairs = ((words)sums[k] & even) + ((words)sums[k] >> 8 & even);
        table[k] += pairs * 0x0001000100010001 >> 48; /* the sum of four pairs */
    }
#endif
}

#endif
