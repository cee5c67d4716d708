"""Exports and dumps end to end, on a board that is a process of this machine, and what can be wrong with them."""

import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import pytest
from click.testing import CliRunner, Result

from golden.cli import cli
from golden.errors import GoldenError, TargetError, UsageError, VectorError
from golden.files.manifest import open_vectors
from golden.files.results import read_results
from golden.operator import entry_points
from golden.profile import load_profile
from golden.results import Results
from reports.diff import bits
from runners.offline.blobs import RESULTS_HEADER, read_dump, read_manifest
from runners.offline.export import export
from runners.toolchain.build import find_compiler
from tests.helpers.board import build_board, run_board
from tests.mutants import run as mutants
from tests.mutants.mutants import MUTANTS
from tests.mutants.test_mutants import FAST as PARTS
from tests.runners.harness.test_exec_targets import FAST, SAMPLE

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler on PATH"
)
SMOKE = ("--suite", "smoke", "--platform", "MT7004")
#: Few enough bytes that calls with many core masks do not fit into one blob.
TIGHT = 1 << 16


def golden(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(w) for w in words])


def exported(folder: Path, *options: object) -> Path:
    done = golden("export", "--out", folder, "--draw", "tests", *options)
    assert done.exit_code == 0, (done.output, done.exception)
    return folder


def validated(target: object, out: Path, *options: object) -> tuple[Results, Result]:
    done = golden("validate", target, "--out", out, *options)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return read_results(out / "results.json"), done


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_board(tmp_path_factory.mktemp("board") / "board")


@pytest.fixture(scope="module")
def library(kernels: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return validated(kernels, tmp_path_factory.mktemp("library"), *SMOKE)[0]


@pytest.fixture(scope="module")
def whole(board: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small export in several blobs, with its dumps."""
    options = ("--operator", "smoothl1lossgrad", "--dtype", "fp32", "--limit", TIGHT, *SMOKE)
    folder = exported(tmp_path_factory.mktemp("whole") / "export", *options)
    run_board(board, folder)
    return folder


@pytest.fixture
def dumps(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "export")


@pytest.mark.parametrize(
    "options",
    [(), ("--limit", TIGHT), ("--memory", "documented", "--address", "0xA8000000")],
    ids=["one region", "splits", "documented addresses"],
)
def test_dumps_give_the_verdict_and_the_bits_of_a_library(
    options: tuple[object, ...], board: Path, library: Results, tmp_path: Path
) -> None:
    folder = exported(tmp_path / "export", *SMOKE, *options)
    manifest = run_board(board, folder)
    results, done = validated(f"dump:{folder}", tmp_path / "out")
    assert done.exit_code == 0 and results.verdict == "conforms" and len(results.entry_points) == len(entry_points())
    assert bits(library, results).startswith("The same bits from ") and "Other" not in bits(library, results)
    assert (results.platform.name, results.probe.half_abi, results.vectors.suite) == ("MT7004", "float16", "smoke")
    assert results.probe == library.probe
    assert "reads outside operands" in next(f.message for f in results.findings if f.kind == "not-observable")
    assert "on which machine is not known here" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for blob in manifest.blobs:
        raw = (folder / blob.file).read_bytes()
        assert (len(raw), sha256(raw).hexdigest()) == (blob.size, blob.sha256)
        assert blob.size <= blob.results <= blob.arena - blob.results_size
        assert blob.arena + blob.arena_size <= manifest.limit
        used = struct.unpack_from("<I", (folder / blob.dump).read_bytes(), RESULTS_HEADER - 8)[0]
        assert used <= blob.results_size - RESULTS_HEADER
    pieces = [p for b in manifest.blobs for p in b.pieces]
    assert any(p.first for p in pieces) == (len(manifest.blobs) > 1) == (TIGHT in options)


def ways(folder: Path) -> dict[str, tuple[bytes, list[bytes]]]:
    """Return what is called, with which data, and all its invocations, by the call's key: read from the blobs alone."""
    found: dict[str, tuple[bytes, list[bytes]]] = {}
    for blob in read_manifest(folder).blobs:
        raw, at = (folder / blob.file).read_bytes(), 64
        for serial, piece in enumerate(blob.pieces, blob.serial):
            length = struct.unpack_from("<I", raw, at + 8)[0]
            payload = raw[at + 16 : at + 16 + length]
            at += length + 20
            assert struct.unpack_from("<I", payload)[0] == serial
            begin = 6 + struct.unpack_from("<H", payload, 4)[0]
            count = struct.unpack_from("<H", payload, begin)[0]
            kinds = payload[begin + 2 : begin + 2 + 8 * count : 8]
            begin += 2 + 8 * count + 8
            size = 8 + 8 * kinds.count(b"p")
            rows = [payload[begin + size * i : begin + size * (i + 1)] for i in range(piece.count)]
            call = payload[4 : begin - 4] + payload[begin + size * piece.count :]
            same, before = found.setdefault(piece.key, (call, []))
            assert same == call and len(before) == piece.first
            before += rows
        assert at == len(raw)
    return found


def test_a_split_call_is_made_in_the_same_ways(whole: Path, tmp_path: Path) -> None:
    options = ("--operator", "smoothl1lossgrad", "--dtype", "fp32", *SMOKE)
    assert ways(whole) == ways(exported(tmp_path / "one", *options))
    assert max(p.first for b in read_manifest(whole).blobs for p in b.pieces) > 0


def test_documented_operands_need_their_memory(board: Path, tmp_path: Path) -> None:
    folder = exported(tmp_path / "e", *SMOKE, "--memory", "documented", "--address", "0xA8000000", "--dtype", "fp32")
    assert [begin for begin, _ in read_manifest(folder).operands] == [0x10000000, 0xA0000000, 0xB0000000]
    run_board(board, folder, operands=False)
    results, done = validated(f"dump:{folder}", tmp_path / "out")
    assert done.exit_code == 1 and {e.status for e in results.entry_points} == {"crash"}


def test_exports_are_the_same_each_time_and_hold_what_is_asked_for(board: Path, tmp_path: Path) -> None:
    options = (*SMOKE, "--operator", "nlllossgrad")
    one, two = (exported(tmp_path / name, *options, "--draw", "it") for name in ("one", "two"))
    other = read_manifest(exported(tmp_path / "other", *options, "--draw", ""))
    assert read_manifest(one).options["draw"] == "it" != other.options["draw"]
    keys = [[piece.key for piece in manifest.blobs[0].pieces] for manifest in (read_manifest(one), other)]
    assert keys[0] != keys[1] and len(keys[0]) == len(keys[1])
    names = {p.name for p in one.iterdir()}
    assert names == {"README.txt", "runs.txt", "manifest.json", "call-0000.bin", "harness"}
    for path in one.rglob("*.*"):
        assert path.is_dir() or path.read_bytes() == (two / path.relative_to(one)).read_bytes()
    run_board(board, one)
    results, done = validated(f"dump:{one}", tmp_path / "out")
    assert done.exit_code == 0 and {e.operator for e in results.entry_points} == {"nlllossgrad"}
    assert results.options["draw"] == "it"
    assert "do not cover" in results.reason


def test_entry_points_that_the_board_lacks_are_missing(tmp_path: Path) -> None:
    board = build_board(tmp_path / "board", cflags=["-DGOLDEN_FP32_ONLY"])
    folder = exported(tmp_path / "export", *SMOKE, "--operator", "smoothl1lossgrad")
    run_board(board, folder)
    results, done = validated(f"dump:{folder}", tmp_path / "out")
    assert done.exit_code == 1
    assert {e.symbol[:2]: e.status for e in results.entry_points} == {"hp": "missing", "fp": "pass"}


def test_a_big_endian_board(tmp_path: Path) -> None:
    for program in ("s390x-linux-gnu-gcc", "qemu-s390x"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH")
    board = build_board(tmp_path / "board", target="s390x-linux-gnu")
    folder = exported(tmp_path / "export", *SMOKE, "--endian", "big")
    run_board(board, folder, ["qemu-s390x"])
    results, done = validated(f"dump:{folder}", tmp_path / "out")
    assert done.exit_code == 0 and results.verdict == "conforms"
    assert (results.library.machine, results.probe.half_abi) == ("s390x (64-bit, big-endian)", "uint16")


def test_the_sources_are_freestanding(whole: Path, tmp_path: Path) -> None:
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffreestanding", "-O2"]
    built = tmp_path / "all.o"
    sources = sorted(str(p) for p in (whole / "harness").glob("*.c"))
    assert len(sources) == 3  # core, table and program
    command = [*find_compiler(), *flags, "-nostdlib", "-r", *sources, "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listing = subprocess.run(["nm", "-u", str(built)], capture_output=True, text=True, check=True).stdout
    needed = {line.split()[-1] for line in listing.splitlines()}
    assert needed - {*entry_points()} <= {"memcpy", "memset", "memcmp", "strlen", "golden_region", "__stack_chk_fail"}
    assert "golden_region" in needed


# Dumps that cannot be used


def dump(folder: Path, number: int = 1) -> Path:
    return folder / f"dump-{number:04d}.bin"


def edit(path: Path, change: Callable[[bytearray], object]) -> None:
    raw = bytearray(path.read_bytes())
    change(raw)
    path.write_bytes(raw)


def seal(raw: bytearray) -> None:
    raw[32:36] = struct.pack("<I", crc32(raw[:32]))


def cut(raw: bytearray, end: int) -> None:
    """Make a header say that messages go to ``end``; what lies behind stays, as in a memory that was used before."""
    raw[28:32] = struct.pack("<I", end - RESULTS_HEADER)
    seal(raw)


def frames(raw: bytes) -> list[tuple[int, int, int]]:
    """Return type, begin and end of each message."""
    found, at = [], RESULTS_HEADER
    stop = at + struct.unpack_from("<I", raw, 28)[0]
    while at < stop:
        kind, length = struct.unpack_from("<II", raw, at + 4)
        found.append((kind, at, at + length + 20))
        at += length + 20
    return found


def before(raw: bytearray, kind: int) -> int:
    return next(begin for k, begin, _ in frames(raw) if k == kind)


def swap(folder: Path) -> None:
    dump(folder, 1).rename(folder / "x")
    dump(folder, 2).rename(dump(folder, 1))
    (folder / "x").rename(dump(folder, 2))


def drop(raw: bytearray, position: int) -> None:
    """Take a message out."""
    _, begin, end = frames(raw)[position]
    last = frames(raw)[-1][2]
    del raw[begin:end]
    cut(raw, last - (end - begin))


def exchange(raw: bytearray, position: int) -> None:
    """Exchange a message and the next one."""
    (_, first, second), (_, _, end) = frames(raw)[position : position + 2]
    raw[first:end] = raw[second:end] + raw[first:second]


def set_at(position: int, value: bytes) -> Callable[[bytearray], None]:
    def change(raw: bytearray) -> None:
        raw[position : position + len(value)] = value
        seal(raw)

    return change


def in_words(raw: bytearray) -> None:
    raw[:] = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: (dump(f, 1).unlink(), dump(f, 3).unlink()), "lacks dump-0001.bin, dump-0003.bin, of "),
    "empty": (lambda f: edit(dump(f), lambda r: r.clear()), "dump-0001.bin is truncated: 0 bytes"),
    "truncated": (lambda f: edit(dump(f), lambda r: r.__delitem__(slice(500, None))), "is truncated: 500 bytes, and "),
    "shuffled": (
        swap,
        "dump-0001.bin holds the results of call-0002.bin, not of call-0001.bin: the dumps are shuffled",
    ),
    "never run": (lambda f: edit(dump(f), lambda r: r.__setitem__(slice(0, 99), bytes(99))), "holds no results"),
    "in words": (lambda f: edit(dump(f), in_words), "in the wrong byte order: dump bytes, not words"),
    "header": (lambda f: edit(dump(f), lambda r: r.__setitem__(29, r[29] ^ 1)), "corrupt: the CRC of its header"),
    "other export": (lambda f: edit(dump(f), set_at(12, b"another export's")), "is of another export"),
    "version": (lambda f: edit(dump(f), set_at(4, b"\2")), "holds no results"),
    "too early": (lambda f: edit(dump(f), lambda r: cut(r, RESULTS_HEADER)), "dumped before the program had begun"),
    "no end": (lambda f: edit(dump(f), lambda r: cut(r, before(r, 20))), "has all results and no end"),
    "inside": (lambda f: edit(dump(f), lambda r: cut(r, before(r, 20) - 3)), "is corrupt: it ends inside a message"),
    "a result less": (lambda f: edit(dump(f), lambda r: drop(r, 1)), "its messages are not those of call-0001.bin"),
    "exchanged": (lambda f: edit(dump(f), lambda r: exchange(r, 1)), "its messages are not those of call-0001.bin"),
    "no hello": (lambda f: edit(dump(f), lambda r: drop(r, 0)), "dumped before the program had begun"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_dumps_that_cannot_be_used_are_named(name: str, dumps: Path, tmp_path: Path) -> None:
    damage, says = FAULTS[name]
    damage(dumps)
    done = golden("validate", f"dump:{dumps}", "--out", tmp_path / "out")
    assert isinstance(done.exception, TargetError) and says in str(done.exception)
    assert done.exception.exit_code == 3 and str(done.exception).count("\n") == 0
    assert not (tmp_path / "out" / "results.json").exists()


def test_no_changed_byte_goes_unnoticed(dumps: Path) -> None:
    manifest = read_manifest(dumps)
    raw = dump(dumps).read_bytes()
    end = frames(raw)[-1][2]
    for position in {*range(RESULTS_HEADER + 40), *range(end - 60, end), *range(0, end, end // 100)}:
        dump(dumps).write_bytes(raw[:position] + bytes([raw[position] ^ 0x10]) + raw[position + 1 :])
        with pytest.raises(TargetError):
            read_dump(dumps, manifest, 1)
    dump(dumps).write_bytes(raw[:end])  # what lies behind is no part of it
    assert read_dump(dumps, manifest, 1).stopped is None


def test_a_call_that_did_not_return(dumps: Path, tmp_path: Path) -> None:
    """What was done before it is judged, what its blob has behind it was not run, and other blobs are whole."""
    manifest = read_manifest(dumps)
    number = max(range(1, len(manifest.blobs)), key=lambda n: len(manifest.blobs[n].pieces))
    blob = manifest.blobs[number]
    edit(dump(dumps, number), lambda r: cut(r, frames(r)[6][1]))
    found = read_dump(dumps, manifest, number)
    assert sum(len(r) for r in found.results.values()) == 5 and found.stopped is not None
    stopped = blob.pieces[found.stopped - blob.serial]
    results, done = validated(f"dump:{dumps}", tmp_path / "out")
    entry = next(e for e in results.entry_points if e.symbol == stopped.symbol)
    assert done.exit_code == 1 and entry.status == "crash"
    crashes = [f for f in entry.failing if f.kind == "crash"]
    assert len(crashes) == 1 and f"did not return: {blob.dump} ends in this call" in crashes[0].message
    unanswered = {p.key for p in blob.pieces if p.symbol == stopped.symbol} - {
        p.key for p in blob.pieces[: found.stopped - blob.serial]
    }
    assert entry.failures == len(unanswered) > 1 and {f.kind for f in entry.failing} == {"crash", "not-run"}


@pytest.mark.parametrize("end", ["raise(SIGSEGV)", "exit(3)"])
def test_what_was_done_before_a_crash_is_there(end: str, tmp_path: Path) -> None:
    source = tmp_path / "kernel.c"
    source.write_text(
        "#include <signal.h>\n#include <stdlib.h>\n"
        "void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)\n"
        f"{{ static int calls; if (++calls == 100) {end}; for (int i = 0; i < length; i++) dx1[i] = 1; }}\n"
    )
    board = build_board(tmp_path / "board", cflags=["-w", "-D_GNU_SOURCE"], sources=[source])
    folder = exported(tmp_path / "export", *SMOKE, "--operator", "smoothl1lossgrad", "--dtype", "fp32")
    found = read_dump(folder, run_board(board, folder), 0)
    assert found.stopped is not None and sum(len(results) for results in found.results.values()) == 99


def test_a_board_that_gives_up_says_why(dumps: Path, board: Path, tmp_path: Path) -> None:
    edit(dumps / "call-0001.bin", lambda r: r.__setitem__(200, r[200] ^ 1))
    run_board(board, dumps)
    done = golden("validate", f"dump:{dumps}", "--out", tmp_path / "out")
    assert isinstance(done.exception, TargetError)
    assert "dump-0001.bin: the target gave up: the calls in memory are not those of the file" in str(done.exception)


def test_the_wrong_byte_order(board: Path, tmp_path: Path) -> None:
    folder = exported(tmp_path / "export", *SMOKE, "--endian", "big")
    run_board(board, folder)
    done = golden("validate", f"dump:{folder}", "--out", tmp_path / "out")
    assert isinstance(done.exception, TargetError)
    assert "the target is little-endian, and the calls are not; export them with --endian little" in str(done.exception)


def test_dumps_of_two_programs(dumps: Path, board: Path, tmp_path: Path) -> None:
    kept = dump(dumps, 0).read_bytes()
    run_board(build_board(tmp_path / "other", cflags=["-DGOLDEN_HALF_UINT16"]), dumps)
    dump(dumps, 0).write_bytes(kept)
    done = golden("validate", f"dump:{dumps}", "--out", tmp_path / "out")
    assert isinstance(done.exception, TargetError) and "is of another program than dump-0000.bin" in str(done.exception)


# What an export and its validation have to agree on


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (("--platform", "host"), UsageError, "--platform host: .* was exported with MT7004"),
        (("--reduction-enum", "auto"), UsageError, "--reduction-enum auto: .* was exported with sum-mean-none"),
        (("--suite", "core"), VectorError, "smoothl1lossgrad-fp32.h5, which has another content now"),
        (("--vectors", "vectors/smoke/nlllossgrad-fp32.h5"), VectorError, "is not among these vectors"),
        (("--half-abi", "uint16"), UsageError, "takes half as float16"),
    ],
)
def test_a_validation_that_contradicts_the_export(
    options: tuple[str, ...], error: type[GoldenError], says: str, whole: Path, tmp_path: Path
) -> None:
    done = golden("validate", f"dump:{whole}", "--out", tmp_path / "out", *options)
    assert isinstance(done.exception, error)
    with pytest.raises(error, match=says):
        raise done.exception


def test_a_call_that_was_not_exported(whole: Path) -> None:
    done = golden("probe", f"dump:{whole}", "--suite", "core")
    assert isinstance(done.exception, TargetError) and "has no answer to a call of" in str(done.exception)


def test_a_manifest_that_is_not_as_it_was_written(dumps: Path, tmp_path: Path) -> None:
    path = dumps / "manifest.json"
    raw = path.read_bytes()
    for content, says in (
        (raw.replace(b"MT7004", b"FT78NE"), "is not as it was written"),
        (raw.replace(b"golden-export/1", b"golden-export/9"), "has schema 'golden-export/9'"),
        (raw[:-50], "is damaged"),
    ):
        path.write_bytes(content)
        done = golden("validate", f"dump:{dumps}", "--out", tmp_path / "out")
        assert isinstance(done.exception, TargetError) and says in str(done.exception)
    path.unlink()
    done = golden("validate", f"dump:{dumps}", "--out", tmp_path / "out")
    assert isinstance(done.exception, UsageError) and "names a folder that 'golden export' has made" in str(
        done.exception
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--memory", "documented"), "say with --address where the calls go"),
        (("--memory", "documented", "--address", "0xA0000000"), "inside the region for the calls"),
        (("--operator", "huber"), "There is no operator named 'huber'"),
        (("--vectors", "vectors/smoke/nlllossgrad-fp32.h5", "--dtype", "fp16"), "there are nlllossgrad fp32"),
    ],
)
def test_exports_that_cannot_be_made(options: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = golden("export", *SMOKE, "--out", tmp_path / "new" / "export", *options)
    assert isinstance(done.exception, UsageError) and says in str(done.exception)
    assert list(tmp_path.glob("new/*")) == []


def test_a_limit_that_is_too_small_is_told_the_smallest_that_is_not(tmp_path: Path) -> None:
    options = (*SMOKE, "--dtype", "fp32", "--operator", "nlllossgrad")
    done = golden("export", *options, "--out", tmp_path / "export", "--limit", "8000")
    assert isinstance(done.exception, UsageError) and list(tmp_path.iterdir()) == []
    said = re.search(r"--limit 8000: the largest call, of (fp_nlllossgrad_s), needs (\d+) bytes", str(done.exception))
    assert said is not None
    enough = int(said[2])
    assert golden("export", *options, "--out", tmp_path / "export", "--limit", enough - 1).exit_code != 0
    manifest = read_manifest(exported(tmp_path / "export", *options, "--limit", enough))
    assert max(b.arena + b.arena_size for b in manifest.blobs) <= enough


def test_an_export_takes_no_folder_that_holds_something(dumps: Path) -> None:
    done = golden("export", *SMOKE, "--out", dumps)
    assert isinstance(done.exception, UsageError) and "is not empty" in str(done.exception)
    assert dump(dumps).exists()


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def stop(step: object) -> None:
        raise KeyboardInterrupt

    options = {"suite": "smoke", "platform": "host", "reduction-enum": "sum-mean-none", "memory": "any"}
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "export", open_vectors("smoke"), load_profile("host"), options, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where mutants are built, beside one export of a suite that all are run with."""
    return tmp_path_factory.mktemp("mutants")


@pytest.mark.slow
def test_the_export_that_mutants_are_run_with_accepts_a_healthy_board(board: Path, workshop: Path) -> None:
    healthy = mutants.Variant("healthy", "", "")
    outcome = mutants.check(healthy, mutants.Legal(healthy), folder=workshop, through="dump")
    assert outcome.wrong == "" and outcome.verdict == "conforms"


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in SAMPLE)])
def test_a_defective_build_is_rejected_through_dumps(name: str, workshop: Path) -> None:
    suite, part = ("smoke", PARTS[name]) if name in FAST else ("core", "")
    outcome = mutants.check(next(m for m in MUTANTS if m.name == name), None, workshop, "dump", suite, part)
    assert outcome.verdict == "fails" and mutants.killers(outcome)
