"""``report.md``: GitHub tables, first screen first."""

import html
import re
from collections.abc import Sequence

from tabulate import tabulate

from golden.files.sweeps import SweepResult
from golden.results import EntryPointResult, Number, Results
from reports import tables, text
from reports.messages import language, tr
from reports.summary import Problem, facts, labels, problems, ranked, reason
from reports.tables import Table

#: Failing cases listed for one entry point; ``report.html`` and ``results.json`` have more.
_FAILING_SHOWN = 20
#: ``$GITHUB_STEP_SUMMARY`` takes 1 MiB and drops a longer document whole.
_LIMIT = 1_000_000
#: What would begin a heading, a list, a rule or code at the beginning of a line, or make one of the line before.
_BLOCK = re.compile(r" (?=   )| {0,3}(?:#{1,6}(?= |$)|(?:=+|-+)(?= *$)|[-+](?= |$)|[0-9]{1,9}[.)](?= |$))")


def render_markdown(runs: Sequence[Results], sweeps: Sequence[SweepResult] = ()) -> str:
    """Return one Markdown document; several runs are compared first, best first, then told one by one.

    It has at most 1,000,000 bytes: where that is not enough the sections of the last runs are left out, and it says so.
    """
    ordered = ranked(runs)
    sections = [_run(run, label, "##") for run, label in zip(ordered, labels(ordered), strict=True)]
    for shown in range(len(ordered), -1, -1):
        document = "\n".join(_document(ordered, sweeps, sections[:shown])) + "\n"
        if len(document.encode()) <= _LIMIT:
            break
    return document


def _document(ordered: list[Results], sweeps: Sequence[SweepResult], sections: list[list[str]]) -> list[str]:
    maxima = text.maxima(ordered, sweeps)
    compared = _table(tables.sweeps(sweeps), "##") if sweeps else []
    if sweeps or len(ordered) > 1:
        compared = _table(tables.matrix_table(ordered, sweeps), "##") + compared
    left_out = len(ordered) - len(sections)
    if len(ordered) == 1 and not left_out:
        lines = _run(ordered[0], text.build_label(ordered[0]), "#") + compared
    else:
        lines = [f"# {tables.title(ordered, sweeps)}", "", maxima, ""]
        lines += _table(tables.ranking(ordered), "##") + compared
        lines += [line for section in sections for line in section]
    if left_out:
        lines += [
            tr("The sections of {count} are left out here: see the HTML report.", count=text.plural(left_out, "build")),
            "",
        ]
    lines += ["---", "", tr(text.ULP_DEFINITION), "", maxima, "", tr("Grades, best first:"), ""]
    lines += [f"- **{grade}**: {tr(meaning)}" + tr(".") for grade, meaning in text.GRADE_MEANINGS.items()]
    return [*lines, "", tr(text.GLOSSARY)]


def code(name: str) -> str:
    """Set untrusted text as code; what could end the code span or the table cell is written as entities."""
    if not name:
        return text.NONE
    if not re.search(r"[`|\\<>&]", name):
        return f"`{name}`"
    return "<code>" + _unlinked(re.sub(r"[^\w .,:;=/+@-]|_", lambda m: f"&#{ord(m[0])};", name)) + "</code>"


def plain(words: str) -> str:
    """Set untrusted text as running text: no markup of any kind survives."""
    shown = html.escape(words, quote=False)
    shown = re.sub(r"[|*`~\\\[]|_(?!\w)|(?<=\])\(", lambda m: f"&#{ord(m[0])};", shown)
    if begun := _BLOCK.match(shown):
        shown = f"{shown[: begun.end() - 1]}&#{ord(shown[begun.end() - 1])};{shown[begun.end() :]}"
    return _unlinked(shown)


def _unlinked(shown: str) -> str:
    """Take apart what GitHub links of itself: addresses of pages, and of people, which entities do not hide."""
    shown = re.sub(r"(?<=:)//|(?<=www)\.", lambda m: f"&#{ord(m[0][0])};{m[0][1:]}", shown, flags=re.IGNORECASE)
    return shown.replace("@", "<code>@</code>")


def _run(run: Results, label: str, level: str) -> list[str]:
    """Return the whole report of one run with headings from ``level`` on."""
    below = level + "#"
    mark = text.verdict_word(run).upper()
    lines = [
        f"{level} {code(label)} {text.verdict(run)} {plain(run.platform.name)}",
        "",
        f"**{mark}**{tr(': ')}{plain(reason(run))}",
        *([] if language() == "en" else ["", f"> {plain(run.reason)}"]),
        "",
        f"- {tr('Platform')}{tr(': ')}{code(run.platform.name)}",
        f"- {tr('Target')}{tr(': ')}{code(run.target)}",
        f"- {plain(text.stand_in(run))}",
        *([f"- {plain(used)}"] if (used := text.vectors_used(run)) else []),
        "",
    ]
    if found := problems(run):
        lines += [f"{below} {tr('Who fails and why')}", ""]
        for problem in found:
            lines += _problem(problem)
        lines += [""]
    lines += [f"{below} {tr('What was judged')}", ""]
    lines += [f"- {plain(f.name)}{tr(': ')}{code(f.value) if f.code else plain(f.value)}" for f in facts(run)]
    lines += ["", tr(text.ULP_DEFINITION), tr(text.LOWER_BOUND), ""]
    lines += _table(tables.entry_points(run), below)
    lines += _table(tables.all_contracts(run), below)
    for entry in run.entry_points:
        lines += _entry(entry, below)
    lines += _table(tables.findings(run), below) + _table(tables.evaluation_orders(run), below)
    return lines + _profile(run, below)


def _problem(problem: Problem) -> list[str]:
    names = ", ".join(map(code, problem.symbols)) or tr("The build")
    detail = tr(": ") + plain(problem.detail) if problem.detail else ""
    lines = [f"- **{names}** {plain(problem.summary)}{detail}{tr('.')}"]
    if failure := problem.failure:
        place = tr("Class {klass}, case {case}", klass=code(failure.klass), case=code(failure.case))
        lines += [f"  {place}{tr(': ')}{plain(failure.message).rstrip('.')}{tr('.')}"]
        if first := failure.first:
            inputs = ", ".join(f"{plain(name)} = {_number(value)}" for name, value in first.inputs.items())
            outcome = tr("expected {expected}, got {got}", expected=_number(first.expected), got=_number(first.got))
            lines += [f"  {tr('Element {index}', index=first.index)}{tr(': ')}{inputs}{tr('; ').rstrip()}"]
            lines += [f"  {outcome}{tr(': ')}{plain(text.error(first))}{tr('.')}"]
        if text.reproducible(failure) and problem.symbols:
            command = text.repro_command("results.json", failure.case, problem.symbols[0])
            lines += [f"  {tr('Show it')}{tr(': ')}{code(command)}"]
    if problem.also:
        lines += [f"  {tr('Also')}{tr(': ')}{plain(', '.join(problem.also))}{tr('.')}"]
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
    parts += _table(tables.groups(entry.stress, tables.stress_title()), below)
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
    note = [plain(table.note), ""] if table.note else []
    return [f"{level} {plain(table.title)}", "", *body.splitlines(), "", *note]


def _profile(run: Results, level: str) -> list[str]:
    lines = [f"{level} {tr('Platform profile')} {code(run.platform.name)}", ""]
    stated = (tr("Stated by the vendor’s pages"), run.platform.stated)
    assumed = (tr("Assumed by the profile, stated nowhere"), run.platform.assumed)
    for name, sentences in (stated, assumed):
        lines += [f"{name}{tr(':')}", "", *(f"- {plain(sentence)}" for sentence in sentences or [tr("nothing")]), ""]
    return lines
