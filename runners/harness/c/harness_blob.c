/* The harness without an operating system: calls come from memory, and what they did goes to memory.
 *
 * One region holds everything: a blob that 'golden export' has made is loaded at its beginning, main() runs, and the
 * results lie where the blob says. -DHARNESS_REGION=0xA0000000 tells where the region is; without it, the linker has
 * to define golden_region. No input or output, no allocation, nothing of a C library but memcpy, memset, memcmp and
 * strlen. Layout of blobs and results: docs/running-on-a-board.md.
 *
 * -DHARNESS_SYNC=name: a function of yours that writes caches back, void name(void *address, size_t size); called for
 * the results before each call of a kernel and at the end. -DHARNESS_FENV: <fenv.h> works; a floating-point
 * environment that a kernel has changed is then set back for the next one.
 *
 * main returns 0 when all calls were made, 1 if there is no whole header of a blob in the region (nothing is written
 * then), 2 if it could not go on; the results say why.
 */
#include "harness.h"

#include <string.h>

#ifdef HARNESS_FENV
#include <fenv.h>
#endif

#ifndef HARNESS_REGION
extern unsigned char golden_region[];
#define HARNESS_REGION golden_region
#endif
#ifdef HARNESS_SYNC
void HARNESS_SYNC(void *address, size_t size);
#endif

#define BLOB_VERSION 1u
#define BLOB_HEADER 64u
#define RESULTS_HEADER 36u

static struct {
    unsigned char *start;
    size_t used, size; /* of messages, behind the header */
} results;

static void put(unsigned char *bytes, size_t value)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> 8 * i & 0xFF);
}

static int keep(struct harness *h, const void *bytes, size_t size)
{
    (void)h;
    if (results.size - results.used < size)
        return 1;
    memcpy(results.start + RESULTS_HEADER + results.used, bytes, size);
    results.used += size;
    return 0;
}

/* The header says how far the messages go: what lay in the memory before must not be taken for results. */
static void publish(struct harness *h, unsigned seconds)
{
    (void)h;
    (void)seconds;
    put(results.start + 28, results.used);
    put(results.start + 32, harness_crc(0, results.start, 32));
#ifdef HARNESS_SYNC
    HARNESS_SYNC(results.start, RESULTS_HEADER + results.used);
#endif
}

#ifdef HARNESS_FENV
static fenv_t environment_at_start;

static void restore(struct harness *h)
{
    (void)h;
    fesetenv(&environment_at_start);
}
#endif

/* Tell whether the entry point of a call is there; golden takes the others for missing. */
static int is_there(const unsigned char *payload, size_t length)
{
    const size_t size = length < 6 ? 0 : harness_get(payload + 4, 2);
    for (const struct harness_entry *entry = harness_entries; entry->symbol; entry++)
        if (entry->address && strlen(entry->symbol) == size && size <= length - 6 &&
            memcmp(entry->symbol, payload + 6, size) == 0)
            return 1;
    return 0;
}

/* Do all calls of a blob. Returns 0, or why that was impossible; "" where it has been said. */
static const char *run(struct harness *h, const unsigned char *blob, size_t size)
{
    const uint32_t order = 0x01020304u;
    if (memcmp(blob + 32, &order, sizeof order) != 0)
        return "the calls were exported for the other byte order";
    if (harness_crc(0, blob + BLOB_HEADER, size - BLOB_HEADER) != harness_get(blob + 56, 4))
        return "the calls in memory are not those of the file; load it again";
    const unsigned char *next = blob + BLOB_HEADER, *const end = blob + size;
    while (next != end) {
        uint32_t type = 0, length = 0;
        const size_t left = (size_t)(end - next);
        const char *wrong = left < HARNESS_HEADER + 4 ? "a frame is cut short" : harness_header(next, &type, &length);
        if (wrong == NULL && (type != HARNESS_CALL || length > left - HARNESS_HEADER - 4))
            wrong = "a frame is no call";
        /* Once more: a kernel may have written here since. */
        if (wrong == NULL && harness_crc(0, next + HARNESS_HEADER, length) != harness_get(next + HARNESS_HEADER + length, 4))
            wrong = "the CRC of a frame is wrong";
        if (wrong != NULL)
            return wrong;
        if (is_there(next + HARNESS_HEADER, length) && harness_call(h, next + HARNESS_HEADER, length))
            return "";
        next += HARNESS_HEADER + length + 4;
    }
    return NULL;
}

int main(void)
{
    unsigned char *const region = (unsigned char *)(uintptr_t)HARNESS_REGION;
    struct harness h;
    if (memcmp(region, "GLDB", 4) != 0 || harness_get(region + 4, 4) != BLOB_VERSION ||
        harness_crc(0, region, BLOB_HEADER - 4) != harness_get(region + BLOB_HEADER - 4, 4))
        return 1;
    memset(&h, 0, sizeof h);
    h.write = keep;
    h.before = publish;
    h.claims = 1;
    h.arena = region + harness_get(region + 48, 4);
    h.arena_size = harness_get(region + 52, 4);
#ifdef HARNESS_FENV
    fegetenv(&environment_at_start);
    h.restore = restore;
#endif
    results.start = region + harness_get(region + 40, 4);
    results.size = harness_get(region + 44, 4) - RESULTS_HEADER;
    results.used = 0;
    memcpy(results.start, "GLDR", 4);
    put(results.start + 4, BLOB_VERSION);
    memcpy(results.start + 8, region + 8, 4);   /* which blob */
    memcpy(results.start + 12, region + 16, 16); /* of which export */
    publish(&h, 0);

    harness_hello(&h, h.arena_size);
    publish(&h, 0);
    const char *wrong = run(&h, region, harness_get(region + 36, 4));
    if (wrong == NULL)
        harness_say(&h, HARNESS_GOODBYE, "");
    else if (*wrong != '\0')
        harness_say(&h, HARNESS_TROUBLE, wrong);
    publish(&h, 0);
    return wrong == NULL ? 0 : 2;
}
