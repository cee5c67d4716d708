/* What the judge (judge.c) is made of: its data, the two formats, and rounding and division of whole vectors. */
#ifndef LANES_H
#define LANES_H

#include <math.h>
#include <stddef.h>

#include "vectors.h"

/* Elements that are screened at a time, and that are graded at a time: few enough for the first-level cache. */
#define BLOCK (4 * CHUNK)
#define BATCH (4 * BLOCK)
#define BINS 256
#define MOST 8 /* operands or uniform numbers, as many as a job has room for */

/* What is judged: generated code (runners/sweeping/judge.py) says of which FORMAT, how many operands VARY from element to
 * element and how many numbers are UNIFORM. Strides are 0 (one number for all) or 1. */
typedef struct {
    int64_t count;
    const void *from[MOST];
    int64_t stride[MOST];
    double uniform[MOST];
    double reciprocal; /* of the first of these, once the job has begun */
    const void *output;
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

enum { SUMS = offsetof(golden_tally, first_failure) / sizeof(int64_t) }; /* the first members, which add up */

/* A block's operands and output as floats, with zeros behind them up to a multiple of CHUNK. */
typedef struct {
    const float *value[VARY], *got;
} block;

/* The elements that a stage leaves to the next one, side by side, with room for a whole vector from any of them on. */
typedef struct {
    int32_t index[BATCH + WIDE]; /* of what later stages leave: its position in the first stage's */
    float value[VARY][BATCH + WIDE], got[BATCH + WIDE];
    float error[BATCH]; /* signed, in ulp; NaN: not measured */
    wide_ints bin[BATCH / CHUNK];
    int n;
} picked __attribute__((aligned(64)));

/* Where picked elements come from: the lanes of a chunk that were left, and its position in the job. */
typedef struct {
    uint64_t lanes;
    int64_t at;
} origin;

/* What each stage leaves to the next. */
typedef struct {
    picked found, others;
    origin origins[BATCH];
    int chunks; /* in origins */
} stages;

/* How far a search for positions, each behind the last, has come: chunks, and elements in those. */
typedef struct {
    int chunk, elements;
} cursor;

/* Position in the job of the k-th element found. Noting it for each would take longer than finding the few asked for. */
static int64_t position(const stages *s, int k, cursor *c)
{
    for (int n; k >= c->elements + (n = __builtin_popcountll(s->origins[c->chunk].lanes)); c->chunk++)
        c->elements += n;
    uint64_t lanes = s->origins[c->chunk].lanes;
    for (int before = k - c->elements; before; before--)
        lanes &= lanes - 1;
    return s->origins[c->chunk].at + __builtin_ctzll(lanes);
}

typedef struct {
    int p, emin, emax;
    uint64_t least; /* exponent field of 2^emin */
    double over, large;
    double overflows; /* what is rounded to `over`, or further, begins here */
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

inline_always format format_of(int fp32)
{
    return fp32 ? (format){24, -126, 127, (uint64_t)(1023 - 126) << 52, 0x1p128, 0x1p129, 0x1.ffffffp127}
                : (format){11, -14, 15, (uint64_t)(1023 - 14) << 52, 0x1p16, 0x1p17, 0x1.ffep15};
}

/* Magnitudes rounded to the format; proof 1. `inverse`: 1 / ulp. `residual`: what rounding removed, in ulp. */
typedef struct {
    doubles value, residual, inverse;
    words field; /* exponent field of the binade that sets the ulp */
} rounding;

inline_always rounding round_lanes(doubles magnitude, format f)
{
    rounding r;
    r.field = (words)most_of((doubles)((words)magnitude & EXPONENT), splat(double_of(f.least)));
    const doubles magic = (doubles)(r.field + (((uint64_t)(53 - f.p) << 52) + ((uint64_t)1 << 51)));
    r.value = (magnitude + magic) - magic;
    r.inverse = (doubles)(((uint64_t)(2046 + f.p - 1) << 52) - r.field);
    r.residual = (magnitude - r.value) * r.inverse;
    return r;
}

/* Golden value, residual and comparison of elements; `held` is the residual of at least 2^-126, as runners/sweeping/tally.py counts it. */
typedef struct {
    doubles magnitude, golden, inverse, ulp, residual, got, held;
} elements;

inline_always elements compare_lanes(doubles q, doubles output, format f)
{
    elements e;
    e.magnitude = least_of(magnitude_of(q), splat(f.large));
    const rounding r = round_lanes(e.magnitude, f);
    e.inverse = r.inverse;
    e.ulp = (doubles)(r.field - ((uint64_t)(f.p - 1) << 52));
    e.residual = r.residual;
    e.golden = least_of(r.value, splat(f.over));
    e.got = least_of(magnitude_of(output), splat(f.over));
    const doubles least = most_of(magnitude_of(e.residual), splat(0x1p-126));
    e.held = (doubles)((words)least | ((words)e.residual & SIGN));
    return e;
}

/* Lanes that are golden's without being measured: NaN, zero where y is zero, and infinity where golden overflows or y
 * is infinite. `rough` is y where it is zero or not finite, and has y's sign. */
inline_always uint32_t agrees(doubles rough, doubles output, uint32_t overflows)
{
    const doubles size = magnitude_of(rough), got = magnitude_of(output);
    const uint32_t infinite = EQUAL(got, splat(INFINITY)) & (EQUAL(size, splat(INFINITY)) | overflows);
    const uint32_t zero = EQUAL(got, splat(0)) & EQUAL(size, splat(0));
    return (IS_NAN(rough) & IS_NAN(output)) | ((infinite | zero) & ~NEGATIVE((words)rough ^ (words)output));
}

#endif
