//FT78NE示例
#include <stdio.h>
#include <nlllossgrad.h>

int main(int argc, char* argv[]) {
    float *logits       = (float *)0xA0000000;   // [batch, class_num]
    float *loss_grad    = (float *)0xA0001000;   // 上游梯度
    int   *labels       = (int *)0xA0002000;     // [batch]
    float *weight       = (float *)0xA0003000;   // [class_num]
    float *total_weight = (float *)0xA0004000;
    float *logits_grad  = (float *)0xC0000000;

    int batch = 32;
    int class_num = 1000;
    int reduction_type = 1;  // Mean
    int core_mask = 0xff;

    fp_nlllossgrad_s(logits, loss_grad, labels, weight, total_weight,
                     logits_grad, batch, class_num, reduction_type, core_mask);
    return 0;
}
