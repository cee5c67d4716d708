"""Dumps that cannot be used, or not wholly: what is wrong with them is named, and no changed byte goes unnoticed."""

import struct
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from golden.errors import TargetError
from runners.offline.blobs import RESULTS_HEADER, read_dump, read_manifest
from tests.helpers.board import build_board, run_board
from tests.helpers.command import needs_compiler
from tests.helpers.exporting import SMOKE, exported, golden, validated

pytestmark = needs_compiler


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
