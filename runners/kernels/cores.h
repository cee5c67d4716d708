/* How the work of a call is divided among cores (internal to the kernels).
 *
 * The cores of a call are the bits set in core_mask, any of the 32. `count` items are cut into one contiguous span
 * a core, in order of core number; sizes differ by one at most, so with fewer items than cores the last cores
 * have nothing to do. Every item belongs to exactly one span. No bit set: no core, and nothing is done.
 *
 * On a host the spans run one after the other; with -DGOLDEN_THREADS (add -pthread) each has a thread of its own.
 */
#ifndef CORES_H
#define CORES_H

#include <stddef.h>
#include <stdint.h>

/* Computes items begin <= i < end of a call; `call` holds the operands. Never called with an empty span. */
typedef void core_kernel(const void *call, size_t begin, size_t end);

struct core_span {
    core_kernel *kernel;
    const void *call;
    size_t begin, end;
};

#ifdef GOLDEN_THREADS
#include <pthread.h>

static void *run_core(void *argument)
{
    const struct core_span *span = argument;
    span->kernel(span->call, span->begin, span->end);
    return NULL;
}
#endif

/* Run a kernel on `count` items with the cores of core_mask. */
static void run_on_cores(core_kernel *kernel, const void *call, size_t count, int core_mask)
{
    struct core_span spans[32];
    size_t cores = 0;
    for (uint32_t mask = (uint32_t)core_mask; mask != 0; mask &= mask - 1)
        cores++;

    size_t used = 0;
    for (size_t begin = 0; cores != 0 && begin < count; used++) {
        /* Not count * rank / cores: that product can exceed size_t where it has 32 bits. */
        const size_t size = count / cores + (used < count % cores);
        spans[used] = (struct core_span){kernel, call, begin, begin + size};
        begin += size;
    }

#ifdef GOLDEN_THREADS
    pthread_t threads[32];
    size_t started = 0;
    while (started < used && pthread_create(&threads[started], NULL, run_core, &spans[started]) == 0)
        started++;
    /* A system that is out of threads must not lose results: the caller does what is left. */
    for (size_t i = started; i < used; i++)
        run_core(&spans[i]);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
#else
    for (size_t i = 0; i < used; i++)
        kernel(call, spans[i].begin, spans[i].end);
#endif
}

#endif
