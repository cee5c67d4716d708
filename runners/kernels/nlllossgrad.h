/* NLLLossGrad: the gradient of the negative log likelihood loss, prototypes as on the vendor's page.
 *
 * logits_grad[i][j] is 0 except at j = labels[i], where it is
 *
 *   none   -loss_grad[i] * weight[j]
 *   sum    -loss_grad[0] * weight[j]
 *   mean   -(loss_grad[0] * (weight[j] / total_weight[0]))
 *
 * Shapes: logits_grad [batch, class_num] (written), labels [batch], weight [class_num], loss_grad [batch] for
 * none, else one element. total_weight is read for mean only; logits is never read.
 * reduction_type: 0 sum, 1 mean, 2 none; built with -DGOLDEN_REDUCTION_NONE_SUM_MEAN: 0 none, 1 sum, 2 mean.
 * Nothing happens for batch <= 0, class_num <= 0 or another reduction_type; a label outside [0, class_num) leaves
 * its row zero.
 * _s: shared storage, the rows are divided among the cores whose bits are set in core_mask; a mask of zero
 * names no core, and nothing is computed. _p: private storage, one core does all of it.
 */
#ifndef NLLLOSSGRAD_H
#define NLLLOSSGRAD_H

#include "golden_half.h"

#ifdef __cplusplus
extern "C" {
#endif

void fp_nlllossgrad_s(float *logits, float *loss_grad, int *labels, float *weight, float *total_weight,
                      float *logits_grad, int batch, int class_num, int reduction_type, int core_mask);
void fp_nlllossgrad_p(float *logits, float *loss_grad, int *labels, float *weight, float *total_weight,
                      float *logits_grad, int batch, int class_num, int reduction_type);

#ifdef GOLDEN_HAS_HALF
void hp_nlllossgrad_s(half *logits, half *loss_grad, int *labels, half *weight, half *total_weight,
                      half *logits_grad, int batch, int class_num, int reduction_type, int core_mask);
void hp_nlllossgrad_p(half *logits, half *loss_grad, int *labels, half *weight, half *total_weight,
                      half *logits_grad, int batch, int class_num, int reduction_type);
#endif

#ifdef __cplusplus
}
#endif

#endif
