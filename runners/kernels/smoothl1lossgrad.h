/* SmoothL1LossGrad: the gradient of the smooth L1 loss, prototypes as on the vendor's page.
 *
 *   diff = x1 - x2
 *   dx1  = dy                 where diff > beta
 *          -dy                where diff < -beta
 *          (diff / beta) * dy where -beta <= diff <= beta, and NaN where an operand is NaN
 *
 * dy, x1, x2 (read) and dx1 (written) have `length` elements; nothing happens for length <= 0.
 * _s: shared storage, the work is divided among the cores whose bits are set in core_mask; a mask of zero
 * names no core, and nothing is computed. _p: private storage, one core does all of it.
 */
#ifndef SMOOTHL1LOSSGRAD_H
#define SMOOTHL1LOSSGRAD_H

#include "golden_half.h"

#ifdef __cplusplus
extern "C" {
#endif

void fp_smoothl1lossgrad_s(float *dy, float *dx1, float *x1, float *x2, int length, float beta, int core_mask);
void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta);

#ifdef GOLDEN_HAS_HALF
void hp_smoothl1lossgrad_s(half *dy, half *dx1, half *x1, half *x2, int length, half beta, int core_mask);
void hp_smoothl1lossgrad_p(half *dy, half *dx1, half *x1, half *x2, int length, half beta);
#endif

#ifdef __cplusplus
}
#endif

#endif
