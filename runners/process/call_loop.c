/* The calls of a block, one after the other: with small ones an interpreter's loop would take longer than the kernel.
 *
 * Runs in the library's process (runners/process/call_loop.py), and computes with integers alone: whatever state the library leaves
 * the floating-point unit in does not matter here.
 *
 * One type of function serves for every entry point. By the System V x86-64 psABI and AAPCS64, integers and pointers
 * are passed in registers of theirs and then in stack slots of eight bytes, floating-point numbers in registers of
 * theirs, each in order: how the two mix does not show. A callee takes what it knows of; surplus arguments do no harm.
 */
#include <stdint.h>
#include <time.h>

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "the calling convention is that of another processor or system"
#endif

enum { INTEGERS = 12, FLOATS = 4 };

typedef void any_function(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                          int64_t, int64_t, float, float, float, float);

typedef struct {
    any_function *function;
    int64_t calls;
    int64_t integers[INTEGERS]; /* pointers too */
    int64_t steps[INTEGERS];    /* what each moves by from call to call, in bytes */
    float floats[FLOATS];
    void *sink; /* where `width` elements of each call go: every `gather`-th from `source`; NULL: they are there */
    const void *source;
    int64_t width, gather, itemsize;
} golden_calls;

/* Nanoseconds of processor time, of all of the process' threads: in wall-clock time, a kernel would be charged with what
 * it waits for a processor that others use. */
static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Make calls; returns the time that they and what is between them take. */
static int64_t make(any_function *function, int64_t calls, golden_calls c)
{
    int64_t *const i = c.integers;
    const float *const x = c.floats;
    char *sink = c.sink;
    const int64_t begin = now();
    for (int64_t call = 0; call < calls; call++) {
        function(i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], i[8], i[9], i[10], i[11], x[0], x[1], x[2], x[3]);
        if (sink) {
            for (int64_t k = 0; k < c.width; k++)
                if (c.itemsize == 2)
                    ((uint16_t *)sink)[k] = ((const uint16_t *)c.source)[k * c.gather];
                else
                    ((uint32_t *)sink)[k] = ((const uint32_t *)c.source)[k * c.gather];
            sink += c.width * c.itemsize;
        }
        for (int k = 0; k < INTEGERS; k++)
            i[k] += c.steps[k];
    }
    return now() - begin;
}

static void nothing(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, int64_t h, int64_t i,
                    int64_t j, int64_t k, int64_t l, float w, float x, float y, float z)
{
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h, (void)i, (void)j, (void)k, (void)l;
    (void)w, (void)x, (void)y, (void)z;
}

/* Make all calls; returns the nanoseconds spent in them. Reading the clock takes longer than a small call does, so it is
 * read once for all; what the loop takes without the calls is found by a few that do nothing, and taken off. */
int64_t golden_call(const golden_calls *c)
{
    any_function *volatile idle = nothing;
    const int64_t few = c->calls / 32, without = few ? make(idle, few, *c) : 0;
    const int64_t with = make(c->function, c->calls, *c), own = with - (few ? without * c->calls / few : 0);
    return own > 0 ? own : 0;
}
