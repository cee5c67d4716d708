"""The manifest of a suite: its files, their digests, and how many cases there must be."""

from pathlib import Path

import msgspec

from golden.errors import UsageError, VectorError, unknown_name
from golden.names import MANIFEST, suites
from golden.results import write_atomically
from golden.vectorfile import VectorFile, read_vectors

NAME = MANIFEST
SCHEMA = "golden-manifest/1"


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


def read_suite(folder: Path) -> list[VectorFile]:
    """Read and verify every file of a suite's folder, as its manifest lists them.

    Raises :class:`UsageError` if the folder or its manifest is not there, :class:`VectorError` if a file is missing,
    damaged or another one than the manifest names.
    """
    path = folder / NAME
    if not path.is_file():
        raise UsageError(f"{folder} has no {NAME}: name one .h5 file, or generate a suite with 'golden generate'.")
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise VectorError(f"{path} is damaged ({error}). Restore it or generate the suite again.") from error
    if manifest.schema != SCHEMA or not manifest.files:
        raise VectorError(f"{path} has schema {manifest.schema!r} or no files; generate the suite again.")
    missing = [name for name in manifest.files if not (folder / name).is_file()]
    if missing:
        raise VectorError(f"{folder} lacks {', '.join(missing)}, which its manifest names. Generate the suite again.")
    return [read_vectors(folder / name, file.digest) for name, file in manifest.files.items()]


def suite_folder(suite: str) -> Path:
    """Return the folder of a suite that is there: inside an installed package, or of the source tree.

    Raises :class:`UsageError` for one that is not.
    """
    present = suites()
    if suite not in present:
        error = unknown_name("suite", suite, present)
        raise UsageError(f"{error} 'golden generate' makes more; a folder is named with --vectors.")
    return present[suite]


def open_vectors(suite: str, vectors: Path | None = None) -> list[VectorFile]:
    """Read a suite by name, or instead of it a folder with a manifest, or a single vector file.

    Raises what :func:`read_suite`, :func:`suite_folder` and :func:`golden.vectorfile.read_vectors` raise.
    """
    if vectors is not None and not vectors.is_dir():
        return [read_vectors(vectors)]
    return read_suite(vectors or suite_folder(suite))
