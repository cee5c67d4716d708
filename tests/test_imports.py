"""The import rule of the design: which package may import which, enforced over every module's syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("golden", "generators", "runners", "reports")
ALLOWED = {"golden": set(), "generators": {"golden"}, "runners": {"golden"}, "reports": {"golden"}}
#: The one module that puts the packages together.
COMPOSER = "golden/cli.py"
#: The standard starts no process, compiles nothing and renders nothing.
NOT_IN_GOLDEN = {"subprocess", "multiprocessing", "concurrent", "ctypes", "tabulate", "jinja2", "elftools"}
MODULES = sorted(path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def imported(source: str) -> set[str]:
    """Top-level names of everything that a module imports, wherever in it, by statement or by name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.add(node.args[0].value.split(".")[0])
    return found


def violations(module: str, source: str) -> set[str]:
    """Names that a module (its path from the root) imports and must not."""
    package = module.split("/", maxsplit=1)[0]
    names = imported(source)
    broken = names & {"tests", "benchmarks"}
    if module == COMPOSER:
        return broken
    broken |= names & (set(PACKAGES) - ALLOWED[package] - {package})
    return broken | (names & NOT_IN_GOLDEN if package == "golden" else set())


def test_the_packages_are_there() -> None:
    for package in PACKAGES:
        assert f"{package}/__init__.py" in MODULES
    assert {"golden/operators/nlllossgrad.py", "generators/suite.py"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_to_the_design(module: str) -> None:
    assert violations(module, (ROOT / module).read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        ("golden/judge.py", "from runners import worker", {"runners"}),
        ("golden/judge.py", "def f():\n    import generators.suite as s", {"generators"}),
        ("golden/operators/x.py", "import importlib\nimportlib.import_module('reports.html')", {"reports"}),
        ("golden/judge.py", "import subprocess", {"subprocess"}),
        ("golden/cli.py", "from runners import worker\nimport reports, generators, subprocess", set()),
        ("golden/cli.py", "import tests.helpers", {"tests"}),
        ("generators/hard.py", "import golden.formats\nfrom generators import stream", set()),
        ("generators/hard.py", "from runners.calling.plan import invocations", {"runners"}),
        ("runners/calling/plan.py", "if True:\n    from generators.stream import Stream", {"generators"}),
        ("runners/calling/plan.py", "import subprocess, ctypes\nfrom golden.case import Case", set()),
        ("reports/html.py", "from runners import plan\nimport generators", {"runners", "generators"}),
        ("reports/html.py", "from . import tables\nfrom .text import words", set()),
    ],
)
def test_the_rule_finds_what_breaks_it(module: str, source: str, broken: set[str]) -> None:
    assert violations(module, source) == broken
