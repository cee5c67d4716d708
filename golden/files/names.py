"""What a user can name: suites, platforms, operators. Found by looking at files, so that completion is fast.

Nothing of ours is imported here.
"""

import hashlib
import importlib.metadata
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
#: The option that says which numbering choices have. Fixed, as is its place among the options and the probe of results,
#: whatever an operator calls its choice.
NUMBERING_OPTION = "reduction-enum"
#: The seed of vectors that everyone can make: changing it changes every random vector.
PUBLIC_SEED = "golden/1"
#: How vector files state a private seed: by its digest.
PRIVATE_SEED = "sha256:"
#: The suites that everyone can make.
PUBLIC_SUITES = ("smoke", "core", "full")
#: The file that makes a folder a suite.
MANIFEST = "manifest.json"


def seed_stated(text: str) -> str:
    """Return what vector files say of the seed that they were made with: a private one, or the public one for ""."""
    return PRIVATE_SEED + hashlib.sha256(text.encode()).hexdigest() if text else PUBLIC_SEED


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
