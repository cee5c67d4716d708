"""A campaign against everything that reads files: mutates them, reads them in child processes with bounds.

``make fuzz-files``, or ``python -m tests.fuzz_files --seconds 60 --seed 1``. A mutant must be read, or refused with a
sentence and an exit code of 2, 3 or 4: whatever else happens (an exception, a crash, more than 1 GiB of memory beyond
what the interpreter holds, more than some seconds) is printed with its seed, and its file saved.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from generators.stream import SEED
from golden.cli import cli
from golden.config import read_config
from golden.errors import GoldenError
from golden.manifest import open_vectors, read_suite
from golden.operator import operator
from golden.profile import load_profile
from golden.results import write_results
from golden.sweepfile import read_results_and_sweeps, write_sweep
from golden.vectorfile import SCHEMA, _digest, write_vectors
from reports import FORMATS
from runners.build import build_library
from runners.elf import inspect_library
from runners.xfail import read_xfail
from tests.results_factory import failing, sweep
from tests.small_files import small_cases

MEMORY, SECONDS = 1 << 30, 20
#: What numbers and texts become.
_ODD: tuple[Any, ...] = (
    -1,
    0,
    2**31,
    2**63,
    10**30,
    1e300,
    -0.5,
    "",
    "abc",
    "\x1b[2J",
    "../x",
    None,
    True,
    [],
    {},
    [1],
)

Reader = Callable[[Path], object]


def _rendered(path: Path) -> None:
    runs, sweeps = read_results_and_sweeps([path])
    for render in FORMATS.values():
        render(runs, sweeps)


def _vectors(path: Path) -> None:
    for file in open_vectors("smoke", path):
        for case in file.cases:
            assert case.golden.value.size == case.size


def originals(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """Make one good file of every kind: name -> file, and what reads it."""
    write_vectors(folder / "v.h5", "fuzz", operator("smoothl1lossgrad"), "fp16", small_cases(), SEED)
    write_results(folder / "r.json", failing())
    write_sweep(folder / "s.json", sweep())
    (folder / "p.toml").write_text('name = "x"\nsummary = "y"\ndtypes = ["fp16"]\ncores = 4\nsubnormals = "flush"\n'
        'half = "float16"\nalignment = 8\n[memory]\nshared = [4096]\n[provenance]\nstated = ["a"]\n')  # fmt: skip
    (folder / "golden.toml").write_text('[validate]\nplatform = "MT7004"\ntimeout = 3.5\nstrict = true\n')
    (folder / "x.txt").write_text("hp_* a/b*  # a reason\n")
    (folder / "suite").mkdir()
    shutil.copy(folder / "v.h5", folder / "suite" / "v.h5")
    digest = read_digest(folder / "v.h5")
    files = {"v.h5": {"digest": digest, "cases": len(small_cases())}}
    manifest = {"schema": "golden-manifest/1", "suite": "fuzz", "files": files}
    (folder / "suite" / "manifest.json").write_text(json.dumps(manifest))
    return {
        "vectors": (folder / "v.h5", _vectors),
        "results": (folder / "r.json", _rendered),
        "sweep": (folder / "s.json", _rendered),
        "profile": (folder / "p.toml", lambda p: load_profile(str(p))),
        "config": (folder / "golden.toml", lambda p: read_config(p, cli.commands)),
        "xfail": (folder / "x.txt", read_xfail),
        "manifest": (folder / "suite" / "manifest.json", lambda p: read_suite(p.parent)),
        "library": (build_library(folder / "k.so"), inspect_library),
    }


def read_digest(path: Path) -> str:
    """Return a vector file's digest."""
    with h5py.File(path) as file:
        return bytes(file.attrs["content_digest"]).decode()


def mutate(kind: str, path: Path, draw: random.Random) -> str:
    """Change a file in one way and return which."""
    ways = [_flip, _truncate, _splice, _special, _deep]
    if kind == "vectors":
        ways += [_row] * 6
    if path.suffix == ".json":
        ways += [_value] * 6
    way = draw.choice(ways)
    way(path, draw)
    return way.__name__.strip("_")


def _flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 1, 4, 64))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _truncate(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def _splice(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    start, to, size = (draw.randrange(len(content)) for _ in range(3))
    path.write_bytes(content[:to] + content[start : start + size] + content[to:])


def _special(path: Path, draw: random.Random) -> None:
    path.unlink()
    kind = draw.randrange(4)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(draw.choice(("/dev/zero", "/dev/tty", "/proc/self/mem", "nowhere", path.name)))
    elif kind == 2:
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(draw.choice((0, 1 << 20, 8 << 30)))


def _deep(path: Path, draw: random.Random) -> None:
    key = draw.choice((b"a = ", b"", b'{"schema": '))
    path.write_bytes(key + draw.choice((b"[", b'{"a":', b"{a=", b"a." * 2)) * draw.choice((200, 100_000)))


def _value(path: Path, draw: random.Random) -> None:
    document = json.loads(path.read_bytes())
    for _ in range(draw.choice((1, 1, 3))):
        place = document
        while True:
            key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not (isinstance(place[key], dict | list) and place[key]) or draw.random() < 0.1:
                break
            place = place[key]
        if isinstance(place, dict) and draw.random() < 0.2:
            place[draw.choice(("abc", "-1", "\x1b[2J"))] = place.pop(key)
        else:
            place[key] = draw.choice(_ODD)
    path.write_text(json.dumps(document))


def _row(path: Path, draw: random.Random) -> None:
    """Change a cell of the table, or an element, and make the digests right again."""
    op, dtype = operator("smoothl1lossgrad"), "fp16"
    with h5py.File(path, "r+") as file:
        table = file["cases"][...]
        arrays = {n: file[n][...] for n in (*(f"operands/{p.name}" for p in op.inputs), "golden", "residual")}
        row, column = draw.randrange(len(table)), draw.choice(table.dtype.names)
        if draw.random() < 0.2:
            values = arrays[draw.choice(list(arrays))]
            values[draw.randrange(len(values))] = draw.choice((0.0, 1.0, np.nan, np.inf))
        elif table.dtype[column].kind == "S":
            table[column][row] = draw.choice((b"", b"\x1b[2J", b"\xff", b"none", table[column][0]))
        else:
            with np.errstate(all="ignore"):
                value = draw.choice((-1, 0, 1, 2**31 - 1, 2**31, 2**40))
                table[column][row] = min(value, 2**31 - 1) if table.dtype[column] == np.int32 else value
        for name, values in {"cases": table, **arrays}.items():
            file[name][...] = values
        file.attrs["content_digest"] = np.bytes_(_digest(SCHEMA, op, dtype, table, arrays))


def outcome(path: Path, read: Reader) -> str:
    """Read a file in a child process with bounds; "" if it is read or refused as it must be, else what happened."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        status = 0
        try:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
            signal.alarm(SECONDS)
            read(path)
        except GoldenError as error:
            sentence = str(error)
            if error.exit_code not in (2, 3, 4) or not sentence or "\x1b" in sentence or len(sentence) > 20_000:
                os.write(send, f"exit code {error.exit_code}: {sentence[:500]!r}".encode())
                status = 1
        except BaseException:
            os.write(send, traceback.format_exc()[-3000:].encode("utf-8", "replace"))
            status = 1
        finally:
            os._exit(status)
    os.close(send)
    _, status = os.waitpid(child, 0)
    with os.fdopen(receive, "rb") as said:
        words = said.read().decode("utf-8", "replace")
    return words or (f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "")


def campaign(seconds: float, seed: int, saved: Path, most: int = 1 << 60) -> tuple[int, list[str]]:
    """Read mutants for some seconds, ``most`` at most; return how many, and what went wrong."""
    wrong: list[str] = []
    number, started = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        good = originals(Path(scratch))
        for kind, (path, read) in good.items():
            if found := outcome(path, read):
                wrong.append(f"{kind}, unchanged: {found}")
        while number < most and time.monotonic() - started < seconds:
            draw = random.Random(f"{seed} {number}")
            kind = draw.choice(list(good))
            original, read = good[kind]
            folder = Path(scratch) / "mutant"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(original.parent, folder) if kind == "manifest" else folder.mkdir()
            path = folder / original.name
            shutil.copy(original, path)
            way = mutate(kind, path, draw)
            if found := outcome(path, read):
                saved.mkdir(parents=True, exist_ok=True)
                if path.is_file() and not path.is_symlink() and path.stat().st_size < MEMORY:
                    shutil.copy(path, saved / f"{kind}-{seed}-{number}{path.suffix}")
                wrong.append(f"{kind}, {way}, --seed {seed}, number {number}: {found}")
            number += 1
    return number, wrong


def main() -> None:
    """Run the campaign of the command line; exit with 1 if anything went wrong."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--saved", type=Path, default=Path("out/fuzz-files"))
    given = options.parse_args()
    number, wrong = campaign(given.seconds, given.seed, given.saved)
    print(*wrong, f"{number} mutants, {len(wrong)} wrong, seed {given.seed}", sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
