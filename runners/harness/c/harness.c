/* The harness as a program: frames on standard input and output. See harness.h, docs/running-on-a-board.md.
 *
 * Standard C99 is enough. On a POSIX system it also keeps what kernels print and read away from the protocol, says
 * which signal ended it, ends itself when a call takes too long (nobody may be there to kill it at the other end of
 * a connection), tells children that kernels leave, and maps documented addresses.
 */
#if defined(__unix__) || defined(__unix) || defined(__APPLE__)
#define HARNESS_POSIX 1
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS */
#define _DARWIN_C_SOURCE 1
#endif

#include "harness.h"

#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HARNESS_POSIX
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

/* Bytes for a call with its operands; halved until the system has them. */
#ifndef HARNESS_MEMORY
#define HARNESS_MEMORY ((size_t)512 << 20)
#endif

static fenv_t environment_at_start;

static void restore(struct harness *h)
{
    (void)h;
    fesetenv(&environment_at_start);
}

#ifdef HARNESS_POSIX

static int from_judge, to_judge;
static pid_t harness_process;
static unsigned char buffered[1 << 16];
static size_t buffered_size;

static int flush(void)
{
    size_t done = 0;
    if (getpid() != harness_process)
        _exit(0); /* a copy of the harness that a kernel has forked has nothing to say */
    while (done < buffered_size) {
        const ssize_t written = write(to_judge, buffered + done, buffered_size - done);
        if (written < 0 && errno != EINTR)
            return 1;
        done += written > 0 ? (size_t)written : 0;
    }
    buffered_size = 0;
    return 0;
}

static int send_bytes(struct harness *h, const void *bytes, size_t size)
{
    const unsigned char *next = bytes;
    (void)h;
    while (size != 0) {
        const size_t room = sizeof buffered - buffered_size, part = size < room ? size : room;
        memcpy(buffered + buffered_size, next, part);
        buffered_size += part;
        next += part;
        size -= part;
        if (buffered_size == sizeof buffered && flush())
            return 1;
    }
    return 0;
}

static size_t receive(void *to, size_t size)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t got = read(from_judge, (unsigned char *)to + done, size - done);
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        done += got > 0 ? (size_t)got : 0;
    }
    return done;
}

static void before(struct harness *h, unsigned seconds)
{
    (void)h;
    flush(); /* results so far must not be lost with the process */
    alarm(seconds);
}

static unsigned after(struct harness *h)
{
    (void)h;
    alarm(0);
    fflush(NULL); /* what a kernel has printed belongs to its call */
    unsigned found = 0;
    pid_t ended;
    while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
        found = HARNESS_CHILDREN;
    return ended == 0 ? HARNESS_CHILDREN : found;
}

#ifdef MAP_ANONYMOUS
#define HARNESS_CLAIMS 1
/* Pages are claimed once and kept: documented regions do not move. */
static int claim(struct harness *h, uintptr_t address, size_t size)
{
    static struct { uintptr_t first, end; } kept[64];
    static size_t used;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = (address + size + page - 1) & ~(page - 1);
    uintptr_t first = address & ~(page - 1);
    (void)h;
    if (end < address)
        return 1;
    while (first < end) {
        uintptr_t stop = end;
        size_t i = 0;
        for (; i < used; i++) {
            if (kept[i].first <= first && first < kept[i].end) {
                first = kept[i].end;
                break;
            }
            if (first < kept[i].first && kept[i].first < stop)
                stop = kept[i].first;
        }
        if (i < used)
            continue;
        if (used == sizeof kept / sizeof kept[0])
            return 1;
        int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_FIXED_NOREPLACE
        flags |= MAP_FIXED_NOREPLACE;
#endif
        /* Without that flag the address is a wish: anything else that lies there stays, and this fails. */
        void *mapped = mmap((void *)first, stop - first, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (mapped == MAP_FAILED)
            return 1;
        if (mapped != (void *)first) {
            munmap(mapped, stop - first);
            return 1;
        }
        for (i = 0; i < used && kept[i].end != first; i++)
            continue;
        if (i == used)
            kept[used++].first = first;
        kept[i].end = stop;
        first = stop;
    }
    return 0;
}
#endif

static struct harness *running;

/* Only says what the default action does not tell through a remote shell; then lets it happen. */
static void on_signal(int number)
{
    static const struct { int number; const char *name; } names[] = {
        {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"},
        {SIGILL, "SIGILL"}, {SIGABRT, "SIGABRT"}, {SIGALRM, "SIGALRM"},
    };
    const char *name = "a signal";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].number == number)
            name = names[i].name;
    buffered_size = 0;
    harness_say(running, HARNESS_FAULT, name);
    flush();
    raise(number); /* blocked until this returns; SA_RESETHAND has set the default action */
}

static void take_streams(void)
{
    struct sigaction action;
    const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
    harness_process = getpid();
    /* The protocol moves to descriptors that no kernel knows; what a kernel prints goes to standard error. */
    from_judge = fcntl(0, F_DUPFD, 100);
    to_judge = fcntl(1, F_DUPFD, 100);
    if (from_judge < 0)
        from_judge = dup(0);
    if (to_judge < 0)
        to_judge = dup(1);
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing >= 0)
        dup2(nothing, 0);
    dup2(2, 1);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

#else

static int flush(void)
{
    return fflush(stdout) != 0;
}

static int send_bytes(struct harness *h, const void *bytes, size_t size)
{
    (void)h;
    return fwrite(bytes, 1, size, stdout) != size;
}

static size_t receive(void *to, size_t size)
{
    return fread(to, 1, size, stdin);
}

static void before(struct harness *h, unsigned seconds)
{
    (void)h;
    (void)seconds;
    flush();
}

#endif

int main(void)
{
    struct harness h;
    memset(&h, 0, sizeof h);
    h.write = send_bytes;
    h.before = before;
    h.restore = restore;
#ifdef HARNESS_POSIX
    running = &h;
    h.after = after;
    take_streams();
#endif
#ifdef HARNESS_CLAIMS
    h.claim = claim;
    h.claims = 1;
#endif
    fegetenv(&environment_at_start);

    size_t size = HARNESS_MEMORY;
    unsigned char *memory = NULL;
    while (size >= 1 << 16 && (memory = malloc(size)) == NULL)
        size /= 2;
    if (memory == NULL) {
        harness_say(&h, HARNESS_TROUBLE, "there is no memory for operands");
        flush();
        return 1;
    }
    harness_hello(&h, size);

    for (;;) {
        unsigned char header[HARNESS_HEADER], end[4];
        uint32_t type = 0, length = 0;
        if (flush())
            return 1;
        if (receive(header, sizeof header) != sizeof header)
            return 0; /* the judge is gone */
        const char *wrong = harness_header(header, &type, &length);
        if (wrong == NULL && type != HARNESS_CALL && type != HARNESS_BYE)
            wrong = "a frame has an unknown type";
        if (wrong == NULL && length > size)
            wrong = "a frame is longer than the memory of the harness";
        if (wrong == NULL && (receive(memory, length) != length || receive(end, sizeof end) != sizeof end))
            return 0;
        if (wrong == NULL && harness_crc(0, memory, length) != harness_get(end, 4))
            wrong = "the CRC of a frame is wrong";
        if (wrong != NULL) {
            harness_say(&h, HARNESS_TROUBLE, wrong);
            flush();
            return 1;
        }
        if (type == HARNESS_BYE) {
            harness_say(&h, HARNESS_GOODBYE, "");
            return flush();
        }
        h.arena = memory + length;
        h.arena_size = size - length;
        if (harness_call(&h, memory, length)) {
            flush();
            return 1;
        }
    }
}
