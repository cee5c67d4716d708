"""Regenerate the accuracy matrix: every target that this machine can run, side by side; ``make published``.

Builds the bundled kernels for this machine and for others under emulation, adds the reference models and PyTorch, holds
all of them to the profile ``host``, and renders ``matrix.md`` and ``matrix.html`` beside this file. Only the ``golden``
command line is used. What the machine lacks is skipped, and named. Results stay in the work folder: a run that was
interrupted goes on where it was, and a target is judged again only when its program, the vectors or golden changed.

Another target is one more row of ``TARGETS``.
"""

import argparse
import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GRADES = ["correctly-rounded", "faithful", "formula", "legal", "fails"]


@dataclass(frozen=True)
class Target:
    """A column of a cross-platform comparison, here a row.

    ``builds``: options of ``golden build``, which makes the file that ``{}`` in ``target`` stands for; of several the
    first that works is used; none: nothing is built. ``needs``: a program that has to be there. ``why``: what makes
    its bits differ from the first target's.
    """

    name: str
    target: str
    builds: tuple[tuple[str, ...], ...] = ()
    needs: str = ""
    why: str = ""

    @property
    def slug(self) -> str:
        """Return the name as a file's."""
        return "".join(c if c.isalnum() else "-" for c in self.name.lower())


def _emulated(name: str, triple: str, emulator: str, flags: str = "-O2", why: str = "") -> Target:
    return Target(name, f"exec:{emulator} ./{{}}", (("--target", triple, f"--cflags={flags}"),), emulator, why)


def _native(name: str, *compilers: str) -> Target:
    return Target(name, "./{}", tuple(("--cc", compiler, "--cflags=-O2") for compiler in compilers))


TARGETS = [
    _native(f"{platform.machine()} gcc", "gcc"),
    _native(f"{platform.machine()} clang", "clang", "clang-19", "clang-16", "clang-15"),
    _emulated("AArch64 gcc", "aarch64-linux-gnu", "qemu-aarch64"),
    _emulated("Arm gcc", "arm-linux-gnueabihf", "qemu-arm"),
    _emulated("RISC-V gcc", "riscv64-linux-gnu", "qemu-riscv64"),
    _emulated("s390x gcc", "s390x-linux-gnu", "qemu-s390x"),
    _emulated(
        "AArch64 gcc -ffast-math",
        "aarch64-linux-gnu",
        "qemu-aarch64",
        "-O3 -ffast-math",
        "the compiler may reorder a quotient's factors, multiply by a reciprocal, contract, and flush subnormals, "
        "which host does not allow",
    ),
    Target(
        "PyTorch CPU",
        "python:runners.adapters.pytorch:cpu",
        why="other orders: NLLLossGrad divides the gradient first, which in fp16 overflows where the page's order does "
        "not; SmoothL1LossGrad is computed in fp32 for fp16, and in fp32 its loop's tail multiplies before it divides "
        "(docs/third-party.md)",
    ),
    *(
        Target(f"model {name}", f"reference:{name}", why=why)
        for name, why in (
            ("exact", "every result is the exact one, rounded once"),
            ("formula", ""),
            (
                "product-first",
                "multiplies before it divides: another rounding, and products that overflow or underflow",
            ),
            (
                "gradient-first",
                "divides the upstream gradient first, which can overflow where the page's order does not",
            ),
            ("reciprocal", "multiplies by a rounded reciprocal: one more rounding"),
            ("fp32-inside", "fp16 is computed in fp32 and rounded once; in fp32 it is the page's order"),
            ("flush", "subnormals become zero, which host does not allow"),
        )
    ),
]


def golden(work: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in the work folder, so that no path of this machine gets into a result."""
    command = [sys.executable, "-m", "golden.cli", "--no-config", *arguments]
    return subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)


def code_digest() -> str:
    """Return a digest of what decides a result besides the target: golden's code and the committed vectors."""
    content = hashlib.sha256()
    for pattern in ("golden/**/*.py", "golden/platforms/*.toml", "runners/**/*.py", "vectors/*/manifest.json"):
        for path in sorted(ROOT.glob(pattern)):
            content.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()


def judge(target: Target, suite: str, work: Path, code: str) -> dict[str, Any] | str:
    """Return the results of a target, made now or before, or why there are none."""
    if target.needs and shutil.which(target.needs) is None:
        return f"there is no {target.needs}"
    file = work / target.slug
    if target.builds:
        tried = []
        for options in target.builds:
            tried.append(golden(work, "build", *options, "-o", file.name, "--quiet"))
            if tried[-1].returncode == 0:
                break
        else:
            return _reason(tried[0].stderr)
    path, state = work / f"{target.slug}-results" / "results.json", work / f"{target.slug}.key"
    made_of = hashlib.sha256(file.read_bytes()).hexdigest() if target.builds else target.target
    key = f"{code} {suite} {made_of}"
    # What an installed package computes is in no digest of ours.
    kept = state.exists() and path.exists() and state.read_text() == key and not target.target.startswith("python:")
    if not kept:
        state.unlink(missing_ok=True)
        name = target.target.format(file.name)
        done = golden(
            work, "validate", name, "--suite", suite, "--draw", "published", "--out", path.parent.name, "--quiet"
        )
        if done.returncode == 3:
            return _reason(done.stderr)
        if done.returncode not in (0, 1):
            raise SystemExit(f"golden validate {name} ended with {done.returncode}: {done.stderr}")
        state.write_text(key)
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def _reason(stderr: str) -> str:
    said = stderr.strip().removeprefix("golden: ").partition(";")[0].rstrip(".")
    return said.removeprefix("The adapter cannot work: ") or "it could not be made"


@dataclass(frozen=True)
class Row:
    """A target in a table: one cell a group (grade and largest error), or the exhaustive maximum of a sweep."""

    name: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """One operator in one dtype. ``same``: which targets give the same bits; ``other``: where the rest differ."""

    operator: str
    dtype: str
    groups: tuple[str, ...]
    rows: tuple[Row, ...]
    same: tuple[str, ...]
    other: tuple[tuple[str, str], ...]


def tables(judged: dict[str, dict[str, Any]], sweeps: Iterable[dict[str, Any]]) -> list[Table]:
    """Make the tables: those entry points that every run has, private storage standing for both."""
    exhaustive = [s for s in sweeps if s["exhaustive"]]
    found = []
    entries = {name: {e["symbol"]: e for e in run["entry_points"]} for name, run in judged.items()}
    first = next(iter(entries.values()))
    for symbol in sorted(s for s in first if s.endswith("_p")):
        head = first[symbol]
        groups = tuple(sorted(head["groups"]))
        rows = [
            Row(name, tuple(_cell(e[symbol], e[symbol[:-1] + "s"], group) for group in groups))
            for name, e in entries.items()
            if symbol in e
        ]
        rows += _exhaustive([s for s in exhaustive if s["symbol"] == symbol], groups)
        same, other = _bits({name: e[symbol]["bits"] for name, e in entries.items() if symbol in e})
        found.append(Table(head["operator"], head["dtype"], groups, tuple(rows), same, other))
    return found


def _exhaustive(sweeps: list[dict[str, Any]], groups: tuple[str, ...]) -> list[Row]:
    """Return a row a space that was swept."""
    rows: dict[str, dict[str, tuple[str, str]]] = {}
    for sweep in sweeps:
        tally = sweep["tally"]
        group = tally["worst"]["case"].split("/")[2]
        rows.setdefault(sweep["space"], {})[group] = tally["grade"], f"≤ {tally['max_ulp']:.4g}"
    return [Row(f"all of {space}", tuple(cells.get(g, ("", "")) for g in groups)) for space, cells in rows.items()]


def _cell(private: dict[str, Any], shared: dict[str, Any], group: str) -> tuple[str, str]:
    """Return grade and largest error of a group, the worse of both storages."""
    tallies = [e["groups"][group] for e in (private, shared) if group in e["groups"]]
    if not tallies:
        return "", ""
    grade = max((t["grade"] for t in tallies), key=GRADES.index)
    return grade, f"{max(t['max_ulp'] for t in tallies):.4g}"


def _bits(digests: dict[str, dict[str, str]]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the targets with the bits of the first one; then others, those with the same bits together, and where."""
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, bits in digests.items():
        alike.setdefault(tuple(sorted(bits.items())), []).append(name)
    (reference, same), *others = alike.items()
    found = []
    for mine, names in others:
        differing = sorted(klass for klass, digest in reference if dict(mine).get(klass) != digest)
        few = f": {', '.join(differing)}" if len(differing) <= 4 else ""
        alone = " and ".join(names) + (", with the same bits," if len(names) > 1 else ",")
        found.append((alone, f"in {len(differing)} of {len(reference)} classes{few}"))
    return tuple(same), tuple(found)


def verdicts(judged: dict[str, dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return name, compiler, verdict, and what fails, a row a target."""
    rows = []
    for name, run in judged.items():
        bad = [e for e in run["entry_points"] if e["status"] != "pass"]
        fails = ", ".join(f"{e['symbol']} ({e['failures']} of {e['cases']})" for e in bad)
        rows.append((name, run["library"]["compiler"] or "golden's model", run["verdict"], fails))
    return rows


INTRO = (
    "The bundled kernels on several processors, PyTorch's kernels, and golden's models of legal evaluation orders, all "
    "given the suite {suite} ({cases} cases) and held to the profile host: IEEE arithmetic with subnormals preserved. "
    "This machine is {machine}; other processors were emulated by qemu. This is no measurement of FT78NE or MT7004: no "
    "DSP, and no library of its vendor, was involved."
)
CELLS = (
    "A cell is the grade and the largest error in ulp over the required tier, the worse of the shared and the private "
    "entry point. Samples are lower bounds of the true maximum. Rows that begin with 'all' are exhaustive sweeps of "
    "the bundled kernels on this machine, upper bounds for their space: diff-dy is every difference with x2 = 0, which "
    "therefore does not round, and every dy; g-w every gradient and weight."
)
SAME = (
    "The bundled kernels round every operation explicitly, so the same bits come out of every compiler and processor "
    "that keeps to IEEE 754. Compared are the outputs of every class of cases; sign and payload of a NaN are left out."
)
MORE = (
    "Regenerated by make published. The full cross-platform report, megabytes of it, is made of the results that this "
    "leaves: golden report build/published/matrix/*-results/results.json --format html --out matrix.html"
)


def markdown(document: dict[str, Any]) -> str:
    """Return ``matrix.md``."""
    lines = ["# Accuracy matrix", "", document["intro"], ""]
    lines += _markdown_table(("target", "compiler", "verdict", "failing cases"), document["verdicts"])
    lines += ["", document["cells"]]
    for table in document["tables"]:
        lines += ["", f"## {table.operator}, {table.dtype}", ""]
        body = [(row.name, *(" ".join(cell).strip() for cell in row.cells)) for row in table.rows]
        lines += _markdown_table(("target", *table.groups), body)
        lines += ["", f"Same bits: {', '.join(table.same)}.", ""]
        lines += [f"- Other bits than {table.same[0]}: {name} {where}." for name, where in table.other]
    lines += ["", "## Why bits differ", "", document["same"], ""]
    lines += [f"- **{name}**: {why}." for name, why in document["why"]]
    if document["missing"]:
        lines += ["", "## What the machine lacked", ""]
        lines += [f"- {name}: {reason}." for name, reason in document["missing"]]
    return "\n".join([*lines, "", document["more"], ""])


def _markdown_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [header, ("---",) * len(header), *(tuple(c.replace("|", "\\|") for c in row) for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>golden: accuracy matrix</title><style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1b1b}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0}
th,td{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;white-space:nowrap}
.wide:first-of-type td:last-child{white-space:normal;min-width:16rem}
th[scope=row]{font-weight:600}.correctly-rounded{background:#d7f0dd}.faithful{background:#e6f5d8}
.formula{background:#f4f3cf}.legal{background:#fbe6c6}.fails{background:#f8cfcf}small{color:#444}
</style></head><body><main><h1>Accuracy matrix</h1><p>{{ intro }}</p>
<div class="wide" tabindex="0" role="region" aria-label="verdicts"><table>
<tr><th scope="col">target</th><th scope="col">compiler</th><th scope="col">verdict</th>
<th scope="col">failing cases</th></tr>
{% for name, compiler, verdict, fails in verdicts %}<tr><th scope="row">{{ name }}</th><td>{{ compiler }}</td>
<td>{{ verdict }}</td><td>{{ fails }}</td></tr>
{% endfor %}</table></div><p>{{ cells }}</p>
{% for table in tables %}<h2>{{ table.operator }}, {{ table.dtype }}</h2>
<div class="wide" tabindex="0" role="region" aria-label="{{ table.operator }}, {{ table.dtype }}"><table>
<tr><th scope="col">target</th>
{% for group in table.groups %}<th scope="col">{{ group }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr><th scope="row">{{ row.name }}</th>
{% for grade, ulp in row.cells %}<td class="{{ grade }}">{{ ulp }} <small>{{ grade }}</small></td>{% endfor %}</tr>
{% endfor %}</table></div><p>Same bits: {{ table.same | join(", ") }}.</p>
<ul>{% for name, where in table.other %}
<li>Other bits than {{ table.same[0] }}: {{ name }} {{ where }}.</li>{% endfor %}</ul>
{% endfor %}<h2>Why bits differ</h2><p>{{ same }}</p>
<ul>{% for name, why in why %}<li><b>{{ name }}</b>: {{ why }}.</li>{% endfor %}</ul>
{% if missing %}<h2>What the machine lacked</h2>
<ul>{% for name, reason in missing %}<li>{{ name }}: {{ reason }}.</li>{% endfor %}</ul>{% endif %}
<p>{{ more }}</p></main></body></html>
"""


def main(arguments: list[str] | None = None) -> None:
    """Judge all targets and render the matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="where the matrix goes")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build/published/matrix", help="where builds and results go"
    )
    parser.add_argument("--suite", default="core", help="the golden vectors")
    options = parser.parse_args(arguments)
    work, out = options.work.resolve(), options.out.resolve()
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    judged: dict[str, dict[str, Any]] = {}
    missing, code = [], code_digest()
    for target in TARGETS:
        results = judge(target, options.suite, work, code)
        if isinstance(results, str):
            missing.append((target.name, results))
            print(f"{target.name}: {results}", file=sys.stderr)
        else:
            judged[target.name] = results
            print(f"{target.name}: {results['verdict']}", file=sys.stderr)
    if not judged:
        raise SystemExit("nothing could be judged on this machine")
    run = next(iter(judged.values()))
    sweeps = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "sweeps").glob("*.json"))]
    document = {
        "intro": INTRO.format(suite=options.suite, cases=run["vectors"]["cases"], machine=run["host"]["machine"]),
        "verdicts": verdicts(judged),
        "cells": CELLS,
        "tables": tables(judged, sweeps),
        "same": SAME,
        "why": [(t.name, t.why) for t in TARGETS if t.why and t.name in judged],
        "missing": missing,
        "more": MORE,
    }
    page = Environment(autoescape=True).from_string(PAGE).render(document)
    for name, text in (("matrix.md", markdown(document)), ("matrix.html", page + "\n")):
        unfinished = out / f".{name}.tmp"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(out / name)


if __name__ == "__main__":
    main()
