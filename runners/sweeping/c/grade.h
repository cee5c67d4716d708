/* The second stage: grades what the first one leaves, by the legal set that traced code gives (runners/sweeping/trace.py).
 *
 * 4. Errors are computed as golden/judge.py does, from the residual as a float; members of the legal set are so bit by
 *    bit, since the traced code is golden's own. Where it does not follow everything (`open`), elements are graded if
 *    that cannot change the grade: more parts make nothing illegal. Handed back is what is left, where the exact
 *    value is no number, where golden overflows, and where the exact value is not known well enough.
 */
#ifndef GRADE_H
#define GRADE_H

#include "screen.h"

/* Numbers of elements. */
typedef struct {
    int64_t all, failing, faithful, formula, legal, nan, zero, infinite, zero_sign;
} grades;

inline_always int count_of(uint32_t lanes)
{
    return __builtin_popcount(lanes);
}

/* Grade elements; lists those that are left and returns their number. `page`: by the page's order alone, and only what
 * this makes certain. Otherwise `decided` is called for each vector, with what fails and what is to be handed back. */
typedef struct {
    uint32_t failing, back;
} undone;

inline_always undone grade_vector(picked *s, int i, const golden_job *job, int power, int page, grades *g, uint32_t *done)
{
    const format f = format_of(FP32);
    const uint32_t inside = s->n - i < LANES ? (1u << (s->n - i)) - 1 : ALL;
    const doubles output = load(s->got + i);
    uint32_t open;
    const doubles q = values_of(s, i, job, power, &open);
    const elements e = compare_lanes(q, output, f);
    const words sign = (words)q & SIGN;
    const uint32_t q_nan = IS_NAN(q), got_nan = IS_NAN(output), flip = NEGATIVE((words)q ^ (words)output);
    const uint32_t same = EQUAL(e.got, e.golden) & ~(q_nan | got_nan), zero = EQUAL(e.golden, splat(0));
    const uint32_t known = LESS(e.golden, splat(f.over)) & ~q_nan, nothing = EQUAL(e.magnitude, splat(0));
    const uint32_t agrees = (same & (~flip | zero)) | (q_nan & got_nan), certain = inside & ~open;
    const uint32_t graded = ~agrees & known & certain, measured = graded & ~nothing & ~got_nan;

    const doubles along = (doubles)((words)e.got | (((words)q ^ (words)output) & SIGN));
    const doubles error = (along - (e.golden + as_floats(e.held) * e.ulp)) * e.inverse;
    const uint32_t near = LESS(magnitude_of(error), splat(1)) & measured;
    uint32_t in_page, in_any, page_open = 0, any_open = 0;
    if (page) {
        const page_members_result m = page_members(VARIABLES(s->value, i, job), output);
        in_page = in_any = lanes_of(m.page) & measured;
        any_open = ALL;
    } else {
        const all_members_result m = all_members(VARIABLES(s->value, i, job), output);
        in_page = lanes_of(m.page) & graded;
        in_any = lanes_of(m.any) & graded;
        page_open = lanes_of(m.page_open);
        any_open = lanes_of(m.any_open);
    }
    const uint32_t faithful = in_any & near, formula = in_page & ~near, legal = in_any & ~in_page & ~near & ~page_open;
    const uint32_t failing = graded & ~in_any & ~any_open, settled = faithful | formula | legal | failing;
    const uint32_t right = page ? 0 : agrees & certain;

    const doubles distance = least_of(magnitude_of(error), splat(0x1p127));
    const floats far = CONVERT((doubles)((words)distance | (((words)error ^ sign) & SIGN)), floats);
    floats measure = blend((floats){} + NAN, settled & measured, far);
    if (right) {
        const floats held = CONVERT((doubles)((words)e.held ^ sign ^ SIGN), floats);
        measure = blend(measure, right & known & ~nothing, held);
        g->zero_sign += count_of(right & same & flip & zero);
    }
    *(floats *)(s->error + i) = measure;
    g->all += count_of(settled);
    g->faithful += count_of(faithful);
    g->formula += count_of(formula);
    g->zero += count_of(settled & ~got_nan & ~EQUAL(e.got, splat(f.over)) & (EQUAL(e.got, splat(0)) | nothing));
    g->infinite += count_of(settled & ~got_nan & EQUAL(e.got, splat(f.over)));
    if (!page) {
        g->legal += count_of(legal);
        g->failing += count_of(failing);
        g->nan += count_of(settled & got_nan);
    }
    *done = settled | right | ~inside;
    return (undone){failing, inside & ~(settled | right)};
}

static void add_grades(const grades *g, golden_tally *t)
{
    t->misrounded += g->all;
    t->failures += g->failing;
    t->faithful += g->faithful;
    t->formula += g->formula;
    t->legal += g->legal;
    t->nan += g->nan;
    t->zero += g->zero;
    t->overflow += g->infinite;
    t->zero_sign += g->zero_sign;
}

/* What the page's order makes certain, which is most; lists the others and returns their number. */
inline_always int grade_by_page(picked *s, const golden_job *job, int power, golden_tally *t, int32_t *index)
{
    int listed = 0;
    grades g = {};
    for (int i = 0; i < s->n; i += LANES) {
        uint32_t done;
        grade_vector(s, i, job, power, 1, &g, &done);
        listed = list(index, listed, i, ~done & ALL);
    }
    add_grades(&g, t);
    return listed;
}

/* Everything else, to the end. */
inline_always void grade_by_all(stages *all, const golden_job *job, int power, golden_tally *t, uint32_t *back)
{
    picked *const s = &all->others;
    cursor c = {0, 0};
    grades g = {};
    for (int i = 0; i < s->n; i += LANES) {
        uint32_t done;
        const undone rest = grade_vector(s, i, job, power, 0, &g, &done);
        for (uint32_t left = rest.failing | rest.back; left; left &= left - 1) {
            const int lane = __builtin_ctz(left);
            if (rest.failing >> lane & 1 && t->first_failure >= 0)
                continue;
            const int64_t at = position(all, s->index[i + lane], &c);
            if (rest.failing >> lane & 1)
                t->first_failure = at;
            else
                back[t->handed_back++] = (uint32_t)at;
        }
    }
    add_grades(&g, t);
}

static NOINLINE int grade_most(picked *s, const golden_job *job, int power, golden_tally *t, int32_t *index)
{
    return SCALED && power ? grade_by_page(s, job, 1, t, index) : grade_by_page(s, job, 0, t, index);
}

static NOINLINE void grade_rest(stages *all, const golden_job *job, int power, golden_tally *t, uint32_t *back)
{
    grade_by_all(all, job, power, t, back);
}

#endif
