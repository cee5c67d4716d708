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

import reports
from golden.results import Host, Library, Results
from reports import text
from reports.markdown import code, plain
from tests import results_factory as factory
from tests.test_reports import SAMPLE, Page, columns, markdown_tables

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
        assert text.visible(factory.HOSTILE) in page.text
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
    assert text.visible("a\x00b\x1b\u202e\ud800\n") == "a\\x00b\\x1b\\u202e\\ud800\\n"
    assert text.visible("±β 测试 ≥") == "±β 测试 ≥"


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_spreadsheets_run_no_formulas(start):
    run = factory.results(library=Library(f"{start}1+cmd|'calc'!A0", "", "", ""))
    rows = list(csv.reader(io.StringIO(reports.render_csv([run]))))
    assert rows[1][0] == f"'{start}1+cmd|'calc'!A0"


def test_hosts_and_libraries_may_be_unknown():
    run = factory.results(target="reference:exact", library=Library(), host=Host("", "", "", ""))
    for render in reports.FORMATS.values():
        assert "reference:exact" in render([run])
