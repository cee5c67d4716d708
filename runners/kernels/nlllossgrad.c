/* NLLLossGrad in portable C: the page's formula in the page's order. See nlllossgrad.h.
 *
 * A core owns whole rows: it fills them with zeros, then writes one element of each. Nothing is read that the
 * reduction does not use: loss_grad beyond its first element and total_weight may not even be there.
 */
#include "nlllossgrad.h"

#include <string.h>

#include "cores.h"

#ifdef GOLDEN_REDUCTION_NONE_SUM_MEAN
enum reduction { NONE, SUM, MEAN };
#else
enum reduction { SUM, MEAN, NONE };
#endif

static int is_valid(int batch, int class_num, int reduction_type)
{
    return batch > 0 && class_num > 0 &&
           (reduction_type == SUM || reduction_type == MEAN || reduction_type == NONE);
}

struct fp_call {
    const float *loss_grad;
    const int *labels;
    const float *weight, *total_weight;
    float *logits_grad;
    size_t class_num;
    int reduction_type;
};

static void fp_core(const void *argument, size_t begin, size_t end)
{
    const struct fp_call call = *(const struct fp_call *)argument;
    memset(call.logits_grad + begin * call.class_num, 0, (end - begin) * call.class_num * sizeof(float));
    for (size_t i = begin; i < end; i++) {
        const int label = call.labels[i];
        if (label < 0 || (size_t)label >= call.class_num)
            continue;
        const float gradient = call.loss_grad[call.reduction_type == NONE ? i : 0];
        float factor = call.weight[label];
        if (call.reduction_type == MEAN)
            factor = factor / call.total_weight[0];
        call.logits_grad[i * call.class_num + (size_t)label] = -gradient * factor;
    }
}

void fp_nlllossgrad_s(float *logits, float *loss_grad, int *labels, float *weight, float *total_weight,
                      float *logits_grad, int batch, int class_num, int reduction_type, int core_mask)
{
    const struct fp_call call = {loss_grad,   labels,           weight,        total_weight,
                                 logits_grad, (size_t)class_num, reduction_type};
    (void)logits;
    if (is_valid(batch, class_num, reduction_type))
        run_on_cores(fp_core, &call, (size_t)batch, core_mask);
}

void fp_nlllossgrad_p(float *logits, float *loss_grad, int *labels, float *weight, float *total_weight,
                      float *logits_grad, int batch, int class_num, int reduction_type)
{
    const struct fp_call call = {loss_grad,   labels,           weight,        total_weight,
                                 logits_grad, (size_t)class_num, reduction_type};
    (void)logits;
    if (is_valid(batch, class_num, reduction_type))
        fp_core(&call, 0, (size_t)batch);
}

#ifndef GOLDEN_FP32_ONLY

#include "half_arithmetic.h"

struct hp_call {
    const half *loss_grad;
    const int *labels;
    const half *weight, *total_weight;
    half *logits_grad;
    size_t class_num;
    int reduction_type;
};

static void hp_core(const void *argument, size_t begin, size_t end)
{
    const struct hp_call call = *(const struct hp_call *)argument;
    memset(call.logits_grad + begin * call.class_num, 0, (end - begin) * call.class_num * sizeof(half));
    for (size_t i = begin; i < end; i++) {
        const int label = call.labels[i];
        if (label < 0 || (size_t)label >= call.class_num)
            continue;
        const float gradient = from_half(call.loss_grad[call.reduction_type == NONE ? i : 0]);
        float factor = from_half(call.weight[label]);
        if (call.reduction_type == MEAN)
            factor = round_to_half(factor / from_half(call.total_weight[0]));
        call.logits_grad[i * call.class_num + (size_t)label] = to_half(-gradient * factor);
    }
}

void hp_nlllossgrad_s(half *logits, half *loss_grad, int *labels, half *weight, half *total_weight,
                      half *logits_grad, int batch, int class_num, int reduction_type, int core_mask)
{
    const struct hp_call call = {loss_grad,   labels,           weight,        total_weight,
                                 logits_grad, (size_t)class_num, reduction_type};
    (void)logits;
    if (is_valid(batch, class_num, reduction_type))
        run_on_cores(hp_core, &call, (size_t)batch, core_mask);
}

void hp_nlllossgrad_p(half *logits, half *loss_grad, int *labels, half *weight, half *total_weight,
                      half *logits_grad, int batch, int class_num, int reduction_type)
{
    const struct hp_call call = {loss_grad,   labels,           weight,        total_weight,
                                 logits_grad, (size_t)class_num, reduction_type};
    (void)logits;
    if (is_valid(batch, class_num, reduction_type))
        hp_core(&call, 0, (size_t)batch);
}

#endif
