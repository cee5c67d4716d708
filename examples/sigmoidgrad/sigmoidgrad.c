/* The vendor's kernel would be here; this one is enough to validate. Every operation is rounded to the operands' type. */
#include "sigmoidgrad.h"

#define KERNEL(name, real)                                                \
    void name##_p(real *dy, real *y, real *dx, int length)                \
    {                                                                     \
        for (int i = 0; i < length; i++) {                                \
            real rest = (real)(1.0f - (float)y[i]);                       \
            real product = (real)((float)dy[i] * (float)y[i]);            \
            dx[i] = (real)((float)product * (float)rest);                 \
        }                                                                 \
    }                                                                     \
    void name##_s(real *dy, real *y, real *dx, int length, int core_mask) \
    {                                                                     \
        (void)core_mask;                                                  \
        name##_p(dy, y, dx, length);                                      \
    }

KERNEL(hp_sigmoidgrad, half)
KERNEL(fp_sigmoidgrad, float)
