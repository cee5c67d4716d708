"""Exports and dumps end to end, on a board that is a process of this machine, and what they have to agree on."""

import re
import shutil
import struct
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from golden.errors import GoldenError, TargetError, UsageError, VectorError
from golden.files.manifest import open_vectors
from golden.operator import entry_points
from golden.profile import load_profile
from golden.results import Results
from reports.diff import bits
from runners.offline.blobs import RESULTS_HEADER, read_manifest
from runners.offline.export import export
from runners.toolchain.build import find_compiler
from tests.helpers.board import build_board, run_board
from tests.helpers.command import needs_compiler
from tests.helpers.exporting import SMOKE, TIGHT, exported, golden, validated
from tests.mutants import run as mutants
from tests.mutants.mutants import MUTANTS
from tests.mutants.test_mutants import FAST as PARTS
from tests.runners.harness.test_exec_targets import CHOSEN, FAST

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def library(kernels: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return validated(kernels, tmp_path_factory.mktemp("library"), *SMOKE)[0]


@pytest.mark.confirm
@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="one region"),
        pytest.param(("--limit", TIGHT), id="splits"),
        pytest.param(("--memory", "documented", "--address", "0xA8000000"), id="documented addresses"),
    ],
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
    chosen, done = validated(f"dump:{folder}", tmp_path / "chosen", "--class", "kink", "--symbol", "hp_*")
    assert done.exit_code == 0 and chosen.verdict == "partial" and {e.dtype for e in chosen.entry_points} == {"fp16"}
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
    said = re.search(
        r"--limit 8000: the largest call, of (fp_nlllossgrad_[sp]), needs (\d+) bytes", str(done.exception)
    )
    assert said is not None
    enough = int(said[2])
    assert golden("export", *options, "--out", tmp_path / "export", "--limit", enough - 1).exit_code != 0
    manifest = read_manifest(exported(tmp_path / "export", *options, "--limit", enough))
    assert max(b.arena + b.arena_size for b in manifest.blobs) <= enough


def test_an_export_takes_no_folder_that_holds_something(dumps: Path) -> None:
    done = golden("export", *SMOKE, "--out", dumps)
    assert isinstance(done.exception, UsageError) and "is not empty" in str(done.exception)
    assert (dumps / "dump-0001.bin").exists()


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


@pytest.mark.parametrize("name", CHOSEN)
def test_a_defective_build_is_rejected_through_dumps(name: str, workshop: Path) -> None:
    suite, part = ("smoke", PARTS[name]) if name in FAST else ("core", "")
    outcome = mutants.check(next(m for m in MUTANTS if m.name == name), None, workshop, "dump", suite, part)
    assert outcome.verdict == "fails" and mutants.killers(outcome)


@pytest.mark.confirm
def test_an_export_of_a_private_seed_holds_no_seed_and_is_judged_with_it(board: Path, tmp_path: Path) -> None:
    secret = "nobody guesses this"
    folder = exported(
        tmp_path / "export", *SMOKE, "--seed", secret, "--operator", "smoothl1lossgrad", "--dtype", "fp32"
    )
    run_board(board, folder)
    assert not [p.name for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    results, done = validated(f"dump:{folder}", tmp_path / "out", "--seed", secret)
    assert results.vectors.origin == "private" and all(e.status == "pass" for e in results.entry_points if e.cases)
    assert sum(e.cases for e in results.entry_points) == 2 * results.vectors.cases > 0 and done.exit_code == 0
    for words in ((), ("--seed", "another")):
        done = golden("validate", f"dump:{folder}", *words, "--out", tmp_path / "other")
        assert isinstance(done.exception, VectorError) and "give the same --seed" in str(done.exception)
