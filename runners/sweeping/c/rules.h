/* What traced code (runners/sweeping/lanes.py) is made of besides operators: NumPy's functions on vectors of float64. */
#ifndef RULES_H
#define RULES_H

#include "lanes.h"

inline_always mask is_finite(doubles x)
{
    return is_less(magnitude_of(x), splat(INFINITY));
}

inline_always doubles with_sign(doubles magnitude, doubles sign)
{
    return (doubles)(((words)magnitude & ~SIGN) | ((words)sign & SIGN));
}

/* Rounded to the nearest number of a format; proof 1. */
inline_always doubles nearest_fp32(doubles x)
{
    return as_floats(x);
}

inline_always doubles nearest_fp16(doubles x)
{
    const format f = format_of(0);
    const doubles value = round_lanes(least_of(magnitude_of(x), splat(f.large)), f).value;
    const doubles held = where(is_less(value, splat(f.over)), value, splat(INFINITY));
    return (doubles)((words)held | ((words)x & SIGN));
}

/* The next number of a format towards minus infinity, of one of its numbers. */
inline_always doubles below(doubles x, format f)
{
    const doubles magnitude = magnitude_of(x), normal = splat(double_of(f.least));
    const doubles base = most_of((doubles)((words)x & EXPONENT), normal), ulp = base * splat(double_of((uint64_t)(1024 - f.p) << 52));
    const mask power = both(is_equal(magnitude, base), is_less(normal, base)); /* numbers below are half as far */
    const doubles inwards = magnitude - where(power, ulp * splat(0.5), ulp), outwards = -(magnitude + ulp);
    const double largest = f.over - double_of((uint64_t)(1023 + f.emax - f.p + 1) << 52);
    const doubles moved = where(is_less(splat(0), x), where(is_equal(x, splat(INFINITY)), splat(largest), inwards), outwards);
    return where(is_less(moved, splat(-largest)), splat(-INFINITY), moved);
}

inline_always doubles below_fp32(doubles x)
{
    return below(x, format_of(1));
}

inline_always doubles below_fp16(doubles x)
{
    return below(x, format_of(0));
}

/* a * b - y, exactly, where y is a * b rounded. */
inline_always doubles lost_product(doubles a, doubles b, doubles y)
{
#if defined(FUSED)
    return fused(a, b, -y);
#else
    const doubles split = splat(0x1p27 + 1), c = a * split, d = b * split; /* Dekker */
    const doubles high_a = c - (c - a), high_b = d - (d - b), low_a = a - high_a, low_b = b - high_b;
    return ((high_a * high_b - y) + high_a * low_b + low_a * high_b) + low_a * low_b;
#endif
}

/* The first part of frexp. */
inline_always doubles fraction_of(doubles x)
{
    const doubles fraction = (doubles)(((words)x & ~EXPONENT) | (words)splat(0.5));
    return where(is_equal(x, splat(0)), x, fraction);
}

#endif
