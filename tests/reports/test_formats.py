"""Every format is well formed, whole, and safe against the text of others."""

import base64
import csv
import hashlib
import html
import io
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import msgspec
import pytest

from golden.results import Host, Library, Results
from golden.text import plain as visible
from reports import charts, tables
from reports import formats as reports
from reports import html as pages
from reports.markdown import code, plain
from tests.helpers import results_factory as factory
from tests.helpers.rendered import SAMPLE, Page, columns, markdown_tables

# Structure


@pytest.mark.parametrize("samples", [[s] for s in factory.SAMPLES] + [list(factory.SAMPLES)], ids="+".join)
def test_html_is_well_formed_self_contained_and_accessible(samples):
    page = Page(reports.render_html([factory.SAMPLES[s]() for s in samples]))
    assert len(page.all("h1")) == 1
    assert len(page.all("script")) == 1
    for _, attributes in page.tags:
        assert not {"src", "style", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert re.match(r"#|data:", attributes.get("href") or "#")
    assert all("scope" in th for th in page.all("th"))
    labelled = [svg for svg in page.all("svg") if svg.get("aria-label") or svg.get("aria-hidden")]
    assert labelled == page.all("svg")
    assert all(len(set(rows)) == 1 for rows in page.tables)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {(a["href"] or "")[1:] for a in page.all("a")}
    assert anchors <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(b <= a + 1 for a, b in pairwise(levels)), "no heading level is skipped"


def test_the_policy_of_the_page_allows_its_own_style_and_script_alone():
    document = reports.render_html([factory.failing()])
    policy = next(m["content"] or "" for m in Page(document).all("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@SAMPLE
def test_markdown_tables_are_rectangular(sample):
    found = markdown_tables(reports.render_markdown([sample()]))
    for table in found:
        assert len({columns(line) for line in table}) == 1, table
    assert found or not sample().entry_points


def test_details_hold_classes_groups_stress_and_findings():
    run = factory.failing()
    for form in ("md", "html"):
        document = reports.FORMATS[form]([run])
        for word in (
            *factory.CLASSES,
            *factory.GROUPS["nlllossgrad"],
            "beta=10",
            "Stress tier",
            "Wrote 2 bytes",
            "hard/n=4096 [1203]",
            "0x4a01",
        ):
            assert word in document, word


def test_junit_has_a_suite_an_entry_point_and_a_case_a_class():
    root = ET.fromstring(reports.render_junit(factory.failing()))
    suites = {s.get("name"): s for s in root.iter("testsuite")}
    assert set(factory.SYMBOLS) < set(suites)
    good = suites["fp_nlllossgrad_s"]
    assert [c.get("name") for c in good.iter("testcase")] == factory.CLASSES
    assert (good.get("tests"), good.get("failures"), good.get("errors")) == ("9", "0", "0")
    bad = suites["hp_smoothl1lossgrad_s"]
    failure = next(c for c in bad.iter("testcase") if c.get("name") == "kink").find("failure")
    assert failure is not None
    assert failure.text
    assert factory.BAD_CASE in (failure.get("message") or "")
    for word in ("0x4a00", "-0x1.8p+3", "3072 ulp off", "13 of 26 cases"):
        assert word in failure.text
    assert int(root.get("failures") or 0) == len(list(root.iter("failure")))


def test_junit_is_red_whenever_the_verdict_is():
    for name, sample in factory.SAMPLES.items():
        root = ET.fromstring(reports.render_junit(sample()))
        red = int(root.get("failures") or 0) + int(root.get("errors") or 0)
        assert (red > 0) == (sample().verdict == "fails"), name
    crashed = ET.fromstring(reports.render_junit(factory.crashing()))
    assert {e.get("type") for e in crashed.iter("error")} == {"crash", "timeout"}
    absent = ET.fromstring(reports.render_junit(factory.missing()))
    assert [f.get("type") for f in absent.iter("failure")].count("missing") == 4


def test_a_verdict_of_a_selection_is_skipped_in_junit():
    root = ET.fromstring(reports.render_junit(factory.partial()))
    verdict = next(case for case in root.iter("testcase") if case.get("name") == "verdict")
    skipped = verdict.find("skipped")
    assert skipped is not None and "480 of 2,000 cases, on 4 of 8 entry points" in skipped.get("message", "")


def test_a_pass_with_stress_failures_stays_green():
    run = factory.conforming()
    run.entry_points[0].failing = [factory.Failure("s/huge/n=1", "huge", "stress", "value", "off")]
    root = ET.fromstring(reports.render_junit(run))
    assert root.get("failures") == "0"


def test_csv_has_one_row_a_tier_and_group():
    rows = list(csv.DictReader(io.StringIO(reports.render_csv([factory.failing(), factory.missing()]))))
    smooth, nll, absent = 6 + 1, 3 + 1, 1  # groups and one of the stress tier
    assert len(rows) == 4 * smooth + 4 * nll + 2 * smooth + 2 * nll + 4 * absent
    by_symbol = [r for r in rows if r["symbol"] == "hp_smoothl1lossgrad_s" and r["status"] == "fail"]
    assert [(r["tier"], r["group"]) for r in by_symbol][-1] == ("stress", "beta=10")
    worst = next(r for r in by_symbol if r["group"] == "beta=0.5")
    assert (worst["max_ulp"], worst["failures"], worst["worst_got_bits"]) == ("3072.0", "900", "0xca00")
    assert [r["status"] for r in rows if r["group"] == ""] == ["missing"] * 4
    assert {r["max_ulp"] for r in rows if r["status"] == "missing"} == {""}


def test_json_holds_whole_results_best_first():
    runs = [factory.failing(), factory.conforming()]
    document = msgspec.json.decode(reports.render_json(runs))
    read = msgspec.convert(document["results"], list[Results])
    assert [r.verdict for r in read] == ["conforms", "fails"]
    assert read[0] == runs[1]


def test_latex_rows_have_the_columns_that_their_tabular_declares():
    document = reports.render_latex([make() for make in factory.SAMPLES.values()])
    found = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", document, re.DOTALL)
    assert len(found) > 20
    for spec, body in found:
        for line in body.splitlines():
            if line != r"\hline":
                assert len(re.findall(r"(?<!\\)&", line)) == len(spec) - 1, line
    bare = re.sub(r"\\[#$%&_{}]", "", re.sub(r"^%.*", "", document, flags=re.MULTILINE))
    assert not re.search(r"[#%_~^<>]", bare.replace(r"\\", ""))


# Text of others


@pytest.mark.parametrize("name", [*reports.FORMATS, "junit"])
def test_text_of_others_stays_text(name):
    run = factory.hostile()
    document = reports.render_junit(run) if name == "junit" else reports.FORMATS[name]([run])
    if name != "json":
        assert not [c for c in document if ord(c) < 32 and c != "\n"]
        assert "\u202e" not in document
    if name in ("md", "html", "junit"):
        assert "<script>alert" not in document
    if name == "html":
        page = Page(document)
        assert visible(factory.HOSTILE) in page.text
        assert len(page.all("script")) == 1
    if name == "junit":
        ET.fromstring(document)


@pytest.mark.parametrize(
    "name", ["a|b", "a`b", "a\\|b", "<b>", "&lt;", "*a*", "_a_ b", "[a](http://b)", "``", "![i](x)"]
)
def test_markdown_text_and_code_have_no_markup_left(name):
    assert re.fullmatch(r"`[^`|\\<>&]+`|<code>([^|`*\\<>\[\](){}_]|&#\d+;)+</code>", code(name))
    assert not re.search(r"[*`|\\<>\[]|\]\(|://|_(?!\w)", plain(name))
    assert html.unescape(plain(name)) == name
    assert html.unescape(re.sub(r"^(<code>|`)|(</code>|`)$", "", code(name))) == name


def test_common_names_stay_readable_in_the_source():
    assert code("hp_smoothl1lossgrad_s") == "`hp_smoothl1lossgrad_s`"
    assert plain("half is _Float16 in hp_x_s") == "half is _Float16 in hp_x_s"


def test_control_characters_and_overrides_are_shown_as_escapes():
    assert visible("a\x00b\x1b\u202e\ud800\n") == "a\\x00b\\x1b\\u202e\\ud800\\n"
    assert visible("±β 测试 ≥") == "±β 测试 ≥"


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_spreadsheets_run_no_formulas(start):
    run = factory.results(library=Library(f"{start}1+cmd|'calc'!A0", "", "", ""))
    rows = list(csv.reader(io.StringIO(reports.render_csv([run]))))
    assert rows[1][0] == f"'{start}1+cmd|'calc'!A0"


def test_hosts_and_libraries_may_be_unknown():
    run = factory.results(target="reference:exact", library=Library(), host=Host("", "", "", ""))
    for render in reports.FORMATS.values():
        assert "reference:exact" in render([run])


# Job summaries


@pytest.mark.confirm
def test_a_job_summary_takes_the_document_however_many_builds_there_are():
    many = [factory.failing() for _ in range(40)]
    for number, run in enumerate(many):
        run.library = Library(f"libops-{number:02}.so", f"{number:064x}")
    document = reports.render_markdown(many)
    assert 500_000 < len(document.encode()) <= 1_000_000 < 1 << 20
    told = len(re.findall(r"^## `libops-", document, re.MULTILINE))
    assert 0 < told < 40
    assert f"The sections of {40 - told} builds are left out here" in document
    assert document.count("libops-39.so") >= 2, "the comparison names every build"
    assert "left out" not in reports.render_markdown(many[:3])
    worst = factory.failing()
    for entry in worst.entry_points:
        entry.failing = [factory.Failure(factory.BAD_CASE, "kink", "required", "value", "x" * 400, 3)] * 200
    assert len(reports.render_markdown([worst]).encode()) < 200_000


def test_github_tables_stand_apart_from_text():
    document = reports.render_markdown([factory.failing()], [factory.sweep()])
    lines = document.splitlines()
    for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
        if line.startswith("|") and not before.startswith("|"):
            assert before == "" and after.startswith("|"), "a table begins after an empty line, with a header"


# Colours


def tokens(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", css))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.1, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_bars_stand_out_in_both_schemes(scheme):
    css = (pages._templates() / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\n *\}", css, re.DOTALL)[:2]
    colours = tokens(light) | (tokens(dark) if scheme == "dark" else {})
    for paper in ("paper", "panel", "sunken"):
        for ink in ("ink", "muted", "link"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    for name in ("pass", "fail", "note"):
        assert contrast(colours[f"{name}-ink"], colours[f"{name}-paper"]) >= 4.5, name
    for bar in ("correct", "legal", "failing"):
        assert contrast(colours[bar], colours["panel"]) >= 3, bar


# Sweeps


def test_exhaustive_and_sampled_maxima_are_told_apart_in_every_format():
    runs, sweeps = [factory.conforming()], [factory.sweep(), factory.sweep(exhaustive=False)]
    space = "diff-dy, x2 = 0.0: all 2^32 points"
    for form in ("md", "html"):
        document = reports.FORMATS[form](runs, sweeps)
        words = " ".join(Page(document).text) if form == "html" else document
        for wanted in ("≤ 0.75", "≥ 0.75", "sampled vectors", space, "a sample", "(marked ≤)"):
            assert wanted in words, (form, wanted)
    tex = reports.render_latex(runs, sweeps)
    assert r"$\leq$ 0.75" in tex and r"$\geq$ 0.75" in tex and "sampled vectors" in tex
    rows = list(csv.DictReader(io.StringIO(reports.render_csv(runs, sweeps))))
    swept = [r for r in rows if r["tier"] == "sweep"]
    assert [(r["max_is_lower_bound"], r["points"], r["group"]) for r in swept] == [
        ("false", str(1 << 32), "beta=0.5"),
        ("true", "1000", "beta=0.5"),
    ]
    assert {r["max_is_lower_bound"] for r in rows if r["tier"] != "sweep"} == {"true"}
    assert {(r["verdict"], r["platform"]) for r in swept} == {("", "")}
    document = msgspec.json.decode(reports.render_json(runs, sweeps))
    assert [s["exhaustive"] for s in document["sweeps"]] == [True, False]


@pytest.mark.parametrize("broken", [{"bound_exceeded": 3}, {"broken": ["The call did not preserve rbx."]}])
def test_a_sweep_stands_in_the_column_of_its_build_and_beneath_its_group(broken):
    other = factory.conforming()
    other.library = Library("other.so", "12" * 32)
    alone = factory.sweep(library=Library("alone.so", "34" * 32), **broken)
    grid = tables.matrix([factory.conforming(), other], [factory.sweep(), alone])
    assert [build for _, build in grid.columns] == ["libops.so", "other.so", "alone.so"]
    assert grid.columns[2][0] == "sweep only"
    keys = [key for key, _ in grid.rows]
    (swept,) = [key for key in keys if key.space]
    above = keys[keys.index(swept) - 1]
    assert (above.group, above.space, swept.group) == ("beta=0.5", "", "beta=0.5")
    cells = dict(grid.rows)[swept]
    assert [str(c) if c else "" for c in cells] == ["≤ 0.75 faithful", "", "≤ 0.75 fails"]
    assert dict(grid.rows)[above][2] is None


def test_the_worse_of_two_sweeps_of_one_space_counts():
    worse = factory.sweep(symbol="hp_smoothl1lossgrad_s", tally=factory.tally("legal", max_ulp=3.25))
    grid = tables.matrix([], [factory.sweep(), worse])
    assert [str(c) for _, cells in grid.rows for c in cells] == ["≤ 3.25 legal"]


def test_sweeps_alone_make_a_report():
    for name, render in reports.FORMATS.items():
        alone = render([], [factory.sweep()])
        assert "0.75" in alone and "The vectors are a sample" not in alone, name
        assert ("The vectors are a sample" in render([factory.failing()], [factory.sweep()])) == (
            name in ("md", "html", "latex")
        ), name
    assert "Accuracy over 1 input space" in reports.render_html([], [factory.sweep()])
    unknown = factory.sweep(operator="huber", symbol="fp_huber_p")
    assert "beta=0.5" in reports.render_markdown([], [unknown]), "an operator that is not installed here"


def test_a_page_of_several_builds_and_sweeps_tells_each_of_them():
    good, bad = factory.conforming(), factory.failing()
    bad.library = Library("tail.so", "12" * 32)
    outside = factory.element(ulp=77.5)
    broken = factory.sweep(exhaustive=False, library=bad.library, bound_exceeded=2, first_failure=outside)
    page = Page(reports.render_html([bad, good], [broken, factory.sweep()]))
    words = " ".join("".join(page.text).split())
    assert 0 < words.find("libops.so conforms to MT7004") < words.find("tail.so fails on MT7004")
    assert all(words.count(text) >= 2 for text in (bad.reason, good.reason, bad.entry_points[0].failing[0].message))
    assert [a["href"] for a in page.all("a")][1:] == ["#run-1", "#run-2"] * 2, "of the list, and of the matrix"
    rows = page.all("details")
    assert [row.get("id") for row in rows[2:]] == [f"run-{run}-{n}" for run in (1, 2) for n in range(1, 9)]
    assert [n for n, row in enumerate(rows) if "data-failing" in row] == [1, 10, 11], "a sweep and two entry points"
    for _, cells in tables.matrix([good, bad], [factory.sweep(), broken]).rows:
        assert all(f"{cell.max_ulp}{cell.word}" in words for cell in cells if cell)
    assert (
        words.index("exhaustive") < words.index("First input outside every legal bound") < words.index("77.5 ulp off")
    )
    assert "1,000 points" in words and "2 outside every legal bound" in words


# Where the error lives, and what was checked


def test_the_page_shows_landscapes_and_contracts():
    document = reports.render_html([factory.failing()])
    page = Page(document)
    assert document.count("by the binade of diff / beta") == len(factory.SYMBOLS)
    assert document.count("by the binade of the exact value") == len(factory.SYMBOLS)
    words = " ".join(page.text)
    for wanted in (
        "not observable in this way of running",
        "not checked by these vectors",
        "8,295 invocations",
        "2⁰ … 2¹: ",
    ):
        assert wanted in words, wanted
    markdown = reports.render_markdown([factory.failing()])
    row = next(line for line in markdown.splitlines() if line.startswith("| `outside-write`"))
    assert "2 cases" in row and "hp_smoothl1lossgrad_s, hp_smoothl1lossgrad_p" in row and "decides" in row


def test_a_landscape_is_drawn_where_its_numbers_are():
    result, own = factory.landscapes(failures=900)
    plot = charts.landscape(own)
    assert plot and plot.own
    assert [c.x for c in plot.columns] == sorted(c.x for c in plot.columns)
    assert all(plot.left <= c.x and c.x + c.width <= plot.right + 0.1 for c in plot.columns)
    named = dict(zip([(b.negative, b.exponent) for b in own.binades], plot.columns, strict=True))
    assert named[False, 0].name == "failing" and named[False, 0].height == max(c.height for c in plot.columns)
    assert named[False, 2].name == "correct" and named[False, -3].name == "legal"
    assert all(c.y <= c.mean <= plot.bottom for c in plot.columns)
    assert named[False, 3].label.startswith("2³ … ∞: 700 elements")
    assert named[True, -2].label.startswith("−2⁻² … −2⁻¹: ")
    ticks = [t.at for t in plot.x_ticks]
    assert ticks == sorted(ticks) and all(b - a >= 30 for a, b in pairwise(ticks))
    assert {"2⁰", "−2⁰"} <= {t.label for t in plot.x_ticks}
    assert all(b.at < a.at for a, b in pairwise(plot.y_ticks))
    assert plot.top < plot.half < plot.bottom
    assert charts.landscape(msgspec.structs.replace(result, binades=[])) is None
    nan = msgspec.structs.replace(result, binades=[factory.Binade(3, failures=2), factory.Binade(1, elements=1)])
    drawn = charts.landscape(nan)
    assert drawn and drawn.columns[0].name == "failing" and drawn.columns[0].height > drawn.columns[1].height


def test_the_worst_table_holds_ten_cases_one_element_each():
    entry = factory.entry("hp_smoothl1lossgrad_s")
    entry.worst = [factory.element(ulp=20.0 - n, case=f"case/{n}") for n in range(12)]
    entry.failing = [
        factory.Failure("case/0", "k", "required", "value", "m", 1, factory.element(ulp=7.0, case="case/0"))
    ]
    rows = tables.worst(entry).rows
    assert [row[0].split(" ")[0] for row in rows] == [f"case/{n}" for n in range(10)]
