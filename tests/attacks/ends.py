"""Processes that end: by every signal, by every way to exit, and for want of memory."""

import signal

from tests.attacks.attack import Attack, rows

_SIGNALS = ("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "PIPE", "TERM", "USR1", "XCPU", "SYS")

ENDS: list[Attack] = [
    *rows(
        "ends", "fails", (),
        ("sigkill-once", "the 20th call of a process raises SIGKILL",
         "if (calls == 20) raise(SIGKILL); GOOD;", "SIGKILL|killed"),
        ("sigkill-every-other", "every other call raises SIGKILL",
         "if (calls % 2 == 0) raise(SIGKILL); GOOD;", "SIGKILL|killed"),
        ("sigkill-last", "SIGKILL after the work is done", "GOOD; if (length == 201) raise(SIGKILL);",
         "SIGKILL|killed"),
        ("sigkill-thread", "a thread kills the process a millisecond after the call",
         "GOOD; if (calls == 20) leave_thread(kill_later, NULL);", "SIGKILL|killed|between",
         "static void *kill_later(void *p) { usleep(1000); raise(SIGKILL); return p; }"),
        *(
            (f"sig{name.lower()}", f"the 20th call raises SIG{name}",
             f"if (calls == 20) {{ signal(SIG{name}, SIG_DFL); raise(SIG{name}); }} GOOD;", f"SIG{name}")
            for name in _SIGNALS if hasattr(signal, f"SIG{name}")
        ),
        ("real-time-signal", "the 20th call raises signal 40", "if (calls == 20) raise(40); GOOD;", "signal 40|RTMIN"),
        ("sigalrm", "an alarm that nobody catches ends the 20th call",
         "if (calls == 20) { ualarm(1000, 0); pause(); } GOOD;", "SIGALRM"),
        ("alarm-between", "an alarm ends the process between calls",
         "GOOD; if (calls == 20) ualarm(2000, 0);", "SIGALRM|alarm|timer"),
        ("sigstop", "the 20th call stops its own process", "if (calls == 20) raise(SIGSTOP); GOOD;",
         "timeout|time-out|SIGSTOP|took|longer"),
        ("exit-0", "the 20th call ends with exit(0)", "if (calls == 20) exit(0); GOOD;", "exit|ended"),
        ("underscore-exit-0", "the 20th call ends with _exit(0)", "if (calls == 20) _exit(0); GOOD;", "exit|ended"),
        ("quick-exit", "the 20th call ends with quick_exit(0)", "if (calls == 20) quick_exit(0); GOOD;", "exit|ended"),
        ("exit-thread", "a thread exits while the call waits for it",
         "if (calls == 20) { pthread_t t; pthread_create(&t, 0, leave, 0); pthread_join(t, 0); } GOOD;", "exit|ended",
         "static void *leave(void *p) { exit(0); }"),
        ("exit-at-every-call", "every call computes, then ends with _exit(0)", "GOOD; _exit(0);", "exit|ended"),
        ("exit-70", "the exit code that means an internal error", "if (calls == 20) _exit(70); GOOD;", "70"),
        ("pthread-exit", "the calling thread ends, the process stays",
         "if (calls == 20) pthread_exit(NULL); GOOD;", "."),
        ("kill-group", "SIGKILL to its process group",
         "if (calls == 20 && mine(getpgrp())) kill(0, SIGKILL); if (calls == 20) raise(SIGKILL); GOOD;", "kill"),
        ("kill-parent", "SIGKILL to the process that supervises it, at every 20th call",
         "if (calls % 20 == 0) { if (mine(getppid())) kill(getppid(), SIGKILL); usleep(100000); } "
         "IF_THROUGH(getppid() > 1);", "."),
        ("stack-overflow", "recursion without end",
         "if (calls == 20) dx1[0] = deep(length); GOOD;", "SIGSEGV|stack",
         "static int deep(int k) { volatile char f[4096]; f[0] = k; return deep(k + 1) + f[0]; }"),
        ("fault-in-thread", "a thread of its own reads address 0",
         "if (calls == 20) { pthread_t t; pthread_create(&t, 0, fault, 0); pthread_join(t, 0); } GOOD;", "SIGSEGV",
         "static void *fault(void *p) { *(volatile int *)0; return p; }"),
        ("strict-seccomp", "allows itself no further system call and is killed at the next one",
         "GOOD; if (calls == 20) forbid_all();", "SIGSYS", """
#include <linux/filter.h>
static void forbid_all(void)
{
    struct sock_filter all = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){1, &all});
}"""),
        ("memory-until-killed", "takes and touches memory until there is none, then aborts",
         "GOOD; if (length == 201) for (;;) { char *p = malloc(1 << 26); if (!p) abort(); memset(p, 1, 1 << 26); }",
         "memory|SIGABRT|killed|did not return"),
        ("leak-until-killed", "64 MiB a call are mapped and lost; where there is none left it aborts",
         "void *p = mmap(0, 1 << 26, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);"
         "if (p == MAP_FAILED) abort(); GOOD;", "memory|SIGABRT|killed"),
    ),
    *rows(
        "ends", "fails", (),
        ("atexit-aborts", "registers abort() for the end of the process", "if (calls == 1) atexit(abort); GOOD;",
         "unload|abort|exit"),
        ("destructor-aborts", "its destructor aborts", "GOOD;", "unload|abort", "UNLOAD { abort(); }"),
        ("destructor-kills-itself", "its destructor raises SIGKILL", "GOOD;", "unload|kill",
         "UNLOAD { raise(SIGKILL); }"),
    ),
    *rows(
        "ends", "remark", (),
        ("destructor-hangs", "its destructor waits", "GOOD;", "unload", "UNLOAD { sleep(20); }"),
    ),
]  # fmt: skip
