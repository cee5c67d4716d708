"""Schema of ``sweep.json``: what a sweep over a whole input space found. Written atomically, like ``results.json``."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from golden import __version__
from golden.document import Document
from golden.errors import UsageError
from golden.files import reading
from golden.files.atomic import write_atomically
from golden.files.results import read_results
from golden.results import ConfigFile, Element, Library, Number, Results, Tally

SCHEMA = "golden-sweep/1"


class SweepResult(msgspec.Struct, Document, kw_only=True):
    """What a sweep found; the file ``sweep.json``. All but ``option_sources`` to ``jobs`` is alike however it was run.

    ``exhaustive``: every bit pattern of the varying operands was computed, so the maximum is an upper bound;
    otherwise it is a lower one. ``share``: share of their combinations that were.
    ``broken``: contracts that calls broke, beside what the numbers say; ``findings``: remarks.
    """

    schema: str = SCHEMA
    golden: str = __version__
    target: str
    library: Library
    symbol: str
    operator: str
    dtype: str
    space: str
    parameters: dict[str, Number | str | int]
    flush: bool
    points: int
    total_points: int
    share: float
    exhaustive: bool
    bound_exceeded: int
    tally: Tally
    first_failure: Element | None = None
    findings: list[str] = []
    broken: list[str] = []
    option_sources: dict[str, str] = {}  #: option that was set -> ``command line`` or the configuration file
    config: ConfigFile = ConfigFile()
    seconds: float
    kernel_seconds: float
    rate: float  #: points a second
    judge: str  #: "native" or "numpy"
    jobs: int
    complete: bool = False


def write_sweep(path: Path, result: SweepResult) -> None:
    """Write ``sweep.json``, whole or not at all; raises :class:`UsageError` if that fails."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def read_sweep(path: Path) -> SweepResult:
    """Read ``sweep.json``; raises :class:`UsageError` that names the file and the defect."""
    try:
        result = reading.json_of(reading.read_bytes(path, reading.RESULTS), SweepResult)
    except OSError as error:
        raise UsageError(f"Cannot read sweep file {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a whole sweep file ({error}). Sweep again.") from error
    if result.schema != SCHEMA:
        raise UsageError(f"{path} has schema {result.schema!r}; this version reads {SCHEMA!r}. Sweep again.")
    if not result.complete:
        raise UsageError(f"{path} is of an incomplete sweep (no 'complete: true' footer). Resume it with --resume.")
    return result


class _Head(msgspec.Struct, Document):
    """What tells the files apart."""

    schema: str = ""


def read_results_and_sweeps(paths: Iterable[Path]) -> tuple[list[Results], list[SweepResult]]:
    """Read results and sweep files, told apart by their schema; raises :class:`UsageError` as their readers do."""
    runs, sweeps = [], []
    for path in paths:
        try:
            head = reading.json_of(reading.read_bytes(path, reading.RESULTS), _Head)
            swept = head.schema.startswith("golden-sweep/")
        except (OSError, ValueError):
            swept = False  # the reader of results files says what is wrong
        if swept:
            sweeps.append(read_sweep(path))
        else:
            runs.append(read_results(path))
    return runs, sweeps
