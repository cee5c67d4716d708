"""Reports say what the results say, in every format, whatever the names in them are."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import msgspec
import pytest

from golden.results import GRADES, Judge, Library, Results, Tally
from reports import charts, summary, tables, text
from reports import formats as reports
from reports.export import latex_escape
from reports.markdown import plain
from tests.helpers import results_factory as factory
from tests.helpers.rendered import SAMPLE, Page, columns, markdown_tables

HOST_RUN = "This is a build for EM_X86_64 executed on x86_64 (Linux 6.1)"
HELD = ", held to the profile of MT7004; it is not a measurement of that DSP."


@pytest.mark.parametrize("lang", reports.LANGS)
def test_the_header_tells_when_by_what_and_behind_which_layers(lang: reports.Lang) -> None:
    run = factory.results(
        created="2026-11-29T09:06:12+00:00",
        judge=Judge("0.2.0", "84baafa", "5eed" * 16),
        options={"sandbox": "landlock, seccomp", "draw": "c0ffee", "strict": "no"},
    )
    with reports.speaking(lang):
        for render in (reports.render_markdown, reports.render_html):
            page = render([run])
            for words in (
                run.created,
                "0.2.0, commit 84baafa",
                "5eed" * 16,
                "landlock, seccomp",
                "c0ffee",
                "strict=no",
            ):
                assert page.count(words) == 1, words
            assert "x86_64, Linux 6.1, Python 3.11.2, NumPy 2.1.0" in page


@SAMPLE
@pytest.mark.parametrize("name", reports.FORMATS)
def test_every_format_renders_every_sample_the_same_way_twice(sample, name):
    first, again = reports.FORMATS[name]([sample()]), reports.FORMATS[name]([sample()])
    assert first == again
    assert first.endswith("\n")


@pytest.mark.parametrize("name", reports.FORMATS)
def test_order_of_the_files_does_not_matter(name):
    runs = [make() for make in factory.SAMPLES.values()]
    sweeps = [factory.sweep(), factory.sweep(exhaustive=False), factory.sweep(symbol="hp_smoothl1lossgrad_s")]
    assert reports.FORMATS[name](runs, sweeps) == reports.FORMATS[name](runs[::-1], sweeps[::-1])


def test_rendering_leaves_the_results_alone():
    run = factory.failing()
    before = msgspec.json.encode(run)
    for render in reports.FORMATS.values():
        render([run])
    reports.render_junit(run)
    assert msgspec.json.encode(run) == before


# First screen


def first_screen(run: Results) -> dict[str, str]:
    markdown = "\n".join(reports.render_markdown([run]).splitlines()[:25])
    return {"md": markdown, "html": "".join(Page(reports.render_html([run])).before_table)}


@pytest.mark.parametrize("form", ["md", "html"])
def test_first_screen_of_a_failing_build_says_who_fails_and_why(form):
    screen = first_screen(factory.failing())[form]
    bad = factory.element()
    wanted = [
        "fails",
        "MT7004",
        "libops.so",
        "hp_smoothl1lossgrad_s",
        "hp_smoothl1lossgrad_p",
        "kink",
        bad.case,
    ]
    for number in (*bad.inputs.values(), bad.expected, bad.got):
        wanted += [number.hex, number.bits, number.decimal]
    assert "Class kink, case" in screen.replace("`", "")
    wanted += ["3072 ulp off, legal up to 1.5 ulp", "lengths (outside-write)", "expected", "got"]
    assert [word for word in wanted if word not in screen] == []


@pytest.mark.parametrize("form", ["md", "html"])
def test_first_screen_names_what_is_missing_or_crashed(form):
    absent = first_screen(factory.missing())[form]
    for symbol in factory.SYMBOLS[:2] + factory.SYMBOLS[4:6]:
        assert symbol in absent.split("What was judged")[0]
    assert "does not export" in absent
    crashed = first_screen(factory.crashing())[form]
    assert "crashed: SIGSEGV in a/crash/n=0" in crashed
    assert "timed out: No answer within 10 s" in crashed


def test_a_nan_is_told_as_a_kind_and_never_as_a_distance():
    run = factory.nan()
    for screen in first_screen(run).values():
        assert "NaN on one side only" in screen
        assert "ulp off" not in screen
    worst = tables.worst(run.entry_points[0])
    assert worst.rows[0][1] == "nan"
    assert "≥ nan" not in reports.render_html([run])
    assert tables.special_values(run.entry_points[0].groups).rows[0][1] == "4"


def test_a_contract_broken_without_an_entry_point_is_on_the_first_screen():
    run = factory.results(verdict="fails", reason="A contract is broken.")
    finding = factory.Finding("fp-environment", "", "failure", "Rounding mode changed.")
    run.findings = [finding]
    for screen in first_screen(run).values():
        assert "Rounding mode changed." in screen


def test_equal_failures_are_told_once_and_different_ones_apart():
    run = factory.failing()
    assert [p.symbols for p in summary.problems(run)] == [["hp_smoothl1lossgrad_s", "hp_smoothl1lossgrad_p"]]
    run.entry_points[1].failing = [factory.failing_entry("fp_smoothl1lossgrad_p").failing[0]]
    assert len(summary.problems(run)) == 2


def test_optional_entry_points_neither_lead_nor_alarm():
    run = factory.missing()
    for entry in run.entry_points:
        entry.required = entry.symbol.startswith("fp")
    run.verdict = "conforms"
    assert summary.problems(run) == []
    root = ET.fromstring(reports.render_junit(run))
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "4")


# What the numbers mean


@SAMPLE
def test_definition_lower_bound_and_profile_are_stated(sample):
    run = sample()
    for form in ("md", "html"):
        document = reports.FORMATS[form]([run])
        words = "".join(Page(document).text) if form == "html" else document
        assert text.ULP_DEFINITION in words
        assert text.LOWER_BOUND in words
        assert "Host (judged on, not the platform)" in words
        for sentence in run.platform.stated + run.platform.assumed:
            assert (plain(sentence) if form == "md" else sentence) in words


@pytest.mark.parametrize(
    ("target", "profile", "expected"),
    [
        ("build/libops.so", "MT7004", HOST_RUN + HELD),
        ("build/libops.so", "FT78NE", "it is not a measurement of that DSP."),
        ("build/libops.so", "host", HOST_RUN + "."),
        ("reference:exact", "MT7004", "a NumPy model and no compiled kernel"),
        ("exec:./board", "MT7004", "on which machine is not known here"),
        ("dump:out", "MT7004", "on which machine is not known here"),
    ],
)
def test_a_host_build_is_never_presented_as_a_dsp(target, profile, expected):
    run = factory.results(target=target)
    run.platform = msgspec.structs.replace(run.platform, name=profile)
    assert expected in text.stand_in(run)
    junit = ET.fromstring(reports.render_junit(run))
    assert any(expected in p.get("value", "") for p in junit.iter("property"))
    assert expected in reports.render_markdown([run])
    assert latex_escape(expected) in reports.render_latex([run])
    page = "".join(Page(reports.render_html([run])).before_table)
    assert expected in page


def test_all_header_facts_are_there():
    run = factory.conforming()
    for form in ("md", "html"):
        document = reports.FORMATS[form]([run])
        words = "".join(Page(document).text) if form == "html" else document
        for fact in (
            run.library.sha256,
            run.library.compiler,
            "EM_X86_64",
            "strict=false",
            "timeout=10",
            "0.1.0",
            "suite core, 2,104 cases",
            *run.vectors.digests,
            *run.vectors.digests.values(),
            "NumPy 2.1.0",
            "float16",
            "d/beta*dy (100 %)",
        ):
            assert fact in words, fact


def test_shares_never_round_a_single_element_away():
    assert text.percent(1, 10**9) == "< 0.001 %"
    assert text.percent(10**9 - 1, 10**9) == "> 99.9 %"
    assert (text.percent(0, 5), text.percent(5, 5), text.percent(0, 0)) == ("0 %", "100 %", text.NONE)
    bar = charts.segments(summary.Shares(10**9, 0, 1))
    assert [s.name for s in bar] == ["correct", "failing"]
    assert bar[1].width > 1
    assert sum(s.width for s in bar) == pytest.approx(100)


def test_merging_weighs_means_and_keeps_the_worst():
    a = factory.tally("faithful", 1000, mean_ulp=0.1, bias_ulp=0.1, measured=100, histogram={"0.5": 100}, worst=None)
    b = factory.tally(
        "fails",
        3000,
        mean_ulp=0.5,
        bias_ulp=-0.1,
        measured=300,
        histogram={"0.5": 299, "8": 1},
        max_ulp=6.0,
        worst=factory.element(ulp=6.0),
        failures=1,
    )
    total = summary.merged([a, b])
    assert total.mean_ulp == pytest.approx(0.4)
    assert total.bias_ulp == pytest.approx(-0.05)
    assert (total.elements, total.max_ulp, total.grade) == (4000, 6.0, "fails")
    assert total.worst and total.worst.ulp == 6.0
    assert total.histogram == {"0.5": 399, "8": 1}
    assert total.p999_ulp == 6.0, "the 399.6th of 400 is in the last bin, whose edge is above the maximum"
    assert summary.merged([]) == Tally()
    assert [summary.merged([factory.tally(g)]).grade for g in GRADES] == list(GRADES)


def test_verdict_classes_add_up():
    tally = factory.tally(elements=100, misrounded=10, failures=3)
    shares = summary.shares(tally)
    assert (shares.correct, shares.legal, shares.failing, shares.elements) == (90, 7, 3, 100)


def test_histogram_marks_the_bound_in_its_place():
    tally = factory.tally(histogram={"0.5": 10, "0.53125": 1000, "2": 1})
    chart = charts.histogram(tally)
    assert chart and chart.bound
    assert "1.5 ulp" in chart.label
    below, edge, above = chart.bars
    assert below.x < edge.x < chart.bound.at < above.x + above.width
    assert below.height < edge.height < 3 * below.height, "counts are on a logarithmic scale"
    assert below.x + below.width <= edge.x + 0.01
    assert charts.histogram(Tally()) is None
    wide = charts.histogram(factory.tally(histogram={"1.60694e+60": 1, "inf": 1}))
    assert wide and all(chart.left <= b.x <= chart.right for b in wide.bars)
    assert all(b.at - a.at >= 20 for a, b in pairwise(wide.x_ticks))


# Comparison


def test_builds_with_fewest_failures_come_first_and_are_told_apart():
    runs = [factory.missing(), factory.failing(), factory.conforming()]
    ordered = summary.ranked(runs)
    assert [len(summary.failing_entry_points(r)) for r in ordered] == [0, 2, 4]
    assert len(set(summary.labels(ordered))) == 3, "same file name, same digest: numbered"
    runs[0].library = Library("x/libops.so", "12345678" * 8)
    assert "libops.so (12345678)" in summary.labels(runs)
    nothing = factory.nothing()
    nothing.library = Library("a.so")
    assert summary.ranked([nothing, factory.conforming()])[0].verdict == "conforms", "nothing run is no success"
    partial = factory.partial()
    partial.library = Library("a.so")
    mixed = summary.ranked([nothing, partial, factory.conforming()])
    assert [run.verdict for run in mixed] == ["conforms", "partial", "fails"]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", [*reports.FORMATS, "junit"])
def test_a_selection_of_which_nothing_fails_is_never_said_to_conform(name, lang):
    with reports.speaking(lang):
        runs = [factory.partial()]
        document = reports.render_junit(runs[0]) if name == "junit" else reports.FORMATS[name](runs)
        words = re.sub(
            r"<style>.*?</style>|Sign of zero \(conforms\)|零的符号（符合要求）", "", document, flags=re.DOTALL
        )
    assert not re.search("conforms|符合", words, re.IGNORECASE)
    assert name in ("csv", "latex") or "480" in words, "how much was selected"
    assert re.search("partial|in part|部分判定|skipped", words)
    if name in ("html", "md"):
        for said in ("operator smoothl1lossgrad, class kink", "grade = faithful, max-ulp.fp32 = 4"):
            assert said in words


def test_a_column_of_the_matrix_says_that_it_is_of_a_selection():
    names = [platform for platform, _ in tables.matrix([factory.conforming(), factory.partial()]).columns]
    assert names == ["MT7004", "MT7004 (a selection)"]


def test_matrix_has_a_cell_for_every_group_and_build():
    runs = [factory.missing(), factory.failing(), factory.conforming()]
    grid = tables.matrix(runs)
    assert len(grid.rows) == 18
    assert {len(cells) for _, cells in grid.rows} == {3}
    cells = dict(grid.rows)["smoothl1lossgrad", "fp16", "beta=0.5", ""]
    assert [str(c) for c in cells] == ["≥ 0.4998 correctly-rounded", "≥ 3072 fails", "missing"]
    page = Page(reports.render_html(runs))
    widths = page.tables[0]
    assert set(widths) == {4}
    words = [row["data-words"] or "" for row in page.all("tr") if "data-words" in row]
    assert sum("hp_nlllossgrad_s" in w for w in words) == 3, "the filter finds rows by C name too"
    assert sum("data-failing" in row for row in page.all("tr")) == 9
    table = markdown_tables(reports.render_markdown(runs))[1]
    assert columns(table[0]) == 6
    assert len(table) == 18 + 2


def test_the_worse_of_two_storages_counts():
    run = factory.failing()
    run.entry_points[1] = factory.entry("hp_smoothl1lossgrad_p")
    cell = dict(tables.matrix([run]).rows)["smoothl1lossgrad", "fp16", "beta=0.5", ""][0]
    assert str(cell) == "≥ 3072 fails"
