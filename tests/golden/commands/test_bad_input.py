"""Bad input at the real command line: one sentence, an exit code that the help lists, little time, little memory."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import msgspec
import pytest

from golden.files.names import PUBLIC_SEED as SEED
from golden.files.results import write_results
from golden.files.vectors import write_vectors
from golden.operator import operator
from tests import ROOT
from tests.helpers import results_factory as factory
from tests.helpers.command import WARM, needs_compiler, one_sentence
from tests.helpers.small_files import edited, small_cases

#: Seconds and bytes beyond which bad input has done harm.
SECONDS, MEMORY = 60, 1 << 30


class Done(NamedTuple):
    code: int
    out: str
    err: str
    memory: int


def golden(*arguments: object, cwd: Path = ROOT) -> Done:
    """Run a command and measure its largest resident set, in bytes; it is ended after :data:`SECONDS`."""
    done = WARM.run("golden", [*map(str, arguments)], cwd, {**os.environ, "PYTHONPATH": str(ROOT)}, SECONDS)
    return Done(done.returncode, done.stdout, done.stderr, done.memory)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def deep_json(path: Path) -> None:
    path.write_text('{"schema": ' + '{"a": ' * 100_000)


def deep_toml(path: Path) -> None:
    path.write_text("[validate]\nsuite = " + "[" * 100_000)


def huge(path: Path) -> None:
    """A sparse file that begins as a library and as JSON might."""
    with path.open("wb") as file:
        file.write(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 62))
        file.truncate(1 << 40)


def histogram(path: Path) -> None:
    document = msgspec.to_builtins(factory.failing())
    document["entry_points"][0]["groups"]["beta=0.5"]["histogram"]["abc"] = 1
    path.write_text(json.dumps(document))


def verdict(path: Path) -> None:
    document = msgspec.to_builtins(factory.failing())
    path.write_text(json.dumps(document | {"verdict": "conforms"}))


def vectors(path: Path) -> None:
    write_vectors(path, "mine", operator("smoothl1lossgrad"), "fp16", small_cases(), SEED)


def declared(path: Path) -> None:
    """Twenty gigabytes that are not there, in a file of some kilobytes."""
    vectors(path)
    with h5py.File(path, "r+") as file:
        del file["operands/x1"]
        file.create_dataset("operands/x1", (10 << 30,), "<f2", chunks=(1 << 16,), compression="gzip", shuffle=True)


def bomb(path: Path) -> None:
    """Zeros that are there, a thousand times smaller than they say."""
    vectors(path)
    with h5py.File(path, "r+") as file:
        del file["operands/x1"]
        options = {"chunks": (1 << 25,), "compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("operands/x1", (1 << 28,), "<f2", **options)
        block = b"\0" * (1 << 26)
        for at in range(0, 1 << 28, 1 << 25):
            file["operands/x1"][at : at + (1 << 25)] = memoryview(block).cast("H")


def external(path: Path) -> None:
    vectors(path)
    os.mkfifo(path.with_name("other.h5"))
    with h5py.File(path, "r+") as file:
        del file["golden"]
        file["golden"] = h5py.ExternalLink("other.h5", "/golden")


def soft(path: Path) -> None:
    vectors(path)
    with h5py.File(path, "r+") as file:
        file.move("golden", "elsewhere")
        file["golden"] = h5py.SoftLink("/elsewhere")


def changed(column: str, value: object) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        vectors(path)
        edited(path, column, value)

    return make


MAKERS: dict[str, Callable[[Path], None]] = {f.__name__: f for f in (fifo, zero, deep_json, deep_toml, huge)}
VALIDATE = ("validate", "reference:exact", "--suite", "smoke")
#: Commands that read a file named BAD, and the exit codes that they may have.
READING = {
    "target": (("validate", "./BAD", "--suite", "smoke"), (2, 3)),
    "probe": (("probe", "./BAD", "--suite", "smoke"), (2, 3)),
    "hunt": (("hunt", "./BAD"), (2, 3)),
    "sweep": (("sweep", "./BAD"), (2, 3)),
    "report": (("report", "BAD"), (2,)),
    "badge": (("report", "BAD", "--format", "badge"), (2,)),
    "diff": (("diff", "BAD.json", "BAD.json"), (2,)),
    "repro": (("repro", "BAD", "a/b"), (2,)),
    "vectors": ((*VALIDATE[:2], "--vectors", "BAD"), (4,)),
    "show": (("show", "a/b", "--vectors", "BAD"), (4,)),
    "list": (("list", "cases", "--vectors", "BAD"), (4,)),
    "suite": ((*VALIDATE[:2], "--vectors", "."), (4,)),
    "xfail": ((*VALIDATE, "--xfail", "BAD"), (2,)),
    "platform": ((*VALIDATE, "--platform", "./BAD"), (2,)),
    "platforms": (("platforms", "./BAD"), (2,)),
    "config": (("--config", "BAD", "list", "suites"), (2,)),
    "found config": (("list", "suites"), (2,)),
    "dump": (("validate", "dump:."), (2, 3)),
    "state": (("sweep", "reference:exact", "--out", ".", "--resume"), (2,)),
}
#: How a file must be named for a command to find it.
NAMES = {"found config": "golden.toml", "suite": "manifest.json", "dump": "manifest.json", "state": "sweep.state"}


def refused(done: Done, codes: tuple[int, ...]) -> None:
    assert done.code in codes and one_sentence(done.err), (done.code, done.err[:2000])
    assert done.memory < MEMORY


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_no_such_file(command: str, kind: str, tmp_path: Path) -> None:
    name = NAMES.get(command, "BAD.json" if command == "diff" else "BAD")
    MAKERS[kind](tmp_path / name)
    refused(golden(*READING[command][0], cwd=tmp_path), READING[command][1])


@pytest.mark.parametrize(
    "make",
    [
        *(declared, external, soft, pytest.param(bomb, marks=pytest.mark.confirm)),
        *(changed("length", n) for n in (-1, 1 << 30, 5)),
        *(changed("golden_count", n) for n in (-1, 1 << 40, 5)),
        *(changed("golden_offset", n) for n in (-1, 1 << 40, 5)),
        *(changed("beta", b) for b in (-1.0, float("nan"), 1e300)),
        *(changed("tier", b"stress"), changed("class", b"other"), changed("", None)),
    ],
)
def test_vectors(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "BAD")
    done = golden(*VALIDATE[:2], "--vectors", "BAD", "--recheck", cwd=tmp_path)
    refused(done, (4,))


@pytest.mark.parametrize("make", [histogram, verdict])
@pytest.mark.parametrize("command", ["report", "badge", "diff"])
def test_results(make: Callable[[Path], None], command: str, tmp_path: Path) -> None:
    make(tmp_path / ("BAD.json" if command == "diff" else "BAD"))
    refused(golden(*READING[command][0], cwd=tmp_path), (2,))


@needs_compiler
def test_names_that_are_no_text(kernels: Path, tmp_path: Path) -> None:
    """Every path of a run has a byte that is not UTF-8; it runs, and its reports can be read and shown."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    odd.mkdir()
    shutil.copy(kernels, odd / "k.so")
    vectors(odd / "v.h5")
    (odd / "x.txt").write_text("hp_* nothing/*  # a reason\n")
    options = ("--vectors", odd / "v.h5", "--xfail", odd / "x.txt", "--platform", "MT7004")
    done = golden("validate", odd / "k.so", *options, "--out", odd / "out", cwd=tmp_path)
    assert done.code == 0 and not done.err, done.err
    assert "udcff" in (odd / "out/report.md").read_text(encoding="utf-8")
    for command in (("report", odd / "out/results.json"), ("diff", odd / "out/results.json", odd / "out/results.json")):
        done = golden(*command, cwd=tmp_path)
        assert done.code == 0 and not done.err, done.err
    for command in (("list", "cases", "--suite", "\udcff"), ("report", "\udcff"), ("validate", "\udcff")):
        refused(golden(*command, cwd=tmp_path), (2,))


@pytest.mark.parametrize("out", ["/proc/none", "/dev/null/x"])
@pytest.mark.parametrize(
    "command",
    [
        (*VALIDATE, "--out"),
        ("sweep", "reference:exact", "--out"),
        ("hunt", "reference:exact", "--out"),
        ("export", "--suite", "smoke", "--platform", "MT7004", "--out"),
        ("generate", "--suite", "smoke", "--operator", "nlllossgrad", "--dtype", "fp32", "--out"),
        ("build", "--harness-sources"),
    ],
)
def test_a_folder_that_cannot_be_written(out: str, command: tuple[str, ...], tmp_path: Path) -> None:
    refused(golden(*command, out, cwd=tmp_path), (2,))


@needs_compiler
@pytest.mark.parametrize("command", [("report", "r.json", "--out"), ("build", "-o")])
@pytest.mark.parametrize("out", ["/proc/none/r", "/dev/null/x", "pipe", "link"])
def test_a_file_that_cannot_be_written(out: str, command: tuple[str, ...], tmp_path: Path) -> None:
    write_results(tmp_path / "r.json", factory.failing())
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    refused(golden(*command, out, cwd=tmp_path), (2,))
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
