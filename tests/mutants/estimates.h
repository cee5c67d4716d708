/* Arithmetic of a DSP, put into the kernels by estimates.py: division by an estimate, truncating units, flushing.
 *
 * What a build has is chosen by macros before this text:
 *
 *   TABLE | ARM | LEADING   the estimate of 1 / b (below), an 8-bit one each
 *   STEPS                   Newton-Raphson steps after it
 *   STEP                    FUSED (remainder and update in an fma), FUSED_TWO (2 - b y in an fma), PLAIN (none fused)
 *   CORRECTIONS             times that q += (a - q b) y follows the product; SPLIT: without an fma, by exact products
 *   ALL_ONES                the reciprocal of 2 - 2^-23, the only one that steps get wrong, is a constant
 *   HALF                    all of this in fp16: every operation is rounded to it
 *   TOWARD_ZERO             every operation is truncated, not rounded to nearest
 *
 * No mode register is needed: an operation is computed exactly, in double and a rest, and rounded here.
 */
#include <string.h>

#define FUSED 1
#define FUSED_TWO 2
#define PLAIN 3

#ifdef HALF
typedef _Float16 number;
typedef uint16_t word;
#define DIGITS 11
#define LEAST (-14)
#define LIMIT 0x1p16
#define UNIT 0x1p-24f
#else
typedef float number;
typedef uint32_t word;
#define DIGITS 24
#define LEAST (-126)
#define LIMIT 0x1p128
#define UNIT 0x1p-149f
#endif

/* The number for x + rest, where x is that sum rounded to double. Truncated results overflow where the sum has no
 * more room: at LIMIT, to infinity, so that a truncating unit differs in accuracy and not in range. */
static inline float rounded(double x, double rest)
{
    number nearest = (number)x;
#ifdef TOWARD_ZERO
    const double value = nearest, magnitude = __builtin_fabs(x);
    if (__builtin_fabs(value) > magnitude ? magnitude < LIMIT : value == x && (x > 0 ? rest < 0 : x < 0 && rest > 0)) {
        word bits;
        memcpy(&bits, &nearest, sizeof bits);
        bits--;
        memcpy(&nearest, &bits, sizeof bits);
    }
#else
    (void)rest;
#endif
    return (float)nearest;
}

static inline float sum_with(double x, double y)
{
    const double s = x + y, part = s - x;
    return rounded(s, (x - (s - part)) + (y - part));
}

#if defined HALF || defined TOWARD_ZERO
/* Products of two numbers, and sums of fp16 ones, are exact in double. A quotient of two that is no number is further
 * from every number, and from every midpoint of fp16, than double's rounding error. */
static inline float sum(float a, float b) { return sum_with(a, b); }
static inline float product(float a, float b) { return rounded((double)a * b, 0); }
static inline float ratio(float a, float b) { return rounded((double)a / b, 0); }
static inline float fused(float a, float b, float c) { return sum_with((double)a * b, c); }
#else
static inline float sum(float a, float b) { return a + b; }
static inline float product(float a, float b) { return a * b; }
static inline float ratio(float a, float b) { return a / b; }
static inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#endif

#ifdef STEPS

/* 1 / b for 1 <= b < 2, with a relative error of 2^-8 at most (before a number of fp16 is made of it). */
static inline float estimate(float b)
{
    const uint32_t fixed = (uint32_t)(b * 0x1p23f);
#if defined TABLE /* 7 bits choose an entry: 1 over the middle of what they leave open, in 16 bits */
    const uint32_t middle = 2 * (fixed >> 16) + 1;
    return (float)(number)((float)((0x1000000 + middle / 2) / middle) * 0x1p-16f);
#elif defined ARM /* 8 bits choose one, in 8 bits: the integers of Arm's pseudocode RecipEstimate */
    const uint32_t middle = 2 * (fixed >> 15) + 1;
    return (float)((0x80000 / middle + 1) / 2) * 0x1p-9f;
#elif defined LEADING /* the leading 9 bits of 1 / b itself: its mantissa is right up to the eighth position */
    return (float)((1ull << 32) / fixed) * 0x1p-9f;
#endif
}

static inline float refined(float b)
{
    float y = estimate(b);
    for (int i = 0; i < STEPS; i++) {
#if STEP == FUSED
        y = fused(y, fused(-b, y, 1), y);
#elif STEP == FUSED_TWO
        y = product(y, fused(-b, y, 2));
#else
        y = product(y, sum(2, -product(b, y)));
#endif
    }
#ifdef ALL_ONES
    /* 1 / b is a midpoint but for a quarter of 2^-46, and steps end at the number below it. With the one above all y are
     * rounded correctly, and so is then a corrected quotient (P. Markstein, IA-64 and Elementary Functions, 2000). */
    if (b == 0x1.fffffep0f)
        y = 0x1.000002p-1f;
#endif
    return y;
}

/* a - q * b, exact where q is near a / b. */
static inline float remainder_of(float a, float q, float b)
{
#ifdef SPLIT /* products of halves of 12 bits are exact: Veltkamp, Dekker */
    const float p = q * b, wide_q = 4097 * q, wide_b = 4097 * b;
    const float q1 = wide_q - (wide_q - q), b1 = wide_b - (wide_b - b), q2 = q - q1, b2 = b - b1;
    return (a - p) - (((q1 * b1 - p) + q1 * b2 + q2 * b1) + q2 * b2);
#else
    return fused(-q, b, a);
#endif
}

/* a / b of mantissas: both at least 1, below 2. */
static inline float quotient_of(float a, float b, float y)
{
    float q = product(a, y);
#ifdef SPLIT
    for (int i = 0; i < CORRECTIONS; i++)
        q = q + remainder_of(a, q, b) * y;
#else
    for (int i = 0; i < CORRECTIONS; i++)
        q = fused(remainder_of(a, q, b), y, q);
#endif
    return q;
}

/* x = mantissa * 2^exponent, for finite x other than 0; the sign is left out. */
static inline float mantissa_of(float x, int *exponent)
{
    uint32_t bits;
    x = __builtin_fabsf(x);
    *exponent = 0;
    if (x < 0x1p-126f)
        x *= 0x1p24f, *exponent = -24;
    memcpy(&bits, &x, sizeof bits);
    *exponent += (int)(bits >> 23) - 127;
    bits = (bits & 0x7FFFFF) | 0x3F800000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* q * 2^exponent for 0.25 < q <= 2. A subnormal result has fewer digits: these are rounded from q and the sign of what
 * is left beyond it, once. */
static inline float scaled(float q, int exponent, float left)
{
    int own;
    const float mantissa = mantissa_of(q, &own);
    exponent += own;
    if (exponent > 127)
        return (float)(number)__builtin_inff();
    if (exponent >= LEAST) {
        uint32_t bits;
        float power;
        bits = (uint32_t)(exponent + 127) << 23;
        memcpy(&power, &bits, sizeof power);
        return (float)(number)(mantissa * power); /* overflows where fp16 does */
    }
    const int lost = LEAST - exponent + 2;
    if (lost > DIGITS + 3)
        return 0;
    const uint32_t digits = ((uint32_t)(mantissa * (1 << (DIGITS - 1))) << 2) + (left > 0) - (left < 0);
    uint32_t kept = digits >> lost;
#ifndef TOWARD_ZERO
    const uint32_t rest = digits - (kept << lost), tie = 1u << (lost - 1);
    kept += rest > tie || (rest == tie && (kept & 1));
#endif
    return (float)kept * UNIT;
}

/* 1 where the quotient needs no division, as IEEE 754 has it. */
static inline int is_special(float a, float b, float *quotient)
{
    const float infinity = __builtin_inff();
    const int endless_a = __builtin_fabsf(a) == infinity, endless_b = __builtin_fabsf(b) == infinity;
    if (a != a || b != b)
        *quotient = a + b;
    else if ((endless_a && endless_b) || (a == 0 && b == 0))
        *quotient = __builtin_nanf("");
    else if (endless_a || b == 0)
        *quotient = infinity;
    else if (a == 0 || endless_b)
        *quotient = 0;
    else
        return 0;
    if (*quotient == *quotient)
        *quotient = __builtin_copysignf(*quotient, __builtin_copysignf(1, a) * __builtin_copysignf(1, b));
    return 1;
}

static inline float divide(float a, float b)
{
    int scale_a, scale_b;
    float q;
    if (is_special(a, b, &q))
        return q;
    const float ma = mantissa_of(a, &scale_a), mb = mantissa_of(b, &scale_b);
    q = quotient_of(ma, mb, refined(mb));
    q = scaled(q, scale_a - scale_b, CORRECTIONS ? remainder_of(ma, q, mb) : 0);
    return (a < 0) == (b < 0) ? q : -q;
}

static inline float inverse(float b)
{
    int scale;
    float y;
    if (is_special(1, b, &y))
        return y;
    const float mb = mantissa_of(b, &scale);
    y = refined(mb);
    y = scaled(y, -scale, CORRECTIONS ? remainder_of(1, y, mb) : 0);
    return b > 0 ? y : -y;
}

#endif

/* Set by the loop over cores of a build that wants it. */
static int odd_core;

/* Zero for a subnormal, where an operation flushes. */
static inline float flushed(int flushes, float least, float x)
{
    return flushes && __builtin_fabsf(x) < least ? __builtin_copysignf(0, x) : x;
}
