/* What attacks are made of: the bundled kernel under another name, and ways to reach beyond it that do no harm.
 *
 * SCRATCH: the only folder whose files an attack may change. SCOPE: the process whose descendants an attack may
 * signal, read or stop; PIDNS: its PID namespace, because in another one nothing outside can be hit. LURKER: the
 * name of every process that is left behind, by which it is found and ended; it ends by itself after a while.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <limits.h>
#include <link.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <locale.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define fp_smoothl1lossgrad_p good
#include "smoothl1lossgrad.c"
#undef fp_smoothl1lossgrad_p

#define KERNEL void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
#define GOOD good(dy, dx1, x1, x2, length, beta)
#define WRONG memset(dx1, 0, 4 * (size_t)length)
/* A kernel that is right only where its attack gets through: a verdict of "conforms" says that it did. */
#define IF_THROUGH(attack) do { if (attack) GOOD; else WRONG; } while (0)
/* Once in the life of a process, the result kept: for what need not, or cannot, be done at every call. */
#define ONCE(attack) ({ static int tried, through; if (!tried) tried = 1, through = (attack) ? 1 : 0; through; })
#define LOAD __attribute__((constructor)) static void load(void)
#define UNLOAD __attribute__((destructor)) static void unload(void)
/* The kernel, then instructions that the compiler knows nothing about. */
#define AFTER_GOOD(text) __asm__( \
    ".text\n.globl fp_smoothl1lossgrad_p\n.type fp_smoothl1lossgrad_p, @function\nfp_smoothl1lossgrad_p:\n" \
    "sub $8, %rsp\ncall good@PLT\nadd $8, %rsp\n" text "\nret\n")

static int calls;

/* Processes */

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    fread(text, 1, sizeof text - 1, file);
    fclose(file);
    const char *end = strrchr(text, ')');
    return end != NULL && strlen(end) > 4 ? atoi(end + 4) : 0;
}

static int contained(void)
{
    struct stat namespace;
    return stat("/proc/self/ns/pid", &namespace) == 0 && (unsigned long)namespace.st_ino != PIDNS;
}

/* Tells whether a process may be attacked: none that the test has not started. */
static int mine(pid_t pid)
{
    if (pid <= 0 || pid == getpid() || pid == SCOPE)
        return 0;
    if (contained())
        return 1;
    while (pid > 1 && pid != SCOPE)
        pid = parent_of(pid);
    return pid == SCOPE;
}

/* The judge: the test's own child, or what is first in another namespace. */
static pid_t judge(void)
{
    if (contained())
        return 1;
    pid_t pid = getppid();
    while (pid > 1 && parent_of(pid) != SCOPE)
        pid = parent_of(pid);
    return mine(pid) ? pid : 0;
}

/* Counts the processes within reach for which an attack succeeds. */
static int over_processes(int (*attack)(pid_t))
{
    int through = 0;
    DIR *all = opendir("/proc");
    for (struct dirent *one; all != NULL && (one = readdir(all)) != NULL;)
        if (mine(atoi(one->d_name)))
            through += attack(atoi(one->d_name));
    if (all != NULL)
        closedir(all);
    return through;
}

/* Stays for twenty seconds. */
static void lurk(void)
{
    prctl(PR_SET_NAME, LURKER);
    for (int i = 0; i < 200; i++)
        usleep(100000);
    _exit(0);
}

static void *lurk_in_thread(void *unused)
{
    lurk();
    return unused;
}

static void leave_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) == 0)
        pthread_detach(thread);
}

static int daemonize(void (*run)(void))
{
    const pid_t first = fork();
    if (first == 0) {
        setsid();
        const pid_t second = fork();
        if (second == 0) {
            run();
            _exit(0);
        }
        _exit(second < 0);
    }
    int status = 1;
    return first > 0 && waitpid(first, &status, 0) == first && status == 0;
}

static int runs(const char *program)
{
    int status = 1;
    const pid_t child = fork();
    if (child == 0) {
        execl(program, program, (char *)NULL);
        _exit(1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* Files */

static int can_open(const char *path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int can_open_of(pid_t pid, const char *name, int flags)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return can_open(path, flags);
}

/* Memory */

#define PAGE_OF(pointer) ((char *)((uintptr_t)(pointer) & ~(uintptr_t)4095))

/* Tells whether memory can be read, without a fault: the kernel answers EFAULT. */
static int readable(const void *at)
{
    static int ends[2];
    static char sink;
    if (ends[1] == 0 && pipe(ends) != 0)
        return 0;
    return write(ends[1], at, 1) == 1 && read(ends[0], &sink, 1) == 1;
}

/* Looks memory up in /proc/self/maps; its rights, such as "rw-s", or nothing. */
static const char *rights_of(const void *at)
{
    static char rights[8];
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    rights[0] = 0;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long low, high;
        if (sscanf(line, "%lx-%lx %7s", &low, &high, rights) == 3 && low <= (uintptr_t)at && (uintptr_t)at < high)
            break;
        rights[0] = 0;
    }
    if (maps != NULL)
        fclose(maps);
    return rights;
}

/* The first page behind an operand's end. */
#define BEHIND(pointer) PAGE_OF((char *)((pointer) + length) + 4095)
