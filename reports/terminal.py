"""What ``golden validate`` says at its end: for people at a terminal or in a log, and for programs."""

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from golden.results import EntryPointResult, Results
from golden.text import plain
from reports.text import drawn, repro_command

SCHEMA = "golden-summary/1"

#: Findings printed; the report has all.
_FINDINGS_SHOWN = 10
#: What a summary leaves to ``results.json``.
_BULKY = ("groups", "stress", "classes", "failing")


def print_summary(results: Results, folder: Path, console: Console) -> None:
    """Print what was set and by which files, a table of the entry points, what fails, how to show it, the verdict."""
    if results.option_sources:
        console.print(f"options: {options(results)}", markup=False)
    for name, file in (("configuration", str(results.config)), ("profile", results.platform.file)):
        if file:
            console.print(f"{name}: {file}", markup=False)
    if results.drawn:
        console.print(drawn(results.drawn), markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("entry point", no_wrap=True)
    for name in ("status", "grade"):
        table.add_column(name, overflow="fold")
    for name in ("cases", "failing", "max ulp"):
        table.add_column(name, justify="right")
    for e in results.entry_points:
        status = Text(e.status, "green" if e.status == "pass" else "red")
        row = (Text(e.symbol), status, e.grade if e.cases else "-", str(e.cases), str(e.failures))
        table.add_row(*row, f"{e.max_ulp:.4g}" if e.cases else "-")
    console.print(table)
    for e in results.entry_points:
        if e.status not in ("pass", "missing"):
            console.print(f"{e.symbol}: {e.detail}", markup=False)
            if command := _command(e, folder):
                console.print(f"  {plain(command)}", markup=False, soft_wrap=True)
    warnings = [f for f in results.findings if not f.kind.startswith("stress-")]
    for finding in warnings[:_FINDINGS_SHOWN]:
        shown = f"{finding.severity}: {finding.symbol or 'build'}: {finding.message}"
        console.print(shown, markup=False)
    if len(warnings) > _FINDINGS_SHOWN:
        console.print(f"and {len(warnings) - _FINDINGS_SHOWN} more findings in the report", markup=False)
    style = "bold green" if results.verdict == "conforms" else "bold red"
    console.print(Text(f"{results.verdict}: ", style).append(results.reason, "default not bold"))


def options(results: Results) -> str:
    """Return the options that were set, with where: ``platform=MT7004 (golden.toml)``."""
    values = {"platform": results.platform.name, "suite": results.vectors.suite, "vectors": results.vectors.suite}
    known = {**values, **results.options}
    words = {name: f"{name}={known[name]}" if name in known else name for name in results.option_sources}
    return ", ".join(f"{words[name]} ({source})" for name, source in results.option_sources.items())


def summary_document(results: Results, files: dict[str, str]) -> dict[str, Any]:
    """Return what scripts need: the keys of ``results.json`` without the statistics by group and class.

    ``files``: what was written. Every failing entry point has the command that reproduces its first failure.
    """
    document: dict[str, Any] = msgspec.to_builtins(results)
    document["schema"] = SCHEMA
    folder = Path(files["results"]).parent
    for entry, row in zip(results.entry_points, document["entry_points"], strict=True):
        for name in _BULKY:
            del row[name]
        row["reproduce"] = _command(entry, folder)
    return {**document, "files": files}


def _command(entry: EntryPointResult, folder: Path) -> str:
    """Return the command that reproduces the first failure that has a case."""
    case = next((f.case for f in entry.failing if f.case and f.kind != "not-run"), "")
    return repro_command(str(folder / "results.json"), case, entry.symbol) if case else ""
