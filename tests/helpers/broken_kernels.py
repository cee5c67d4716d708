"""Kernels that break one contract each, a healthy one, and how tests compile and call them."""

import platform
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from runners.calling.call import Call, Invocation, Outcome, PointerArgument, ScalarArgument
from runners.library.session import LibrarySession

COMPILER = next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None)

# Every kernel is void f(const float *x, const float *w, const float *u, float *o, int n [, int core_mask]);
# what it should do is o[i] = x[i] + w[i], never reading u.
PREAMBLE = """
#define _GNU_SOURCE
#include <fenv.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define KERNEL(name) void name(float *x, float *w, float *u, float *o, int n)
#define ADD for (int i = 0; i < n; i++) o[i] = x[i] + w[i]
"""

KERNELS = r"""
void healthy_s(float *x, float *w, float *u, float *o, int n, int core_mask) {
    for (int c = 0; c < 32; c++) if (core_mask >> c & 1) { ADD; return; }
}
KERNEL(healthy) { ADD; }
KERNEL(overrun) { ADD; o[n] = 0; }
KERNEL(underrun) { ADD; o[-1] = 0; }
KERNEL(far_overrun) { ADD; o[n + 5000] = 0; }
KERNEL(read_past_x) { ADD; *(volatile float *)(x + n); }
KERNEL(read_past_w) { ADD; *(volatile float *)(w + n); }
KERNEL(read_past_u) { ADD; *(volatile float *)(u + n); }
KERNEL(read_before_x) { ADD; *(volatile float *)(x - 1); }
KERNEL(read_before_w) { ADD; *(volatile float *)(w - 1); }
KERNEL(read_first) { ADD; *(volatile float *)x; }
KERNEL(write_x) { ADD; x[2] = 1; }
KERNEL(write_w) { ADD; w[0] = 1; }
KERNEL(write_u) { ADD; u[1] = 1; }
KERNEL(unwritten) { n--; ADD; }
KERNEL(accumulated) { for (int i = 0; i < n; i++) o[i] += x[i] + w[i]; }
KERNEL(leaks_u) { ADD; if (n) o[0] = u[n - 1]; }
KERNEL(touches_u) { ADD; *(volatile float *)(u + 1); }
KERNEL(addresses) {
    float *p[4] = {x, w, u, o}; for (int i = 0; i < 4; i++) o[i] = (uintptr_t)p[i] & 4095;
}
KERNEL(null) { *(volatile int *)0; }
KERNEL(aborts) { abort(); }
KERNEL(traps) { raise(SIGILL); }
KERNEL(divides) { raise(SIGFPE); }
KERNEL(raises) { kill(getpid(), SIGSEGV); }
static volatile int depth;
static int recurse(int k) { volatile char f[4096]; f[0] = k; depth++; return recurse(k + 1) + f[0]; }
KERNEL(kills_itself) { raise(SIGKILL); }
KERNEL(kills_parent) { kill(getppid(), SIGKILL); pause(); }
KERNEL(overflows) { o[0] = recurse(n); }
KERNEL(exits) { exit(0); }
KERNEL(exits_at_once) { _exit(3); }
KERNEL(jumps) { jmp_buf b; memset(&b, 1, sizeof b); longjmp(b, 1); }
KERNEL(hangs) { for (;;) pause(); }
KERNEL(hangs_late) { ADD; if (x[0] == 1) for (;;); }
KERNEL(slow) { ADD; usleep(300000); }
static int lurk(void) { for (;;) pause(); }
KERNEL(forks) { pid_t p = fork(); if (!p) lurk(); int q = p; memcpy(o, &q, 4); }
KERNEL(daemonizes) {
    int ends[2]; pipe(ends);
    if (!fork()) { setsid(); int q = fork(); if (!q) lurk(); write(ends[1], &q, 4); _exit(0); }
    int q; read(ends[0], &q, 4); memcpy(o, &q, 4);
}
KERNEL(returns_twice) { fork(); ADD; }
KERNEL(forks_and_hangs) { if (!fork()) lurk(); lurk(); }
KERNEL(prints_then_dies) { puts("last words"); abort(); }
static int calls;
KERNEL(counts) { ADD; o[0] = calls++; }
KERNEL(prints) { ADD; printf("hello from the kernel"); fprintf(stderr, "trouble\n"); }
KERNEL(prints_a_lot) {
    ADD; static char b[1 << 16]; memset(b, 'x', sizeof b);
    for (int i = 0; i < 1600; i++) write(1 + (i & 1), b, sizeof b);
}
KERNEL(prints_forever) { static char b[1 << 16]; memset(b, 'y', sizeof b); for (;;) write(1, b, sizeof b); }
KERNEL(blows_up) { for (;;) { char *p = malloc(1 << 24); if (!p) abort(); memset(p, 1, 1 << 24); } }
KERNEL(takes_all) { ADD; while (malloc(1 << 20)); while (malloc(64)); }
KERNEL(rounds_up) { ADD; fesetround(FE_UPWARD); }
KERNEL(tells_rounding) { for (int i = 0; i < n; i++) o[i] = fegetround() == FE_TONEAREST; }
KERNEL(raises_flags) { ADD; feraiseexcept(FE_INEXACT | FE_DIVBYZERO); }
KERNEL(closes) { for (int i = 3; i < 256; i++) close(i); }
KERNEL(scribbles) { for (int i = 3; i < 64; i++) if (write(i, "\377\377\377\377 garbage", 12)) {} }
KERNEL(scribbles_small) { for (int i = 3; i < 64; i++) if (write(i, "\3\0\0\0abc", 7)) {} }
static void *spin(void *p) { for (;;) pause(); }
static void *die_later(void *p) { usleep(50000); *(volatile int *)0; return p; }
KERNEL(leaves_thread) { ADD; pthread_t t; pthread_create(&t, 0, spin, 0); }
KERNEL(thread_dies) { ADD; pthread_t t; pthread_create(&t, 0, die_later, 0); }
static void *touch(void *x) { *(volatile float *)x; return x; }
KERNEL(thread_overreads) { ADD; pthread_t t; pthread_create(&t, 0, touch, x + n); pthread_join(t, 0); }
#ifdef HALF
void as_float16(_Float16 s, uint16_t *o, int n) { for (int i = 0; i < n; i++) memcpy(o + i, &s, 2); }
void times_float16(_Float16 s, _Float16 *x, _Float16 *o, int n) {
    for (int i = 0; i < n; i++) o[i] = x[i] * s;
}
#endif
void as_uint16(uint16_t s, uint16_t *o, int n) { for (int i = 0; i < n; i++) o[i] = s; }
void as_float32(int a, float s, int b, uint32_t *o, int n) {
    for (int i = 0; i < n; i++) memcpy(o + i, &s, 4);
    o[0] = a; o[1] = b;
}
"""
if platform.machine() == "x86_64":
    KERNELS += r"""
KERNEL(flushes) {
    ADD; unsigned m;
    __asm__("stmxcsr %0" : "=m"(m)); m |= 0x8040; __asm__("ldmxcsr %0" : : "m"(m));
}
KERNEL(misaligned) { ADD; __asm__ volatile("movaps (%0), %%xmm0" : : "r"((uintptr_t)x | 4) : "xmm0"); }
"""
    FLUSH = '__asm__("stmxcsr %0" : "=m"(m)); m |= 0x8040; __asm__("ldmxcsr %0" : : "m"(m));'
else:
    FLUSH = 'unsigned long f; __asm__("mrs %0, fpcr" : "=r"(f)); __asm__("msr fpcr, %0" : : "r"(f | 1 << 24));'

LOADING: dict[str, str] = {
    "constructor_flushes": f"__attribute__((constructor)) void c(void) {{ unsigned m; {FLUSH} }}",
    "constructor_handles": """
        static void h(int number) { _exit(0); }
        __attribute__((constructor)) void c(void) { signal(SIGSEGV, h); signal(SIGBUS, h); }
    """,
    "constructor_prints": '__attribute__((constructor)) void c(void) { printf("welcome"); }',
    "constructor_crashes": "__attribute__((constructor)) void c(void) { *(volatile int *)0; }",
    "constructor_hangs": "__attribute__((constructor)) void c(void) { for (;;) pause(); }",
    "constructor_exits": "__attribute__((constructor)) void c(void) { _exit(0); }",
    "constructor_forks": "__attribute__((constructor)) void c(void) { if (!fork()) for (;;) pause(); }",
    "destructor_crashes": "__attribute__((destructor)) void d(void) { abort(); }",
    "destructor_hangs": "__attribute__((destructor)) void d(void) { for (;;) pause(); }",
    "undefined": "void nowhere(void); void f(void) { nowhere(); }",
}  # fmt: skip

SYMBOLS = [w.split("(")[1].split(")")[0] for w in KERNELS.splitlines() if w.startswith("KERNEL(")]
SYMBOLS += ["healthy_s", "as_float16", "times_float16", "as_uint16", "as_float32"]


def open_session(library: Path, **options: Any) -> LibrarySession:
    return LibrarySession(library, symbols=SYMBOLS, **{"crash_limit": 10**6, **options})


END, BEGIN = Invocation(placement="end"), Invocation(placement="begin")


def make(symbol: str, *invocations: Invocation, n: int = 33, timeout: float = 0.0, first: float = 0.0) -> Call:
    x = np.arange(n, dtype="<f4") + np.float32(first)
    w = np.linspace(5, 6, n, dtype="<f4")
    arguments = (
        PointerArgument("x", "input", 4, n, memoryview(x.tobytes())),
        PointerArgument("w", "input", 4, n, memoryview(w.tobytes())),
        PointerArgument("u", "unread", 4, n),
        PointerArgument("o", "output", 4, n),
        ScalarArgument("n", "int32", n),
    )
    return Call(symbol, arguments, invocations or (END,), timeout)


def expected(n: int = 33) -> bytes:
    return (np.arange(n, dtype="<f4") + np.linspace(5, 6, n, dtype="<f4")).tobytes()


def run_one(session: LibrarySession, symbol: str, invocation: Invocation = END, **options: Any) -> Outcome:
    return session.run(make(symbol, invocation, **options))[0]


def has_ended(pid: int, patience: float = 10.0) -> bool:
    """Tell whether a process is gone or a zombie, now or soon."""
    deadline = time.monotonic() + patience
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            return True
        if state in b"ZX":
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
