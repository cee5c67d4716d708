"""The HTML report in a real browser: no errors, no sideways scrolling, readable by everyone, and the filter works."""

import html
import importlib.util
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reports import formats as reports
from reports.messages import Lang, speaking
from tests.helpers import results_factory as factory

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser (chromium, google-chrome)")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
SCHEMES = {"dark": "--blink-settings=preferredColorScheme=0", "light": "--blink-settings=preferredColorScheme=1"}
WIDTHS = (390, 1280)
EITHER = (("light", 1280), ("dark", 390))
CSP = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

#: Runs in a page that holds the report in a frame: a window cannot be made narrower than 500 pixels.
PROBE = """
addEventListener("load", async () => {
  const frame = document.querySelector("iframe"), page = frame.contentDocument, view = frame.contentWindow;
  const shown = () => [...page.querySelectorAll("details.entry")].filter((row) => !row.hidden).length;
  const wide = () => [...page.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, .spoken, .skip, svg")
    && e.getBoundingClientRect().right > view.innerWidth + 0.5).map((e) => e.outerHTML.slice(0, 120));
  const found = {errors: view.errors, dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    folded: [page.documentElement.scrollWidth, wide()], rows: shown(), background: view.getComputedStyle(page.body)
    .backgroundColor};
  const filter = page.querySelector("[data-filter]");
  if (filter) {
    const box = filter.querySelector("input[type=search]"), failing = filter.querySelector("input[type=checkbox]");
    const type = (words) => { box.value = words; box.dispatchEvent(new view.Event("input", {bubbles: true})); };
    type("fp16 shared"); found.typed = shown(); found.counted = filter.querySelector("output").textContent;
    type("no such thing"); found.none = shown(); type("");
    failing.checked = true; type(""); found.failing = shown(); failing.checked = false; type("");
    filter.querySelector("[data-unfold]").click();
  }
  page.querySelectorAll("details").forEach((d) => { d.open = true; });
  found.unfolded = [page.documentElement.scrollWidth, wide()];
  if (view.axe) {
    const told = await view.axe.run(page, {iframes: false});
    found.violations = told.violations.map((v) => [v.id, v.help, v.nodes.map((n) => [n.html.slice(0, 200),
      n.failureSummary])]);
    found.passes = told.passes.length;
  }
  document.querySelector("pre").textContent = JSON.stringify(found);
});
"""


def axe() -> str:
    """Return axe-core, or nothing where the package is missing."""
    package = importlib.util.find_spec("axe_core_python")
    return Path(str(package.origin)).with_name("axe.min.js").read_text("utf-8") if package else ""


def browse(url: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def page(name: str) -> str:
    """Return a report with everything in it: failures, figures, contracts; several builds with sweeps, in Chinese."""
    if name == "one":
        return reports.render_html([factory.failing()])
    if name == "pair":  # axe takes minutes for large pages
        pair = [factory.failing(), factory.conforming()]
        for run in pair:
            run.entry_points = run.entry_points[:2]
        with speaking("zh"):
            return reports.render_html(pair, [factory.sweep()])
    runs = [factory.failing(), factory.conforming(), factory.crashing(), factory.missing(), factory.nan()]
    lang: Lang = "zh" if name == "chinese" else "en"
    with speaking(lang):
        return reports.render_html(runs, [factory.sweep(), factory.sweep(exhaustive=False)])


def probed(report: str, folder: Path, scheme: str, width: int, script: str = "") -> dict[str, Any]:
    errors = "window.errors = []; addEventListener('error', (e) => errors.push(String(e.message)));"
    head = f"<head><script>{errors}</script><script>{script}</script>"
    framed = CSP.sub("", report).replace("<head>", head, 1)
    outer = folder / "outer.html"
    outer.write_text(
        f'<!doctype html><meta charset="utf-8"><title>x</title><iframe width="{width}" height="900" style="border:0" '
        f'srcdoc="{html.escape(framed)}"></iframe><pre></pre><script>{PROBE}</script>',
        encoding="utf-8",
    )
    size = f"--window-size={max(width, 500) + 40},1000"
    done = browse(outer.as_uri(), folder, SCHEMES[scheme], size, "--virtual-time-budget=60000", "--dump-dom")
    told = re.search(r"<pre>(\{.*?\})</pre>", done.stdout, re.DOTALL)
    assert told, f"the browser ended with {done.returncode}: {done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(html.unescape(told[1]))
    return found


@pytest.mark.parametrize("name", ["chinese", *(pytest.param(n, marks=pytest.mark.confirm) for n in ("one", "several"))])
def test_the_page_has_no_errors_and_keeps_its_own_policy(name: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(name), encoding="utf-8")
    done = browse(path.as_uri(), tmp_path, "--enable-logging=stderr", "--dump-dom")
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert "data-filter" in done.stdout and "hidden" not in re.findall(r"<form[^>]*>", done.stdout)[0]


VIEWS = list(itertools.product(("one", "several", "chinese"), SCHEMES, WIDTHS))
AXED = [(name, *view) for name, view in itertools.product(("one", "pair"), EITHER)]


@pytest.mark.confirm
@pytest.mark.parametrize(("name", "scheme", "width"), VIEWS)
def test_the_page_fits_its_window_and_the_filter_works(name: str, scheme: str, width: int, tmp_path: Path) -> None:
    found = probed(page(name), tmp_path, scheme, width)
    assert found["errors"] == []
    assert found["dark"] == (scheme == "dark")
    shade = sum(map(int, re.findall(r"\d+", found["background"])[:3])) / 3
    assert (shade < 60) == (scheme == "dark") and (shade > 200) == (scheme == "light")
    for state in ("folded", "unfolded"):
        assert found[state] == [width, []], state
    assert found["none"] == 0 < found["failing"] < found["rows"]
    assert 0 < found["typed"] < found["rows"]
    assert found["counted"].count(str(found["typed"])) and str(found["rows"]) in found["counted"]


@pytest.mark.confirm
@pytest.mark.skipif(not axe(), reason="no axe-core (pip install axe-core-python)")
@pytest.mark.parametrize(("name", "scheme", "width"), AXED)
def test_axe_finds_nothing(name: str, scheme: str, width: int, tmp_path: Path) -> None:
    found = probed(page(name), tmp_path, scheme, width, axe())
    assert found["passes"] > 20
    assert found["violations"] == []


@pytest.mark.confirm
def test_the_page_prints_with_everything_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page("one"), encoding="utf-8")
    browse(path.as_uri(), tmp_path, f"--print-to-pdf={tmp_path / 'report.pdf'}", "--no-pdf-header-footer")
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-") and pdf.count(b"/Type /Page\n") + len(re.findall(rb"/Type\s*/Page\b", pdf)) > 4
