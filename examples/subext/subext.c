/* The vendor's kernel would be here; this one is enough to validate. Every operation is rounded to the operands' type. */
#include "subext.h"

#define KERNEL(name, real)                                                                         \
    void name##_p(real *input0, real *input1, real *output, int length, real alpha)                \
    {                                                                                              \
        for (int i = 0; i < length; i++) {                                                         \
            real product = (real)((float)input1[i] * (float)alpha);                                \
            output[i] = (real)((float)input0[i] - (float)product);                                 \
        }                                                                                          \
    }                                                                                              \
    void name##_s(real *input0, real *input1, real *output, int length, real alpha, int core_mask) \
    {                                                                                              \
        (void)core_mask;                                                                           \
        name##_p(input0, input1, output, length, alpha);                                           \
    }

KERNEL(hp_subext, half)
KERNEL(fp_subext, float)
