//FT78NE示例
#include <stdio.h>
#include <nlllossgrad.h>

int main(int argc, char* argv[]) {
    float *logits       = (float *)0x10810000;   // L2空间
    float *loss_grad    = (float *)0x10820000;
    int   *labels       = (int *)0x10830000;
    float *weight       = (float *)0x10840000;
    float *total_weight = (float *)0x10850000;
    float *logits_grad  = (float *)0x10860000;

    int batch = 32;
    int class_num = 1000;
    int reduction_type = 2;  // None

    fp_nlllossgrad_p(logits, loss_grad, labels, weight, total_weight,
                     logits_grad, batch, class_num, reduction_type);
    return 0;
}
