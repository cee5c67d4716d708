/* Legal or not, one element at a time: the derived slack of golden/scaled_product.py, and proof 4 of judge.c. */
#ifndef GRADE_H
#define GRADE_H

#include "lanes.h"

/* Factors of y and the roundings of `a`, for elements that are to be graded. */
typedef struct {
    double a, b;
    int before, saturated;
} factors;

/* Whether the documented order's quotient a / s overflows: infinity, and 0 * infinity, will do then. */
inline_always int overflows(const picked *s, int i, const golden_job *job)
{
    const double a = fabs((double)s->second[i]);
    return a >= job->overflow && a < INFINITY;
}

inline_always factors factors_of(const picked *s, int i, const golden_job *job, format f, int smooth)
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

/* Slack of an order's last rounding (golden/scaled_product.py) with thresholds moved by `shift`. */
static void slack_of(const golden_job *job, factors k, double y, double shift, format f, double *documented,
                     double *legal)
{
    const double small = job->small * shift, r = fabs(job->reciprocal);
    const double quotient_term = !job->scales_exactly && k.a * r < small ? job->step * k.b : 0;
    const double product = k.a * k.b; /* exact, unless `a` is rounded anyway */
    const int rounds = k.before || compare(product, 0, f).golden != product;
    const double product_term = rounds && product < small ? job->step * r : 0;
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

/* y in double, as the vector loops have it. */
static double value_of(const picked *s, int i, const golden_job *job)
{
    const double x = (double)s->first[i], y = (double)s->second[i];
    if (!job->smooth)
        return -(x * y / job->divisor);
    const double d = y - (double)s->third[i], beta = job->divisor;
    return (d > beta ? beta : d < -beta ? -beta : d) * x / beta;
}

/* Decide one element to the end; 0: cannot be settled here, and counts nowhere yet. Its error is NaN if golden overflows:
 * then no grade depends on it. */
static int decide(const picked *s, int i, const golden_job *job, golden_tally *t, format f)
{
    const double q = value_of(s, i, job);
    const element e = compare(q, s->got[i], f);
    const int flip = !!signbit(q) != !!signbit(s->got[i]);
    const double along = flip ? -e.got : e.got, distance = fabs(s->error[i]);
    const factors k = factors_of(s, i, job, f, job->smooth);
    double least[2] = {0, 0}, most[2] = {0, 0};
    if (!job->rounded_once) {
        slack_of(job, k, e.magnitude, 1 - 0x1p-40, f, &least[0], &least[1]);
        slack_of(job, k, e.magnitude, 1 + 0x1p-40, f, &most[0], &most[1]);
    }
    const double need = needed(along, e.magnitude, f), room = e.ulp * (e.golden < f.over ? 0x1p-22 : 0x1p-18);
    const int infinite = !flip && e.got == f.over && overflows(s, i, job);
    int within[2];
    for (int order = 0; order < 2; order++) {
        if (infinite)
            within[order] = 1;
        else if (least[order] == 0 && most[order] == 0)
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
static int is_exact(const picked *s, int i, const golden_job *job)
{
    const double y = (double)s->second[i], z = (double)s->third[i], beta = job->divisor;
    const double d = y - z, back = d - y, lost = (y - (d - back)) + (-z - back);
    const double c = d > beta ? beta : d < -beta ? -beta : d;
    const double product = c * (double)s->first[i];
    const int saturated = fabs(c) == beta;
    const int products = fma(c, (double)s->first[i], -product) == 0 && fma(product / beta, beta, -product) == 0;
    return (saturated || lost == 0) && products;
}

#endif
