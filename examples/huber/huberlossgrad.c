/* The vendor's kernel would be here; this one is enough to validate. Every operation is rounded to fp16. */
#include "huberlossgrad.h"

static float rounded(float x) { return (float)(half)x; }

void hp_huberlossgrad_p(half *dy, half *dx1, half *x1, half *x2, int length, half delta)
{
    for (int i = 0; i < length; i++) {
        float diff = rounded((float)x1[i] - (float)x2[i]), limit = (float)delta;
        if (diff > limit)
            diff = limit;
        if (diff < -limit)
            diff = -limit;
        dx1[i] = (half)(diff * (float)dy[i]);
    }
}

void hp_huberlossgrad_s(half *dy, half *dx1, half *x1, half *x2, int length, half delta,
                        int core_mask)
{
    (void)core_mask;
    hp_huberlossgrad_p(dy, dx1, x1, x2, length, delta);
}
