/* Measures the quotients of a build in ulp of the exact quotient. Compiled by measure.py.
 *
 * SmoothL1LossGrad with dy = 1 and x2 = 0 returns x1 / beta, whatever its order, where |x1| <= beta: nothing else in
 * it rounds. So does its numerator over one divisor, one call a divisor. The error of a quotient q of a and b is
 * |q b - a| / b; of numbers of 24 bits this is right to double's last digits, which cancellation leaves exact.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef _Float16 half;
typedef void fp_entry(float *dy, float *dx1, float *x1, float *x2, int length, float beta);
typedef void hp_entry(half *dy, half *dx1, half *x1, half *x2, int length, half beta);

enum { ROOM = 4096 };

struct worst {
    double a, b, got, error;
};

struct measure {
    fp_entry *fp;
    hp_entry *hp;
    uint64_t quotients;
    /* The worst quotient; the largest error of a power of two as divisor, of
     * quotients that are not subnormal; of 1 / b times the mantissa of b. */
    struct worst worst, power, inverse;
    double above; /* the largest error of a quotient above the exact one */
};

static double ulp(double y, int is_half)
{
    const int least = is_half ? -14 : -126, exponent = y > 0 ? ilogb(y) : least;
    return ldexp(1, (exponent < least ? least : exponent) - (is_half ? 10 : 23));
}

static void divide(struct measure *m, const double *a, int count, double b)
{
    static double q[ROOM];
    if (m->hp) {
        static half one[ROOM], zero[ROOM], x[ROOM], out[ROOM];
        for (int i = 0; i < count; i++)
            one[i] = 1, x[i] = (half)a[i];
        m->hp(one, out, x, zero, count, (half)b);
        for (int i = 0; i < count; i++)
            q[i] = out[i];
    } else {
        static float one[ROOM], zero[ROOM], x[ROOM], out[ROOM];
        for (int i = 0; i < count; i++)
            one[i] = 1, x[i] = (float)a[i];
        m->fp(one, out, x, zero, count, (float)b);
        for (int i = 0; i < count; i++)
            q[i] = out[i];
    }
    int exponent;
    const double mantissa = 2 * frexp(b, &exponent);
    for (int i = 0; i < count; i++) {
        double error = fabs(q[i] * b - a[i]) / b / ulp(a[i] / b, m->hp != 0);
        if (error != error) /* a quotient that is NaN: no number hides it */
            error = HUGE_VAL;
        const struct worst found = {a[i], b, q[i], error};
        m->quotients++;
        if (q[i] * b > a[i] && error > m->above)
            m->above = error;
        if (error > m->worst.error)
            m->worst = found;
        if (mantissa == 1 && a[i] / b >= (m->hp ? 0x1p-14 : 0x1p-126) && error > m->power.error)
            m->power = found;
        /* b in [1, 2): 1 / b is in (0.5, 1], where an ulp is 2^-p; but 1 itself has one of 2^(1-p). */
        const double relative = error * mantissa * (mantissa == 1 ? 2 : 1);
        if (a[i] == 1 && exponent == 1 && relative > m->inverse.error)
            m->inverse = (struct worst){1, b, q[i], relative};
    }
}

/* Numerator of a mantissa that is not above the divisor. */
static double below(double a, double b)
{
    return a > b ? a / 2 : a;
}

void measure_start(struct measure *m, void *entry, int is_half)
{
    memset(m, 0, sizeof *m);
    if (is_half)
        m->hp = (hp_entry *)entry;
    else
        m->fp = (fp_entry *)entry;
}

/* Results of `count` elements of SmoothL1LossGrad that are all alike, with a core mask (0: of its private form). */
void measure_call(void *entry, int is_half, int mask, int count, double dy, double x1, double x2, double beta, double *out)
{
    static half h[4][ROOM];
    static float f[4][ROOM];
    for (int i = 0; i < count; i++) {
        f[0][i] = (float)dy, f[1][i] = 0, f[2][i] = (float)x1, f[3][i] = (float)x2;
        h[0][i] = (half)dy, h[1][i] = 0, h[2][i] = (half)x1, h[3][i] = (half)x2;
    }
    if (is_half && mask)
        ((void (*)(half *, half *, half *, half *, int, half, int))entry)(h[0], h[1], h[2], h[3], count, (half)beta, mask);
    else if (is_half)
        ((hp_entry *)entry)(h[0], h[1], h[2], h[3], count, (half)beta);
    else if (mask)
        ((void (*)(float *, float *, float *, float *, int, float, int))entry)(f[0], f[1], f[2], f[3], count, (float)beta, mask);
    else
        ((fp_entry *)entry)(f[0], f[1], f[2], f[3], count, (float)beta);
    for (int i = 0; i < count; i++)
        out[i] = is_half ? (double)h[1][i] : (double)f[1][i];
}

/* The result of NLLLossGrad for one element; private form. */
double measure_label(void *entry, int is_half, int reduction, double gradient, double weight, double total)
{
    half h[4] = {(half)gradient, (half)weight, (half)total, 0};
    float f[4] = {(float)gradient, (float)weight, (float)total, 0};
    int label = 0;
    typedef void hp_label(half *, half *, int *, half *, half *, half *, int, int, int);
    typedef void fp_label(float *, float *, int *, float *, float *, float *, int, int, int);
    if (is_half)
        ((hp_label *)entry)(h, h, &label, h + 1, h + 2, h + 3, 1, 1, reduction);
    else
        ((fp_label *)entry)(f, f, &label, f + 1, f + 2, f + 3, 1, 1, reduction);
    return is_half ? (double)h[3] : (double)f[3];
}

/* fp16: every pair of mantissas of `stride`; with a scale below 1 the numerator, and the quotient, is that smaller. */
void measure_pairs(struct measure *m, int stride, double scale_a, double scale_b)
{
    static double a[1024];
    for (int j = 0; j < 1024; j += stride) {
        const double b = 1 + j * 0x1p-10;
        for (int i = 0; i < 1024; i++)
            a[i] = below(1 + i * 0x1p-10, b) * scale_a;
        divide(m, a, 1024, b * scale_b);
    }
}

static uint64_t state;
static uint64_t drawn(void) /* splitmix64 */
{
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* fp32: `rows` drawn divisors, `count` drawn numerators each, half of them just below the divisor. */
void measure_drawn(struct measure *m, uint64_t seed, int rows, int count, double scale_a, double scale_b)
{
    static double a[ROOM];
    state = seed;
    for (int row = 0; row < rows; row++) {
        const double b = 1 + (double)(drawn() >> 41) * 0x1p-23;
        for (int i = 0; i < count; i++) {
            const uint64_t r = drawn();
            a[i] = below(1 + (double)(r >> 41) * 0x1p-23, b);
            if (r & 1)
                a[i] = (double)(float)(b * (1 - (double)(r >> 41) * 0x1p-29));
            a[i] *= scale_a;
        }
        divide(m, a, count, b * scale_b);
    }
}

/* fp32: mantissas of few ones or few zeros over each other. */
void measure_plain(struct measure *m)
{
    static double v[2048], a[2048];
    int n = 0;
    for (int i = 0; i < 256; i++)
        v[n++] = 1 + i * 0x1p-23, v[n++] = 2 - (i + 1) * 0x1p-23;
    for (int i = 0; i < 23; i++)
        for (int j = 0; j <= i; j++)
            v[n++] = 1 + ldexp(1, -1 - i) + (i == j ? 0 : ldexp(1, -1 - j)), v[n++] = 2 - ldexp(1, -1 - i) - ldexp(1, -23);
    for (int i = 0; i < n; i++) {
        if (v[i] >= 2)
            continue;
        int count = 0;
        for (int j = 0; j < n; j++)
            if (v[j] < 2)
                a[count++] = below(v[j], v[i]);
        divide(m, a, count, v[i]);
    }
}

/* 1 over every mantissa of `digits` digits, in steps of `stride`. */
void measure_inverses(struct measure *m, int digits, int stride, double scale_b)
{
    const double one = 1;
    for (int64_t i = 1ll << (digits - 1); i < 1ll << digits; i += stride)
        divide(m, &one, 1, ldexp((double)i, 1 - digits) * scale_b);
}

/* fp32: numerators whose quotients lie next to numbers and midpoints, for every divisor of `stride`.
 *
 * With integers A, B of 24 bits and an M of 25 bits, A / B = M / 2^(24 + s) + c / (2^(24 + s) B): odd M are midpoints,
 * even M numbers, and s = 0 if A >= B, else 1. For c up to `reach` on either side, all such A of an odd B, by the
 * inverse of B modulo 2^(24 + s). Of B = 2^k B', the same of B' with 2^k c'. And the three A below B. */
void measure_hard(struct measure *m, int first, int stride, int reach)
{
    static double a[ROOM];
    for (uint64_t B = (1u << 23) + (unsigned)first; B < 1u << 24; B += (unsigned)stride) {
        const int k = __builtin_ctzll(B);
        const uint64_t odd = B >> k;
        uint64_t inverse = odd; /* modulo 2^64, by Newton-Raphson steps: 3 digits, then 6, 12, ... */
        for (int i = 0; i < 5; i++)
            inverse *= 2 - odd * inverse;
        int count = 0;
        for (uint64_t A = B - 3; A < B; A++)
            if (A >= 1u << 23)
                a[count++] = (double)A * 0x1p-23;
        for (int s = 0; s < 2 && 1 << k <= reach; s++) {
            const uint64_t modulus = 1ull << (24 + s - k);
            for (int c = -(reach >> k); c <= reach >> k; c++) {
                uint64_t M = ((uint64_t)-(int64_t)c * inverse) & (modulus - 1);
                for (M += M < 1u << 24 ? ((1u << 24) - M + modulus - 1) / modulus * modulus : 0; M < 1u << 25; M += modulus) {
                    const uint64_t A = (M * odd + (uint64_t)(int64_t)c) >> (24 + s - k);
                    if (A >= 1u << 23 && A < 1u << 24 && (A < B) == s && count < ROOM)
                        a[count++] = below((double)A * 0x1p-23, (double)B * 0x1p-23);
                }
            }
        }
        if (count)
            divide(m, a, count, (double)B * 0x1p-23);
    }
}

/* fp32: every quotient a y with b abs(y - 1 / b) a / b above `above`, in ulp, where 1 / b says what y is: no other can
 * have a larger error than that and its rounding. Returns how many there are; beyond `limit`, none was measured. */
int64_t measure_largest(struct measure *m, double above, int64_t limit)
{
    static double a[ROOM];
    int64_t found = 0;
    for (int is_measured = 0; is_measured < 2 && found <= limit; is_measured++)
        for (uint64_t B = 1u << 23; B < 1u << 24; B++) {
            const double b = (double)B * 0x1p-23, one = 1;
            m->inverse.error = -1;
            divide(m, &one, 1, b);
            if (m->inverse.error <= above)
                continue;
            double least = b * above / m->inverse.error;
            if (!is_measured) {
                found += (int64_t)((b - least) * (least < 1 ? 0x1p24 : 0x1p23));
                continue;
            }
            int count = 0;
            for (double v = floor(least * 0x1p23) * 0x1p-23; v < b; v += v < 1 ? 0x1p-24 : 0x1p-23) {
                a[count++] = v;
                if (count == ROOM)
                    divide(m, a, count, b), count = 0;
            }
            if (count)
                divide(m, a, count, b);
        }
    return found;
}
