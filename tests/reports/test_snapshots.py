"""Every format, character by character: what a change of the reports does to their documents is seen in review.

They are reports of one entry point and one sweep (:mod:`tests.helpers.small_report`); whole ones are in
reports/published.
"""

import difflib
import os
from itertools import islice
from pathlib import Path

import pytest

from golden.files.results import write_results
from golden.files.sweeps import write_sweep
from reports import formats as reports
from reports.messages import Lang, speaking
from tests import ROOT
from tests.helpers import small_report

FOLDER = ROOT / "tests/snapshots"
SUFFIXES = {"md": "md", "html": "html", "csv": "csv", "latex": "tex", "json": "all.json"}
AGAIN = "GOLDEN_WRITE_SNAPSHOTS=1 python -m pytest tests/reports/test_snapshots.py"
CASES: list[tuple[str, Lang]] = [(name, "en") for name in reports.FORMATS] + [(n, "zh") for n in reports.TRANSLATED]


@pytest.mark.parametrize(("name", "lang"), CASES, ids=[f"{name}-{lang}" for name, lang in CASES])
def test_the_document_is_the_committed_one(name: str, lang: Lang) -> None:
    with speaking(lang):
        document = reports.FORMATS[name]([small_report.run()], [small_report.sweep()])
    path = FOLDER / f"report.{'' if lang == 'en' else lang + '.'}{SUFFIXES[name]}"
    if os.environ.get("GOLDEN_WRITE_SNAPSHOTS"):
        path.write_text(document, encoding="utf-8", newline="\n")
    committed = path.read_text(encoding="utf-8") if path.exists() else ""
    if document != committed:
        lines = difflib.unified_diff(committed.splitlines(), document.splitlines(), path.name, "now", lineterm="", n=1)
        shown = "\n".join(line[:200] for line in islice(lines, 60))
        pytest.fail(
            f"{shown}\n\nThe report has changed. If that is meant, write it anew and review the diff:\n  {AGAIN}"
        )


@pytest.mark.confirm
def test_a_report_is_the_same_in_another_process_and_locale(tmp_path: Path) -> None:
    import subprocess
    import sys

    inputs = [tmp_path / "results.json", tmp_path / "sweep.json"]
    write_results(inputs[0], small_report.run())
    write_sweep(inputs[1], small_report.sweep())
    # Python's own `site` reads the environment's .pth files, which name this folder, in the locale's encoding.
    plain = "C" if str(FOLDER).isascii() else "C.UTF-8"
    for name in ("md", "html"):
        command = [sys.executable, "-m", "golden.cli", "report", *map(str, inputs), "--format", name]
        told = set()
        for seed, locale in (("1", plain), ("2", "C.UTF-8")):
            out = tmp_path / f"{seed}.{name}"
            environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale}
            subprocess.run([*command, "--out", str(out)], env=environment, check=True, capture_output=True)
            told.add(out.read_bytes())
        assert told == {(FOLDER / f"report.{name}").read_bytes()}
