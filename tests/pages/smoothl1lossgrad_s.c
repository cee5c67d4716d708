//MT7004示例
#include <stdio.h>
#include <smoothl1lossgrad.h>

int main(int argc, char* argv[]) {
    // 假设在DDR空间
    float *dy = (float *)0xA0000000;   // 上游梯度
    float *x1 = (float *)0xA1000000;   // 预测值
    float *x2 = (float *)0xA2000000;   // 目标值
    float *dx1 = (float *)0xB0000000;  // 输出梯度(对 x1 的梯度)

    int length = 1000;
    float beta = 1.0f;  // 平滑参数
    int core_mask = 0xff;

    fp_smoothl1lossgrad_s(dy, dx1, x1, x2, length, beta, core_mask);
    return 0;
}
