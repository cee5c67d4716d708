"""The import rule of ARCHITECTURE.md: which room may import which, enforced over every module's syntax tree."""

import pytest

from tests.imports import COMPOSERS, PACKAGES, ROOT, floors, graph, imported, module_graph, modules, room, table

#: The standard starts no process, compiles nothing and renders nothing.
NOT_IN_GOLDEN = {"subprocess", "multiprocessing", "concurrent", "ctypes", "tabulate", "jinja2", "elftools"}
#: A library's process starts in milliseconds, and holds nothing that decides.
NOT_IN_PROCESS = {"numpy", "h5py"}
MODULES = modules()
TABLE = table()


def violations(module: str, source: str) -> set[str]:
    """Return what a module imports and must not."""
    here, broken = room(module), set()
    for name in imported(source):
        first, there = name.split(".")[0], room(name)
        if first in ("tests", "benchmarks"):
            broken.add(first)
        elif here in COMPOSERS:
            continue
        elif there and there != here and there not in TABLE[here]:
            broken.add(there)
        elif (here == "golden" and first in NOT_IN_GOLDEN) or (here == "runners.process" and first in NOT_IN_PROCESS):
            broken.add(first)
    return broken


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    rooms = set(graph()) - {*COMPOSERS, "runners"}
    assert set(TABLE) == rooms and {*PACKAGES} - {"runners"} <= rooms
    assert set().union(*TABLE.values()) <= rooms
    assert {"golden.operators.nlllossgrad", "generators.suite", "runners.process.worker"} <= set(MODULES)


def test_no_circle_and_few_modules_in_the_hall() -> None:
    assert len(floors(TABLE)) == len(floors(graph())) - len({"commands", "cli"})
    floors(module_graph())  # or it raises CycleError
    assert len(list((ROOT / "runners").glob("*.py"))) <= 6


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_keep_to_the_design(module: str) -> None:
    assert violations(module, MODULES[module].read_text(encoding="utf-8")) == set()


def test_a_process_of_a_library_knows_calls_and_nothing_else() -> None:
    found = {
        other
        for name, path in MODULES.items()
        if name.startswith("runners.process.")
        for other in imported(path.read_text(encoding="utf-8"))
        if other.startswith("runners.calling")
    }
    assert {name.rpartition(".")[0] for name in found} == {"runners.calling.call"}


@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        ("golden.judge", "from runners.process import worker", {"runners.process"}),
        ("golden.judge", "def f():\n    import generators.suite as s", {"generators"}),
        ("golden.operators.x", "import importlib\nimportlib.import_module('reports.html')", {"reports"}),
        ("golden.files.vectors", "from golden.commands.options import timeout", {"golden.commands"}),
        ("golden.judge", "import subprocess", {"subprocess"}),
        ("golden.cli", "from runners.process import worker\nimport reports, generators, subprocess", set()),
        ("golden.commands.show", "import tests.helpers", {"tests"}),
        ("generators.hard", "import golden.formats\nfrom generators import stream", set()),
        ("generators.hard", "from runners.calling.plan import invocations", {"runners.calling"}),
        ("runners.calling.plan", "if True:\n    from generators.stream import Stream", {"generators"}),
        ("runners.calling.plan", "import subprocess, ctypes\nfrom golden.case import Case", set()),
        ("runners.judging.verdict", "from runners.library.session import LibrarySession", {"runners.library"}),
        ("runners.process.worker", "import numpy\nfrom golden.errors import UsageError", {"numpy", "golden"}),
        ("runners.library.nursery", "from runners.process.supervisor import Setting", set()),
        ("reports.html", "from runners.calling import plan\nimport generators", {"runners.calling", "generators"}),
        ("reports.html", "from . import tables\nfrom .text import words", set()),
    ],
)
def test_the_rule_finds_what_breaks_it(module: str, source: str, broken: set[str]) -> None:
    assert violations(module, source) == broken
