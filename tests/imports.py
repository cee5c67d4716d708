"""The import graph, room by room: ``python -m tests.imports`` prints it with its floors; a circle is exit code 1.

A room is a package, a folder in ``runners/``, or what :data:`ROOMS` names. The table of ARCHITECTURE.md says what each
may import, and :mod:`tests.repository.test_imports` enforces it.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests import ROOT

PACKAGES = ("golden", "generators", "runners", "reports")
#: Where packages meet: they may import everything, and nothing imports them.
COMPOSERS = ("golden.commands", "golden.cli", "golden.pytest_plugin")
#: Rooms beside the folders in ``runners/``.
ROOMS = (*COMPOSERS, "runners.models", "runners.targets")


def modules() -> dict[str, Path]:
    """Return every module by name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever in it, by statement or by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def room(name: str) -> str:
    """Return the room that a module, or a name in one, belongs to; "" for what is not ours."""
    package, *rest = name.split(".")
    if package not in PACKAGES:
        return ""
    if rest and f"{package}.{rest[0]}" in ROOMS:
        return f"{package}.{rest[0]}"
    if package == "runners" and rest and (ROOT / package / rest[0]).is_dir():
        return f"{package}.{rest[0]}"
    return package


def graph() -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        others = {room(other) for other in imported(path.read_text(encoding="utf-8"))}
        found.setdefault(room(name), set()).update(others - {"", room(name)})
    return found


def module_graph() -> dict[str, set[str]]:
    """Return which modules each module imports; a package is none, its __init__ being empty."""
    known, found = modules(), {}
    for name, path in known.items():
        found[name] = set[str]()
        for other in imported(path.read_text(encoding="utf-8")):
            module = other if other in known else other.rpartition(".")[0]
            if module in known and module not in PACKAGES and module != name:
                found[name].add(module)
    return found


def floors(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return rooms or modules floor by floor, the lowest first; raises CycleError where some import each other."""
    sorter = TopologicalSorter(arrows)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        found.append(ready)
        sorter.done(*ready)
    return found


def table() -> dict[str, set[str]]:
    """Return what each room may import, by ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|$", text, re.MULTILINE)
    return {name: set(re.findall(r"`([\w.]+)`", allowed)) for name, allowed in rows}


def main() -> int:
    """Print rooms, arrows and floors."""
    arrows, between = graph(), module_graph()
    try:
        found, below = floors(arrows), floors(between)
    except CycleError as error:
        print("circle:", " -> ".join(error.args[1]))
        return 1
    for number, rooms in enumerate(found):
        for name in rooms:
            print(f"{number}  {name:<20} {' '.join(sorted(arrows[name]))}".rstrip())
    inside = {name: {o for o in others if o.startswith("runners")} for name, others in arrows.items()}
    inside = {name: others for name, others in inside.items() if name.startswith("runners")}
    directly = sorted(path.name for path in (ROOT / "runners").glob("*.py"))
    count = sum(map(len, inside.values()))
    print(f"{len(between)} modules on {len(below)} floors, {len(arrows)} rooms on {len(found)}; no circle")
    print(f"runners: {len(inside)} rooms on {len(floors(inside))} floors, {count} arrows between them")
    print(f"runners: {len(directly)} modules directly in it: {', '.join(directly)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
