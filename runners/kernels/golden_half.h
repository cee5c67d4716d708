/* The C type of `half`, which the vendor's pages leave open.
 *
 *   default                 half is _Float16: by value in a floating-point register
 *   -DGOLDEN_HALF_UINT16    half is uint16_t (the bits of an fp16): by value in an integer register
 *   -DGOLDEN_FP32_ONLY      no half and no hp_ functions, as on a platform that has fp32 only
 *
 * The first two are different calling conventions: a program and the library that it links must agree.
 * GOLDEN_HAS_HALF says that the hp_ functions are declared. With a compiler that has no fp16 type they are not,
 * so that a program which calls fp_ functions only still compiles; building the kernels is then refused.
 */
#ifndef GOLDEN_HALF_H
#define GOLDEN_HALF_H

#include <stdint.h>

#if defined(GOLDEN_FP32_ONLY)
/* nothing to declare */
#elif defined(GOLDEN_HALF_UINT16)
typedef uint16_t half;
#define GOLDEN_HAS_HALF 1
#elif defined(__FLT16_MAX__) /* what GCC and Clang define exactly when the target has _Float16 */
__extension__ typedef _Float16 half;
#define GOLDEN_HAS_HALF 1
#endif

#endif
