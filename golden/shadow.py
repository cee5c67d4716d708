"""Whether Python finds golden's own ``generators``, ``reports`` and ``runners``.

A project may have packages, modules or folders of these names. Golden's have no ``__init__.py``, so that whatever
Python finds of a project's comes first and golden, installed beside it, breaks nothing. A command of golden, or its
plugin in use, would then import the wrong modules: that must be one sentence.
"""

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from golden.errors import UsageError

PACKAGES = ("generators", "reports", "runners")
_ROOT = Path(__file__).resolve().parent.parent


def require_ours() -> None:
    """Raise :class:`UsageError` if something else is, or would be, imported in place of what is golden's."""
    for name, theirs, entry in shadows():
        raise UsageError(
            f"Python finds {name} in {theirs}, not in golden ({_ROOT}): run this from another folder, or without "
            f"{entry} in Python's path (PYTHONPATH, pytest's pythonpath, a conftest.py)."
        )


def shadows() -> Iterator[tuple[str, Path, Path]]:
    """Yield what is not golden's: the name, what Python finds for it, and in which folder of its path."""
    for name in PACKAGES:
        ours = _ROOT / name
        imported = getattr(sys.modules.get(name), "__spec__", None)
        for spec in filter(None, (imported, PathFinder.find_spec(name))):
            if theirs := _stranger(spec, ours):
                yield name, theirs, theirs.parent
                break
            yield from _modules_before(spec, ours)


def _stranger(spec: ModuleSpec, ours: Path) -> Path | None:
    """Return where a package is that is not golden's; None for golden's, alone or with folders of others beside it."""
    folders = [Path(folder).resolve() for folder in spec.submodule_search_locations or ()]
    if spec.has_location and spec.origin:
        file = Path(spec.origin).resolve()
        # Another distribution may have put an __init__.py among golden's modules, which hides none of them.
        return None if file.parent == ours else file.parent if folders else file
    return None if ours in folders or not folders else folders[0]


def _modules_before(spec: ModuleSpec, ours: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield the modules of folders of the same name, earlier in the path, that golden has too."""
    for folder in map(Path, spec.submodule_search_locations or ()):
        if folder.resolve() == ours:
            return
        for path in sorted(ours.iterdir()):
            for theirs in (folder / f"{path.stem}.py", folder / path.stem / "__init__.py"):
                if (path.suffix == ".py" or (path / "__init__.py").exists()) and theirs.is_file():
                    yield f"{spec.name}.{path.stem}", theirs, folder.parent
