/* A board of its own on this machine: memory at the addresses that are named, a blob loaded there by hand, the harness
 * for memory run on it, and part of the memory written to a file, even if a kernel ends the process.
 *
 * blob_board BLOB ADDRESS DUMP ADDRESS SIZE [ADDRESS SIZE]...: further pairs are memory for operands.
 */
#define _DEFAULT_SOURCE 1
#define main harness_main
#define HARNESS_REGION board_region
static unsigned long board_region;
#include "harness_blob.c"
#undef main

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static const char *dump_name;
static unsigned char *dump_start;
static size_t dump_size;

static void map(unsigned long start, size_t size)
{
    void *const wanted = (void *)(start & ~4095ul);
    if (mmap(wanted, size + (start & 4095), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != wanted)
        perror("mmap"), exit(9);
    memset((void *)start, 0xEE, size); /* memory holds something after a reset */
}

static void dump(void)
{
    FILE *file = fopen(dump_name, "wb");
    if (!file || fwrite(dump_start, 1, dump_size, file) != dump_size || fclose(file))
        perror(dump_name), _exit(9);
}

/* As somebody with a debugger: stop, dump, look at the next blob. */
static void stop(int number)
{
    (void)number;
    dump();
    _exit(0);
}

int main(int count, char **words)
{
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGPROF};
    const unsigned long start = strtoul(words[2], 0, 0);
    dump_name = words[3];
    dump_start = (unsigned char *)strtoul(words[4], 0, 0);
    dump_size = strtoul(words[5], 0, 0);
    for (int i = 6; i + 1 < count; i += 2)
        map(strtoul(words[i], 0, 0), strtoul(words[i + 1], 0, 0));
    board_region = start;
    FILE *file = fopen(words[1], "rb");
    size_t got;
    if (!file)
        perror(words[1]), exit(9);
    for (unsigned char *next = (unsigned char *)start; (got = fread(next, 1, 4096, file)) != 0;)
        next += got;
    fclose(file);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], stop);
    /* Of processor time, so that a busy machine ends nothing that works; kernels that sleep are ended later. */
    const struct itimerval patience = {{0, 0}, {2, 0}};
    setitimer(ITIMER_PROF, &patience, NULL);
    alarm(60);
    atexit(dump); /* also for a kernel that exits */
    return harness_main();
}
