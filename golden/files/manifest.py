"""The manifest of a suite: its files, their digests, and how many cases there must be."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from golden.case import Head
from golden.errors import UsageError, VectorError, unknown_name
from golden.files import reading
from golden.files.atomic import write_atomically
from golden.files.names import MANIFEST, PUBLIC_SEED, suites
from golden.files.reading import plain_name
from golden.files.vectors import VectorFile, read_ids, read_vectors

NAME = MANIFEST
SCHEMA = "golden-manifest/1"
#: Suites whose files ship with golden.
SHIPPED = ("smoke", "core")
_AGAIN = "Generate it again with 'golden generate'."
#: Share of the cases of other files whose golden data are computed again when they are read.
RECHECKED = 0.1
#: Lists the cases of a suite, by its name, an operator's, a dtype's and the seed that is stated, and tells whether they
#: are those or another private seed's; None for a suite that it does not know.
Heads = Callable[[str, str, str, str], tuple[Sequence[Head], bool] | None]


class File(msgspec.Struct, frozen=True):
    """One vector file of a suite."""

    digest: str
    cases: int


class Manifest(msgspec.Struct, frozen=True):
    """A suite as it must be found on disk."""

    schema: str
    suite: str
    files: dict[str, File]


def write_manifest(folder: Path, suite: str, files: dict[str, tuple[str, int]]) -> None:
    """Write the manifest of a suite into its folder."""
    manifest = Manifest(SCHEMA, suite, {name: File(*files[name]) for name in sorted(files)})
    write_atomically(folder / NAME, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a suite's folder; raises what :func:`read_suite` raises."""
    path = folder / NAME
    if not os.path.lexists(path):
        raise UsageError(f"{folder} has no {NAME}: name one .h5 file, or generate a suite with 'golden generate'.")
    try:
        manifest = reading.json_of(reading.read_bytes(path, reading.MANIFEST), Manifest)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise VectorError(f"{path} is damaged ({why}). Restore it or generate the suite again.") from error
    if manifest.schema != SCHEMA or not manifest.files:
        raise VectorError(f"{path} has schema {manifest.schema!r} or no files; generate the suite again.")
    if strange := [name for name in manifest.files if not plain_name(name)]:
        raise VectorError(f"{path} names {strange[0]!r}, which is no file in its folder; generate the suite again.")
    return manifest


def read_suite(folder: Path, recheck: float = RECHECKED, heads: Heads | None = None) -> list[VectorFile]:
    """Read and verify every file of a suite's folder, as its manifest lists them.

    ``recheck``: the share of cases whose golden data are computed again, except in files that ship. ``heads``: what
    lists the cases that the others must have.

    Raises :class:`UsageError` if the folder or its manifest is not there, :class:`VectorError` if a file is missing,
    damaged or another one than the manifest names.
    """
    manifest = read_manifest(folder)
    missing = [name for name in manifest.files if not os.path.lexists(folder / name)]
    if missing:
        raise VectorError(f"{folder} lacks {', '.join(missing)}, which its manifest names. Generate the suite again.")
    ship = _shipped_digests()
    found = []
    for name, file in manifest.files.items():
        share = recheck if file.digest not in ship or recheck == 1 else 0.0
        found.append(read_vectors(folder / name, file.digest, share))
        if len(found[-1].heads) != file.cases:
            raise VectorError(
                f"{folder / name} has {len(found[-1].heads)} cases, not the {file.cases} of its manifest."
            )
        if file.digest not in ship:
            _compare(found[-1], heads)
    return found


def _shipped_digests() -> frozenset[str]:
    """Return the digests of the vector files that ship with golden: what they are needs no proof in every run."""
    folders = suites()
    manifests = [read_manifest(folders[suite]) for suite in SHIPPED if suite in folders]
    return frozenset(file.digest for manifest in manifests for file in manifest.files.values())


def _compare(file: VectorFile, heads: Heads | None) -> None:
    """Hold a file's cases against known ones: an id says what a case is, so the same one cannot be another here.

    Known are those that ship, and those that ``heads`` lists. A file of a known suite has no other cases than that, and
    one of a suite that is listed has them all. Raises :class:`VectorError` that names the case.
    """
    kind, public = (file.suite, file.operator.name, file.dtype), file.seed == PUBLIC_SEED
    listed = heads(*kind, file.seed) if heads and not (public and file.suite in SHIPPED) else None
    if listed is not None and listed[1]:
        _hold(file, {head.id: head for head in listed[0]}, file.suite)
        there = {head.id for head in file.heads}
        if lost := next((head.id for head in listed[0] if head.id not in there), ""):
            raise VectorError(f"{file.path}: it lacks the case {lost}. {_AGAIN}")
    elif listed is not None and heads and (promised := heads(*kind, PUBLIC_SEED)):
        _hold_kinds(file, promised[0], listed[0])
    for suite, folder in suites().items():
        name = f"{file.operator.name}-{file.dtype}.h5"
        if suite not in SHIPPED or name not in read_manifest(folder).files:
            continue
        known = read_vectors(folder / name, read_manifest(folder).files[name].digest).heads
        _hold(file, {head.id: head for head in known}, suite if public else "")


def _hold_kinds(file: VectorFile, public: Sequence[Head], other: Sequence[Head]) -> None:
    """Raise :class:`VectorError` where a file of a private seed, which is not known, cannot be of its suite.

    It has the kinds of cases that the suite has with the public seed and with an ``other`` private one, and as many of
    each: a case that has become another kind is missed. Groups that a seed has drawn are all one here.
    """
    groups = {head.group for head in public} & {head.group for head in other}

    def kind(head: Head) -> tuple[str, str, str]:
        return head.klass, head.tier, head.group if head.group in groups else "drawn"

    there, seen = Counter(map(kind, file.heads)), Counter(map(kind, other))
    least = Counter(map(kind, public)) & seen  # what long totals have of a class depends on them
    for klass, tier, group in (least - there) or [k for k in there if k not in seen]:
        raise VectorError(
            f"{file.path}: its cases of {klass} ({tier}, {group}) are not those of the suite {file.suite}. {_AGAIN}"
        )


def _hold(file: VectorFile, known: dict[str, Head], suite: str) -> None:
    """Raise :class:`VectorError` for a case that is not as the one of its id in a suite, or none of its own suite."""
    for head in file.heads:
        if head.id in known and head != known[head.id]:
            raise VectorError(f"{file.path}: case {head.id} has another tier, class or scalar than it must. {_AGAIN}")
        if head.id not in known and suite == file.suite:
            raise VectorError(f"{file.path}: case {head.id} is none of the suite {suite}. {_AGAIN}")


def suite_folder(suite: str) -> Path:
    """Return the folder of a suite that is there: inside an installed package, or of the source tree.

    Raises :class:`UsageError` for one that is not.
    """
    present = suites()
    if suite not in present:
        error = unknown_name("suite", suite, present)
        raise UsageError(f"{error} 'golden generate' makes more; a folder is named with --vectors.")
    return present[suite]


def open_vectors(
    suite: str, vectors: Path | None = None, recheck: bool = False, heads: Heads | None = None
) -> list[VectorFile]:
    """Read a suite by name, or instead of it a folder with a manifest, or a single vector file.

    Golden data of files that do not ship are computed again for a random tenth of the cases, with ``recheck`` for all
    cases of all files; their cases are held against those that ship, and those that ``heads`` lists. Raises what
    :func:`read_suite`, :func:`suite_folder` and :func:`golden.files.vectors.read_vectors` raise.
    """
    if vectors is None or vectors.is_dir():
        return read_suite(vectors or suite_folder(suite), 1.0 if recheck else RECHECKED, heads)
    return [open_file(vectors, recheck=recheck, heads=heads)]


def open_all(
    suite: str, vectors: Sequence[Path] = (), recheck: bool = False, heads: Heads | None = None
) -> list[VectorFile]:
    """Read a suite by name, or instead of it all of several folders and files, each file once; see open_vectors."""
    if not vectors:
        return open_vectors(suite, None, recheck, heads)
    files: dict[Path, VectorFile] = {}
    for path in vectors:
        for file in open_vectors(suite, path, recheck, heads):
            files.setdefault(file.path.resolve(), file)
    return list(files.values())


def digests_of(files: Iterable[VectorFile]) -> dict[str, str]:
    """Return the digests of files by name, or by path where several have one name."""
    files = list(files)
    names = Counter(file.path.name for file in files)
    return {file.path.name if names[file.path.name] == 1 else str(file.path): file.digest for file in files}


def open_file(path: Path, digest: str | None = None, recheck: bool = False, heads: Heads | None = None) -> VectorFile:
    """Read a single vector file as :func:`open_vectors` does, which must have a ``digest`` if one is given."""
    file = read_vectors(path, digest, recheck=1.0 if recheck else 0.0)
    if file.digest not in _shipped_digests():
        file = file if recheck else read_vectors(path, file.digest, RECHECKED)
        _compare(file, heads)
    return file


def case_ids(suite: str, vectors: Path | None = None) -> Iterator[str]:
    """Yield the ids of the cases of a suite, a folder or a file, of whose tables nothing is verified: names to offer.

    Raises what :func:`open_vectors` raises.
    """
    folder = vectors or suite_folder(suite)
    paths = [folder / name for name in read_manifest(folder).files] if folder.is_dir() else [folder]
    return chain.from_iterable(map(read_ids, paths))
