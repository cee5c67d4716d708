"""Compiles the bundled C kernels into a shared library or a harness, and says in one sentence why it could not."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from golden.errors import UsageError
from golden.files.reading import check_replaceable
from runners.harness import table as harness

#: What every build is compiled with; a user's flags come after these, so they win.
DEFAULT_FLAGS = ("-O2", "-fPIC", "-shared", "-std=c11", "-Wall", "-Wextra")
HARNESS_FLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra")

#: Tried in this order when neither an argument nor $CC names a compiler.
COMPILERS = ("cc", "gcc", "clang")

_KERNELS = Path(__file__).parent.parent / "kernels"
_FP16_PROGRAM = "__extension__ typedef _Float16 t; t f(t x) { return x; }\n"
#: Where _Float16 is there only if asked for: 32-bit Arm, whose older fp16 format is another.
_IEEE_HALF = "-mfp16-format=ieee"
_SOFT_HALF = "-DGOLDEN_HALF_UINT16"
_ANY_PROGRAM = "int f(int x) { return x; }\n"


def kernel_sources() -> list[Path]:
    """Return the C files of the bundled kernels, sorted by name."""
    return sorted(_KERNELS.glob("*.c"))


def include_dir() -> Path:
    """Return the folder of the kernels' headers, for ``-I``."""
    return _KERNELS


def find_compiler(cc: str | None = None) -> list[str]:
    """Return the command of a C compiler, its own leading arguments included.

    ``cc``, else ``$CC``, else the first of cc, gcc, clang on PATH. As in make, a name that is not itself a
    program may carry arguments: ``CC="ccache gcc"``.

    Raises :class:`UsageError` when there is none, or when the one that is named cannot be found.
    """
    named = cc or os.environ.get("CC", "").strip()
    if not named:
        found = next(filter(None, map(shutil.which, COMPILERS)), None)
        if found is None:
            raise UsageError(
                f"No C compiler was found: none of {', '.join(COMPILERS)} is on PATH; install one "
                "(such as the package gcc), or name one with --cc or $CC."
            )
        return [found]
    origin = "--cc" if cc else "$CC"
    for words in ([named], _split(named, origin)):
        if words and (program := shutil.which(words[0])):
            return [program, *words[1:]]
    raise UsageError(
        f"The C compiler {named!r} that {origin} names was not found; give a name on PATH or the path of an "
        "executable file."
    )


def build_library(
    output: Path, cc: str | None = None, cflags: Sequence[str] = (), sources: Sequence[Path] | None = None
) -> Path:
    """Compile kernels into a shared library and return its path, which is ``output``.

    ``cc``: see :func:`find_compiler`. ``cflags``: arguments of the compiler, appended to
    :data:`DEFAULT_FLAGS`; the kernels know ``-DGOLDEN_HALF_UINT16``, ``-DGOLDEN_FP32_ONLY``, ``-DGOLDEN_THREADS`` (with
    ``-pthread``), and what their own sources name. ``sources``: C files to compile in place of
    :func:`kernel_sources`; the bundled headers are found from them, too.

    Parent folders are created. The library appears under its name only when it is complete: a failed build
    leaves an older file as it was.

    Raises :class:`UsageError` when there is no such compiler, when it has no fp16 type, when it rejects the
    sources or flags, and when ``output`` cannot be written.
    """
    compiler = find_compiler(cc)
    files = kernel_sources() if sources is None else sources
    _compile(output, "library", compiler, DEFAULT_FLAGS, files, cflags)
    return output


def build_harness(
    output: Path,
    cc: str | None = None,
    cflags: Sequence[str] = (),
    sources: Sequence[Path] | None = None,
    *,
    target: str = "",
    libraries: Sequence[Path] = (),
    program: Path = harness.PIPE,
) -> Path:
    """Compile a harness with kernels into a program and return its path, which is ``output``.

    ``target``: a triple such as ``aarch64-linux-gnu``, whose cross compiler ``TRIPLE-gcc`` is used and whose program
    is linked statically. ``libraries``: static or shared ones that have the kernels, in place of ``sources``.
    ``program``: the C file that makes a program of the harness's core. The other arguments, and what is raised, are
    those of :func:`build_library`. A compiler without ``_Float16`` gets a harness whose half is ``uint16_t`` with
    conversions in software; the harness says so itself.
    """
    compiler = [cross_compiler(target)] if target and not cc else find_compiler(cc)
    files = [harness.CORE, program, *((() if libraries else kernel_sources()) if sources is None else sources)]
    for library in libraries:
        if not library.is_file():
            raise UsageError(f"There is no library {library}; give the path of a .a or .so file.")
    static = bool(target) and not any(_is_shared(path) for path in libraries)
    flags = (*HARNESS_FLAGS, *("-static" for _ in range(static)), *_half_flags(compiler, cflags))
    linked = [flag for library in libraries for flag in _linked(library)]
    with tempfile.TemporaryDirectory(prefix="golden-harness-") as scratch:
        table = Path(scratch) / harness.TABLE
        table.write_text(harness.render_table(), encoding="utf-8")
        _compile(output, "harness", compiler, flags, [*files, table], [*linked, "-lm", *cflags])
    return output


def write_harness_sources(folder: Path, program: Path = harness.PIPE) -> list[Path]:
    """Write all C files of a harness into a folder, for a compiler that golden does not run; returns their paths."""
    contents = {path.name: path.read_text(encoding="utf-8") for path in harness.files(program)}
    contents[harness.TABLE] = harness.render_table()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot write into {folder}: {error.strerror}; choose another folder.") from error
    return [folder / name for name in sorted(contents)]


def cross_compiler(target: str) -> str:
    """Return the path of a triple's compiler; raises :class:`UsageError` that says what to install."""
    if not re.fullmatch(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)+", target):
        raise UsageError(f"{target!r} is no target: give a triple such as aarch64-linux-gnu.")
    found = shutil.which(f"{target}-gcc")
    if found is None:
        package = f"gcc-{target.replace('_', '-')}"
        raise UsageError(
            f"The cross compiler {target}-gcc is not on PATH; on Debian and Ubuntu: apt-get install {package}, and "
            "qemu-user to run what it builds. Another compiler for this target can be named with --cc."
        )
    return found


def _half_flags(compiler: Sequence[str], cflags: Sequence[str]) -> list[str]:
    """Return what makes a compiler understand the kernels' half: nothing, its own fp16 type, or an integer type."""
    if any("GOLDEN_FP32_ONLY" in flag or "GOLDEN_HALF_UINT16" in flag for flag in cflags):
        return []
    for flags in ([], [_IEEE_HALF]):
        if _accepts(compiler, [*cflags, *flags], _FP16_PROGRAM):
            return flags
    return [_SOFT_HALF]


def _is_shared(library: Path) -> bool:
    return library.suffix != ".a"


def _linked(library: Path) -> list[str]:
    """Return the flags that link a library whole: references to its entry points are weak, so none would pull it in."""
    path = str(library.absolute())
    if _is_shared(library):
        return ["-Wl,--no-as-needed", path, f"-Wl,-rpath,{library.absolute().parent}"]
    return ["-Wl,--whole-archive", path, "-Wl,--no-whole-archive"]


def _compile(
    output: Path, what: str, compiler: Sequence[str], flags: Sequence[str], sources: Sequence[Path], last: Sequence[str]
) -> None:
    """Compile and link ``sources`` into ``output``, which appears only when it is complete; ``last``: final flags."""
    # Absolute, so that no name can be taken for an option or for another linker's library.
    files = [str(path.absolute()) for path in sources]

    def command(target: Path) -> list[str]:
        return [*compiler, *flags, f"-I{include_dir()}", *files, "-o", str(target), *last]

    if output.is_dir():
        raise UsageError(f"The {what} cannot be written to {output}: it is a folder; name a file inside it.")
    try:
        check_replaceable(output)
        output.parent.mkdir(parents=True, exist_ok=True)
        # A folder beside the destination: renaming out of it is atomic, and the linker sets the file's mode.
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".golden-build-") as scratch:
            built = Path(scratch).absolute() / what
            result = _run(compiler, command(built))
            if result.returncode != 0:
                raise UsageError(_diagnosis(compiler, last, result.stderr, command(output)))
            if not built.exists():
                raise UsageError(
                    f"{compiler[0]} reported success but wrote no {what}; remove the flags that stop it "
                    f"before linking from: {shlex.join(last)}."
                )
            built.replace(output)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(
            f"The {what} cannot be written to {output}: {error.filename} is a file where a folder "
            "is needed; choose another path."
        ) from error
    except OSError as error:
        raise UsageError(
            f"The {what} cannot be written to {output}: {error.strerror or error}; choose another path."
        ) from error


def _split(named: str, origin: str) -> list[str]:
    try:
        return shlex.split(named)
    except ValueError as error:
        raise UsageError(f"The C compiler {named!r} that {origin} names cannot be read: {error}.") from error


def _run(compiler: Sequence[str], command: Sequence[str], program: str = "") -> subprocess.CompletedProcess[str]:
    """Run the compiler; its messages are in English, because :func:`_diagnosis` reads them."""
    try:
        return subprocess.run(
            command,
            input=program,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The C compiler {compiler[0]} cannot be run: {error}; name another one with --cc or $CC."
        ) from error


def _accepts(compiler: Sequence[str], cflags: Sequence[str], program: str) -> bool:
    """Tell whether the compiler, with a user's flags, compiles a program."""
    command = [*compiler, *cflags, "-fsyntax-only", "-x", "c", "-"]
    return _run(compiler, command, program).returncode == 0


def _diagnosis(compiler: Sequence[str], cflags: Sequence[str], messages: str, command: Sequence[str]) -> str:
    """Return the sentence that says why a compilation failed."""
    without = any("GOLDEN_FP32_ONLY" in flag or "GOLDEN_HALF_UINT16" in flag for flag in cflags)
    if not without and _accepts(compiler, cflags, _ANY_PROGRAM) and not _accepts(compiler, cflags, _FP16_PROGRAM):
        return (
            f"{shlex.join([*compiler, *cflags])} has no fp16 type (_Float16), which the hp_ kernels need; "
            "use GCC 12 or Clang 15 or newer, or a -march whose processors have fp16 arithmetic, or build "
            "half as uint16_t with --cflags=-DGOLDEN_HALF_UINT16, or the fp32 kernels alone with "
            "--cflags=-DGOLDEN_FP32_ONLY."
        )
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    first = next((line for line in lines if "error:" in line), lines[0] if lines else "it gave no message")
    repeat = shlex.join(command)
    return f"{compiler[0]} could not compile the kernels: {first}; to see all it says, run: {repeat}"
