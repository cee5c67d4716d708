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

#ifndef __FLT16_MAX__
#error "this compiler has no _Float16 type: use another compiler, or -DGOLDEN_FP32_ONLY for the fp32 kernels"
#endif

#include <string.h>

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

#endif
