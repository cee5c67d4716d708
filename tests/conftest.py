"""What many tests judge, compiled once a session, whichever of its processes asks first."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from runners.library.session import LibrarySession
from runners.toolchain.build import build_harness, build_library
from tests.helpers.broken_kernels import COMPILER, KERNELS, PREAMBLE, open_session
from tests.helpers.command import WARM

#: Makes a file of a name, once for all processes of the session.
Once = Callable[[str, Callable[[Path], object]], Path]
#: The bundled kernels, compiled with flags.
Bundled = Callable[..., Path]
#: C text of a name, compiled with flags.
Compile = Callable[..., Path]


def pytest_configure() -> None:
    """Let tests be interrupted, and what they start: a shell that runs them in the background has that ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_sessionfinish() -> None:
    WARM.close()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once-é"
    folder.mkdir(exist_ok=True)

    def find(name: str, make: Callable[[Path], object]) -> Path:
        path = folder / name
        with path.with_name(f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                make(path)
        return path

    return find


@pytest.fixture(scope="session")
def bundled(once: Once) -> Bundled:
    """Return a function of compiler flags: tests copy what they want to change."""

    def find(*flags: str) -> Path:
        name = f"kernels {sha256(repr(flags).encode()).hexdigest()[:8]}.so" if flags else "the kernels.so"
        return once(name, lambda path: build_library(path, cflags=flags))

    return find


@pytest.fixture(scope="session")
def kernels(bundled: Bundled) -> Path:
    return bundled()


@pytest.fixture(scope="session")
def fp32_only(bundled: Bundled) -> Path:
    return bundled("-DGOLDEN_FP32_ONLY")


@pytest.fixture(scope="session")
def uint16_half(bundled: Bundled) -> Path:
    return bundled("-DGOLDEN_HALF_UINT16")


@pytest.fixture(scope="session")
def other_numbers(bundled: Bundled) -> Path:
    """The bundled kernels with other numbers of reductions than the page's."""
    return bundled("-DGOLDEN_REDUCTION_NONE_SUM_MEAN")


@pytest.fixture(scope="session")
def harness(once: Once) -> Path:
    return once("harness", build_harness)


@pytest.fixture(scope="session")
def compile_c(once: Once) -> Compile:
    """Return a function that compiles C text behind the preamble of the broken kernels into a shared library."""

    def find(name: str, text: str, *flags: str) -> Path:
        def make(path: Path) -> None:
            source = path.with_suffix(".c")
            source.write_text(PREAMBLE + text)
            command = [str(COMPILER), "-w", "-O1", "-fPIC", "-shared", "-pthread", *flags]
            subprocess.run([*command, "-o", str(path), str(source), "-lm"], check=True, capture_output=True)

        return once(f"{name}.so", make)

    return find


@pytest.fixture(scope="session")
def broken_kernels(compile_c: Compile) -> Path:
    try:
        return compile_c("broken", KERNELS, "-DHALF")
    except subprocess.CalledProcessError:
        return compile_c("broken", KERNELS)


@pytest.fixture(scope="module")
def shared(broken_kernels: Path) -> Iterator[LibrarySession]:
    """One session for all tests of a module that need none of their own."""
    with open_session(broken_kernels) as session:
        yield session
