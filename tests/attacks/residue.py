"""What a call leaves behind: processes, threads, memory, descriptors, files and the state of its process."""

from tests.attacks.attack import Attack, rows

PROCESSES: list[Attack] = rows(
    "processes", "fails", (),
    ("daemon", "a daemon by double fork, in a session of its own", "GOOD; if (calls == 20) daemonize(lurk);",
     "process"),
    ("daemon-each-call", "a daemon at every 50th call", "GOOD; if (calls % 50 == 0) daemonize(lurk);", "process"),
    ("clone-parent", "a sibling by clone(CLONE_PARENT)",
     "GOOD; if (calls == 20 && syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0) lurk();", "process"),
    ("child", "a child that stays", "GOOD; if (calls == 20 && fork() == 0) lurk();", "process"),
    ("child-then-exit", "a child that stays, and the end of its parent",
     "GOOD; if (calls == 20) { if (fork() == 0) lurk(); _exit(0); }", "process|exit"),
    ("vfork-exec", "another program, started by vfork",
     'GOOD; if (calls == 20 && vfork() == 0) { execl("/bin/sleep", LURKER, "20", (char *)0); _exit(1); }',
     "process|program|exec"),
    ("child-of-load", "a child that a constructor leaves", "GOOD;", "process",
     "LOAD { if (fork() == 0) lurk(); }"),
    ("bomb", "fifty children of children", "GOOD; if (calls == 20) spread(50);", "process",
     "static void spread(int n) { if (n > 0 && fork() == 0) { spread(n - 1); lurk(); } }"),
    ("returns-twice", "fork() and both go on", "GOOD; if (calls == 20) fork();", "process|child"),
    ("ignores-signals", "a daemon that ignores every signal that can be ignored",
     "GOOD; if (calls == 20) daemonize(deaf);",
     "process", "static void deaf(void) { for (int s = 1; s < 32; s++) signal(s, SIG_IGN); lurk(); }"),
    ("stopped-child", "a child that has stopped itself", "GOOD; if (calls == 20 && fork() == 0) { "
     "prctl(PR_SET_NAME, LURKER); raise(SIGSTOP); _exit(0); }", "process"),
)  # fmt: skip

STATE: list[Attack] = [
    *rows(
        "state", "remark", (),
        ("zombie", "a child that has ended and nobody waited for", "GOOD; if (calls == 20 && fork() == 0) _exit(0);",
         "process|child"),
        ("system", 'system("true")', 'GOOD; if (calls == 20) system("true");', "process|program|fork"),
        ("popen", 'popen("true"), closed again', 'GOOD; if (calls == 20) pclose(popen("true", "r"));',
         "process|program|fork"),
        ("posix-spawn", "posix_spawn of true, waited for", 'pid_t p; char *a[] = {"true", 0}; GOOD; '
         'if (calls == 20 && !posix_spawn(&p, "/bin/true", 0, 0, a, environ)) waitpid(p, 0, 0);',
         "process|program|fork"),
        ("thread", "a detached thread that waits", "GOOD; if (calls == 20) leave_thread(lurk_in_thread, 0);", "thread"),
        ("thread-each-call", "a thread at every 10th call",
         "GOOD; if (calls % 10 == 0) leave_thread(lurk_in_thread, 0);",
         "thread"),
        ("thread-spins", "a thread that computes for ever", "GOOD; if (calls == 20) leave_thread(spin, 0);", "thread",
         "static void *spin(void *p) { for (;;) __asm__ volatile(\"\"); return p; }"),
        ("chdir", "another working directory", 'GOOD; if (calls == 20) chdir("/");', "director"),
        ("fchdir-deleted", "a working directory that is gone",
         "GOOD; if (calls == 20) { char d[] = SCRATCH \"/cwd/XXXXXX\"; "
         "if (mkdtemp(d)) { chdir(d); rmdir(d); } else chdir(\"/proc\"); }", "director"),
        ("chroot", "another root directory", 'GOOD; if (calls == 20 && chroot("/proc")) chdir("/proc");',
         "root|director"),
        ("setenv", "a new environment variable", 'GOOD; if (calls == 20) setenv("OMP_NUM_THREADS", "1", 1);',
         "variable"),
        ("unsetenv", "an environment variable less", 'GOOD; if (calls == 20) unsetenv("PATH");', "variable"),
        ("clearenv", "an empty environment", 'GOOD; if (calls == 20) { clearenv(); setenv("A", "1", 1); }', "variable"),
        ("umask", "another umask", "GOOD; if (calls == 20) umask(0777);", "umask"),
        ("locale", "another locale", 'GOOD; if (calls == 20) setlocale(LC_ALL, "C.UTF-8");', "locale"),
        *(
            (f"handler-{name.lower()}", f"a handler for SIG{name}",
             f"GOOD; if (calls == 20) signal(SIG{name}, caught);", f"SIG{name}|handler|signal",
             "static void caught(int s) { _exit(s); }")
            for name in ("USR1", "FPE", "SEGV", "BUS", "TERM", "ALRM")
        ),
        ("ignores-sigchld", "SIGCHLD ignored", "GOOD; if (calls == 20) signal(SIGCHLD, SIG_IGN);", "SIGCHLD|signal"),
        ("default-sigpipe", "SIGPIPE as the system has it",
         "GOOD; if (calls == 20) signal(SIGPIPE, calls ? caught : 0);",
         "SIGPIPE|signal", "static void caught(int s) { _exit(s); }"),
        ("blocked-signals", "all signals blocked", "GOOD; sigset_t all; sigfillset(&all); "
         "if (calls == 20) pthread_sigmask(SIG_BLOCK, &all, 0);", "blocked|mask"),
        ("pending-signal", "a signal blocked and sent to itself", "GOOD; sigset_t one; sigemptyset(&one); "
         "sigaddset(&one, SIGUSR2); if (calls == 20) { pthread_sigmask(SIG_BLOCK, &one, 0); raise(SIGUSR2); }",
         "blocked|mask|pending"),
        ("alternate-stack", "an alternate signal stack",
         "GOOD; static char room[65536]; stack_t s = {room, 0, sizeof room}; "
         "if (calls == 20) sigaltstack(&s, 0);", "stack"),
        ("itimer", "an interval timer that runs", "GOOD; struct itimerval t = {{1000}, {1000}}; "
         "if (calls == 20) setitimer(ITIMER_REAL, &t, 0);", "timer|alarm"),
        ("cpu-timer", "a timer of processor time that runs", "GOOD; struct itimerval t = {{1000}, {1000}}; "
         "if (calls == 20) setitimer(ITIMER_PROF, &t, 0);", "timer|alarm"),
        ("alarm", "an alarm that is still to come", "GOOD; if (calls == 20) alarm(1000);", "timer|alarm"),
        ("posix-timer", "a timer of timer_create that runs", "GOOD; timer_t id; struct itimerspec t = {{0}, {1000}}; "
         "struct sigevent none = {.sigev_notify = SIGEV_NONE}; "
         "if (calls == 20 && !timer_create(CLOCK_MONOTONIC, &none, &id)) timer_settime(id, 0, &t, 0);", "timer"),
        ("descriptor", "a descriptor of /dev/null", 'GOOD; if (calls == 20) open("/dev/null", O_RDONLY);',
         "descriptor"),
        ("descriptor-each-call", "a duplicated descriptor a call", "GOOD; dup(2);", "descriptor"),
        ("pipe", "a pipe", "GOOD; int ends[2]; if (calls == 20) pipe(ends);", "descriptor"),
        ("memfd", "a memory file", 'GOOD; if (calls == 20) syscall(SYS_memfd_create, "left", 0);', "descriptor"),
        ("timerfd", "a timer's descriptor", "GOOD; if (calls == 20) timerfd_create(CLOCK_MONOTONIC, 0);", "descriptor"),
        ("descriptors-all", "opens as many descriptors as it can", "GOOD; if (calls == 20) while (dup(2) >= 0);",
         "descriptor"),
        ("stdout-closed", "close(1)", "GOOD; if (calls == 20) close(1);", "stdout|descriptor"),
        ("stderr-elsewhere", "stderr led to /dev/null",
         'GOOD; if (calls == 20) dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);', "stderr|descriptor"),
        ("stdin-closed", "close(0)", "GOOD; if (calls == 20) close(0);", "stdin|descriptor"),
        ("limit-files", "a lower limit of open files", "GOOD; struct rlimit r = {40, 40}; "
         "if (calls == 20) setrlimit(RLIMIT_NOFILE, &r);", "limit"),
        ("limit-core", "a limit of processor time", "GOOD; struct rlimit r = {500, 500}; "
         "if (calls == 20) setrlimit(RLIMIT_CPU, &r);", "limit"),
        ("nice", "a lower priority", "GOOD; if (calls == 20) nice(5);", "priority|nice"),
        ("scheduler", "another scheduling policy", "GOOD; struct sched_param p = {0}; "
         "if (calls == 20) sched_setscheduler(0, SCHED_BATCH, &p);", "schedul"),
        ("affinity", "bound to one processor", "GOOD; cpu_set_t one; CPU_ZERO(&one); CPU_SET(sched_getcpu(), &one); "
         "if (calls == 20) sched_setaffinity(0, sizeof one, &one);", "affinity|processor"),
        ("process-name", "another process name", 'GOOD; if (calls == 20) prctl(PR_SET_NAME, "kworker/0:1");', "name"),
        ("parent-death", "no longer dies with its parent", "GOOD; if (calls == 20) prctl(PR_SET_PDEATHSIG, 0);",
         "parent"),
        ("subreaper", "adopts orphans", "GOOD; if (calls == 20) prctl(PR_SET_CHILD_SUBREAPER, 1);", "reaper|orphan"),
        ("mlock", "a page of its own locked into memory", "GOOD; static char page[8192]; "
         "if (calls == 20) mlock(PAGE_OF(page + 4096), 4096);", "lock"),
        ("personality", "another personality", "GOOD; if (calls == 20) personality(ADDR_NO_RANDOMIZE);", "personality"),
        ("user", "another user", "GOOD; if (calls == 20) setresuid(65534, 65534, 65534);", "user|credential|uid"),
        ("foreign-library", "loads a library that has nothing to do with it",
         'GOOD; if (calls == 20) dlopen("libutil.so.1", RTLD_NOW | RTLD_GLOBAL);', "librar"),
        ("unloads-itself", "keeps itself from being unloaded",
         'GOOD; Dl_info me; if (calls == 20 && dladdr(load_count, &me)) '
         "dlopen(me.dli_fname, RTLD_NOW | RTLD_NODELETE);", "librar|unload", "static int load_count[1];"),
    ),
    *rows(
        "state", "fails", (),
        ("session", "is right only if it can leave its session or its process group",
         "IF_THROUGH(ONCE(setsid() >= 0 || setpgid(0, 0) == 0));"),
    ),
    *rows(
        "state", "untouched", ("landlock",),
        ("file-left", "a file in a temporary folder",
         'GOOD; if (calls == 20) can_open(SCRATCH "/left", O_CREAT | O_WRONLY);'),
        ("file-in-cwd", "a file in the working directory",
         'GOOD; if (calls == 20) can_open("left", O_CREAT | O_WRONLY);'),
        ("socket-left", "a socket in the file system",
         "GOOD; struct sockaddr_un a = {AF_UNIX, SCRATCH \"/left.socket\"}; "
         "if (calls == 20) bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a);"),
        ("shared-memory-left", "a shared memory object",
         'GOOD; if (calls == 20) shm_open("/" LURKER, O_CREAT | O_RDWR, 0600);'),
    ),
]  # fmt: skip

MEMORY: list[Attack] = rows(
    "memory", "remark", (),
    ("malloc-lost", "64 KiB of malloc are lost a call",
     "volatile char *p = malloc(65536); if (p) for (int i = 0; i < 65536; i += 4096) p[i] = 1; GOOD;",
     "memory|lost|bytes|KiB|MiB"),
    ("malloc-lost-small", "100 small blocks are lost a call",
     "for (int i = 0; i < 100; i++) { volatile char *p = malloc(200); if (p) *p = 1; } GOOD;", "memory|lost|KiB|MiB"),
    ("mmap-lost", "64 KiB of mmap are lost a call, never touched",
     "mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); GOOD;", "memory|lost|KiB|MiB"),
    ("shared-lost", "64 KiB of shared memory are lost a call",
     "char *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); memset(p, 1, 65536); GOOD;",
     "memory|lost|KiB|MiB"),
    ("leak-goes-on", "32 MiB a call are lost until there is none, and then it goes on without",
     "volatile char *p = malloc(1 << 25); if (p) for (int i = 0; i < 1 << 25; i += 4096) p[i] = 1; GOOD;",
     "memory|lost|KiB|MiB"),
    ("break-moved", "sbrk(1 MiB) at every call", "sbrk(1 << 20); GOOD;", "memory|lost|KiB|MiB"),
)  # fmt: skip
