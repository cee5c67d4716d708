"""Exports and dumps as files: the manifest, blobs of calls, and the memory that a target leaves; for golden's side.

Layout: docs/running-on-a-board.md. Calls and results are frames of :mod:`runners.harness.frames`, one after the other.
"""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from zlib import crc32

import msgspec

from golden.errors import TargetError, UsageError
from golden.files import reading
from golden.files.names import NUMBERING_OPTION
from golden.files.reading import plain_name
from golden.operator import entry_points, numberings
from runners.calling.call import Call
from runners.calling.placement import remainders
from runners.harness.frames import (
    FrameReader,
    HarnessError,
    Hello,
    Message,
    Result,
    decode_hello,
    decode_result,
    encode_call,
)

SCHEMA = "golden-export/1"
MANIFEST = "manifest.json"
VERSION = 1
#: Canary bytes on either side of an operand that exports reckon with: HARNESS_GUARD of harness.h.
GUARD = 1024
_BLOB = struct.Struct("<4sIII16s4sIIIIII")
_RESULTS = struct.Struct("<4sII16sI")
BLOB_HEADER, RESULTS_HEADER = _BLOB.size + 4, _RESULTS.size + 4
#: What an export notes of how it was made, and the values that an option may have, where they are few.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "suite": (),
    "vectors": (),
    "platform": (),
    NUMBERING_OPTION: tuple(numberings()),
    "memory": ("any", "documented"),
    "draw": (),
}
#: Bytes that a dump may have, whatever follows the results in it.
_DUMP_LIMIT = 256 << 20
_DUMP_AGAIN = "Run the blob and dump its results again."

Endian = Literal["little", "big"]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Invocations ``first`` to ``first + count`` of the call that ``key`` names (:func:`call_key`)."""

    key: str
    symbol: str
    first: int
    count: int


class Blob(msgspec.Struct, frozen=True):
    """One file of calls. Offsets are from the region's beginning, sizes in bytes; ``serial``: of its first piece."""

    file: str
    sha256: str
    size: int
    dump: str
    results: int
    results_size: int
    arena: int
    arena_size: int
    serial: int
    pieces: list[Piece]


class Manifest(msgspec.Struct, frozen=True):
    """An export. ``id``: digest of all the rest but the files' own; ``operands``: documented memory that is used."""

    schema: str
    golden: str
    id: str
    options: dict[str, str]
    vectors: dict[str, str]
    endian: Endian
    address: int
    limit: int
    operands: list[tuple[int, int]]
    blobs: list[Blob]


class Dump(msgspec.Struct):
    """What a target left: results by serial number, in order. ``stopped``: the piece in which it did not return."""

    hello: Hello
    results: dict[int, list[Result]]
    stopped: int | None


def call_key(call: Call) -> str:
    """Return the name of a call's content: what is called with which data in which ways."""
    places, unit = remainders(call)
    return hashlib.sha256(encode_call(0, call, 0, False, unit, places)).hexdigest()[:32]


def export_id(manifest: Manifest) -> str:
    """Return the id that an export must have."""
    blobs = [msgspec.structs.replace(b, sha256="") for b in manifest.blobs]
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(manifest, id="", blobs=blobs))).hexdigest()[:32]


def blob_header(manifest: Manifest, number: int, crc: int) -> bytes:
    """Return the first bytes of a blob; ``crc`` is of all that follow."""
    blob = manifest.blobs[number]
    order = b"\4\3\2\1" if manifest.endian == "little" else b"\1\2\3\4"
    sizes = (blob.size, blob.results, blob.results_size, blob.arena, blob.arena_size, crc)
    head = _BLOB.pack(b"GLDB", VERSION, number, len(blob.pieces), bytes.fromhex(manifest.id), order, *sizes)
    return head + crc32(head).to_bytes(4, "little")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an export.

    Raises :class:`UsageError` where there is none, and :class:`TargetError` for one that is damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = reading.json_of(reading.read_bytes(path, reading.MANIFEST), Manifest)
    except OSError as error:
        raise UsageError(
            f"Cannot read {path}: {error.strerror}; dump: names a folder that 'golden export' has made."
        ) from error
    except ValueError as error:
        raise TargetError(f"{path} is damaged ({error}): restore it, or export again.") from error
    if manifest.schema != SCHEMA:
        raise TargetError(f"{path} has schema {manifest.schema!r}, and this golden reads {SCHEMA!r}; export again.")
    if export_id(manifest) != manifest.id:
        raise TargetError(f"{path} is not as it was written: restore it, or export again.")
    if wrong := _nonsense(manifest):
        raise TargetError(f"{path} makes no sense ({wrong}): restore it, or export again.")
    return manifest


def _nonsense(manifest: Manifest) -> str:
    """Return what cannot be so in a manifest, whose id anybody can compute; "" if it is sound."""
    if not (manifest.blobs and manifest.vectors):
        return "there are no calls"
    for name, value in manifest.options.items():
        known = _OPTIONS.get(name, ("nothing",)) or (value,)
        if value not in known or not value.isprintable():
            return f"the option {name!r} is {value!r}"
    symbols, serial = entry_points(), 0
    if manifest.address + manifest.limit > 1 << 64:
        return "the region ends beyond 2^64"
    for blob in manifest.blobs:
        if not (plain_name(blob.file) and plain_name(blob.dump)):
            return f"{blob.file!r} or {blob.dump!r} is no file in its folder"
        if max(blob.results + blob.results_size, blob.arena + blob.arena_size) > manifest.limit:
            return f"{blob.file} does not fit into the region"
        if blob.serial != serial or not blob.pieces:
            return f"{blob.file} begins with call {blob.serial}"
        serial += len(blob.pieces)
        for piece in blob.pieces:
            if piece.symbol not in symbols or not piece.count or RESULTS_HEADER + piece.count > blob.results_size:
                return f"{piece.count} calls of {piece.symbol!r}"
    return ""


def read_dump(folder: Path, manifest: Manifest, number: int) -> Dump:
    """Read what one blob has left, and check that it is that, whole and unchanged.

    Raises :class:`TargetError` that names the file and what is wrong with it. A program that did not come to its end is
    no error, if it was calling kernels by then: see :attr:`Dump.stopped`.
    """
    blob = manifest.blobs[number]
    path = folder / blob.dump
    try:
        raw = reading.read_bytes(path, _DUMP_LIMIT)
    except OSError as error:
        raise TargetError(f"Cannot read {path}: {error.strerror}. {_DUMP_AGAIN}") from error
    messages = _messages(path, _used(path, raw, manifest, number))
    kind, payload = next(messages, (None, b""))
    if kind is not Message.HELLO:
        raise TargetError(f"{path} was dumped before the program had begun. {_DUMP_AGAIN}")
    try:
        hello = decode_hello(payload)
    except HarnessError as error:
        raise TargetError(f"{path}: the target {error}.") from error
    if hello.big_endian != (manifest.endian == "big"):
        order = "big" if hello.big_endian else "little"
        raise TargetError(
            f"{path}: the target is {order}-endian, and the calls are not; export them with --endian {order}."
        )
    if hello.guard != GUARD:
        raise TargetError(f"{path}: the harness has HARNESS_GUARD {hello.guard}; build it with {GUARD}, the default.")
    pieces = {n: p for n, p in enumerate(blob.pieces, blob.serial) if p.symbol in hello.symbols}
    awaited = ((serial, index) for serial, piece in pieces.items() for index in range(piece.count))
    dump = Dump(hello, {serial: [] for serial in pieces}, None)
    for kind, payload in messages:
        due = next(awaited, None)
        if kind is Message.GOODBYE and due is None:
            return dump
        if kind is Message.TROUBLE:
            raise TargetError(f"{path}: the target gave up: {payload.decode('utf-8', 'replace')}.")
        result = _result(path, payload) if kind is Message.RESULT else None
        if result is None or (result.serial, result.index) != due:
            raise TargetError(f"{path} is corrupt: its messages are not those of {blob.file}. {_DUMP_AGAIN}")
        dump.results[result.serial].append(result)
    due = next(awaited, None)
    if due is None:
        raise TargetError(f"{path} has all results and no end: it was dumped too early. {_DUMP_AGAIN}")
    dump.stopped = due[0]
    return dump


def _used(path: Path, raw: bytes, manifest: Manifest, number: int) -> memoryview:
    """Return the messages in a dump as bytes; raises :class:`TargetError` where it is not the one that it must be."""
    if len(raw) < RESULTS_HEADER:
        raise TargetError(f"{path} is truncated: {len(raw)} bytes. {_DUMP_AGAIN}")
    magic, version, sequence, identity, used = _RESULTS.unpack_from(raw)
    if magic == b"RDLG":
        raise TargetError(f"{path} is in the wrong byte order: dump bytes, not words of the other endianness.")
    if magic != b"GLDR" or version != VERSION:
        where = f"0x{manifest.address + manifest.blobs[number].results:X}"
        raise TargetError(
            f"{path} holds no results: it begins with {raw[:8].hex(' ')}. Has the program run, and are "
            f"these the bytes at {where}?"
        )
    if crc32(raw[: _RESULTS.size]) != int.from_bytes(raw[_RESULTS.size : RESULTS_HEADER], "little"):
        raise TargetError(f"{path} is corrupt: the CRC of its header is wrong. {_DUMP_AGAIN}")
    if identity.hex() != manifest.id:
        raise TargetError(f"{path} is of another export: run the blobs of this one, and dump again.")
    if sequence != number:
        name = manifest.blobs[sequence].file if sequence < len(manifest.blobs) else f"blob {sequence}"
        raise TargetError(
            f"{path} holds the results of {name}, not of {manifest.blobs[number].file}: the dumps are shuffled."
        )
    if len(raw) < RESULTS_HEADER + used:
        raise TargetError(
            f"{path} is truncated: {len(raw)} bytes, and {RESULTS_HEADER + used} belong to it. {_DUMP_AGAIN}"
        )
    return memoryview(raw)[RESULTS_HEADER : RESULTS_HEADER + used]


def _messages(path: Path, used: memoryview) -> Iterator[tuple[Message, bytes]]:
    reader = FrameReader()
    reader.limit = len(used)
    try:
        yield from reader.feed(used)  # type: ignore[arg-type]  # it is added to a bytearray
    except HarnessError as error:
        raise TargetError(f"{path} is corrupt: the target {error}. {_DUMP_AGAIN}") from error
    if reader.rest:
        raise TargetError(f"{path} is corrupt: it ends inside a message. {_DUMP_AGAIN}")


def _result(path: Path, payload: bytes) -> Result:
    try:
        return decode_result(payload)
    except HarnessError as error:
        raise TargetError(f"{path} is corrupt: the target {error}. {_DUMP_AGAIN}") from error
