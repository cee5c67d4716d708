/* SmoothL1LossGrad in portable C: the page's formula in the page's order. See smoothl1lossgrad.h.
 *
 * In both loops the quotient is computed for every element and selected afterwards, because a branch around a
 * division cannot be vectorised. It is the last choice, so that NaN, which fails both comparisons, propagates.
 * Pointers are not `restrict`: the page does not forbid dx1 to be one of the operands.
 */
#include "smoothl1lossgrad.h"

#include "cores.h"

struct fp_call {
    const float *dy;
    float *dx1;
    const float *x1, *x2;
    float beta;
};

static void fp_core(const void *argument, size_t begin, size_t end)
{
    const struct fp_call call = *(const struct fp_call *)argument;
    for (size_t i = begin; i < end; i++) {
        const float dy = call.dy[i];
        const float diff = call.x1[i] - call.x2[i];
        const float quotient = diff / call.beta;
        const float inside = quotient * dy;
        call.dx1[i] = diff > call.beta ? dy : diff < -call.beta ? -dy : inside;
    }
}

void fp_smoothl1lossgrad_s(float *dy, float *dx1, float *x1, float *x2, int length, float beta, int core_mask)
{
    const struct fp_call call = {dy, dx1, x1, x2, beta};
    if (length > 0)
        run_on_cores(fp_core, &call, (size_t)length, core_mask);
}

void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
{
    const struct fp_call call = {dy, dx1, x1, x2, beta};
    if (length > 0)
        fp_core(&call, 0, (size_t)length);
}

#ifndef GOLDEN_FP32_ONLY

#include "half_arithmetic.h"

struct hp_call {
    const half *dy;
    half *dx1;
    const half *x1, *x2;
    half beta;
};

static void hp_core(const void *argument, size_t begin, size_t end)
{
    const struct hp_call call = *(const struct hp_call *)argument;
    const float beta = from_half(call.beta);
    for (size_t i = begin; i < end; i++) {
        const float dy = from_half(call.dy[i]);
        const float diff = round_to_half(from_half(call.x1[i]) - from_half(call.x2[i]));
        const float quotient = round_to_half(diff / beta);
        const float inside = round_to_half(quotient * dy);
        call.dx1[i] = to_half(diff > beta ? dy : diff < -beta ? -dy : inside);
    }
}

void hp_smoothl1lossgrad_s(half *dy, half *dx1, half *x1, half *x2, int length, half beta, int core_mask)
{
    const struct hp_call call = {dy, dx1, x1, x2, beta};
    if (length > 0)
        run_on_cores(hp_core, &call, (size_t)length, core_mask);
}

void hp_smoothl1lossgrad_p(half *dy, half *dx1, half *x1, half *x2, int length, half beta)
{
    const struct hp_call call = {dy, dx1, x1, x2, beta};
    if (length > 0)
        hp_core(&call, 0, (size_t)length);
}

#endif
