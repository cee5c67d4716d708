//MT7004示例
#include <stdio.h>
#include <smoothl1lossgrad.h>

int main(int argc, char* argv[]) {
    // 假设在L2空间
    float *dy = (float *)0x10000000;   // 上游梯度
    float *x1 = (float *)0x10001000;   // 预测值
    float *x2 = (float *)0x10002000;   // 目标值
    float *dx1 = (float *)0x10003000;   // 输出梯度(对 x1 的梯度)

    int length = 1000;
    float beta = 1.0f;  // 平滑参数

    fp_smoothl1lossgrad_p(dy, dx1, x1, x2, length, beta);
    return 0;
}
