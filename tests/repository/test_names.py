"""Nothing but an operator's own files names it, its operands or its scalars: its description brings what is needed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

_WORDS = re.compile("smoothl1|nlll|total_weight|reduction", re.IGNORECASE)
#: What may name operators, each with the reason.
_ALLOWED = {
    "golden/operators/": "the descriptions",
    "runners/kernels/": "the kernels",
    "runners/adapters/": "targets that have kernels of their own for these operators",
    "reports/published/": "reports on them",
    "golden/commands/options.py": "the command line's words are fixed",
    "golden/commands/sweep.py": "the command line's words and defaults are fixed",
    "golden/commands/hunt.py": "the command line's words are fixed",
    "golden/pytest_plugin.py": "the command line's words are fixed",
    "golden/files/names.py": "the command line's words and the results' keys are fixed",
}
#: Examples of command lines, in the help of commands.
_EXAMPLE = re.compile(r'^golden/commands/\w+\.py:.*"golden \w+ ')
_SOURCES = ("*.py", "*.c", "*.h", "*.j2", "*.toml", "*.css")


def _named(root: Path) -> Iterator[str]:
    for room in ("golden", "runners", "reports"):
        for path in sorted(p for pattern in _SOURCES for p in (root / room).rglob(pattern)):
            place = path.relative_to(root).as_posix()
            if not place.startswith(tuple(_ALLOWED)):
                lines = path.read_text(encoding="utf-8").splitlines()
                found = (f"{place}:{number}: {line}" for number, line in enumerate(lines, 1) if _WORDS.search(line))
                yield from (line for line in found if not _EXAMPLE.search(line))


def test_nothing_else_names_an_operator() -> None:
    assert list(_named(ROOT)) == []


def test_what_may_is_there_and_does() -> None:
    for place in _ALLOWED:
        files = [ROOT / place] if place.endswith(".py") else [p for s in _SOURCES for p in (ROOT / place).rglob(s)]
        assert any(_WORDS.search(path.read_text(encoding="utf-8")) for path in files), place


@pytest.mark.parametrize("line", ['if operator.name == "smoothl1lossgrad":', 'total = operands["total_weight"]'])
def test_a_name_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "runners").mkdir()
    (tmp_path / "runners" / "new.py").write_text(f"{line}\n", encoding="utf-8")
    assert list(_named(tmp_path)) == [f"runners/new.py:1: {line}"]
