"""A campaign against everything that reads files: mutates them, reads them in child processes with bounds.

``make fuzz-files``, or ``python -m tests.fuzz_files --seconds 60 --seed 1``. A mutant must be read, or refused with a
sentence and an exit code of 2, 3 or 4: whatever else happens (an exception, a crash, more than 1 GiB of memory beyond
what the interpreter holds, more than some seconds) is printed with its seed, and its file saved.
"""

import argparse
import copy
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
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from click.testing import CliRunner

from golden.cli import cli
from golden.commands.config import read_config
from golden.commands.validate import judged
from golden.errors import GoldenError
from golden.files import reading
from golden.files.manifest import open_vectors, read_suite
from golden.files.names import PUBLIC_SEED as SEED
from golden.files.results import write_results
from golden.files.sweeps import read_results_and_sweeps, write_sweep
from golden.files.vectors import SCHEMA, _digest, write_vectors
from golden.operator import operator
from golden.profile import load_profile
from golden.results import Finding
from reports.formats import FORMATS
from runners.calling.call import Finding as CallFinding
from runners.judging.xfail import read_xfail
from runners.library.elf import inspect_library
from runners.offline import blobs
from runners.process import messages
from runners.process.endings import describe_end
from runners.sweeping.engine import _Sweep, coverage, open_work
from runners.sweeping.processes import Processes
from runners.sweeping.space import make_space
from runners.toolchain.build import build_library
from tests.helpers.board import build_board, run_board
from tests.helpers.results_factory import failing, sweep
from tests.helpers.small_files import small_cases

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

#: Kinds that are files of a folder, and options of validate that change no verdict.
_WHOLE, _SHOWN = ("manifest", "export", "dump"), ("target", "out", "lang", "quiet", "as_json")

Reader = Callable[[Path], object]


def _rendered(path: Path) -> None:
    runs, sweeps = read_results_and_sweeps([path])
    for render in FORMATS.values():
        render(runs, sweeps)


def _vectors(path: Path) -> None:
    for file in open_vectors("smoke", path):
        for case in file.cases:
            assert case.golden.value.size == case.size


def _frames(path: Path) -> None:
    """Take what a worker says in, as the judge does."""
    try:
        for body in messages.Frames().feed(reading.read_bytes(path, 1 << 30)):
            event = messages.decode_reply(body)
            if isinstance(event, messages.Fault | messages.Trouble):
                describe_end(messages.Ended(1, 0, 11, 0), event)
            else:
                for finding in event.findings:
                    Finding(finding.kind, "", "warning", finding.message)
    except (messages.FrameError, OSError):
        pass


def _resumed(path: Path) -> None:
    """Resume the sweep whose state this is, without computing what is left."""
    space = make_space("random", "smoothl1lossgrad", "fp32", samples=1 << 40)
    work, library = open_work("reference:formula", space)
    sweeping = _Sweep("reference:formula", work, library, path)
    sweeping.take_state(True)
    next(sweeping._left(), None)
    sweeping._save()
    result = sweeping._result(1)
    coverage(result)
    write_sweep(path.with_suffix(".json"), result)
    if result.complete:
        _rendered(path.with_suffix(".json"))


def _dumped(path: Path) -> None:
    """Judge the dump of a folder with the options of its manifest."""
    target = f"dump:{path.parent}"
    with cli.commands["validate"].make_context("validate", [target]) as context:
        run = judged(target, shown=False, **{n: v for n, v in context.params.items() if n not in _SHOWN})
    write_results(path.parent / "results.json", run)
    _rendered(path.parent / "results.json")


def _folders(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """Make a suite, an export with its dumps, and a sweep's state."""
    suite, export = folder / "suite", folder / "export"
    suite.mkdir()
    shutil.copy(folder / "v.h5", suite / "v.h5")
    files = {"v.h5": {"digest": read_digest(folder / "v.h5"), "cases": len(small_cases())}}
    (suite / "manifest.json").write_text(json.dumps({"schema": "golden-manifest/1", "suite": "fuzz", "files": files}))
    words = [
        "export",
        "--vectors",
        str(suite / "v.h5"),
        "--platform",
        "MT7004",
        "--limit",
        "65536",
        "--out",
        str(export),
    ]
    done = CliRunner().invoke(cli, ["--no-config", *words])
    assert done.exit_code == 0, done.output
    run_board(build_board(folder / "board"), export)
    state = folder / "sweep.state"
    work, library = open_work("reference:formula", make_space("random", "smoothl1lossgrad", "fp32", samples=1 << 40))
    sweeping = _Sweep("reference:formula", work, library, state)
    found = next(Processes(1).evaluate(work, iter([(0, range(1))])))
    sweeping._sum = 1, found[1]
    sweeping._save()
    words = [
        messages.Loaded({"hp_smoothl1lossgrad_p": 1 << 40}, "", [], bytes(32)),
        messages.Done(0, [CallFinding("printed", "It printed.", "dy", 3)], (1, 2)),
        messages.Fault(11, 1 << 40, "read", "dy", 3),
        messages.Trouble("It cannot go on."),
    ]
    (folder / "frames").write_bytes(b"".join(map(messages.frame, words)))
    return {
        "manifest": (suite / "manifest.json", lambda p: read_suite(p.parent)),
        "export": (export / "manifest.json", _dumped),
        "dump": (export / "dump-0000.bin", _dumped),
        "state": (state, _resumed),
        "frames": (folder / "frames", _frames),
    }


def originals(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """Make one good file of every kind: name -> file, and what reads it."""
    write_vectors(folder / "v.h5", "fuzz", operator("smoothl1lossgrad"), "fp16", small_cases(), SEED)
    write_results(folder / "r.json", failing())
    write_sweep(folder / "s.json", sweep())
    (folder / "p.toml").write_text('name = "x"\nsummary = "y"\ndtypes = ["fp16"]\ncores = 4\nsubnormals = "flush"\n'
        'half = "float16"\nalignment = 8\n[memory]\nshared = [4096]\n[provenance]\nstated = ["a"]\n')  # fmt: skip
    (folder / "golden.toml").write_text('[validate]\nplatform = "MT7004"\ntimeout = 3.5\nstrict = true\n')
    (folder / "x.txt").write_text("hp_* a/b*  # a reason\n")
    return {
        "vectors": (folder / "v.h5", _vectors),
        "results": (folder / "r.json", _rendered),
        "sweep": (folder / "s.json", _rendered),
        "profile": (folder / "p.toml", lambda p: load_profile(str(p))),
        "config": (folder / "golden.toml", lambda p: read_config(p, cli.commands)),
        "xfail": (folder / "x.txt", read_xfail),
        "library": (build_library(folder / "k.so"), inspect_library),
        **_folders(folder),
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
    if path.suffix in (".json", ".state"):
        ways += [_value] * 6
    if kind == "export":
        ways += [_sealed] * 12
    if kind == "dump":
        ways += [_checked] * 6
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
    """Change values of a document: mostly into others of the same type, or into one that stands elsewhere in it."""
    document = json.loads(path.read_bytes())
    for _ in range(draw.choice((1, 1, 3))):
        places = list(_places(document))
        place, key = draw.choice(places)
        value = place[key]
        alike = [other for other in _ODD if type(other) is type(value)]
        if isinstance(value, int) and not isinstance(value, bool):
            alike += [value + 1, value - 1, 2 * value, -value]
        alike += [at[other] for at, other in draw.choices(places, k=4) if type(at[other]) is type(value)]
        if isinstance(place, dict) and draw.random() < 0.1:
            place[draw.choice(("abc", "-1", "\x1b[2J"))] = place.pop(key)
        elif draw.random() < 0.05:
            del place[key]
        else:
            place[key] = copy.deepcopy(draw.choice(alike if alike and draw.random() < 0.8 else _ODD))
    path.write_text(json.dumps(document))


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield everything that a document holds: where it is, and its key or position there."""
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from _places(document[key])


def _sealed(path: Path, draw: random.Random) -> None:
    """Change a manifest of an export and make its id right again, in the dumps too."""
    _value(path, draw)
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=blobs.Manifest)
    except msgspec.MsgspecError:
        return
    identity = blobs.export_id(manifest)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, id=identity)))
    for dump in path.parent.glob("dump-*.bin"):
        raw = bytearray(dump.read_bytes())
        raw[12:28] = bytes.fromhex(identity)
        raw[32:36] = zlib.crc32(raw[:32]).to_bytes(4, "little")
        dump.write_bytes(raw)


def _checked(path: Path, draw: random.Random) -> None:
    """Change a number in a dump's messages and make their checksums right again."""
    raw, at, frames = bytearray(path.read_bytes()), blobs.RESULTS_HEADER, []
    while raw[at : at + 4] == b"GLDH":
        frames.append((at, int.from_bytes(raw[at + 8 : at + 12], "little")))
        at += 20 + frames[-1][1]
    at, size = draw.choice(frames)
    for _ in range(draw.choice((1, 1, 3))):
        place = at + draw.choice((4, 8, *range(16, 16 + min(size, 64), 2)))
        raw[place : place + 4] = draw.choice((0, 1, 2, 0x7F, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)).to_bytes(4, "little")
    raw[at + 12 : at + 16] = zlib.crc32(raw[at : at + 12]).to_bytes(4, "little")
    raw[at + 16 + size : at + 20 + size] = zlib.crc32(raw[at + 16 : at + 16 + size]).to_bytes(4, "little")
    path.write_bytes(raw)


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
            warnings.simplefilter("error", RuntimeWarning)  # it would stand beside the sentence
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
            shutil.copytree(original.parent, folder) if kind in _WHOLE else folder.mkdir()
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
