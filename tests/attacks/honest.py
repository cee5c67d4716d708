"""Honest builds that do what attacks do too: threads, memory, caches, output, and the system's own services."""

from tests.attacks.attack import Attack, rows

_JOB = """
struct job { float *dy, *dx1, *x1, *x2; int length; float beta; };
static void *work(void *p)
{
    const struct job *j = p;
    good(j->dy, j->dx1, j->x1, j->x2, j->length, j->beta);
    return NULL;
}
"""

_POOL = (
    _JOB
    + """
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;
static struct job *todo;
static void *serve(void *unused)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        while (todo == NULL)
            pthread_cond_wait(&change, &lock);
        work(todo);
        todo = NULL;
        pthread_cond_broadcast(&change);
    }
}
"""
)

HONEST: list[Attack] = [
    *rows(
        "honest", "conforms", (),
        ("plain", "the bundled kernel", "GOOD;"),
        ("thread-per-call", "a thread is made for every call, and joined",
         "struct job j = {dy, dx1, x1, x2, length, beta}; pthread_t t; if (pthread_create(&t, 0, work, &j)) GOOD; "
         "else pthread_join(t, 0);", "", _JOB),
        ("four-threads", "four threads share every call, and are joined",
         "struct job j[4]; pthread_t t[4]; const int n = length > 0 ? length / 4 : 0; for (int i = 0; i < 4; i++) { "
         "j[i] = (struct job){dy + i * n, dx1 + i * n, x1 + i * n, x2 + i * n, i < 3 ? n : length - 3 * n, beta}; "
         "pthread_create(&t[i], 0, work, &j[i]); } for (int i = 0; i < 4; i++) pthread_join(t[i], 0);", "", _JOB),
        ("allocates", "malloc and free in every call",
         "float *o = malloc(4 * (size_t)length + 4); good(dy, o, x1, x2, length, beta); memcpy(dx1, o, 4 * length); "
         "free(o);"),
        ("allocates-aligned", "aligned memory in every call",
         "float *o = aligned_alloc(64, (4 * length + 127) / 64 * 64); "
         "good(dy, o, x1, x2, length, beta); memcpy(dx1, o, 4 * length); free(o);"),
        ("maps-memory", "mmap and munmap in every call", "float *o = mmap(0, 4 * length + 1, PROT_READ | PROT_WRITE, "
         "MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); good(dy, o, x1, x2, length, beta); memcpy(dx1, o, 4 * length); "
         "munmap(o, 4 * length + 1);"),
        ("workspace", "a workspace that grows with the longest call",
         "static float *o; static int room; if (length > room) "
         "o = realloc(o, 4 * (room = length)); good(dy, o, x1, x2, length, beta); memcpy(dx1, o, 4 * length);"),
        ("static-cache", "a table made in the first call",
         "static float quarter[64]; if (!quarter[1]) for (int i = 0; i < 64; i++) "
         "quarter[i] = i; GOOD;"),
        ("big-stack", "a megabyte on the stack", "volatile char room[1 << 20]; room[0] = room[sizeof room - 1] = 1; "
         "GOOD;"),
        ("thread-local", "thread-local storage", "used += length; GOOD;", "", "static __thread volatile int used;"),
        ("setjmp", "setjmp and longjmp inside a call", "static jmp_buf b; if (!setjmp(b)) longjmp(b, 1); GOOD;"),
        ("blocks-signals", "signals blocked during a call, as before afterwards",
         "sigset_t all, old; sigfillset(&all); "
         "pthread_sigmask(SIG_BLOCK, &all, &old); GOOD; pthread_sigmask(SIG_SETMASK, &old, 0);"),
        ("rounding-restored", "another rounding mode during a part of a call, restored",
         "const int old = fegetround(); "
         "fesetround(FE_TOWARDZERO); volatile float x = 1.0f / 3; fesetround(old); GOOD;"),
        ("environment-held", "feholdexcept and fesetenv around a call",
         "fenv_t e; feholdexcept(&e); GOOD; fesetenv(&e);"),
        ("alternate-stack-at-load", "an alternate signal stack, since it was loaded", "GOOD;", "",
         "LOAD { static char room[65536]; stack_t s = {room, 0, sizeof room}; sigaltstack(&s, 0); }"),
        ("reads-cpuinfo-at-load", "reads /proc/cpuinfo when it is loaded", "IF_THROUGH(cores > 0);", "",
         'static int cores;\nLOAD { char line[4096]; FILE *f = fopen("/proc/cpuinfo", "r"); while (f && fgets(line, '
         'sizeof line, f)) cores += !strncmp(line, "processor", 9); if (f) fclose(f); }'),
        ("counts-cores-at-load", "asks sysconf for the number of cores when it is loaded", "IF_THROUGH(cores > 0);", "",
         "static long cores;\nLOAD { cores = sysconf(_SC_NPROCESSORS_ONLN); }"),
        ("affinity-read", "asks which cores it may use",
         "cpu_set_t s; IF_THROUGH(sched_getaffinity(0, sizeof s, &s) == 0);"),
        ("random-at-load", "takes a seed from the system when it is loaded", "GOOD;", "",
         "#include <sys/random.h>\nstatic unsigned seed;\nLOAD { getrandom(&seed, sizeof seed, 0); }"),
        ("environment-read", "reads an environment variable", 'if (getenv("NO_SUCH_VARIABLE")) abort(); GOOD;'),
        ("clock-read", "measures its own time", "struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); GOOD; "
         "clock_gettime(CLOCK_MONOTONIC, &t);"),
        ("loads-libm", "loads the mathematical library by itself", "IF_THROUGH(absolute && absolute(-1) == 1);", "",
         'static double (*absolute)(double);\nLOAD { absolute = dlsym(dlopen("libm.so.6", RTLD_NOW), "fabs"); }'),
        ("sleeps", "waits a little", "usleep(100); GOOD;"),
        ("huge-page-advice", "advises the kernel about memory of its own", "void *o = aligned_alloc(4096, 1 << 16); "
         "madvise(o, 1 << 16, MADV_WILLNEED); free(o); GOOD;"),
        ("prefetches-beyond", "prefetches beyond its operands",
         "for (int i = 0; i < 4; i++) { __builtin_prefetch(x1 + length + 16 * i); "
         "__builtin_prefetch(x1 - 16 * i - 1); } GOOD;"),
        ("jit", "writes machine code, makes it executable and calls it", "IF_THROUGH(ONCE(compiled()));", "", """
static int compiled(void)
{
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof code);
    return mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0 && ((int (*)(void))page)() == 42;
}"""),
        ("avx", "vectors of 32 bytes, upper halves left dirty",
         'if (__builtin_cpu_supports("avx")) dirty(length); GOOD;', "",
         '__attribute__((target("avx"), noinline)) static void dirty(int n) { __asm__ volatile("vbroadcastss %0, '
         '%%ymm7" '
         ': : "m"(n) : "xmm7"); }'),
        ("masked-load-beyond", "a masked vector load whose unused lanes lie beyond an operand",
         'if (length % 8 && __builtin_cpu_supports("avx")) tail(x1 + length / 8 * 8, length % 8); GOOD;', "",
         '#include <immintrin.h>\n__attribute__((target("avx"), noinline)) static void tail(const float *x, int n) { '
         'int m[8]; '
         "for (int i = 0; i < 8; i++) m[i] = i < n ? -1 : 0; volatile __m256 v = _mm256_maskload_ps(x, "
         "_mm256_loadu_si256((void *)m)); (void)v; }"),
        ("emms", "MMX registers, cleared by emms", '__asm__ volatile("pxor %%mm0, %%mm0\\nemms" : : : "memory"); '
         'GOOD;'),
        ("errno", "leaves errno changed", "GOOD; errno = 7;"),
        ("names-threads", "threads with names", "struct job j = {dy, dx1, x1, x2, length, beta}; pthread_t t; "
         'pthread_create(&t, 0, work, &j); pthread_setname_np(t, "worker"); pthread_join(t, 0);', "", _JOB),
        ("keeps-key", "a key of thread-specific data",
         "static pthread_key_t k; if (calls == 1) pthread_key_create(&k, free); "
         "if (!pthread_getspecific(k)) pthread_setspecific(k, malloc(64)); GOOD;"),
    ),
    *rows(
        "honest", "conforms", (),
        ("thread-pool", "a thread that waits for work between calls",
         "struct job j = {dy, dx1, x1, x2, length, beta}; if (calls == 1) leave_thread(serve, 0); "
         "pthread_mutex_lock(&lock); "
         "todo = &j; pthread_cond_broadcast(&change); while (todo) pthread_cond_wait(&change, &lock); "
         "pthread_mutex_unlock(&lock);", "", _POOL),
        ("prints", "a line to stdout at every 20th call", 'if (calls % 20 == 0) printf("%d calls\\n", calls); GOOD;',
         "printed"),
        ("prints-at-load", "a banner when it is loaded", "GOOD;", "printed", 'LOAD { puts("kernels 1.0"); }'),
        ("warns", "a warning on stderr in its first call", 'if (calls == 1) fprintf(stderr, "slow path\\n"); GOOD;',
         "printed"),
    ),
    Attack("openmp", "honest", "OpenMP, four threads", """
    const float b = beta;
    #pragma omp parallel for num_threads(4) schedule(static, 16)
    for (int i = 0; i < length; i++) good(dy + i, dx1 + i, x1 + i, x2 + i, 1, b);""", "conforms", flags=("-fopenmp",)),
]  # fmt: skip
