/* What the judge (judge.c) is made of: its data, the two formats, and arithmetic on eight elements at a time. */
#ifndef EIGHT_H
#define EIGHT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#define BLOCK 2048
#define BINS 256

typedef struct {
    /* How the operator uses its operands; see runners/native.py. Strides are 0 (one number for all) or 1. */
    int64_t count;
    const void *first, *second, *third; /* SmoothL1: dy, x1, x2; NLL: g, w, unused */
    int64_t stride_first, stride_second, stride_third;
    const void *output;
    double divisor;        /* beta, total_weight, or 1 */
    double documented[2];  /* relative slack of the documented order, by roundings before */
    double legal[2];       /* of the widest legal order */
    double legal_small[2]; /* the same where y < small */
    double small;          /* N (1 + u)^3 */
    double step;           /* (1 + u)^3 eta / 2 */
    int32_t is_power;      /* the divisor is a power of two */
    int32_t scales_exactly; /* and not above 1 */
    int32_t fp32, smooth, rounded_once, flush;
} golden_job;

typedef struct {
    int64_t measured, misrounded, failures, nan, infinity, overflow, zero, zero_sign, faithful, formula, legal;
    int64_t total, bias;
    int64_t first_failure, worst; /* positions, -1: none */
    int64_t handed_back;
    float largest;
    int32_t unused;
    int64_t histogram[BINS];
} golden_tally;

/* Eight elements: GCC's and Clang's vector extension, which every target has in some width. Comparisons give lanes of
 * all ones or zeros, so that choices are masks; left to themselves, compilers vectorise few of these loops. */
enum { LANES = 8 };
typedef double doubles __attribute__((vector_size(64)));
typedef int64_t longs __attribute__((vector_size(64)));
typedef uint64_t words __attribute__((vector_size(64)));
typedef float floats __attribute__((vector_size(32)));
typedef int32_t ints __attribute__((vector_size(32)));
typedef uint8_t chars __attribute__((vector_size(8)));

#define CONVERT(value, type) __builtin_convertvector(value, type)

/* What the loops leave for each other about one block. */
typedef struct {
    double q[BLOCK];
    float first[BLOCK], second[BLOCK], third[BLOCK], got[BLOCK];
    float error[BLOCK]; /* signed, in ulp; NaN: not measured */
    uint8_t bin[BLOCK];
    /* One bit an element, eight a byte: what is still to be done about it. */
    uint8_t grade[BLOCK / LANES], special[BLOCK / LANES], zero_sign[BLOCK / LANES], unsure[BLOCK / LANES];
} __attribute__((aligned(64))) scratch;

/* What look() and accept() have seen in a block. */
enum { GRADE = 1, OTHER = 2, UNSURE = 4 };

typedef struct {
    int p, emin, emax;
    uint64_t least; /* exponent field of 2^emin */
    double over, large;
} format;

static inline uint64_t bits_of(double x)
{
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static inline double double_of(uint64_t b)
{
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static inline uint32_t fbits_of(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static inline float float_of(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

#define EXPONENT 0x7ff0000000000000u
#define inline_always static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))

inline_always format format_of(int fp32)
{
    return fp32 ? (format){24, -126, 127, (uint64_t)(1023 - 126) << 52, 0x1p128, 0x1p129}
                : (format){11, -14, 15, (uint64_t)(1023 - 14) << 52, 0x1p16, 0x1p17};
}

/* Golden value, residual and comparison of one element; proof 1. */
typedef struct {
    double magnitude, golden, inverse, ulp, residual, got;
} element;

inline_always element compare(double q, float output, format f)
{
    element e;
    const double magnitude = fabs(q), wide = fabs((double)output);
    e.magnitude = magnitude < f.large ? magnitude : f.large; /* NaN and infinity too: they are flagged elsewhere */
    const uint64_t exponent = bits_of(e.magnitude) & EXPONENT;
    const uint64_t field = exponent > f.least ? exponent : f.least;
    const double magic = double_of(field + ((uint64_t)(53 - f.p) << 52) + ((uint64_t)1 << 51));
    const double rounded = (e.magnitude + magic) - magic;
    e.inverse = double_of(((uint64_t)(2046 + f.p - 1) << 52) - field);
    e.ulp = double_of(field - ((uint64_t)(f.p - 1) << 52));
    e.residual = (e.magnitude - rounded) * e.inverse;
    e.golden = rounded < f.over ? rounded : f.over;
    e.got = wide < f.over ? wide : f.over; /* an infinity counts as 2^(emax + 1) */
    return e;
}

inline_always doubles magnitude_of(doubles x)
{
    return (doubles)((words)x & 0x7fffffffffffffffu);
}

inline_always doubles choose(longs mask, doubles yes, doubles no)
{
    return (doubles)((mask & (longs)yes) | (~mask & (longs)no));
}

inline_always doubles splat(double x)
{
    return (doubles){x, x, x, x, x, x, x, x};
}

/* a < b ? a : b, which is b where either is NaN; the larger of two words; whether a lane is not zero. */
#if defined(__AVX512F__) && defined(__AVX512DQ__)
inline_always doubles least_of(doubles a, doubles b)
{
    return (doubles)_mm512_min_pd((__m512d)a, (__m512d)b);
}

inline_always doubles most_of_two(doubles a, doubles b)
{
    return (doubles)_mm512_max_pd((__m512d)a, (__m512d)b);
}

inline_always words most_of(words a, words b)
{
    return (words)_mm512_max_epu64((__m512i)a, (__m512i)b);
}

/* One bit a lane. */
#define LESS(a, b) ((uint32_t)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), _CMP_LT_OQ))
#define AT_MOST(a, b) ((uint32_t)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), _CMP_LE_OQ))
#define EQUAL(a, b) ((uint32_t)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), _CMP_EQ_OQ))
#define IS_NAN(a) ((uint32_t)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(a), _CMP_UNORD_Q))
#define DIFFER(a, b) ((uint32_t)_mm512_cmpneq_epi64_mask((__m512i)(a), (__m512i)(b)))
#define NEGATIVE(a) ((uint32_t)_mm512_movepi64_mask((__m512i)(a)))
#else
inline_always doubles least_of(doubles a, doubles b)
{
    return choose(a < b, a, b);
}

inline_always doubles most_of_two(doubles a, doubles b)
{
    return choose(a > b, a, b);
}

inline_always words most_of(words a, words b)
{
    const words larger = (words)(a > b);
    return (a & larger) | (b & ~larger);
}

/* One bit a lane. */
inline_always uint32_t packed(longs lanes)
{
    uint32_t bits = 0;
    for (int j = 0; j < LANES; j++)
        bits |= (uint32_t)(lanes[j] & 1) << j;
    return bits;
}

#define LESS(a, b) packed((a) < (b))
#define AT_MOST(a, b) packed((a) <= (b))
#define EQUAL(a, b) packed((a) == (b))
#define IS_NAN(a) packed((a) != (a))
#define DIFFER(a, b) packed((longs)(a) != (longs)(b))
#define NEGATIVE(a) packed((longs)(a) >> 63)
#endif

inline_always int any_of(ints lanes)
{
#ifdef __AVX__
    return _mm256_movemask_ps((__m256)lanes) != 0;
#else
    int32_t all = 0;
    for (int j = 0; j < LANES; j++)
        all |= lanes[j];
    return all != 0;
#endif
}

/* compare() for eight elements; `held` is the residual of at least 2^-126, as runners/blocks.py counts it. */
typedef struct {
    doubles magnitude, golden, inverse, ulp, residual, got, held;
} elements;

inline_always elements compare_eight(doubles q, doubles output, format f)
{
    elements e;
    const doubles wide = magnitude_of(output);
    e.magnitude = least_of(magnitude_of(q), splat(f.large));
    const words field = most_of((words)e.magnitude & EXPONENT, (words){} + f.least);
    const doubles magic = (doubles)(field + (((uint64_t)(53 - f.p) << 52) + ((uint64_t)1 << 51)));
    const doubles rounded = (e.magnitude + magic) - magic;
    e.inverse = (doubles)(((uint64_t)(2046 + f.p - 1) << 52) - field);
    e.ulp = (doubles)(field - ((uint64_t)(f.p - 1) << 52));
    e.residual = (e.magnitude - rounded) * e.inverse;
    e.golden = least_of(rounded, splat(f.over));
    e.got = least_of(wide, splat(f.over));
    const doubles size = magnitude_of(e.residual), least = most_of_two(size, splat(0x1p-126));
    e.held = (doubles)((words)least | ((words)e.residual & ((uint64_t)1 << 63)));
    return e;
}

/* Write the chosen ones of eight floats. */
inline_always void store_some(float *to, floats values, uint32_t chosen)
{
#if defined(__AVX512VL__)
    _mm256_mask_storeu_ps(to, (__mmask8)chosen, (__m256)values);
#else
    for (int j = 0; j < LANES; j++)
        to[j] = chosen >> j & 1 ? values[j] : to[j];
#endif
}

#endif
