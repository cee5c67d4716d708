"""``report.md``: GitHub tables, first screen first."""

import html
import re

from tabulate import tabulate

from golden.results import EntryPointResult, Number, Results
from reports import tables, text
from reports.summary import Problem, facts, labels, problems, ranked
from reports.tables import Table

#: Failing cases listed for one entry point; ``report.html`` and ``results.json`` have more.
_FAILING_SHOWN = 20


def render_markdown(runs: list[Results]) -> str:
    """Return one Markdown document; several runs are compared first, best first, then told one by one."""
    ordered = ranked(runs)
    if len(ordered) == 1:
        lines = _run(ordered[0], text.build_label(ordered[0]), "#")
    else:
        lines = [f"# Accuracy of {len(ordered)} builds", "", text.LOWER_BOUND, ""]
        lines += _table(tables.ranking(ordered), "##") + _table(tables.matrix_table(ordered), "##")
        for run, label in zip(ordered, labels(ordered), strict=True):
            lines += _run(run, label, "##")
    lines += ["---", "", text.ULP_DEFINITION, "", text.LOWER_BOUND, "", "Grades, best first:", ""]
    lines += [f"- **{grade}**: {meaning}." for grade, meaning in text.GRADE_MEANINGS.items()]
    return "\n".join(lines) + "\n"


def code(name: str) -> str:
    """Set untrusted text as code; what could end the code span or the table cell is written as entities."""
    shown = text.visible(name)
    if not shown:
        return text.NONE
    if not re.search(r"[`|\\<>&]", shown):
        return f"`{shown}`"
    return "<code>" + re.sub(r"[^\w .,:;=/+-]|_", lambda m: f"&#{ord(m[0])};", shown) + "</code>"


def plain(words: str) -> str:
    """Set untrusted text as running text: no markup of any kind survives."""
    shown = html.escape(text.visible(words), quote=False)
    shown = re.sub(r"[|*`~\\\[]|_(?!\w)|(?<=\])\(", lambda m: f"&#{ord(m[0])};", shown)
    return shown.replace("://", "&#58;//")


def _run(run: Results, label: str, level: str) -> list[str]:
    """Return the whole report of one run with headings from ``level`` on."""
    below = level + "#"
    mark = "CONFORMS" if run.verdict == "conforms" else "FAILS"
    lines = [
        f"{level} {code(label)} {text.verdict(run)} {plain(run.platform.name)}",
        "",
        f"**{mark}**: {plain(run.reason)}",
        "",
        f"- Platform: {code(run.platform.name)}",
        f"- Target: {code(run.target)}",
        f"- {plain(text.stand_in(run))}",
        "",
    ]
    if found := problems(run):
        lines += [f"{below} Who fails and why", ""]
        for problem in found:
            lines += _problem(problem)
        lines += [""]
    lines += [f"{below} What was judged", ""]
    lines += [f"- {plain(f.name)}: {code(f.value) if f.code else plain(f.value)}" for f in facts(run)]
    lines += ["", text.ULP_DEFINITION, text.LOWER_BOUND, ""]
    lines += _table(tables.entry_points(run), below)
    for entry in run.entry_points:
        lines += _entry(entry, below)
    lines += _table(tables.findings(run), below) + _table(tables.evaluation_orders(run), below)
    return lines + _profile(run, below)


def _problem(problem: Problem) -> list[str]:
    names = ", ".join(map(code, problem.symbols)) or "The build"
    lines = [f"- **{names}** {plain(problem.summary)}."]
    if failure := problem.failure:
        message = plain(failure.message).rstrip(".")
        lines += [f"  Class {code(failure.klass)}, case {code(failure.case)}: {message}."]
        if first := failure.first:
            inputs = ", ".join(f"{plain(name)} = {_number(value)}" for name, value in first.inputs.items())
            outcome = f"expected {_number(first.expected)}, got {_number(first.got)}"
            lines += [f"  Element {first.index}: {inputs};", f"  {outcome}: {plain(text.error(first))}."]
        if failure.case and problem.symbols:
            lines += [f"  Show it: {code(text.repro_command('results.json', failure.case, problem.symbols[0]))}"]
    if problem.also:
        lines += [f"  Also: {plain(', '.join(problem.also))}."]
    return lines


def _number(value: Number | int | str) -> str:
    if isinstance(value, Number):
        return f"{code(value.hex)} ({code(value.bits)}, {plain(value.decimal)})"
    return code(str(value))


def _entry(entry: EntryPointResult, level: str) -> list[str]:
    """Return the details of one entry point; nothing where it did not run."""
    parts = []
    if entry.detail:
        parts += [plain(entry.detail), ""]
    below = level + "#"
    parts += _table(tables.groups(entry.groups), below)
    parts += _table(tables.special_values(entry.groups), below)
    parts += _table(tables.worst(entry), below)
    parts += _table(tables.failing_cases(entry, _FAILING_SHOWN), below)
    parts += _table(tables.classes(entry), below)
    parts += _table(tables.groups(entry.stress, tables.STRESS_TITLE), below)
    parts += _table(tables.special_values(entry.stress), below)
    return [f"{level} {code(entry.symbol)}", "", *parts] if parts else []


def _table(table: Table, level: str) -> list[str]:
    if not table.rows:
        return []
    rows = [
        [code(cell) if i in table.code and cell != text.NONE else plain(cell) for i, cell in enumerate(row)]
        for row in table.rows
    ]
    align = ["right" if i in table.numeric else "left" for i in range(len(table.header))]
    header = [plain(name) for name in table.header]
    body = tabulate(rows, header, tablefmt="github", colalign=align, disable_numparse=True)
    return [f"{level} {plain(table.title)}", "", *body.splitlines(), ""]


def _profile(run: Results, level: str) -> list[str]:
    lines = [f"{level} Platform profile {code(run.platform.name)}", ""]
    stated = ("Stated by the vendor's pages", run.platform.stated)
    assumed = ("Assumed by the profile, stated nowhere", run.platform.assumed)
    for name, sentences in (stated, assumed):
        lines += [f"{name}:", "", *(f"- {plain(sentence)}" for sentence in sentences or ["nothing"]), ""]
    return lines
