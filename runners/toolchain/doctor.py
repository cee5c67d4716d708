"""``golden doctor``: what this machine can do, what each thing enables, and what to install for the rest.

Every check looks at the real thing: the compiler compiles, the guard page is touched by a process that has to die
of it. Nothing here is written to disk and nothing is left running.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

import msgspec

from golden.document import Document
from golden.errors import GoldenError
from golden.files.manifest import suite_folder
from golden.profile import shipped
from golden.selfcheck import arithmetic_fault, machine_fault
from runners.process.sandbox import LAYERS, described
from runners.toolchain.build import COMPILERS, find_compiler

State = Literal["ok", "missing", "absent"]

#: Seconds that any program asked here may take.
_PATIENCE = 20.0
#: What ``golden validate`` cannot do without; see pyproject.toml.
_PACKAGES = ("numpy", "h5py", "msgspec", "click", "jinja2")
_FP16_PROGRAM = "__extension__ typedef _Float16 h; h f(h a, h b) { return a * b; }\n"
#: A process that reads one byte beyond a page and reports from the handler the address that the system gives it.
_GUARD_PROGRAM = """
import ctypes, mmap, os, resource
from runners.process.system import MAP_FIXED, PROT_NONE, map_pages
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
page = mmap.PAGESIZE
fd = os.memfd_create("operand", os.MFD_ALLOW_SEALING)
os.ftruncate(fd, 2 * page)
base = map_pages(None, 2 * page, PROT_NONE, mmap.MAP_SHARED, fd)
map_pages(base, page, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | MAP_FIXED, fd)
"""
_FAULT_PROGRAM = (
    _GUARD_PROGRAM
    + """
ctypes.memset(base + page - 1, 7, 1)
print(os.pread(fd, 1, page - 1)[0], flush=True)
ctypes.string_at(base + page, 1)
print("no fault", flush=True)
"""
)
_ADDRESS_PROGRAM = (
    _GUARD_PROGRAM
    + """
import signal
from runners.process.system import libc
from runners.process.faults import SA_SIGINFO, SigAction, fault_access, peek
def caught(number, info, context):
    os.write(1, b"%d %s" % (peek(info + 16, "<Q") - base - page, fault_access(context)[0].encode()))
    os._exit(0)
handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(caught)
action = SigAction(ctypes.cast(handler, ctypes.c_void_p), flags=SA_SIGINFO)
libc.sigaction(signal.SIGSEGV, ctypes.byref(action), None)
ctypes.memset(base + page, 1, 1)
"""
)
_SANDBOX_PROGRAM = """
from runners.process import sandbox
layers = sandbox.isolate("auto", sandbox.hidden_folders())
print(*(layers | sandbox.Cage([], sandbox.hidden_folders(), 1 << 45).layers))
"""


class Check(msgspec.Struct, Document, frozen=True):
    """One thing looked at. ``missing``: it is essential and not there; ``absent``: something optional is not.

    ``decides``: without it no verdict could be trusted.
    """

    name: str
    state: State
    found: str
    enables: str
    advice: str = ""  #: what to install or do; empty where nothing is needed
    decides: bool = False


def diagnose() -> list[Check]:
    """Return all checks, essential ones first; they take about a second."""
    return [
        *_python(),
        _byte_order(),
        *_self(),
        _guards(),
        _fault_addresses(),
        *_layers(),
        _suite("core", essential=True),
        _suite("smoke", essential=False),
        _suite("full", essential=False),
        *_compilers(),
        _cpu(),
        *_cross(),
        *_tools(),
    ]


def healthy(checks: list[Check]) -> bool:
    """Tell whether everything essential is there."""
    return all(check.state != "missing" for check in checks)


def trusted(checks: list[Check]) -> bool:
    """Tell whether this process and machine could be trusted with a verdict."""
    return all(check.state == "ok" for check in checks if check.decides)


def sandboxed(checks: list[Check]) -> str:
    """Return what libraries are kept in here, in the words of results."""
    there = {check.name for check in checks if check.state == "ok"}
    return described(name for name in LAYERS if f"sandbox: {name}" in there)


def render(checks: list[Check]) -> str:
    """Return the checks as text: one line each, with advice below where something is not there."""
    marks = {"ok": "ok     ", "missing": "MISSING", "absent": "absent "}
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{marks[check.state]}  {check.name.ljust(width)}  {check.found}")
        if check.state != "ok":
            lines.append(f"{' ' * (9 + width)}  for: {check.enables}")
            lines += [f"{' ' * (9 + width)}  {check.advice}"] if check.advice else []
    lacking = [name for name in LAYERS if name not in sandboxed(checks).split(", ")]
    without = f", not {' and not '.join(lacking)}: '--sandbox require' is refused" if lacking else ""
    lines += ["", f"Libraries are kept in (as results say, sandbox): {sandboxed(checks)}{without}."]
    missing = [check.name for check in checks if check.state == "missing"]
    absent = sum(check.state == "absent" for check in checks)
    if not trusted(checks):
        wrong = ", ".join(check.name for check in checks if check.decides and check.state != "ok")
        lines.append(f"No verdict of this machine could be trusted: {wrong}.")
    if missing:
        lines += [f"golden cannot validate a library here: {', '.join(missing)}."]
    else:
        lines += [f"golden can validate libraries here; {absent} optional things are absent."]
    return "\n".join(lines)


def _check(
    name: str, ok: bool, found: str, enables: str, advice: str = "", essential: bool = False, decides: bool = False
) -> Check:
    state: State = "ok" if ok else "missing" if essential or decides else "absent"
    return Check(name, state, found, enables, "" if ok else advice, decides)


def _python() -> Iterator[Check]:
    yield _check(
        "Python",
        sys.version_info >= (3, 11),
        f"{platform.python_version()} ({platform.python_implementation()})",
        "everything",
        "Install Python 3.11 or newer.",
        essential=True,
    )
    for name in _PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        advice = f"Install it: python -m pip install {name}."
        yield _check(name, bool(version), version or "not installed", "everything", advice, essential=True)


def _self() -> Iterator[Check]:
    for name, fault in (("arithmetic", arithmetic_fault()), ("system", machine_fault())):
        found = fault or "as judging needs it"
        advice = "Mend that first: 'golden validate' and its like end with exit code 5 here."
        yield _check(name, not fault, found, "a verdict that can be trusted", advice, decides=True)


def _byte_order() -> Check:
    advice = "Validate on a little-endian machine; vectors can be read anywhere."
    enables = "calling a library: operands are handed over as the vector files hold them"
    return _check("byte order", sys.byteorder == "little", sys.byteorder, enables, advice, decides=True)


def _guards() -> Check:
    """Touch an inaccessible page in a process of its own."""
    done = _python_child(_FAULT_PROGRAM)
    ok = done is not None and done.returncode < 0 and done.stdout.split() == ["7"]
    found = "an access beyond an operand is stopped" if ok else _complaint(done)
    enables = "the worker process: accesses outside operands, on Linux with mmap and memfd_create"
    advice = "Run on Linux, or with less strict limits on memory (ulimit -v) and system calls (seccomp)."
    return _check("guard pages", ok, found, enables, advice, decides=True)


def _fault_addresses() -> Check:
    done = _python_child(_ADDRESS_PROGRAM)
    words = done.stdout.split() if done is not None and done.returncode == 0 else []
    ok = words[:1] == ["0"]
    access = words[1] if len(words) > 1 else "unknown access"
    found = f"a signal handler learns address and kind ({access}), without ptrace" if ok else _complaint(done)
    enables = "naming operand and element of a bad access, rather than only the crash"
    return _check("fault addresses", ok, found, enables, "Use Linux on x86-64 or AArch64.")


def _layers() -> Iterator[Check]:
    done = _python_child(_SANDBOX_PROGRAM)
    there = done.stdout.split() if done is not None else []
    advice = {
        "namespaces": "Use Linux with user namespaces, which containers and some distributions switch off.",
        "landlock": "Use Linux 5.13 or newer with Landlock switched on.",
        "seccomp": "Use Linux 5.5 or newer, and install libseccomp and pyseccomp.",
    }
    for name, meaning in LAYERS.items():
        found = "in force around libraries" if name in there else _complaint(done)
        yield _check(f"sandbox: {name}", name in there, found, meaning, advice[name])


def _suite(name: str, essential: bool) -> Check:
    try:
        folder = suite_folder(name)
        ok = (folder / "manifest.json").is_file()
    except GoldenError:
        ok = False
    enables = {"core": "golden validate", "smoke": "a check in seconds", "full": "large cases, up to 2^24 elements"}
    advice = f"Generate it: golden generate --suite {name}."
    return _check(f"suite {name}", ok, "present" if ok else "not there", enables[name], advice, essential=essential)


def _compilers() -> Iterator[Check]:
    try:
        default = find_compiler()
    except GoldenError as error:
        enables = "golden build, golden repro"
        yield Check("C compiler", "absent", "none", enables, str(error))
        return
    named = [name for name in COMPILERS[1:] if shutil.which(name)]
    for label, command in [("C compiler", default), *((name, [name]) for name in named)]:
        version = (_run([*command, "--version"]) or "unknown version").splitlines()[0]
        yield Check(label, "ok", version, "golden build, golden repro")
        fp16 = _compiles(command, _FP16_PROGRAM)
        native = fp16 and _native_fp16()
        words = (
            "no _Float16"
            if not fp16
            else "_Float16 (this processor computes in it)"
            if native
            else "_Float16 (computed in float)"
        )
        advice = "Use GCC 12 or Clang 15 or newer, or build fp32 alone: --cflags=-DGOLDEN_FP32_ONLY."
        yield _check(f"{label}: fp16", fp16, words, "building the hp_ kernels", advice)


def _flags() -> set[str]:
    """Return the processor's feature names, as Linux lists them."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - procfs, line by line
            lines = [line for line in file if line.partition(":")[0].strip() in ("flags", "Features")]
    except OSError:
        return set()
    return set(lines[0].partition(":")[2].split()) if lines else set()


def _native_fp16() -> bool:
    return bool(_flags() & {"avx512_fp16", "fphp", "asimdhp"})


def _cpu() -> Check:
    flags = _flags()
    wanted = {
        "fma": ("fma", "asimd"),
        "fp16 conversion": ("f16c", "fphp", "asimdhp"),
        "fp16 arithmetic": ("avx512_fp16", "fphp", "asimdhp"),
    }
    found = [name for name, names in wanted.items() if flags & set(names)]
    words = f"{platform.machine()}, {os.cpu_count()} cores: {', '.join(found) or 'no feature known'}"
    enables = "builds with -march=native that contract products or compute in fp16, as a DSP may"
    return _check("processor", bool(found), words, enables, "Nothing to install: results do not depend on it.")


def _cross() -> Iterator[Check]:
    for name, triple, package in (
        ("aarch64", "aarch64-linux-gnu", "gcc-aarch64-linux-gnu"),
        ("arm", "arm-linux-gnueabihf", "gcc-arm-linux-gnueabihf"),
        ("riscv64", "riscv64-linux-gnu", "gcc-riscv64-linux-gnu"),
        ("s390x", "s390x-linux-gnu", "gcc-s390x-linux-gnu"),
    ):
        compiler = shutil.which(f"{triple}-gcc")
        found = (_run([compiler, "--version"]) or "").partition("\n")[0] if compiler else "not found"
        enables = f"building the kernels for {name}"
        yield _check(f"{name} compiler", bool(compiler), found, enables, f"Install the package {package}.")
        emulator = shutil.which(f"qemu-{name}") or shutil.which(f"qemu-{name}-static")
        found = (_run([emulator, "--version"]) or "").partition("\n")[0] if emulator else "not found"
        enables = f"running kernels built for {name} here"
        yield _check(f"{name} emulator", bool(emulator), found, enables, "Install the package qemu-user.")


def _tools() -> Iterator[Check]:
    for name, enables, advice in (
        ("valgrind", "reads outside operands in a reproducer's portable build", "Install the package valgrind."),
        ("nm", "looking at what a library exports", "Install the package binutils."),
    ):
        path = shutil.which(name)
        yield _check(name, bool(path), path or "not found", enables, advice)
    yield Check("platform profiles", "ok", ", ".join(shipped()), "golden validate --platform")


def _python_child(program: str) -> "subprocess.CompletedProcess[str] | None":
    """Run a program of ours in a fresh interpreter that finds the same packages; None if it cannot be run."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _complaint(done: "subprocess.CompletedProcess[str] | None") -> str:
    lines = done.stderr.strip().splitlines() if done is not None else []
    return lines[-1][:200] if lines else "it does not work here"


def _run(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.strip() or None


def _compiles(command: list[str], program: str) -> bool:
    try:
        done = subprocess.run(
            [*command, "-fsyntax-only", "-x", "c", "-"],
            input=program,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
