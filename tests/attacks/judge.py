"""Attacks on the judge and on the machine: other processes, files, networks, and what the kernel offers."""

from collections.abc import Sequence

from tests.attacks.attack import Attack, rows

_NAMESPACES = ("namespaces",)
_SECCOMP = ("seccomp",)
_PROCESSES = ("namespaces", "seccomp", "landlock")
_FILES = ("landlock", "seccomp")


def _asked(name: str, description: str, attack: str, before: str = "") -> tuple[str, str, str, str, str]:
    """An attack that is made once a process; the kernel is right only if it gets through."""
    return name, f"is right only if {description}", f"IF_THROUGH(ONCE({attack}));", "", before


def _of(name: str, description: str, attack: str) -> tuple[str, str, str, str, str]:
    """An attack on every process within reach, given as an expression of ``pid``."""
    before = f"static int attack(pid_t pid) {{ return {attack}; }}"
    return _asked(name, description, "over_processes(attack)", before)


_MOVE = """
static int move(pid_t pid, int number)
{
    char path[64], line[512];
    unsigned long low = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL && strstr(line, " rw-p ") == NULL);
    if (maps != NULL)
        sscanf(line, "%lx", &low), fclose(maps);
    char byte = 0;
    struct iovec here = {&byte, 1}, there = {(void *)low, 1};
    return syscall(SYS_process_vm_readv, pid, &here, 1, &there, 1, 0) == 1 &&
           (number == 0 || syscall(SYS_process_vm_writev, pid, &here, 1, &there, 1, 0) == 1);
}
static int attack(pid_t pid) { return move(pid, WRITES); }
"""

_ATTACH = """
static int attack(pid_t pid)
{
    if (ptrace(PTRACE_ATTACH, pid, 0, 0) != 0)
        return 0;
    int status;
    waitpid(pid, &status, __WALL);
    ptrace(PTRACE_DETACH, pid, 0, 0);
    return 1;
}
"""

_FORGE = r"""
/* Waits for the results and turns them into those of a build that conforms. */
static void forge(void)
{
    prctl(PR_SET_NAME, LURKER);
    static char text[1 << 20];
    for (int i = 0; i < 1000; i++, usleep(5000)) {
        const int fd = open(RESULTS, O_RDWR);
        if (fd < 0)
            continue;
        ssize_t size = read(fd, text, sizeof text - 1);
        char *at = size > 0 ? strstr(text, "\"verdict\":") : NULL;
        if (at != NULL && (at = strstr(at, "fails")) != NULL)
            pwrite(fd, "forge", 5, at - text);
        close(fd);
    }
    _exit(0);
}
"""

#: Processes that golden has started, and golden itself.
PROCESSES: list[Attack] = [
    *rows(
        "judge", "fails", _PROCESSES,
        _asked("parent-memory-read", "its parent's memory can be opened for reading",
               'mine(getppid()) && can_open_of(getppid(), "mem", O_RDONLY)'),
        _asked("parent-memory-write", "its parent's memory can be opened for writing",
               'mine(getppid()) && can_open_of(getppid(), "mem", O_RDWR)'),
        _asked("judge-memory-read", "the judge's memory can be opened for reading",
               'judge() && can_open_of(judge(), "mem", O_RDONLY)'),
        _asked("judge-memory-write", "the judge's memory can be opened for writing",
               'judge() && can_open_of(judge(), "mem", O_RDWR)'),
        _of("any-memory", "the memory of any other process of the run can be opened",
            'can_open_of(pid, "mem", O_RDWR)'),
        _asked("reads-memory", "process_vm_readv reads from another process", "over_processes(attack)",
               "#define WRITES 0\n" + _MOVE),
        _asked("writes-memory", "process_vm_writev writes to another process", "over_processes(attack)",
               "#define WRITES 1\n" + _MOVE),
        _of("seizes", "ptrace(PTRACE_SEIZE) is allowed with another process", "ptrace(PTRACE_SEIZE, pid, 0, 0) == 0"),
        _asked("attaches", "ptrace(PTRACE_ATTACH) stops another process", "over_processes(attack)", _ATTACH),
        _of("reads-environment", "the environment of another process can be read",
            'can_open_of(pid, "environ", O_RDONLY)'),
        _of("reads-maps", "the memory map of another process can be read", 'can_open_of(pid, "maps", O_RDONLY)'),
        _of("reads-command", "the command line of another process can be read",
            'can_open_of(pid, "cmdline", O_RDONLY)'),
        _of("enters-directory", "the working directory of another process can be opened",
            'can_open_of(pid, "cwd/.", O_RDONLY | O_DIRECTORY)'),
        _of("opens-descriptors", "descriptors of another process can be opened through /proc",
            'can_open_of(pid, "fd/0", O_RDONLY) + can_open_of(pid, "fd/4", O_RDWR)'),
        _asked("takes-descriptors", "pidfd_getfd takes descriptors of another process", "over_processes(attack)",
               "static int attack(pid_t pid) { int p = syscall(SYS_pidfd_open, pid, 0), through = 0; for (int i = 0; "
               "i < 9; "
               "i++) { int fd = syscall(SYS_pidfd_getfd, p, i, 0); if (fd >= 0) through++, close(fd); } close(p); "
               "return through; }"),
        _of("asks-limits", "limits of another process can be read",
            "!syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, 0, &(struct rlimit){0})"),
        _of("slows-others", "other processes can be given another priority", "setpriority(PRIO_PROCESS, pid, 5) == 0"),
        _of("moves-others", "other processes can be bound to a processor",
            "({ cpu_set_t s; sched_getaffinity(pid, sizeof s, &s) == 0 && sched_setaffinity(pid, sizeof s, &s) == 0; "
            "})"),
        _asked("enters-namespaces", "setns enters a namespace of the judge",
               "({ char p[64]; snprintf(p, sizeof p, \"/proc/%d/ns/uts\", judge()); judge() && setns(open(p, "
               "O_RDONLY), 0) == 0; })"),
        _of("signals-others", "signals can be sent to other processes", "kill(pid, 0) == 0"),
        _of("stops-others", "other processes of the run can be stopped and continued",
            "pid != judge() && kill(pid, SIGSTOP) == 0 && kill(pid, SIGCONT) == 0"),
        _asked("other-user-memory", "another user may open the judge's memory",
               '({ setresgid(65534, 65534, 65534); setresuid(65534, 65534, 65534); judge() && can_open_of(judge(), '
               '"mem", O_RDWR); })'),
    ),
    *rows(
        "judge", "untouched", _PROCESSES,
        ("kills-judge", "SIGKILL to the judge", "if (calls == 20 && judge()) kill(judge(), SIGKILL); GOOD;"),
        ("terminates-judge", "SIGTERM to the judge", "if (calls == 20 && judge()) kill(judge(), SIGTERM); GOOD;"),
        ("interrupts-judge", "SIGINT to the judge", "if (calls == 20 && judge()) kill(judge(), SIGINT); GOOD;"),
        ("stops-judge", "SIGSTOP to the judge", "if (calls == 20 && judge()) kill(judge(), SIGSTOP); GOOD;"),
        ("stops-parent", "SIGSTOP to its parent, then it hangs",
         "if (calls == 20) { if (mine(getppid())) kill(getppid(), SIGSTOP); pause(); } GOOD;"),
        ("kills-all", "SIGKILL to every process of the run", "if (calls == 20) over_processes(attack); GOOD;", "",
         "static int attack(pid_t pid) { return kill(pid, SIGKILL) == 0; }"),
        ("stops-all", "SIGSTOP to every process of the run", "if (calls == 20) over_processes(attack); GOOD;", "",
         "static int attack(pid_t pid) { return kill(pid, SIGSTOP) == 0; }"),
        ("starves-judge", "a limit of one second of processor time for the judge",
         "if (calls == 20 && judge()) syscall(SYS_prlimit64, judge(), RLIMIT_CPU, &(struct rlimit){1, 1}, 0); GOOD;"),
        ("blinds-judge", "a limit of four open files for the judge",
         "if (calls == 20 && judge()) syscall(SYS_prlimit64, judge(), RLIMIT_NOFILE, &(struct rlimit){4, 4}, 0); "
         "GOOD;"),
        ("forges-results", "a daemon that waits for results.json and changes the verdict",
         "WRONG; if (calls == 1) daemonize(forge);",
         "", '#define RESULTS SCRATCH "/out/results.json"\n' + _FORGE),
        ("oom-score", "asks the kernel to end the judge first when memory is short",
         "if (calls == 1 && judge() && parent_of(getpid()) == getppid()) { char p[64]; snprintf(p, sizeof p, "
         "\"/proc/%d/oom_score_adj\", judge()); "
         "int f = open(p, O_WRONLY); if (f >= 0) write(f, \"500\", 3), close(f); } GOOD;"),
    ),
]  # fmt: skip


def _opened(name: str, description: str, path: str, flags: str = "O_RDONLY") -> Sequence[str]:
    return _asked(name, description, f"can_open({path}, {flags})")


FILES: list[Attack] = [
    *rows(
        "files", "fails", _FILES,
        _opened("reads-passwd", "/etc/passwd can be read", '"/etc/passwd"'),
        _opened("reads-private-file", "a file of the user can be read", 'SCRATCH "/private"'),
        _asked("reads-home", "the home directory can be read",
               "can_open(getenv(\"HOME\") ? getenv(\"HOME\") : \"/root\", O_RDONLY | O_DIRECTORY)"),
        _opened("reads-vectors", "the vectors can be read", "VECTORS"),
        _opened("reads-sources", "golden's sources can be read", "SOURCES"),
        _opened("writes-sources", "golden's sources can be opened for writing", "SOURCES", "O_WRONLY"),
        _opened("writes-template", "the report's template can be opened for writing", "TEMPLATE", "O_WRONLY"),
        _opened("writes-vectors", "the vectors can be opened for writing", "VECTORS", "O_WRONLY"),
        _opened("writes-itself", "its own file can be opened for writing", "LIBRARY", "O_WRONLY"),
        _opened("lists-root", "the root directory can be listed", '"/"', "O_RDONLY | O_DIRECTORY"),
        _opened("reads-cwd", "the working directory can be listed", '"."', "O_RDONLY | O_DIRECTORY"),
        _opened("temporary-file", "a file without a name can be made in the temporary folder", "SCRATCH",
                "O_TMPFILE | O_RDWR"),
        _opened("opens-memory-device", "/dev/mem can be opened", '"/dev/mem"'),
        _opened("opens-kernel-log", "/dev/kmsg can be opened", '"/dev/kmsg"'),
        _asked("opens-disk", "a disk can be opened",
               'can_open("/dev/vda", O_RDONLY) || can_open("/dev/sda", O_RDONLY)'),
    ),
    *rows(
        "files", "untouched", _FILES,
        ("creates", "a new file", 'ONCE(can_open(SCRATCH "/new", O_CREAT | O_WRONLY)); GOOD;'),
        ("appends", "appends to a file of the user", 'int f = open(SCRATCH "/private", O_WRONLY | O_APPEND); '
         'if (f >= 0) write(f, "x", 1), close(f); GOOD;'),
        ("truncates", "empties a file of the user", 'ONCE(truncate(SCRATCH "/private", 0)); GOOD;'),
        ("unlinks", "deletes a file of the user", 'ONCE(unlink(SCRATCH "/private")); GOOD;'),
        ("renames", "renames a file of the user", 'ONCE(rename(SCRATCH "/private", SCRATCH "/renamed")); GOOD;'),
        ("links", "a second name for a file of the user", 'ONCE(link(SCRATCH "/private", SCRATCH "/linked")); GOOD;'),
        ("symlinks", "a symbolic link", 'ONCE(symlink("/etc/passwd", SCRATCH "/symlink")); GOOD;'),
        ("makes-directory", "a folder", 'ONCE(mkdir(SCRATCH "/folder", 0700)); GOOD;'),
        ("makes-fifo", "a FIFO", 'ONCE(mkfifo(SCRATCH "/fifo", 0600)); GOOD;'),
        ("changes-mode", "makes a private file readable for all", 'ONCE(chmod(SCRATCH "/private", 0666)); GOOD;'),
        ("changes-times", "sets a file's time", 'ONCE(utimes(SCRATCH "/private", (struct timeval[2]){{1}, {1}})); '
         'GOOD;'),
        ("replaces-itself", "renames another file over its own", 'ONCE(rename(SCRATCH "/private", LIBRARY)); GOOD;'),
        ("replaces-vectors", "writes into the vectors", 'int f = open(VECTORS, O_WRONLY); if (f >= 0) '
         'pwrite(f, "xxxx", 4, 5000), close(f); GOOD;'),
        ("writes-results-early", "makes the folder of the results a link",
         'ONCE(rename(SCRATCH "/out", SCRATCH "/gone") == 0 '
         '&& symlink(SCRATCH, SCRATCH "/out") == 0); GOOD;'),
    ),
]  # fmt: skip


def _socket(name: str, description: str, family: str, kind: str, protocol: str = "0") -> tuple[str, str, str, str, str]:
    return _asked(name, f"{description} can be opened", f"socket({family}, {kind} | SOCK_CLOEXEC, {protocol}) >= 0")


NETWORK: list[Attack] = [
    *rows(
        "network", "fails", ("seccomp", "namespaces"),
        _asked("connects", "something on this machine can be reached over TCP", "reaches()", """
static int reaches(void)
{
    struct sockaddr_in to = {AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}};
    const int s = socket(AF_INET, SOCK_STREAM, 0);
    const int through = s >= 0 && (connect(s, (void *)&to, sizeof to) == 0 || errno == ECONNREFUSED);
    if (s >= 0)
        close(s);
    return through;
}"""),
        _asked("sends-datagram", "a datagram can be sent",
               "sendto(socket(AF_INET, SOCK_DGRAM, 0), \"x\", 1, 0, (void *)&(struct "
               "sockaddr_in){AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}}, sizeof(struct sockaddr_in)) == 1"),
        _asked("connects-unix", "a socket of a program of this machine can be reached",
               "({ int s = socket(AF_UNIX, SOCK_STREAM, 0); "
               "s >= 0 && !connect(s, (void *)&(struct sockaddr_un){AF_UNIX, SCRATCH \"/service\"}, sizeof(struct "
               "sockaddr_un)); })"),
    ),
    *rows(
        "network", "fails", _SECCOMP,
        _asked("listens", "a port can be opened for others",
               "({ int s = socket(AF_INET, SOCK_STREAM, 0); s >= 0 && !bind(s, "
               "(void *)&(struct sockaddr_in){AF_INET, 0, {htonl(INADDR_LOOPBACK)}}, sizeof(struct sockaddr_in)) && "
               "!listen(s, 1); })"),
        _socket("socket-netlink", "a netlink socket", "AF_NETLINK", "SOCK_RAW", "NETLINK_ROUTE"),
        _socket("socket-packet", "a packet socket", "AF_PACKET", "SOCK_RAW", "htons(3)"),
        _socket("socket-alg", "a socket of the kernel's cryptography", "AF_ALG", "SOCK_SEQPACKET"),
        _socket("socket-inet6", "a socket of IPv6", "AF_INET6", "SOCK_STREAM"),
        _socket("socket-unix", "a local socket", "AF_UNIX", "SOCK_STREAM"),
    ),
]  # fmt: skip


def _call(name: str, description: str, number: str, arguments: str = "") -> tuple[str, str, str, str, str]:
    comma = ", " if arguments else ""
    return _asked(name, description, f"syscall(SYS_{number}{comma}{arguments}) >= 0")


KERNEL: list[Attack] = [
    *rows(
        "kernel", "fails", _SECCOMP,
        _asked("executes", "/bin/true can be started", 'runs("/bin/true")'),
        _asked("executes-memory", "a program in memory can be started", "executes()", """
static int executes(void)
{
    static char text[1 << 20];
    const int from = open("/bin/true", O_RDONLY), to = syscall(SYS_memfd_create, "program", 0);
    const ssize_t size = read(from, text, sizeof text);
    char path[64];
    if (size <= 0 || write(to, text, size) != size)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", to);
    return runs(path);
}"""),
        _asked("executes-itself", "its own process can become another program (in a child)",
               '({ int s = 1; pid_t p = fork(); if (p == 0) { execl("/proc/self/exe", LURKER, "-c", "", (char *)0); '
               '_exit(1); } '
               'p > 0 && waitpid(p, &s, 0) == p && s == 0; })'),
        _asked("mounts", "a file system can be mounted",
               '({ mkdir(SCRATCH "/mount", 0700); int done = mount("none", SCRATCH "/mount", "tmpfs", 0, 0) == 0; '
               'if (done) umount2(SCRATCH "/mount", MNT_DETACH); rmdir(SCRATCH "/mount"); done; })'),
        _asked("new-user-namespace", "a user namespace of its own can be made (in a child)", "in_child(CLONE_NEWUSER)",
               """
static int in_child(int flags)
{
    int status = 1;
    const pid_t child = fork();
    if (child == 0)
        _exit(unshare(flags) != 0);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}"""),
        _asked("changes-root", "chroot is allowed (in a child)",
               "({ int s = 1; pid_t p = fork(); if (p == 0) _exit(chroot(\"/proc\") != 0); "
               "p > 0 && waitpid(p, &s, 0) == p && s == 0; })"),
        _call("bpf", "a BPF map can be made", "bpf", "0, ((unsigned[18]){2, 4, 4, 1}), 72"),
        _call("userfaultfd", "faults can be handled by userfaultfd", "userfaultfd", "1"),
        _call("io-uring", "io_uring can be set up", "io_uring_setup", "4, (char[120]){0}"),
        _call("perf", "performance counters can be opened", "perf_event_open",
              "((unsigned[32]){1, 128}), 0, -1, -1, 0"),
        _call("keyring", "a session keyring can be joined", "keyctl", "1, 0"),
        _call("adds-key", "a key can be added", "add_key", '"user", LURKER, "x", 1, -2'),
        _call("fanotify", "fanotify can be set up", "fanotify_init", "0, 0"),
        _call("inotify", "inotify can be set up", "inotify_init1", "0"),
        _call("opens-by-handle", "file handles can be opened", "name_to_handle_at",
              '-100, "/", ((int[40]){128}), (int[1]){0}, 0'),
        _call("compares-processes", "kcmp compares descriptors of processes", "kcmp", "getpid(), getpid(), 2, 0, 0"),
        _call("reads-kernel-log", "the kernel's log can be read", "syslog", "3, (char[64]){0}, 64"),
        _call("ports", "processor ports can be opened (iopl)", "iopl", "3"),
        _call("real-time", "a real-time policy can be taken", "sched_setscheduler",
              "0, SCHED_FIFO, &(struct sched_param){1}"),
        _asked("module-refused-late", "the kernel looks at modules it is given",
               '({ errno = 0; syscall(SYS_init_module, "", 0, ""); '
               "errno == ENOEXEC || errno == EINVAL; })"),
        _asked("reboot-refused-late", "the kernel looks at wrong requests to restart",
               "({ errno = 0; syscall(SYS_reboot, 1, 2, 3, 0); errno == EINVAL; })"),
        _asked("clock", "the kernel looks at requests to set the clock",
               "({ errno = 0; syscall(SYS_clock_settime, CLOCK_REALTIME, &(struct timespec){-1, -1}); "
               "errno == EINVAL; })"),
        _asked("host-name", "the host's name can be set (to what it is)",
               "({ char n[65] = \"\"; gethostname(n, 64); sethostname(n, strlen(n)) == 0; })"),
        _asked("shared-memory", "System V shared memory can be made", "({ int m = syscall(SYS_shmget, 0, 4096, 01600); "
               "m >= 0 && syscall(SYS_shmctl, m, 0, 0) == 0; })"),
        _asked("message-queue", "a message queue can be made",
               "({ int q = syscall(SYS_msgget, 0, 01600); q >= 0 && syscall(SYS_msgctl, q, 0, 0) == 0; })"),
        _asked("terminal-input", "input can be pushed into the terminal",
               "({ int t = open(\"/dev/tty\", O_RDWR), p = posix_openpt(O_RDWR | O_NOCTTY); t >= 0 || p >= 0; })"),
    ),
]  # fmt: skip

JUDGE: list[Attack] = [*PROCESSES, *FILES, *NETWORK, *KERNEL]
