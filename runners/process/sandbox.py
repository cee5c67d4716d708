"""What keeps a library in its process: namespaces, Landlock, seccomp, each where the kernel allows it.

``isolate`` makes the process that supervises workers the init of its own user, PID, network, IPC and mount
namespaces: what a library starts dies with it, and there is nothing to signal, to trace or to connect to. ``Cage``
is made there once; each worker enters it before it loads the library: Landlock leaves it nothing to write and of the
file system what loading takes, without golden's own folders; seccomp asks the supervisor about system calls that no
kernel needs, who refuses them by name. None of it takes privileges. A dishonest library is stopped by these layers,
a broken one is told by them what it must not do; what they do not cover is in docs/trust.md.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from runners.calling.call import Mode
from runners.process.system import PR_SET_DUMPABLE, die_with_parent, libc, prctl

#: The layers, in the order of reports, with what each is for.
LAYERS = {
    "namespaces": "own user, PID, network, IPC and mount namespaces: no other process, no network, nothing stays",
    "landlock": "nothing can be written, and golden's files cannot be read",
    "seccomp": "starting processes, debugging, sockets and changing the memory that is watched are refused by name",
}


def described(layers: Iterable[str]) -> str:
    """Return layers in the words of results: ``landlock, namespaces``, or ``none``."""
    return ", ".join(sorted(layers)) or "none"


_CLONE = {"user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x08000000, "mount": 0x00020000}
_PR_SET_NO_NEW_PRIVS = 38
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 1, 2, 4, 8, 0x4000, 0x40000
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SYS_MOUNT_SETATTR, _SYS_LANDLOCK = 442, 444
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
#: Bytes of address space that operands lie in, at a multiple of as much; see :mod:`runners.library.arena`.
ARENA = 1 << 32
#: What loading a library reads; beneath these, folders are opened one by one where golden's have to be left out.
_READ_ONLY = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/nix",
    "/etc/ld.so.cache",
    "/proc",
    "/sys",
    "/run/opengl-driver",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")


def hidden_folders() -> list[str]:
    """Return the folders of golden itself that no library has to read: code, vectors, templates of reports."""
    root = os.path.abspath(f"{__file__}/../../..")  # noqa: PTH100 (pathlib is slow to import)
    names = ("golden", "generators", "reports", "runners", "vectors", "tests", ".git")
    return [path for name in names if os.path.isdir(path := os.path.join(root, name))]  # noqa: PTH112, PTH118


# Namespaces


def isolate(mode: Mode, hidden: Iterable[str]) -> frozenset[str]:
    """Go on as the init of namespaces of one's own; returns the layers in force, none if ``mode`` is "off".

    The calling process stays outside, waits and ends as its successor does. ``hidden``: folders that nobody inside
    shall read. What the kernel refuses is left out; whoever requires it looks at what is returned.
    """
    if mode == "off":
        return frozenset()
    trial = os.fork()  # half inside there is no going on: see first whether it goes all the way
    if not trial:
        os._exit(0 if _unshare() else 1)
    if os.waitpid(trial, 0)[1] or not _unshare():
        prctl(PR_SET_DUMPABLE, 0)
        return frozenset()
    child = os.fork()
    if child:
        _stand_by(child)
    die_with_parent(0)
    prctl(PR_SET_DUMPABLE, 0)
    with contextlib.suppress(OSError):
        _mounts(hidden)
    return frozenset({"namespaces"})


def _unshare() -> bool:
    """Enter namespaces of one's own, as the same user and without further rights outside; tells whether that went."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(sum(_CLONE.values())):
        return False
    try:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    except OSError:
        return False
    return True


def _stand_by(child: int) -> None:
    """Wait for the successor and end as it does; whoever kills this process kills it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, 256)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _mounts(hidden: Iterable[str]) -> None:
    """Show a /proc of these processes alone, hide folders, and make everything read-only."""
    _mount(None, b"/", None, _MS_REC | _MS_PRIVATE)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    try:
        _mount(b"proc", b"/proc", b"proc", flags, b"hidepid=ptraceable")  # its own entries: not even its parent's name
    except OSError:  # before Linux 5.8
        _mount(b"proc", b"/proc", b"proc", flags)
    for folder in hidden:
        with contextlib.suppress(OSError):
            _mount(b"tmpfs", os.fsencode(folder), b"tmpfs", _MS_RDONLY | _MS_NOSUID | _MS_NODEV, b"size=4k")
    attributes = struct.pack("<4Q", 1, 0, 0, 0)  # MOUNT_ATTR_RDONLY
    libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes)))


def _mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None = None) -> None:
    if libc.mount(source, target, kind, ctypes.c_ulong(flags), data):
        raise OSError(ctypes.get_errno(), "mount")


# Landlock and seccomp: made once, entered by every worker

#: Landlock's rights by the version of its interface that brings them: to files, all but the first three to folders.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}

#: System calls by what a library would do with them. None of these is needed to compute.
_REFUSED: dict[str, tuple[str, ...]] = {
    "start a process": ("fork", "vfork", "execve", "execveat"),
    "look into or change another process": (
        "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_open", "pidfd_getfd",
        "pidfd_send_signal", "kcmp", "move_pages", "migrate_pages",
    ),
    "open a connection": ("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    "change mounts or namespaces": (
        "mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_tree", "move_mount", "fsopen",
        "fsmount", "mount_setattr", "name_to_handle_at", "open_by_handle_at",
    ),
    "change the system": (
        "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "keyctl", "add_key", "request_key", "init_module",
        "finit_module", "kexec_load", "reboot", "settimeofday", "clock_settime", "sethostname", "swapon", "acct",
        "syslog", "personality", "modify_ldt",
    ),
    "change its user or its limits": (
        "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setrlimit", "capset",
    ),
    "write a file": ("unlink", "unlinkat", "rename", "renameat", "renameat2", "truncate", "link", "linkat", "symlink",
                     "symlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "creat", "chmod", "fchmod",
                     "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat", "setxattr", "lsetxattr"),
    "share or watch something outside its process": (
        "inotify_init", "inotify_init1", "fanotify_init", "shmget", "shmat", "semget", "msgget", "mq_open",
    ),
    "send a signal to another process": ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"),
}  # fmt: skip
_MEMORY = ("mmap", "mprotect", "munmap", "mremap", "madvise", "pkey_mprotect", "remap_file_pages")
_THREAD = 0x00010000
_SIGNALS = (signal.SIGSEGV, signal.SIGBUS)

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_NEW_LISTENER, _MODE_FILTER = 8, 1


class Asked(NamedTuple):
    """A system call that a worker waits in, until it is answered. ``pid``: the thread's."""

    id: int
    pid: int
    what: str  #: completes "the library tried to ..."
    name: str
    arguments: tuple[int, ...]


class Cage:
    """Landlock's rules and seccomp's filter for workers; ``layers`` has the names of those there are.

    ``readable``: files and folders that a library may read beside the system's. ``hidden``: folders that it may not,
    wherever they lie. ``arena``: where operands lie.
    """

    def __init__(self, readable: Iterable[str], hidden: Iterable[str], arena: int) -> None:
        self._arena = arena
        self._ruleset = _landlock([*_READ_ONLY, *readable], [os.path.realpath(h) for h in hidden])
        self._names: dict[int, tuple[str, str]] = {}
        self._filter = b""
        with contextlib.suppress(ImportError, OSError, RuntimeError):
            self._filter = self._program()
        self.layers = frozenset(
            name for name, there in (("landlock", self._ruleset >= 0), ("seccomp", bool(self._filter))) if there
        )

    def enter(self) -> int:
        """Restrict this process for good; returns seccomp's descriptor for :func:`receive`, or -1."""
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
        libc.capset(struct.pack("<Ii", 0x20080522, 0), bytes(24))
        if self._ruleset >= 0:
            libc.syscall(_SYS_LANDLOCK + 2, self._ruleset, 0)
            os.close(self._ruleset)
        if not self._filter:
            return -1
        code = ctypes.create_string_buffer(self._filter, len(self._filter))
        program = struct.pack("<HxxxxxxQ", len(self._filter) // 8, ctypes.addressof(code))
        return int(libc.syscall(_SYS_SECCOMP[os.uname().machine], _MODE_FILTER, _NEW_LISTENER, program))

    def receive(self, listener: int) -> Asked | None:
        """Return the next system call that is asked about; None where its thread is gone."""
        buffer = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, buffer)
        except OSError:
            return None
        number, pid, _, nr, _, _, *arguments = struct.unpack("<QIIiIQ6Q", buffer)
        what, name = self._names.get(nr, ("make a system call", str(nr)))
        return Asked(number, pid, what, name, tuple(arguments))

    def _program(self) -> bytes:
        """Return the filter, as the kernel takes it."""
        import pyseccomp as seccomp  # noqa: PLC0415 - optional: it needs libseccomp on the machine

        rules = seccomp.SyscallFilter(seccomp.ALLOW)

        def ask(name: str, what: str, *conditions: Any) -> None:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # a system call that this machine lacks
                self._names[seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)] = what, name
                rules.add_rule(seccomp.NOTIFY, name, *conditions)

        for what, names in _REFUSED.items():
            for name in names:
                ask(name, what)
        ask("clone", "start a process", seccomp.Arg(0, seccomp.MASKED_EQ, _THREAD, 0))
        rules.add_rule(
            seccomp.ERRNO(errno.ENOSYS), "clone3"
        )  # its flags are in memory; the C library goes on with clone
        for argument in (0, 2):  # of another process, and new ones
            ask("prlimit64", "change its user or its limits", seccomp.Arg(argument, seccomp.NE, 0))
        for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT):
            ask("openat", "write a file", seccomp.Arg(2, seccomp.MASKED_EQ, flag, flag))
            ask("open", "write a file", seccomp.Arg(1, seccomp.MASKED_EQ, flag, flag))
        for name in _MEMORY:
            mask = (1 << 64) - ARENA
            ask(name, "change the memory that operands lie in", seccomp.Arg(0, seccomp.MASKED_EQ, mask, self._arena))
        for number in _SIGNALS:
            ask("rt_sigaction", "handle the signal of a bad access itself", seccomp.Arg(0, seccomp.EQ, number))
        with open(os.memfd_create("filter"), "w+b") as file:  # noqa: PTH123 (there is no folder to write to)
            rules.export_bpf(file)
            file.seek(0)
            return file.read()


def answer(listener: int, asked: Asked, allowed: bool) -> None:
    """Let a system call go on, or have it fail with EPERM."""
    error, flags = (0, _CONTINUE) if allowed else (-errno.EPERM, 0)
    with contextlib.suppress(OSError):  # the thread may be gone
        fcntl.ioctl(listener, _SEND, struct.pack("<QqiI", asked.id, 0, error, flags))


def _landlock(readable: Iterable[str], hidden: list[str]) -> int:
    """Return a ruleset that lets ``readable`` be read and executed, ``hidden`` apart, and nothing written; or -1."""
    version = libc.syscall(_SYS_LANDLOCK, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return -1
    rights = _RIGHTS[max(v for v in _RIGHTS if v <= version)]
    attributes = struct.pack("<QQ", rights, 3 if version >= 4 else 0)[: 16 if version >= 4 else 8]  # TCP: bind, connect
    ruleset = int(libc.syscall(_SYS_LANDLOCK, attributes, ctypes.c_size_t(len(attributes)), 0))
    if ruleset < 0:
        return -1
    os.set_inheritable(ruleset, False)
    for path in readable:
        for part in _without(path, hidden):
            _allow(ruleset, part, _EXECUTE | _READ_FILE | _READ_DIR)
    for path in _DEVICES:
        _allow(ruleset, path, (_READ_FILE | _WRITE_FILE) if path != "/dev/shm" else _READ_FILE | _READ_DIR)
    return ruleset


def _allow(ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(path):  # noqa: PTH112 (pathlib is slow to import)
                rights &= _EXECUTE | _READ_FILE | _WRITE_FILE
            libc.syscall(_SYS_LANDLOCK + 1, ruleset, 1, struct.pack("<Qi", rights, fd), 0)
        finally:
            os.close(fd)


def _without(path: str, hidden: list[str]) -> Iterator[str]:
    """Yield what has to be opened so that all of a path is, but for the hidden folders in it."""
    real = os.path.realpath(path)
    if any(real == h or real.startswith(h + os.sep) for h in hidden):
        return
    if not any(h.startswith(real.rstrip(os.sep) + os.sep) for h in hidden):
        yield real
        return
    with contextlib.suppress(OSError):
        for name in os.listdir(real):  # noqa: PTH208 (pathlib is slow to import)
            yield from _without(os.path.join(real, name), hidden)  # noqa: PTH118
