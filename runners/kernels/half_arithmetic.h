/* fp16 arithmetic in which every operation is rounded to fp16 (internal to the kernels).
 *
 * Expressions of type _Float16 are not enough: where the processor has no fp16 arithmetic a compiler may carry
 * them in float and round at the end only (-fexcess-precision, FLT_EVAL_METHOD). So each operation is done on
 * float operands, whose type no compiler widens on a machine with float registers, and its result is converted
 * to fp16 and back explicitly, which none may leave out:
 *
 *     quotient = round_to_half(a / b);
 *
 * The two roundings equal one. For + - * / on numbers of p bits, rounding to q bits and then to p is harmless if
 * q >= 2p + 2 (S. A. Figueroa, "When is double rounding innocuous?", 1995): here 24 >= 2 * 11 + 2. Subnormal fp16
 * results change nothing. The float result is never subnormal (the smallest product is 2^-48, the smallest
 * quotient above 2^-40), a product of 11-bit numbers is exact in float, a sum or difference below 2^-13 is a
 * multiple of 2^-24 and exact, and a quotient a / b that is not itself a midpoint m of fewer than 12 bits differs
 * from m by |a - m b| / |b| >= 2^-23 |m|, more than float's rounding error. Overflow is decided by the last
 * rounding alone: float's exponent range holds every intermediate.
 */
#ifndef HALF_ARITHMETIC_H
#define HALF_ARITHMETIC_H

#include "golden_half.h"

#include <string.h>

#ifdef __FLT16_MAX__

__extension__ typedef _Float16 golden_fp16;

/* Exact: every fp16 is a float. */
static inline float from_half(half stored)
{
    golden_fp16 value;
    /* A plain copy where half is _Float16; where it is uint16_t, the one well-defined way to reinterpret bits. */
    memcpy(&value, &stored, sizeof value);
    return (float)value;
}

/* Exact where the number comes out of round_to_half or from_half. */
static inline half to_half(float number)
{
    const golden_fp16 value = (golden_fp16)number;
    half stored;
    memcpy(&stored, &value, sizeof stored);
    return stored;
}

static inline float round_to_half(float number)
{
    return (float)(golden_fp16)number;
}

#elif defined(GOLDEN_HALF_UINT16)

/* The same conversions in integer arithmetic, for compilers that know no fp16. */

static inline float from_half(half stored)
{
    const uint32_t sign = (uint32_t)(stored & 0x8000u) << 16, magnitude = stored & 0x7FFFu;
    uint32_t bits;
    float value;
    if (magnitude < 0x400) { /* subnormal, or zero: normal as a float */
        value = (float)magnitude * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    } else {
        bits = sign | ((magnitude << 13) + (magnitude < 0x7C00 ? 0x38000000u : 0x70000000u));
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To nearest, ties to even. */
static inline half to_half(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    uint32_t rounded;
    if (magnitude > 0x7F800000u) { /* NaN, made quiet */
        rounded = 0x7E00u | (magnitude >> 13 & 0x3FFu);
    } else if (magnitude >= 0x477FF000u) { /* 65520 and more */
        rounded = 0x7C00u;
    } else if (magnitude >= 0x38800000u) { /* 2^-14: normal; a carry out of the fraction goes where it belongs */
        rounded = (magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1)) >> 13;
    } else if (magnitude < 0x33000000u) { /* below 2^-25 */
        rounded = 0;
    } else { /* subnormal, in units of 2^-24 */
        const uint32_t fraction = (magnitude & 0x7FFFFFu) | 0x800000u, shift = 126 - (magnitude >> 23);
        const uint32_t rest = fraction & ((1u << shift) - 1), tie = 1u << (shift - 1);
        rounded = fraction >> shift;
        rounded += rest > tie || (rest == tie && (rounded & 1));
    }
    return (half)(sign | rounded);
}

static inline float round_to_half(float number)
{
    return from_half(to_half(number));
}

#else
#error "this compiler has no _Float16 type: use another compiler, -DGOLDEN_HALF_UINT16, or -DGOLDEN_FP32_ONLY"
#endif

#endif
