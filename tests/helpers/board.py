"""A board on this machine: the harness for memory, with a loader around it of which golden knows nothing."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from runners.harness import table as harness
from runners.offline.blobs import Manifest, read_manifest
from runners.toolchain.build import build_harness

BOARD = Path(__file__).with_name("blob_board.c")


def build_board(
    output: Path,
    cc: str | None = None,
    cflags: Sequence[str] = (),
    sources: Sequence[Path] | None = None,
    *,
    target: str = "",
) -> Path:
    """Compile the board's program with kernels, the bundled ones by default."""
    flags = [f"-I{harness.BLOB.parent}", "-DHARNESS_FENV", *cflags]
    return build_harness(output, cc, flags, sources, target=target, program=BOARD)


def run_board(program: Path, folder: Path, emulator: Sequence[str] = (), operands: bool = True) -> Manifest:
    """Run every blob of an export and leave its dumps in the folder, as its README.txt asks for.

    ``operands``: there is memory where the documented operands lie.
    """
    manifest = read_manifest(folder)
    memory = [(manifest.address, manifest.limit)]
    memory += [(begin, end - begin) for begin, end in manifest.operands if operands]
    pairs = [f"{number:#x}" for pair in memory for number in pair]
    for line in (folder / "runs.txt").read_text().splitlines()[1:]:
        blob, load, dump, start, size = line.split()
        (folder / dump).unlink(missing_ok=True)
        words = [*emulator, str(program), str(folder / blob), load, str(folder / dump), start, size, *pairs]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        assert (folder / dump).is_file(), done.stderr
    return manifest
