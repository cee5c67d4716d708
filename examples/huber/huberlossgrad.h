/* The vendor's header: entry points of HuberLossGrad. */
#ifndef HUBERLOSSGRAD_H
#define HUBERLOSSGRAD_H

typedef _Float16 half;

void hp_huberlossgrad_s(half *dy, half *dx1, half *x1, half *x2, int length, half delta, int core_mask);
void hp_huberlossgrad_p(half *dy, half *dx1, half *x1, half *x2, int length, half delta);

#endif
