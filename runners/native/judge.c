/* The judge's hot loop: exact value, rounding, comparison, error in ulp and tally in one pass over cache-sized blocks.
 *
 * Computes y = a * b / s in double for SmoothL1LossGrad (a = clamp(x1 - x2), b = dy, s = beta) and NLLLossGrad (a = w,
 * b = g, s = total_weight or 1, negated), element by element, and tallies what runners/blocks.py tallies, bit for bit.
 * What it cannot settle beyond doubt it does not count: it returns the element's index, and NumPy's path settles it.
 * Written as plain loops that compilers turn into vector code; correct without -march, fast with it. Must not be
 * compiled with -ffast-math, and needs round to nearest and subnormals as the standard has them.
 *
 * Proofs. p is the format's precision, "ulp" the spacing 2^(max(floor(log2 y), emin) - p + 1) at y, all in double.
 *
 * 1. Rounding. c + M - M with M = 1.5 * 2^52 * ulp is c rounded to a multiple of ulp, ties to even: the sum lies in
 *    [2^52, 2^53) * ulp, where doubles are the multiples of ulp, and 1.5 * 2^52 is even. That is rounding to the
 *    format, subnormals included, and c minus the result is exact.
 * 2. Quotient. q0 = P * (1/s) is within 2 double ulps of P/s; P - q0 * s by a fused multiply-add has a relative error
 *    of 2^-53; so q0 + (P - q0 * s) * (1/s) differs from P/s by less than 2^-49 double ulp before its one rounding. s
 *    has 24 bits at most: P/s is a double's midpoint only if s is a power of two (and then q0 is exact), else at
 *    least 2^-25 ulp from one. Hence the result is the correctly rounded quotient, the one that a division gives. Zeros
 *    and non-finite numbers keep q0, which is right for them. Nothing underflows: all is within 2^+-600.
 * 3. Correct rounding. fp16, and products and quotients of NLLLossGrad: golden/operators proves that one rounding of
 *    the double q is the correctly rounded result. fp32 SmoothL1LossGrad: q has a relative error of 3.01 * 2^-53, that is
 *    2^-27 ulp. Ziv's test in golden/rounding.py takes 2^-50, 2^-26 ulp; here elements within 2^-25 ulp of a midpoint
 *    are handed back, unless difference, product and quotient are all exact, which makes q the exact value.
 * 4. Legal or not. With need = max(m- - y, y - m+), m-+ the midpoints around the result, the interval test of
 *    golden/judge.py asks slack >= need but for ties and for its widening by 2^-24 ulp. Its exact value differs from
 *    q by 2^-25 ulp at most, and its float64 evaluation of the slack from this one by a relative 2^-45. So
 *    slack * (1 - 2^-40) - 2^-22 ulp >= need proves the result legal, slack * (1 + 2^-40) + 2^-22 ulp < need proves that it
 *    is not, and anything between is handed back. The conditions "an intermediate is below N (1 + u)^3" are evaluated
 *    with thresholds moved by 2^-40 either way.
 * 5. The quick test in accept() uses a smaller slack (no absolute terms but the documented one) and smaller half
 *    spacings (m- <= result - ulp/2 above y, m+ >= result + ulp/2 in y's binade, m+ >= result below it): sufficient.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__F16C__)
#include <immintrin.h>
#endif

#define BLOCK 2048
#define BINS 256

typedef struct {
    /* How the operator uses its operands; see runners/native.py. Strides are 0 (one number for all) or 1. */
    int64_t count;
    const void *first, *second, *third; /* SmoothL1: dy, x1, x2; NLL: g, w, unused */
    int64_t stride_first, stride_second, stride_third;
    const void *output;
    double divisor;        /* beta, total_weight, or 1 */
    double documented[2];  /* relative slack of the documented order, by roundings before */
    double legal[2];       /* of the widest legal order */
    double legal_small[2]; /* the same where y < small */
    double small;          /* N (1 + u)^3 */
    double step;           /* (1 + u)^3 eta / 2 */
    int32_t is_power;      /* the divisor is a power of two */
    int32_t scales_exactly; /* and not above 1 */
    int32_t fp32, smooth, rounded_once, flush;
} golden_job;

typedef struct {
    int64_t measured, misrounded, failures, nan, infinity, overflow, zero, zero_sign, faithful, formula, legal;
    int64_t total, bias;
    int64_t first_failure, worst; /* positions, -1: none */
    int64_t handed_back;
    float largest;
    int32_t unused;
    int64_t histogram[BINS];
} golden_tally;

/* What the loops leave for each other about one block. */
typedef struct {
    float first[BLOCK], second[BLOCK], third[BLOCK], got[BLOCK];
    double q[BLOCK];
    float error[BLOCK];  /* signed, in ulp; NaN: not measured */
    uint32_t code[BLOCK];
    uint8_t bin[BLOCK];
} scratch;

enum { SETTLED = 0, GRADE = 1, SPECIAL = 2, UNSURE = 3, ZERO_SIGN = 4, REST = 5 };

typedef struct {
    int p, emin, emax;
    uint64_t least; /* exponent field of 2^emin */
    double over, large;
} format;

static inline uint64_t bits_of(double x)
{
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static inline double double_of(uint64_t b)
{
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static inline uint32_t fbits_of(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static inline float float_of(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

#define EXPONENT 0x7ff0000000000000u
#define inline_always static inline __attribute__((always_inline))

inline_always format format_of(int fp32)
{
    return fp32 ? (format){24, -126, 127, (uint64_t)(1023 - 126) << 52, 0x1p128, 0x1p129}
                : (format){11, -14, 15, (uint64_t)(1023 - 14) << 52, 0x1p16, 0x1p17};
}

/* Numbers of a block as floats; exact for both formats. */
static void widen(float *to, const void *from, int64_t at, int64_t stride, int n, int fp32)
{
    if (fp32) {
        const float *source = (const float *)from + at * stride;
        if (stride)
            memcpy(to, source, sizeof(float) * (size_t)n);
        else
            for (int i = 0; i < n; i++)
                to[i] = *source;
        return;
    }
    const uint16_t *source = (const uint16_t *)from + at * stride;
    int i = 0;
#if defined(__AVX512F__)
    if (stride)
        for (; i + 16 <= n; i += 16)
            _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(source + i))));
#elif defined(__F16C__)
    if (stride)
        for (; i + 8 <= n; i += 8)
            _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(source + i))));
#endif
    for (; i < n; i++) {
        const uint32_t h = source[i * stride], magnitude = h & 0x7fff;
        /* Exponent rebiased by a multiplication, which normalises subnormals; infinities and NaNs keep theirs. */
        const float scaled = float_of(magnitude << 13) * 0x1p112f;
        const uint32_t word = magnitude >= 0x7c00 ? 0x7f800000u | magnitude << 13 : fbits_of(scaled);
        to[i] = float_of(word | (h & 0x8000) << 16);
    }
}

inline_always double quotient(double product, double divisor, double reciprocal)
{
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    const double q0 = product * reciprocal;
    const double q1 = __builtin_fma(__builtin_fma(-q0, divisor, product), reciprocal, q0);
    const double magnitude = fabs(q0);
    return magnitude > 0 && magnitude < INFINITY ? q1 : q0; /* proof 2 */
#else
    (void)reciprocal;
    return product / divisor;
#endif
}

static void smooth_values(scratch *s, int n, double beta)
{
    const double reciprocal = 1.0 / beta;
    for (int i = 0; i < n; i++) {
        const double d = (double)s->second[i] - (double)s->third[i];
        double c = d > beta ? beta : d; /* NaN fails both comparisons and stays */
        c = c < -beta ? -beta : c;
        s->q[i] = quotient(c * (double)s->first[i], beta, reciprocal);
    }
}

static void product_values(scratch *s, int n, double divisor, int divide)
{
    if (!divide) {
        for (int i = 0; i < n; i++)
            s->q[i] = -((double)s->first[i] * (double)s->second[i]);
        return;
    }
    const double reciprocal = 1.0 / divisor;
    for (int i = 0; i < n; i++)
        s->q[i] = -quotient((double)s->first[i] * (double)s->second[i], divisor, reciprocal);
}

/* Golden value, residual and comparison of one element; proof 1. */
typedef struct {
    double magnitude, golden, inverse, ulp, residual, got;
} element;

inline_always element compare(double q, float output, format f)
{
    element e;
    const double magnitude = fabs(q), wide = fabs((double)output);
    e.magnitude = magnitude < f.large ? magnitude : f.large; /* NaN and infinity too: they are flagged elsewhere */
    const uint64_t exponent = bits_of(e.magnitude) & EXPONENT;
    const uint64_t field = exponent > f.least ? exponent : f.least;
    const double magic = double_of(field + ((uint64_t)(53 - f.p) << 52) + (1ull << 51));
    const double rounded = (e.magnitude + magic) - magic;
    e.inverse = double_of(((uint64_t)(2046 + f.p - 1) << 52) - field);
    e.ulp = double_of(field - ((uint64_t)(f.p - 1) << 52));
    e.residual = (e.magnitude - rounded) * e.inverse;
    e.golden = rounded < f.over ? rounded : f.over;
    e.got = wide < f.over ? wide : f.over; /* an infinity counts as 2^(emax + 1) */
    return e;
}

/* The residual as a float, at least 2^-126 unless zero, as golden/rounding.py stores it. */
inline_always float stored(double residual)
{
    const double magnitude = fabs(residual);
    const double held = magnitude > 0x1p-126 ? magnitude : 0x1p-126;
    return (float)copysign(magnitude == 0 ? 0 : held, residual);
}

/* First look at a block: settles what has golden's bits. Returns the union of the codes. */
inline_always uint32_t look(scratch *s, int n, int fp32, int ziv)
{
    const format f = format_of(fp32);
    uint32_t seen = 0;
    for (int i = 0; i < n; i++) {
        const double q = s->q[i];
        const float output = s->got[i];
        const element e = compare(q, output, f);
        const uint64_t qbits = bits_of(q);
        const uint64_t flip = (qbits ^ bits_of((double)output)) >> 63;
        const uint64_t q_nan = q != q, got_nan = output != output;
        const uint64_t same = (e.got == e.golden) & !(q_nan | got_nan);
        const uint64_t zero = e.golden == 0;
        const uint64_t real = (e.magnitude > 0) & (e.golden < f.over) & !q_nan;
        const uint64_t agrees = (same & ((flip == 0) | zero)) | (q_nan & got_nan);
        const uint64_t near = ziv ? (fabs(fabs(e.residual) - 0.5) <= 0x1p-25) & (e.magnitude < f.large) : 0;
        const float r = stored(e.residual);
        const float along = float_of(fbits_of(r) ^ 0x80000000u ^ (uint32_t)(qbits >> 32 & 0x80000000u));
        uint64_t code = agrees ? (same & flip & zero ? ZERO_SIGN : SETTLED) : real & !got_nan ? GRADE : SPECIAL;
        code = near ? UNSURE : code;
        s->error[i] = agrees & real & !near ? along : NAN;
        s->code[i] = (uint32_t)code;
        seen |= (uint32_t)code;
    }
    return seen;
}

/* Factors of y and the roundings of `a`, for elements that are to be graded. */
typedef struct {
    double a, b;
    int before, saturated;
} factors;

inline_always factors factors_of(const scratch *s, int i, const golden_job *job, format f, int smooth)
{
    const double x = (double)s->first[i], y = (double)s->second[i];
    if (!smooth)
        return (factors){fabs(y), fabs(x), 0, 0};
    const double z = (double)s->third[i], d = y - z, beta = job->divisor, magnitude = fabs(d);
    const double back = d - y, lost = (y - (d - back)) + (-z - back); /* TwoSum */
    const element rounded = compare(d, 0, f);
    const int saturated = magnitude >= beta;
    const int rounds = !((lost == 0) & (rounded.golden == magnitude));
    return (factors){magnitude < beta ? magnitude : beta, fabs(x), rounds & !saturated, saturated};
}

/* Error and quick test (proof 5) of the elements to grade; what it cannot accept becomes REST. */
inline_always void accept(scratch *s, int n, const golden_job *job, golden_tally *t, int fp32, int smooth)
{
    const format f = format_of(fp32);
    const double threshold = job->scales_exactly ? 0 : job->small * job->divisor * (1 - 0x1p-40);
    const double step = job->step, none = job->documented[0], one = job->documented[1];
    int64_t graded = 0, faithful = 0, formula = 0;
    for (int i = 0; i < n; i++) {
        const double q = s->q[i];
        const float output = s->got[i];
        const element e = compare(q, output, f);
        const uint64_t qbits = bits_of(q);
        const uint64_t flip = (qbits ^ bits_of((double)output)) & (1ull << 63);
        const double along = double_of(bits_of(e.got) | flip);
        const double exact = e.golden + (double)stored(e.residual) * e.ulp;
        const double error = (along - exact) * e.inverse, distance = fabs(error);
        const factors k = factors_of(s, i, job, f, smooth);
        double slack = e.magnitude * (k.before ? one : none) + (k.a < threshold ? step * k.b : 0);
        slack = k.saturated ? 0 : slack;
        const double base = double_of(bits_of(e.magnitude) & EXPONENT);
        const double half = along >= base ? 0.5 : 0.0;
        const int64_t wanted = s->code[i] == GRADE;
        const int64_t within = distance - half <= slack * e.inverse * (1 - 0x1p-40) - 0x1p-22;
        const int64_t below = distance < 1;
        const double held = distance < 0x1p127 ? distance : 0x1p127;
        const double oriented = double_of(bits_of(held) | ((bits_of(error) ^ qbits) & (1ull << 63)));
        s->error[i] = wanted ? (float)oriented : s->error[i];
        s->code[i] = wanted & !within ? REST : s->code[i];
        graded += wanted;
        faithful += wanted & within & below;
        formula += wanted & within & !below;
    }
    t->misrounded += graded;
    t->faithful += faithful;
    t->formula += formula;
}

/* Slack of an order's last rounding (golden/scaled_product.py) with thresholds moved by `shift`. */
static void slack_of(const golden_job *job, factors k, double y, double shift, double *documented, double *legal)
{
    const double small = job->small * shift, r = 1.0 / fabs(job->divisor);
    const double quotient_term = !job->scales_exactly && k.a * r < small ? job->step * k.b : 0;
    const double product_term = k.a * k.b < small ? job->step * r : 0;
    const double scaled_term = !job->scales_exactly && k.b * r < small ? job->step * k.a : 0;
    const double inverse_term = r < small ? job->step * (k.a * k.b) : 0;
    const double rest = fmax(fmax(quotient_term, product_term), scaled_term) + inverse_term;
    const double widest = (y < small ? job->legal_small : job->legal)[k.before];
    *documented = y * job->documented[k.before] + quotient_term;
    *legal = fmax(*documented, y * widest + rest);
    if (k.saturated)
        *documented = 0;
}

/* Slack that a result asks for (proof 4): from y to the nearer midpoint beside the result. */
static double needed(double along, double y, format f)
{
    const double magnitude = fabs(along);
    double below, above;
    if (magnitude == 0) {
        above = ldexp(1.0, f.emin - f.p);
        below = -above;
    } else {
        int exponent;
        const double fraction = frexp(magnitude, &exponent);
        exponent = exponent - 1 > f.emin ? exponent - 1 : f.emin;
        const double half = ldexp(1.0, exponent - f.p);
        below = magnitude - (fraction == 0.5 && exponent > f.emin ? half / 2 : half);
        above = magnitude >= f.over ? INFINITY : magnitude + half;
    }
    return along < 0 ? fmax(-above - y, y + below) : fmax(below - y, y - above);
}

/* Decide one element to the end; 0: cannot be settled here, and counts nowhere yet. */
static int decide(const scratch *s, int i, const golden_job *job, golden_tally *t, format f)
{
    const element e = compare(s->q[i], s->got[i], f);
    const int flip = signbit(s->q[i]) != signbit(s->got[i]);
    const double along = flip ? -e.got : e.got, distance = fabs(s->error[i]);
    const factors k = factors_of(s, i, job, f, job->smooth);
    double least[2] = {0, 0}, most[2] = {0, 0};
    if (!job->rounded_once) {
        slack_of(job, k, e.magnitude, 1 - 0x1p-40, &least[0], &least[1]);
        slack_of(job, k, e.magnitude, 1 + 0x1p-40, &most[0], &most[1]);
    }
    const double need = needed(along, e.magnitude, f), room = e.ulp * 0x1p-22;
    int within[2];
    for (int order = 0; order < 2; order++) {
        if (least[order] == 0 && most[order] == 0)
            within[order] = 0; /* no slack: only golden's bits will do, and these differ */
        else if (least[order] * (1 - 0x1p-40) - room >= need)
            within[order] = 1;
        else if (most[order] * (1 + 0x1p-40) + room < need)
            within[order] = 0;
        else
            return 0;
        if (!within[order] && job->flush)
            return 0; /* flushing allows more */
    }
    /* The error is held as a float: next to 1 that does not say on which side it is. */
    if (within[1] && distance > 1 - 0x1p-20 && distance < 1 + 0x1p-20)
        return 0;
    if (!within[1])
        t->failures++;
    else if (distance < 1)
        t->faithful++;
    else if (within[0])
        t->formula++;
    else
        t->legal++;
    return within[1] ? 1 : 2;
}

/* fp32 SmoothL1: the double evaluation is exact, so that an apparent tie is one (proof 3). */
static int is_exact(const scratch *s, int i, const golden_job *job)
{
    const double y = (double)s->second[i], z = (double)s->third[i], beta = job->divisor;
    const double d = y - z, back = d - y, lost = (y - (d - back)) + (-z - back);
    const double c = d > beta ? beta : d < -beta ? -beta : d;
    const double product = c * (double)s->first[i];
    const int saturated = fabs(c) == beta;
    return (saturated || lost == 0) && fma(c, (double)s->first[i], -product) == 0 && fma(s->q[i], beta, -product) == 0;
}

/* The elements that the loops left over, one by one. */
static void leftovers(scratch *s, int n, int64_t at, const golden_job *job, golden_tally *t, uint32_t *back)
{
    const format f = format_of(job->fp32);
    for (int i = 0; i < n; i++) {
        const uint32_t code = s->code[i];
        int failed = 0, returned = 0;
        if (code == SETTLED || code == GRADE)
            continue;
        const double q = s->q[i];
        const float output = s->got[i];
        const element e = compare(q, output, f);
        if (code == ZERO_SIGN) {
            t->zero_sign++;
        } else if (code == UNSURE) {
            returned = 1;
        } else if (code == REST) {
            const int decision = decide(s, i, job, t, f);
            returned = decision == 0;
            failed = decision == 2;
            if (returned)
                t->misrounded--;
        } else if (q != q || output != output) {
            t->nan++;
            t->misrounded++;
            failed = 1;
        } else if (e.magnitude == 0) {
            t->zero++;
            t->misrounded++;
            failed = 1;
        } else if (fabs(q) == INFINITY) {
            t->infinity++;
            t->misrounded++;
            failed = 1;
        } else {
            returned = 1; /* beyond the range: the interval test knows the far end */
        }
        if (code == REST && !returned) {
            t->zero += e.got == 0;
            t->overflow += e.got == f.over;
        }
        if (returned) {
            s->error[i] = NAN;
            back[t->handed_back++] = (uint32_t)(at + i);
        }
        t->failures += failed && code != REST;
        if (failed && t->first_failure < 0)
            t->first_failure = at + i;
    }
}

/* Graded elements that the quick test has accepted: zeros and infinities among them have a kind. */
inline_always void kinds(const scratch *s, int n, golden_tally *t)
{
    int64_t zero = 0, overflow = 0;
    for (int i = 0; i < n; i++) {
        const float magnitude = fabsf(s->got[i]);
        zero += s->code[i] == GRADE && magnitude == 0;
        overflow += s->code[i] == GRADE && magnitude == INFINITY;
    }
    t->zero += zero;
    t->overflow += overflow;
}

/* Histogram bins, sums and maximum of a block's errors. Sums are of whole 2^-22 ulp: any order gives the same. */
static void count(scratch *s, int n, int64_t at, golden_tally *t, uint32_t table[8][BINS])
{
    int64_t measured = 0, total = 0, bias = 0;
    uint32_t largest = 0;
    for (int i = 0; i < n; i++) {
        const uint32_t word = fbits_of(s->error[i]), magnitude = word & 0x7fffffffu;
        const uint32_t is = magnitude <= 0x7f800000u;
        const float distance = float_of(is ? magnitude : 0);
        const int32_t fine = (int32_t)((distance < 4 ? distance : 4) * 32);
        const int32_t octave = (int32_t)(magnitude >> 23) - 127 - 2 + 128;
        s->bin[i] = (uint8_t)(is ? distance < 4 ? fine : octave : 255);
        const double capped = (double)(distance < 65536.0f ? distance : 65536.0f) * 0x1p22;
        const int64_t units = (int64_t)(bits_of(capped + 0x1.8p52) - bits_of(0x1.8p52));
        measured += is;
        total += units;
        bias += word >> 31 ? -units : units;
        largest = (is ? magnitude : 0) > largest ? magnitude : largest;
    }
    t->measured += measured;
    t->total += total;
    t->bias += bias;
    if (largest > fbits_of(t->largest)) {
        t->largest = float_of(largest);
        for (int i = 0; i < n; i++)
            if ((fbits_of(s->error[i]) & 0x7fffffffu) == largest) {
                t->worst = at + i;
                break;
            }
    }
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t eight;
        memcpy(&eight, s->bin + i, 8);
        for (int j = 0; j < 8; j++)
            table[j][eight >> 8 * j & 255]++;
    }
    for (; i < n; i++)
        table[0][s->bin[i]]++;
}

inline_always void judge(const golden_job *job, golden_tally *t, uint32_t *back, int fp32, int smooth)
{
    static _Thread_local scratch s;
    uint32_t table[8][BINS];
    memset(table, 0, sizeof table);
    for (int64_t at = 0; at < job->count; at += BLOCK) {
        const int n = job->count - at < BLOCK ? (int)(job->count - at) : BLOCK;
        if (job->stride_first || at == 0)
            widen(s.first, job->first, at, job->stride_first, job->stride_first ? n : BLOCK, fp32);
        if (job->stride_second || at == 0)
            widen(s.second, job->second, at, job->stride_second, job->stride_second ? n : BLOCK, fp32);
        if (smooth && (job->stride_third || at == 0))
            widen(s.third, job->third, at, job->stride_third, job->stride_third ? n : BLOCK, fp32);
        widen(s.got, job->output, at, 1, n, fp32);
        if (smooth)
            smooth_values(&s, n, job->divisor);
        else
            product_values(&s, n, job->divisor, !job->rounded_once);
        uint32_t seen = look(&s, n, fp32, fp32 && smooth);
        if (fp32 && smooth && (seen & 2)) {
            int settled = 0;
            for (int i = 0; i < n; i++)
                settled += s.code[i] == UNSURE && is_exact(&s, i, job);
            if (settled) {
                /* Look again without Ziv's test, then put the doubt back where it belongs. */
                static _Thread_local uint8_t unsure[BLOCK];
                for (int i = 0; i < n; i++)
                    unsure[i] = s.code[i] == UNSURE && !is_exact(&s, i, job);
                seen = look(&s, n, fp32, 0);
                for (int i = 0; i < n; i++)
                    if (unsure[i]) {
                        s.code[i] = UNSURE;
                        s.error[i] = NAN;
                        seen |= UNSURE;
                    }
            }
        }
        if (seen & 1) {
            accept(&s, n, job, t, fp32, smooth);
            kinds(&s, n, t);
        }
        if (seen)
            leftovers(&s, n, at, job, t, back);
        count(&s, n, at, t, table);
    }
    for (int j = 0; j < 8; j++)
        for (int b = 0; b < BINS; b++)
            t->histogram[b] += table[j][b];
}

void golden_judge(const golden_job *job, golden_tally *tally, uint32_t *handed_back)
{
    memset(tally, 0, sizeof *tally);
    tally->first_failure = tally->worst = -1;
    if (job->fp32 && job->smooth)
        judge(job, tally, handed_back, 1, 1);
    else if (job->fp32)
        judge(job, tally, handed_back, 1, 0);
    else if (job->smooth)
        judge(job, tally, handed_back, 0, 1);
    else
        judge(job, tally, handed_back, 0, 0);
}
