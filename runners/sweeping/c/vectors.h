/* Vectors of the width that the target has, by GCC's and Clang's vector extension and what it leaves to each processor.
 *
 * Left to themselves, compilers vectorise few of the judge's loops, and GCC takes vectors wider than the target's apart
 * element by element. Comparisons give lanes of all ones or zeros, or masks where the processor has them.
 */
#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define AVX512
#define FUSED
#define VECTOR 64
#elif defined(__AVX2__)
#define VECTOR 32
#else
#define VECTOR 16
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define inline_always static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define OF(bytes) __attribute__((vector_size(bytes)))
#define THERE(bytes) __attribute__((vector_size(bytes), aligned(4), may_alias)) /* through a pointer, at any address */

/* Elements as doubles, as floats in a half or a whole vector, and as bytes. */
enum { LANES = VECTOR / 8, WIDE = VECTOR / 4, CHUNK = VECTOR, ALL = (1 << LANES) - 1, ALL_WIDE = (1 << WIDE) - 1 };
typedef double doubles OF(VECTOR);
typedef int64_t longs OF(VECTOR);
typedef uint64_t words OF(VECTOR);
typedef float floats OF(VECTOR / 2);
typedef float floats_there THERE(VECTOR / 2);
typedef float wide_floats OF(VECTOR);
typedef float wide_there THERE(VECTOR);
typedef int32_t wide_ints OF(VECTOR);
typedef uint32_t wide_words OF(VECTOR);
typedef uint8_t bytes OF(VECTOR);

#define CONVERT(value, type) __builtin_convertvector(value, type)
#define SIGN 0x8000000000000000u

inline_always doubles splat(double x)
{
    return (doubles)((words){} | ((union { double x; uint64_t bits; }){x}).bits);
}

inline_always doubles magnitude_of(doubles x)
{
    return (doubles)((words)x & ~SIGN);
}

inline_always doubles choose(longs mask, doubles yes, doubles no)
{
    return (doubles)((mask & (longs)yes) | (~mask & (longs)no));
}

/* least_of: a < b ? a : b, which is b where either is NaN; most_of likewise. LESS to NEGATIVE: one bit a lane.
 * fused: a * b + c, rounded once where FUSED is defined.
 * low_product: of the lower halves. high_products: the upper halves of the products of half words.
 * `choices` are made of comparisons of floats, combined with &, and used by only() and packed(). */
#if defined(AVX512)
inline_always doubles least_of(doubles a, doubles b)
{
    return (doubles)_mm512_min_pd((__m512d)a, (__m512d)b);
}

inline_always doubles most_of(doubles a, doubles b)
{
    return (doubles)_mm512_max_pd((__m512d)a, (__m512d)b);
}

inline_always wide_ints most_of_ints(wide_ints a, wide_ints b)
{
    return (wide_ints)_mm512_max_epi32((__m512i)a, (__m512i)b);
}

inline_always doubles fused(doubles a, doubles b, doubles c)
{
    return (doubles)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}

inline_always words low_product(words a, words b)
{
    return (words)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}

inline_always wide_words high_products(wide_words a, wide_words b)
{
    return (wide_words)_mm512_mulhi_epu16((__m512i)a, (__m512i)b);
}

#define LESS(a, b) ((uint32_t)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), _CMP_LT_OQ))
#define AT_MOST(a, b) ((uint32_t)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), _CMP_LE_OQ))
#define EQUAL(a, b) ((uint32_t)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), _CMP_EQ_OQ))
#define IS_NAN(a) ((uint32_t)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(a), _CMP_UNORD_Q))
#define NEGATIVE(a) ((uint32_t)_mm512_movepi64_mask((__m512i)(a)))

typedef __mmask16 choices;
#define FLOATS_LESS(a, b) _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_LT_OQ)
#define FLOATS_AT_MOST(a, b) _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_LE_OQ)
#define FLOATS_NAN(a) _mm512_cmp_ps_mask((__m512)(a), (__m512)(a), _CMP_UNORD_Q)
#define NOT_ZERO(a) _mm512_cmp_ps_mask((__m512)(a), _mm512_setzero_ps(), _CMP_NEQ_UQ)
#define LANES_SET(a) _mm512_movepi32_mask((__m512i)(a))

inline_always wide_floats only(choices chosen, wide_floats values)
{
    return (wide_floats)_mm512_maskz_mov_ps(chosen, (__m512)values);
}

inline_always uint32_t packed(choices chosen)
{
    return (uint32_t)chosen;
}

/* The chosen values, and others where they are not. */
inline_always floats blend(floats others, uint32_t chosen, floats values)
{
    return (floats)_mm256_mask_mov_ps((__m256)others, (__mmask8)chosen, (__m256)values);
}

/* Write a vector, or its first half, which takes half the time. */
inline_always void store_ints(void *to, wide_ints values, int half)
{
    if (half)
        _mm256_storeu_si256(to, _mm512_castsi512_si256((__m512i)values));
    else
        _mm512_storeu_si512(to, (__m512i)values);
}

/* Append first, first + 1, ... of the chosen lanes to the n numbers in a list; returns how many there are now. */
inline_always int list(int32_t *to, int n, int first, uint32_t chosen)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i numbers = _mm256_add_epi32(lanes, _mm256_set1_epi32(first));
    _mm256_storeu_si256((__m256i *)(to + n), _mm256_maskz_compress_epi32((__mmask8)chosen, numbers));
    return n + __builtin_popcount(chosen);
}

/* Write the elements at `lanes`, the first half of them or all. */
inline_always void permute(float *to, const float *from, wide_ints lanes, int half)
{
    store_ints(to, (wide_ints)_mm512_permutexvar_epi32((__m512i)lanes, _mm512_loadu_si512(from)), half);
}

inline_always doubles load(const float *from)
{
    return (doubles)_mm512_cvtps_pd(_mm256_loadu_ps(from)); /* GCC 12 makes six instructions of CONVERT */
}

inline_always doubles as_floats(doubles x)
{
    return (doubles)_mm512_cvtps_pd(_mm512_cvtpd_ps((__m512d)x));
}

/* One bit a lane, as the comparisons of single vectors give them, for traced code. */
typedef __mmask8 mask;
#define ALL_LANES ((mask)0xff)
#define NO_LANES ((mask)0)

inline_always mask is_less(doubles a, doubles b)
{
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ);
}

inline_always mask is_at_most(doubles a, doubles b)
{
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LE_OQ);
}

inline_always mask is_equal(doubles a, doubles b)
{
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_EQ_OQ);
}

inline_always doubles where(mask chosen, doubles yes, doubles no)
{
    return (doubles)_mm512_mask_blend_pd(chosen, (__m512d)no, (__m512d)yes);
}

inline_always uint32_t lanes_of(mask m)
{
    return m;
}

#else
#if defined(__AVX2__)
inline_always doubles least_of(doubles a, doubles b)
{
    return (doubles)_mm256_min_pd((__m256d)a, (__m256d)b);
}

inline_always doubles most_of(doubles a, doubles b)
{
    return (doubles)_mm256_max_pd((__m256d)a, (__m256d)b);
}

inline_always words low_product(words a, words b)
{
    return (words)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}

inline_always wide_words high_products(wide_words a, wide_words b)
{
    return (wide_words)_mm256_mulhi_epu16((__m256i)a, (__m256i)b);
}

inline_always uint32_t packed_longs(longs lanes)
{
    return (uint32_t)_mm256_movemask_pd((__m256d)lanes);
}

inline_always uint32_t packed(wide_ints lanes)
{
    return (uint32_t)_mm256_movemask_ps((__m256)lanes);
}
#elif defined(__SSE2__)
inline_always doubles least_of(doubles a, doubles b)
{
    return (doubles)_mm_min_pd((__m128d)a, (__m128d)b);
}

inline_always doubles most_of(doubles a, doubles b)
{
    return (doubles)_mm_max_pd((__m128d)a, (__m128d)b);
}

inline_always words low_product(words a, words b)
{
    return (words)_mm_mul_epu32((__m128i)a, (__m128i)b);
}

inline_always wide_words high_products(wide_words a, wide_words b)
{
    return (wide_words)_mm_mulhi_epu16((__m128i)a, (__m128i)b);
}

inline_always uint32_t packed_longs(longs lanes)
{
    return (uint32_t)_mm_movemask_pd((__m128d)lanes);
}

inline_always uint32_t packed(wide_ints lanes)
{
    return (uint32_t)_mm_movemask_ps((__m128)lanes);
}
#else
inline_always doubles least_of(doubles a, doubles b)
{
    return choose(a < b, a, b);
}

inline_always doubles most_of(doubles a, doubles b)
{
    return choose(a > b, a, b);
}

inline_always words low_product(words a, words b)
{
    return (a & 0xffffffff) * (b & 0xffffffff);
}

inline_always wide_words high_products(wide_words a, wide_words b)
{
    return ((a >> 16) * (b >> 16) & 0xffff0000) | (a & 0xffff) * (b & 0xffff) >> 16;
}

inline_always uint32_t packed_longs(longs lanes)
{
    return (uint32_t)(lanes[0] & 1) | (uint32_t)(lanes[1] & 2);
}

inline_always uint32_t packed(wide_ints lanes)
{
    return (uint32_t)((lanes[0] & 1) | (lanes[1] & 2) | (lanes[2] & 4) | (lanes[3] & 8));
}
#endif

inline_always wide_ints most_of_ints(wide_ints a, wide_ints b)
{
    const wide_ints larger = a > b;
    return (a & larger) | (b & ~larger);
}

#if defined(__AVX2__) && defined(__FMA__)
#define FUSED
inline_always doubles fused(doubles a, doubles b, doubles c)
{
    return (doubles)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#elif defined(__ARM_FEATURE_FMA)
#define FUSED
inline_always doubles fused(doubles a, doubles b, doubles c)
{
    return (doubles){__builtin_fma(a[0], b[0], c[0]), __builtin_fma(a[1], b[1], c[1])};
}
#else
inline_always doubles fused(doubles a, doubles b, doubles c)
{
    return a * b + c;
}
#endif

#define LESS(a, b) packed_longs((a) < (b))
#define AT_MOST(a, b) packed_longs((a) <= (b))
#define EQUAL(a, b) packed_longs((a) == (b))
#define IS_NAN(a) packed_longs((a) != (a))
#define NEGATIVE(a) packed_longs((longs)(a) >> 63)

typedef wide_ints choices;
#define FLOATS_LESS(a, b) ((a) < (b))
#define FLOATS_AT_MOST(a, b) ((a) <= (b))
#define FLOATS_NAN(a) ((a) != (a))
#define NOT_ZERO(a) ((a) != 0)
#define LANES_SET(a) (a)

inline_always wide_floats only(choices chosen, wide_floats values)
{
    return (wide_floats)(chosen & (wide_ints)values);
}

inline_always floats blend(floats others, uint32_t chosen, floats values)
{
    for (int j = 0; j < LANES; j++)
        others[j] = chosen >> j & 1 ? values[j] : others[j];
    return others;
}

inline_always int list(int32_t *to, int n, int first, uint32_t chosen)
{
    for (; chosen; chosen &= chosen - 1)
        to[n++] = first + __builtin_ctz(chosen);
    return n;
}

inline_always doubles load(const float *from)
{
    return CONVERT(*(const floats_there *)from, doubles);
}

/* Rounded to float. */
inline_always doubles as_floats(doubles x)
{
    return CONVERT(CONVERT(x, floats), doubles);
}

typedef longs mask;
#define ALL_LANES ((mask){} - 1)
#define NO_LANES ((mask){})

inline_always mask is_less(doubles a, doubles b)
{
    return a < b;
}

inline_always mask is_at_most(doubles a, doubles b)
{
    return a <= b;
}

inline_always mask is_equal(doubles a, doubles b)
{
    return a == b;
}

inline_always doubles where(mask chosen, doubles yes, doubles no)
{
    return choose(chosen, yes, no);
}

inline_always uint32_t lanes_of(mask m)
{
    return packed_longs(m);
}
#endif

inline_always mask both(mask a, mask b)
{
    return (mask)(a & b);
}

inline_always mask either(mask a, mask b)
{
    return (mask)(a | b);
}

inline_always mask is_not(mask a)
{
    return (mask)~a;
}

#endif
