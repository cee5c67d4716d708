"""Writes the calls of a validation to files, for targets that golden cannot talk with: ``golden export``.

What is exported is what :func:`runners.judging.validate.validate` asks of a session that records; so a validation of
the dumps asks for the same.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import msgspec

from golden import __version__
from golden.errors import UsageError
from golden.files.names import NUMBERING_OPTION
from golden.files.vectors import VectorFile
from golden.operator import entry_points
from golden.profile import Profile
from golden.results import Library
from runners.calling.call import Call, Outcome, PointerArgument
from runners.calling.placement import Regions, addresses, documented, remainders, room
from runners.calling.session import AnsweringSession
from runners.harness import table as harness
from runners.harness.frames import Message, encode_call, frame
from runners.judging.validate import Progress, Settings, validate
from runners.offline.blobs import (
    BLOB_HEADER,
    GUARD,
    MANIFEST,
    RESULTS_HEADER,
    SCHEMA,
    Blob,
    Endian,
    Manifest,
    Piece,
    blob_header,
    call_key,
    export_id,
)
from runners.toolchain.build import write_harness_sources

#: Bytes of region if nothing else is said. No page states the size of a memory.
LIMIT = 16 << 20
#: Results and operands begin at multiples of this.
_UNIT = 128
#: Bytes of a frame around its payload.
_FRAME = 20
#: Room for the greeting, and for the words with which a target gives up.
_WORDS = 4096 + 256 + 2 * _FRAME
#: Bytes of a result beside output and disturbances, which are up to three for each pointer.
_RESULT, _DISTURBANCES = 16 + _FRAME, 3 * 12


def export(
    folder: Path,
    files: Sequence[VectorFile],
    profile: Profile,
    options: dict[str, str],
    *,
    endian: Endian = "little",
    address: int | None = None,
    limit: int = LIMIT,
    progress: Callable[[Progress], None] = lambda step: None,
) -> Manifest:
    """Write every call of a validation into ``folder``, which must not hold anything yet, with C sources.

    ``options``: what the validation will use: ``suite`` or ``vectors``, ``platform``, that of numberings, ``memory``,
    ``draw`` (what their order is drawn from; anything by default).
    ``address``: where the region for calls and results begins; by default the first shared region of the platform, or
    0 where it documents none. ``limit``: bytes of the region. The folder is there whole or not at all.

    Raises :class:`UsageError` for a folder that cannot be used, a limit that is too small, and a region in which
    documented operands lie; :class:`golden.errors.TargetError` where there is nothing to export.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty; name a folder of its own for each export with --out.")
    regions = documented(profile) if options["memory"] == "documented" else None
    if regions and address is None:
        raise UsageError(
            "--memory documented: operands lie at the platform's addresses; say with --address where the calls go."
        )
    options = {**options, "draw": options.get("draw") or secrets.token_hex(8)}
    start = address if address is not None else next(iter(profile.memory.shared), 0)
    settings = Settings(profile, options["suite"], numbering=options[NUMBERING_OPTION], draw=options["draw"])
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        scratch.mkdir(parents=True)
        packer = _Packer(scratch, regions, endian, start, limit)
        results = validate("This export", _Recorder(packer.take), Library(), files, settings, progress)
        if not results.complete:
            raise KeyboardInterrupt
        manifest = Manifest(
            schema=SCHEMA,
            golden=__version__,
            id="",
            options=options,
            vectors={f.path.name: f.digest for f in files},
            endian=endian,
            address=start,
            limit=limit,
            operands=packer.operands(),
            blobs=packer.finish(),
        )
        manifest = _sealed(scratch, manifest, packer.crcs)
        (scratch / MANIFEST).write_bytes(msgspec.json.encode(manifest) + b"\n")
        (scratch / "runs.txt").write_text(_runs(manifest), encoding="utf-8")
        (scratch / "README.txt").write_text(_readme(manifest), encoding="utf-8")
        write_harness_sources(scratch / "harness", harness.BLOB)
        with suppress(FileNotFoundError):
            folder.rmdir()
        scratch.rename(folder)
    except OSError as error:
        raise UsageError(f"Cannot write {folder}: {error.strerror}. Choose another folder with --out.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


class _Recorder(AnsweringSession):
    """A session that only notes what is asked.

    It has every entry point and answers none of the calls, so that everything is asked which any target may be asked.
    """

    name = "an export"
    symbols = frozenset(entry_points())
    unobservable = frozenset({"history"})  # of equal calls one is written
    stated_half_abi = "float16"  # as every harness states it; calls are the same for both

    def __init__(self, take: Callable[[Call], None]) -> None:
        super().__init__()
        self._take = take

    def answer(self, call: Call) -> list[Outcome]:
        """Answer that nothing was run."""
        return [Outcome("not-run") for _ in call.invocations]

    def _add(self, call: Call) -> None:
        self._take(call)
        super()._add(msgspec.structs.replace(call, arguments=()))  # its operands are written by now


class _Packer:
    """Packs calls into blobs so that each, with its results and operands, fits into ``limit`` bytes.

    Results are reckoned with the output of every invocation, although equal ones are not repeated.
    """

    def __init__(self, folder: Path, regions: Regions | None, endian: Endian, address: int, limit: int) -> None:
        self._folder, self._regions, self._endian = folder, regions, endian
        self._address, self._limit = address, limit
        self._keys: set[str] = set()
        self._blobs: list[Blob] = []
        self.crcs: list[int] = []
        self._extents: dict[int, int] = {}  # documented region -> end of what lies in it
        self._serial = 0
        self._short = (0, "")  # bytes that are needed for the largest call that does not fit, and its symbol
        self._begin()

    def _begin(self) -> None:
        self._frames: list[bytes] = []
        self._pieces: list[Piece] = []
        self._size, self._results, self._arena = BLOB_HEADER, RESULTS_HEADER + _WORDS, 0

    def take(self, call: Call) -> None:
        """Add a call, unless one of the same content is there."""
        key = call_key(call)
        if key in self._keys:
            return
        self._keys.add(key)
        pointers = [a for a in call.arguments if isinstance(a, PointerArgument)]
        places, unit = remainders(call)
        if self._regions:
            places, unit = addresses(call, self._regions.of(call.symbol), GUARD), 0
            self._claim(call, pointers, places)
        whole = len(encode_call(0, call, 0, False, unit, places))
        each = 8 + 8 * len(pointers)
        fixed = whole - each * len(call.invocations) + _FRAME
        result = _RESULT + _DISTURBANCES * len(pointers) + sum(a.size for a in pointers if a.role == "output")
        arena, done = room(call, unit, GUARD), 0
        while done < len(call.invocations):
            needed = self._size + fixed + self._results + max(self._arena, arena) + 2 * _UNIT
            count = min((self._limit - needed) // (each + result), len(call.invocations) - done)
            if count > 0:
                part = msgspec.structs.replace(call, invocations=call.invocations[done : done + count])
                rows = places[done : done + count]
                payload = encode_call(self._serial, part, 0, self._endian == "big", unit, rows)
                self._frames.append(frame(Message.CALL, payload))
                self._pieces.append(Piece(key, call.symbol, done, count))
                self._serial += 1
                self._size += len(self._frames[-1])
                self._results += count * result
                self._arena = max(self._arena, arena)
                done += count
            elif self._pieces:
                self._close()
            else:
                self._short = max(self._short, (needed + each + result, call.symbol))
                return

    def finish(self) -> list[Blob]:
        """Return what was written; raises :class:`UsageError` if a call did not fit."""
        needed, symbol = self._short
        if needed:
            raise UsageError(
                f"--limit {self._limit}: the largest call, of {symbol}, needs {needed} bytes; allow as many, or export "
                "smaller cases with --suite, --vectors or --operator."
            )
        if self._pieces:
            self._close()
        return self._blobs

    def operands(self) -> list[tuple[int, int]]:
        """Return the documented memory that operands take: begin and end of each region's part."""
        return sorted(self._extents.items())

    def _close(self) -> None:
        number = len(self._blobs)
        results = _up(self._size)
        arena = _up(results + self._results)
        name = f"call-{number:04d}.bin"
        body = b"".join(self._frames)
        (self._folder / name).write_bytes(bytes(BLOB_HEADER) + body)
        self.crcs.append(crc32(body))
        self._blobs.append(
            Blob(
                file=name,
                sha256="",
                size=self._size,
                dump=f"dump-{number:04d}.bin",
                results=results,
                results_size=self._results,
                arena=arena,
                arena_size=self._arena,
                serial=self._serial - len(self._pieces),
                pieces=self._pieces,
            )
        )
        self._begin()

    def _claim(self, call: Call, pointers: Sequence[PointerArgument], places: Sequence[Sequence[int]]) -> None:
        """Note where operands lie; raises :class:`UsageError` where that is in the region of the calls."""
        assert self._regions is not None
        starts = self._regions.of(call.symbol)
        for row in places:
            for number, (argument, place) in enumerate(zip(pointers, row, strict=True)):
                begin, end = place - GUARD, place + argument.size + GUARD
                if begin < self._address + self._limit and end > self._address:
                    raise UsageError(
                        f"--address 0x{self._address:X}: operands of {call.symbol} lie at 0x{begin:X} to 0x{end:X}, "
                        "inside the region for the calls; choose another address, or a smaller --limit."
                    )
                region = starts[number % len(starts)]
                self._extents[region] = max(self._extents.get(region, 0), end)


def _sealed(folder: Path, manifest: Manifest, crcs: Sequence[int]) -> Manifest:
    """Write the headers of the blobs, and return the manifest with the id and the digests."""
    manifest = msgspec.structs.replace(manifest, id=export_id(manifest))
    blobs = []
    for number, blob in enumerate(manifest.blobs):
        path = folder / blob.file
        with path.open("r+b") as file:
            file.write(blob_header(manifest, number, crcs[number]))
        blobs.append(msgspec.structs.replace(blob, sha256=sha256(path.read_bytes()).hexdigest()))
    return msgspec.structs.replace(manifest, blobs=blobs)


def _runs(manifest: Manifest) -> str:
    lines = ["# blob, where to load it; dump, where it lies, bytes. One run of the program a line."]
    lines += [
        f"{b.file} 0x{manifest.address:X} {b.dump} 0x{manifest.address + b.results:X} {b.results_size}"
        for b in manifest.blobs
    ]
    return "\n".join(lines) + "\n"


def _readme(manifest: Manifest) -> str:
    size = max((b.arena + b.arena_size for b in manifest.blobs), default=0)
    where = (
        f"at 0x{manifest.address:X} (-DHARNESS_REGION=0x{manifest.address:X})"
        if manifest.address
        else "where the linker puts golden_region (addresses in runs.txt are offsets from it)"
    )
    lines = [
        f"Calls exported by golden {manifest.golden}: {len(manifest.blobs)} blobs, {manifest.endian}-endian.",
        "",
        "1. Compile harness/*.c with your compiler and link your library: see harness/harness_blob.c, harness_table.c.",
        f"2. Leave {size} bytes of memory free for calls and results, {where}.",
        "3. For every line of runs.txt: load the blob, start the program, wait until main returns. Then dump the bytes",
        "   of the results to the file that the line names, here; also after a crash, or when a kernel hangs.",
        "4. Where caches are written back late, have it done before the dump (-DHARNESS_SYNC).",
        "5. golden validate dump:FOLDER, this folder with the dumps.",
    ]
    if manifest.operands:
        parts = ", ".join(f"0x{begin:X} to 0x{end:X}" for begin, end in manifest.operands)
        lines.append(f"Operands lie in documented memory, {parts}: leave that free too.")
    return "\n".join(lines) + "\n"


def _up(value: int) -> int:
    return -(-value // _UNIT) * _UNIT


def choose(files: Sequence[VectorFile], operators: Sequence[str], dtypes: Sequence[str]) -> list[VectorFile]:
    """Return the files of some operators and dtypes (none named: all); raises :class:`UsageError` for none at all."""
    chosen = [f for f in files if (not operators or f.operator.name in operators) and (not dtypes or f.dtype in dtypes)]
    if not chosen:
        there = ", ".join(f"{f.operator.name} {f.dtype}" for f in files)
        raise UsageError(f"No vectors are of these operators and dtypes; there are {there}.")
    return chosen


__all__ = ["LIMIT", "choose", "export"]
