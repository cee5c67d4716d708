"""What a user can name: suites, platforms, operators, cases. Found by looking at files, so that completion is fast.

Nothing of ours is imported here, and h5py only to complete the id of a case.
"""

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).resolve().parent
#: The file that makes a folder a suite.
MANIFEST = "manifest.json"


def suites() -> dict[str, Path]:
    """Return the folders of the suites that are there: inside an installed package, or of the source tree."""
    installed = _HERE / "data" / "vectors"
    folder = installed if installed.is_dir() else _HERE.parent / "vectors"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{MANIFEST}"))}


def platforms() -> dict[str, Path]:
    """Return the files of the profiles that ship."""
    return {path.stem: path for path in sorted((_HERE / "platforms").glob("*.toml"))}


def operators() -> list[str]:
    """Return the names of all operators, those of other packages included."""
    shipped = [path.stem for path in (_HERE / "operators").glob("[!_]*.py")]
    return sorted({*shipped, *(point.name for point in importlib.metadata.entry_points(group="golden.operators"))})


def cases(suite: Path) -> Iterator[str]:
    """Yield the ids of a suite's cases, or of one vector file's. Nothing is verified: this only offers names.

    Raises OSError, KeyError or ValueError where the files are not what they should be.
    """
    import h5py  # noqa: PLC0415 - a tenth of a second

    if suite.is_dir():
        files = [suite / name for name in json.loads((suite / MANIFEST).read_text(encoding="utf-8"))["files"]]
    else:
        files = [suite]
    for path in files:
        with h5py.File(path) as file:
            yield from (raw.decode() for raw in file["cases"]["id"])
