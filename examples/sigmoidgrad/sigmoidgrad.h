/* The vendor's header: entry points of SigmoidGrad. */
#ifndef SIGMOIDGRAD_H
#define SIGMOIDGRAD_H

typedef _Float16 half;

void hp_sigmoidgrad_s(half *dy, half *y, half *dx, int length, int core_mask);
void hp_sigmoidgrad_p(half *dy, half *y, half *dx, int length);
void fp_sigmoidgrad_s(float *dy, float *y, float *dx, int length, int core_mask);
void fp_sigmoidgrad_p(float *dy, float *y, float *dx, int length);

#endif
