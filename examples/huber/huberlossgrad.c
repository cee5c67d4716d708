/* The vendor's kernel would be here; this one is enough to validate. Every operation is rounded to fp16. */
static float rounded(float x) { return (float)(_Float16)x; }

void hp_huberlossgrad_p(_Float16 *dy, _Float16 *dx1, _Float16 *x1, _Float16 *x2, int length, _Float16 delta)
{
    for (int i = 0; i < length; i++) {
        float diff = rounded((float)x1[i] - (float)x2[i]), limit = (float)delta;
        if (diff > limit)
            diff = limit;
        if (diff < -limit)
            diff = -limit;
        dx1[i] = (_Float16)(diff * (float)dy[i]);
    }
}

void hp_huberlossgrad_s(_Float16 *dy, _Float16 *dx1, _Float16 *x1, _Float16 *x2, int length, _Float16 delta,
                        int core_mask)
{
    (void)core_mask;
    hp_huberlossgrad_p(dy, dx1, x1, x2, length, delta);
}
