/* The vendor's header: entry points of SubExt. */
#ifndef SUBEXT_H
#define SUBEXT_H

typedef _Float16 half;

void hp_subext_s(half *input0, half *input1, half *output, int length, half alpha, int core_mask);
void hp_subext_p(half *input0, half *input1, half *output, int length, half alpha);
void fp_subext_s(float *input0, float *input1, float *output, int length, float alpha, int core_mask);
void fp_subext_p(float *input0, float *input1, float *output, int length, float alpha);

#endif
