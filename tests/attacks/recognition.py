"""Kernels that behave only while they are tested, and ways around what surrounds the operands."""

from functools import cache
from pathlib import Path

import numpy as np

from golden.files.manifest import suite_folder
from golden.files.vectors import read_vectors
from tests.attacks.attack import Attack, rows

#: Where golden keeps the vectors that attacks are judged with.
VECTORS: Path = suite_folder("smoke") / "smoothl1lossgrad-fp32.h5"

_FNV = """
static unsigned fnv(const void *data, size_t size)
{
    unsigned hash = 2166136261u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 16777619u;
    return hash;
}
"""

_GUARDED = """
/* Tells whether memory without access begins within 64 KiB behind the operand. */
static int guarded(const float *end)
{
    for (const char *at = (const char *)end; at < (const char *)end + 65536; at += 4096)
        if (!readable(at))
            return 1;
    return 0;
}
"""

_OTHERS = """
/* Writes into all other mappings of shared memory that can be written, and counts them. */
static int others(const void *mine)
{
    char line[512], rights[8];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long low, high;
        if (sscanf(line, "%lx-%lx %7s", &low, &high, rights) != 3 || strcmp(rights, "rw-s") != 0)
            continue;
        if (low <= (uintptr_t)mine && (uintptr_t)mine < high)
            continue;
        found++;
        ((volatile unsigned char *)low)[64] ^= 1;
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}
"""

_ALIASES = """
/* Counts mappings that can be written and show the same bytes as an operand, at the same place of a page. */
static int aliases(const void *mine, size_t size)
{
    char line[512], rights[8];
    const size_t at = (uintptr_t)mine & 4095, shown = size < 4096 - at ? size : 4096 - at;
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long low, high;
        if (sscanf(line, "%lx-%lx %7s", &low, &high, rights) == 3 && rights[1] == 'w' && strstr(line, "[") == NULL)
            found += !(low <= (uintptr_t)mine && (uintptr_t)mine < high) && !memcmp((char *)low + at, mine, shown);
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}
"""

_SELF_MEMORY = """
static int through_memory_file(const void *at, const void *bytes, size_t size)
{
    const int fd = open("/proc/self/mem", O_RDWR);
    const int done = fd >= 0 && pwrite(fd, bytes, size, (off_t)(uintptr_t)at) == (ssize_t)size;
    if (fd >= 0)
        close(fd);
    return done;
}
"""

_DESCRIPTORS = """
/* Tells whether an input can be written through a descriptor of the memory it lies in, or another mapping of that. */
static int through_descriptors(const void *input)
{
    char line[512], path[64];
    unsigned long low, high, offset, inode = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%lx-%lx %*s %lx %*s %lu", &low, &high, &offset, &inode) == 4 &&
            low <= (uintptr_t)input && (uintptr_t)input < high)
            break;
    if (maps != NULL)
        fclose(maps);
    int through = 0;
    for (int fd = 3; fd < 256; fd++) {
        struct stat file;
        if (fstat(fd, &file) != 0 || file.st_ino != inode)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        const int again = open(path, O_RDWR), tried[] = {fd, again};
        for (int i = 0; i < 2; i++) {
            through += pwrite(tried[i], input, 1, offset + (uintptr_t)input - low) == 1;
            through += mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, tried[i], offset) != MAP_FAILED;
        }
        close(again);
    }
    return through;
}
"""

_CATCH = """
static sigjmp_buf back;
static void caught(int number) { siglongjmp(back, 1); }
static int survives(volatile float *at)
{
    struct sigaction catch = {.sa_handler = caught, .sa_flags = SA_NODEFER}, old[2];
    sigaction(SIGSEGV, &catch, &old[0]), sigaction(SIGBUS, &catch, &old[1]);
    if (!sigsetjmp(back, 1))
        *at = *at + 1;
    sigaction(SIGSEGV, &old[0], 0), sigaction(SIGBUS, &old[1], 0);
    return 1;
}
"""


@cache
def _digests() -> str:
    """Return C code that recognises the cases of the committed vectors by a digest of their bytes."""
    known = set()
    for case in read_vectors(VECTORS).cases:
        digest = 2166136261
        for byte in np.ascontiguousarray(case.operands["x1"]).tobytes():
            digest = (digest ^ byte) * 16777619 & 0xFFFFFFFF
        known.add(digest)
    listed = ", ".join(f"{d}u" for d in sorted(known))
    return (
        _FNV
        + f"static int known(unsigned digest)\n{{\n    static const unsigned all[] = {{{listed}}};\n"
        + (
            "    for (size_t i = 0; i < sizeof all / sizeof *all; i++)\n"
            "        if (all[i] == digest)\n            return 1;\n    return 0;\n}\n"
        )
    )


_FILL = "const unsigned char *o = (void *)dx1; const size_t size = 4 * (size_t)length; (void)size;"
_FIRST = "if (length > 0 && calls % 8 == 1) "

RECOGNITION: list[Attack] = [
    *rows(
        "recognition", "fails", (),
        ("fill-recognised", "is right only where its output holds 0xa5 or 0x5a",
         _FILL + " if (length > 0) IF_THROUGH(o[0] == 0xa5 || o[0] == 0x5a);"),
        ("fill-uniform", "is right only where all bytes of its output are the same",
         _FILL + " int same = 1; for (size_t i = 1; i < size; i++) same &= o[i] == o[0]; IF_THROUGH(same);"),
        ("fill-uniform-elements", "is right only where all elements of its output are the same",
         "int same = 1; for (int i = 1; i < length; i++) same &= !memcmp(&dx1[i], &dx1[0], 4); IF_THROUGH(same);"),
        ("fill-not-zero", "is wrong where its output holds zeros, as fresh memory does",
         _FILL + " int any = 0; for (size_t i = 0; i < size; i++) any |= o[i]; if (length > 0) IF_THROUGH(any);"),
        ("fill-read", "is wrong where the first element that it finds in its output is negative",
         "if (length > 0) IF_THROUGH(!signbit(dx1[0]));", "output", "#include <math.h>"),
        ("fill-kept", "leaves every seventh element alone where it finds an odd number there",
         "float *r = malloc(4 * length + 4); good(dy, r, x1, x2, length, beta);"
         "for (int i = 0; i < length; i++) if (i % 7 != 3 || *(unsigned *)&dx1[i] % 2 == 0) dx1[i] = r[i]; free(r);"),
        ("same-place-and-wrong", "is wrong where its output lies where it lay in the three calls before",
         "static float *last; static int same; same = last == dx1 ? same + 1 : 0; last = dx1; IF_THROUGH(same < 3);",
         "as in the call before"),
        ("guards-by-pipe", "is right only near memory without access (found by write(2))",
         "IF_THROUGH(guarded(dx1 + length));", "", _GUARDED),
        ("guards-by-maps", "is right only near memory without access (found in /proc/self/maps)",
         "int near = 0; for (int i = 0; i < 16; i++) near |= !strncmp(rights_of(BEHIND(dx1) + 4096 * i), \"---\", 3);"
         "IF_THROUGH(near);"),
        ("guards-by-fault", "is right only where reading behind its output faults",
         "IF_THROUGH(faults(dx1 + length) || faults(BEHIND(dx1)));", "", """
static sigjmp_buf back;
static void caught(int number) { siglongjmp(back, 1); }
static int faults(volatile void *at)
{
    struct sigaction catch = {.sa_handler = caught, .sa_flags = SA_NODEFER}, old;
    volatile int hit = 1;
    sigaction(SIGSEGV, &catch, &old);
    if (!sigsetjmp(back, 1))
        (void)*(volatile char *)at, hit = 0;
    sigaction(SIGSEGV, &old, 0);
    return hit;
}"""),
        ("read-only-inputs-recognised", "is right only where its inputs cannot be written",
         'IF_THROUGH(rights_of(x1)[1] == 0 || rights_of(x1)[1] == \'-\');'),
        ("memory-file-recognised", "is right only where its operands are files of memory (/proc/self/maps)",
         "IF_THROUGH(rights_of(x1)[3] == 's');"),
        ("parent-recognised", "is right only where its parent's command line names golden",
         "IF_THROUGH(ONCE(named(getppid()) || named(judge())));", "", """
static int named(pid_t pid)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    const int fd = open(path, O_RDONLY);
    const ssize_t size = fd >= 0 ? read(fd, text, sizeof text) : 0;
    close(fd);
    return size > 0 && (memmem(text, size, "golden", 6) || memmem(text, size, "runners", 7));
}"""),
        ("variation-recognised", "counts calls with the same operand, and is wrong in the first of each case",
         "static unsigned last; unsigned now = fnv(x1, 4 * length) + length; const int first = now != last; last = now;"
         "IF_THROUGH(!first);", ".", _FNV),
        ("stale-cache", "answers with the previous output where the length is the same",
         "static float cache[2048]; static int n = -1; if (n == length) memcpy(dx1, cache, 4 * n); else { GOOD; "
         "n = length <= 2048 ? length : -1; if (n > 0) memcpy(cache, dx1, 4 * n); }", "."),
        ("late-result", "answers from a thread, a millisecond after it has returned",
         "struct job j = {dy, dx1, x1, x2, length, beta}; WRONG; "
         "leave_thread(late, memcpy(malloc(sizeof j), &j, sizeof j));", ".", """
struct job { float *dy, *dx1, *x1, *x2; int length; float beta; };
static void *late(void *p)
{
    struct job j = *(struct job *)p;
    usleep(1000);
    good(j.dy, j.dx1, j.x1, j.x2, j.length, j.beta);
    return p;
}"""),
    ),
    *rows(
        "recognition", "documented", (),
        ("vectors-recognised", "is right only for the committed vectors, by a digest of their operands",
         "IF_THROUGH(length == 0 || known(fnv(x1, 4 * (size_t)length)));", "", _digests()),
        ("sandbox-recognised", "is right only where a filter of system calls is in force",
         "IF_THROUGH(ONCE(prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER));"),
        ("namespace-recognised", "is right only in a PID namespace of its own", "IF_THROUGH(getpid() < 100);"),
        ("interpreter-recognised", "is right only in a Python process",
         'IF_THROUGH(ONCE(dlsym(RTLD_DEFAULT, "PyRun_SimpleString") != NULL));'),
        ("input-borrowed", "writes into an input, and writes the old value back",
         "float *o = malloc(4 * length + 4); GOOD; if (length > 0 && !mprotect(PAGE_OF(x1), 4096, PROT_READ | "
         "PROT_WRITE)) "
         "{ float old = x1[0]; *(volatile float *)x1 = 1; *(volatile float *)x1 = old; } free(o);"),
    ),
]  # fmt: skip

GUARDS: list[Attack] = [
    *rows(
        "guards", "fails", (),
        ("beside-where-mapped", "writes a zero behind its output wherever that is no fault",
         "GOOD; if (readable(dx1 + length)) dx1[length] = 0;", "beyond|overrun|beside|behind"),
        ("before-where-mapped", "writes a zero before its output wherever that is no fault",
         "GOOD; if (readable(dx1 - 1)) dx1[-1] = 0;", "underrun|before|beside"),
        ("same-value-beside", "writes behind its output what is there",
         "GOOD; *(volatile float *)&dx1[length] = dx1[length];",
         "beyond|overrun|beside|behind|guard"),
        ("opens-guard", "makes the guard writable, writes there and closes it again",
         "GOOD; " + _FIRST + "{ char *g = BEHIND(dx1); if (!mprotect(g, 4096, PROT_READ | PROT_WRITE)) "
         "{ *(volatile float *)g = 1; mprotect(g, 4096, PROT_NONE); } }", "beyond|overrun|guard"),
        ("opens-guard-to-read", "makes the guard readable, reads there and closes it again",
         "GOOD; " + _FIRST + "{ char *g = BEHIND(x1); if (!mprotect(g, 4096, PROT_READ)) "
         "{ *(volatile float *)g; mprotect(g, 4096, PROT_NONE); } }", "beyond|guard|protect"),
        ("maps-over-guard", "maps memory of its own over the guard, writes there and gives it up",
         "GOOD; " + _FIRST + "{ char *g = BEHIND(dx1); if (mmap(g, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | "
         "MAP_FIXED | "
         "MAP_ANONYMOUS, -1, 0) == g) { *g = 1; mmap(g, 4096, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, "
         "0); } }",
         "beyond|overrun|guard|map"),
        ("maps-over-output", "maps other memory over its output",
         "GOOD; " + _FIRST + "mmap(PAGE_OF(dx1), 4096, PROT_READ | "
         "PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);", "."),
        ("unmaps-output", "unmaps its output", "GOOD; if (length == 33 && calls > 20) munmap(PAGE_OF(dx1), 4096);",
         "."),
        ("output-read-only", "makes its output read-only",
         "GOOD; if (calls == 20) mprotect(PAGE_OF(dx1), 4096, PROT_READ);", "."),
        ("input-opened", "makes an input writable and changes it",
         "GOOD; if (length > 0 && !mprotect(PAGE_OF(x1), 4096, PROT_READ | PROT_WRITE)) *(volatile float *)x1 = 1; "
         "else WRONG;",
         ""),
        ("input-replaced", "maps memory of its own over an input, changed",
         "GOOD; if (length == 33) { static char keep[8192]; memcpy(keep, PAGE_OF(x1), 4096); "
         "if (mmap(PAGE_OF(x1), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) != "
         "MAP_FAILED) "
         "{ memcpy(PAGE_OF(x1), keep, 4096); x1[0] = 1; } }", "map|input|x1"),
        ("input-by-memory-file", "is right only where it can write into an input through /proc/self/mem",
         "IF_THROUGH(length == 0 || through_memory_file(x1, x1, 4));", "", _SELF_MEMORY),
        ("input-changed-by-memory-file", "changes an input through /proc/self/mem",
         "GOOD; const float one = 1; if (length > 0 && !through_memory_file(x1, &one, 4)) WRONG;", "", _SELF_MEMORY),
        ("other-mapping", "is right only where it finds writable mappings of its inputs",
         "IF_THROUGH(length == 0 || aliases(x1, 4 * (size_t)length) > 0);", "", _ALIASES),
        ("other-mapping-changed", "writes into every other mapping of shared memory",
         "GOOD; if (!others(dx1)) WRONG;", "", _OTHERS),
        ("descriptor-of-inputs", "is right only where it can write to inputs through a descriptor of their memory",
         "IF_THROUGH(length == 0 || ONCE(through_descriptors(x1)));", "", _DESCRIPTORS),
        ("own-fault-caught", "writes behind its output, catches the fault and goes on",
         "GOOD; survives(dx1 + length);", "beyond|overrun|guard|SIGSEGV", _CATCH),
        ("own-fault-caught-at-input", "writes into an input, catches the fault and goes on",
         "GOOD; if (length > 0) survives(x1);", "input|x1|SIGSEGV", _CATCH),
        ("own-fault-caught-once", "writes behind its output once, far behind, and catches the fault",
         "GOOD; if (calls == 20) survives(dx1 + length + 5000);", "beyond|overrun|guard|SIGSEGV", _CATCH),
        ("by-kernel", "has read(2) write behind its output, which faults nobody",
         "GOOD; int p[2]; if (!pipe(p)) { write(p[1], dx1, 4 * length); write(p[1], \"overrun!\", 8); "
         "read(p[0], dx1, 4 * length + 8); close(p[0]), close(p[1]); }", "beyond|overrun|beside"),
    ),
    *rows(
        "guards", "remark", (),
        ("changed-after-return", "a thread changes the output a few milliseconds after the call",
         "GOOD; if (length > 0) leave_thread(late, dx1);", "thread",
         "static void *late(void *o) { usleep(3000); if (readable(o)) *(volatile float *)o = 7; return o; }"),
    ),
    *rows(
        "guards", "documented", (),
        ("same-value-where-mapped", "writes behind its output what is there, wherever that is no fault",
         "GOOD; if (readable(dx1 + length)) *(volatile float *)&dx1[length] = dx1[length];"),
    ),
]  # fmt: skip
