"""``results.json``: written once, at the end, and whole; read with what it says held against itself."""

from pathlib import Path

import msgspec

from golden.errors import UsageError
from golden.files import reading
from golden.files.atomic import write_atomically
from golden.results import SCHEMA, Results
from golden.verdicts import contradiction


def write_results(path: Path, results: Results) -> None:
    """Write a results file so that it is there whole or not at all."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def read_results(path: Path) -> Results:
    """Read a results file; raises :class:`UsageError` that names the file and the defect."""
    try:
        results = reading.json_of(reading.read_bytes(path, reading.RESULTS), Results)
    except OSError as error:
        raise UsageError(f"Cannot read results file {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(
            f"{path} is not a whole results file ({error}). It may come from an interrupted run: validate again."
        ) from error
    if results.schema != SCHEMA:
        raise UsageError(f"{path} has schema {results.schema!r}; this version reads {SCHEMA!r}. Validate again.")
    if not results.complete:
        raise UsageError(f"{path} is of an incomplete run (no 'complete: true' footer). Validate again.")
    if wrong := contradiction(results):
        raise UsageError(f"{path} contradicts itself: {wrong}. It was edited or damaged: validate again.")
    return results
