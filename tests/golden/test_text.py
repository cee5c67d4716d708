"""Whatever libraries, files and people call things: what golden shows of it moves no cursor, and links nowhere."""

import csv
import io
import json
import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import cmarkgfm
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console

import runners.judging.traits
import runners.toolchain.doctor
from golden.cli import cli
from golden.commands.terminal import run
from golden.errors import TargetError
from golden.files.results import write_results
from golden.files.sweeps import SweepResult
from golden.results import Finding, Results
from golden.text import plain
from reports import formats as reports
from reports.badge import render_badge
from reports.diff import DIFF_FORMATS, bits, compare
from reports.markdown import plain as running_text
from reports.terminal import print_summary, summary_document
from runners.judging.traits import EntryPointTraits, Traits
from tests.helpers import results_factory as factory

PIECES = [
    *("\x1b[2J\x1b[31m", "\x00", "\x07", "\r", "\n", "\t", "\x7f", "\x9b2J", "\u202e", "\u2066", "\u200b", "\u2028"),
    *("\udc80", "\ufffe", "\U000e0041", "[a](http://b.c)", "![i](http://b.c/i.png)", "<https://b.c>", "www.b.c"),
    *("HTTPS://b.c", "me@b.c", "[a][b]", "\n[b]: http://b.c\n", "<script>alert(1)</script>", "<img src=x onerror=y>"),
    *(
        "&lt;b&gt;",
        "`",
        "``",
        "|",
        "**",
        "_",
        "~~",
        "\\",
        "\\\n",
        "# a",
        "#",
        "- a",
        "===",
        "1. ",
        "    ",
        "]]>",
        "-->",
        "*/",
        "\"'",
        "$ % { } ^",
    ),
    *("=1+1", "+1", "-1", "@SUM(1)", "｀", "＝1", "javascript:alert(1)", "{{ 7 * 7 }}", "[bold]", "a", " ", "试"),
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=5).map("".join)
#: Values of few kinds, and those that numbers are read from.
FIXED = {
    "schema",
    "verdict",
    "status",
    "grade",
    "severity",
    "tier",
    "hex",
    "bits",
    "created",
    "rounding",
    "range",
    "nan",
    "core-masks",
    "specials",
}
#: Keys are names of others.
NAMED = {"options", "option_sources", "groups", "stress", "classes", "bits", "evaluation_order", "digests", "inputs"}
#: What golden's own Markdown and HTML may become on GitHub.
TAGS = {
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "p",
    "ul",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "code",
    "strong",
    "blockquote",
    "hr",
}
SLOW = settings(max_examples=10, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


def invisible(text: str) -> list[str]:
    """Return the characters of a document that a reader does not see, other than ends of lines."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}]


Draw = Callable[[], str]


@st.composite
def draws(draw: st.DrawFn) -> Draw:
    """Return what gives texts of somebody who means no good, one after the other, from few of them."""
    few, order = draw(st.lists(TEXTS, min_size=1, max_size=6)), draw(st.randoms(use_true_random=False))
    return lambda: few[order.randrange(len(few))]


def spoilt(document: Any, draw: Draw, name: str = "") -> Any:
    """Return a document, as JSON has it, with texts that are drawn."""
    if isinstance(document, dict):
        keys = [draw() + key if name in NAMED else key for key in document]
        return {key: spoilt(value, draw, was) for key, (was, value) in zip(keys, document.items(), strict=True)}
    if isinstance(document, list):
        return [spoilt(item, draw, name) for item in document[:3]]
    return draw() if isinstance(document, str) and name not in FIXED else document


def spoilt_run(draw: Draw, sample: Results) -> Results:
    made = msgspec.to_builtins(sample)
    made["findings"] = [
        msgspec.to_builtins(Finding("k", e, "failure", "m", "c")) for e in ("hp_smoothl1lossgrad_s", "")
    ]
    made["config"] = {"path": "golden.toml", "sha256": "00", "options": ["platform"]}
    made["judge"] = {"version": "1", "commit": "2", "digest": "3"}
    made["option_sources"] = {"platform": "golden.toml"}
    made["platform"] |= {"source": "board.toml", "impostor": True}
    return msgspec.convert(spoilt(made, draw), Results)


def texts(document: Any) -> list[str]:
    """Return all texts of a document, keys included."""
    if isinstance(document, dict):
        return [t for pair in document.items() for part in pair for t in texts(part)]
    if isinstance(document, list):
        return [t for part in document for t in texts(part)]
    return [document] if isinstance(document, str) else []


class Rendered(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def inert_markdown(document: str) -> None:
    """Render as GitHub does, and raise AssertionError for what is not golden's own."""
    made = cmarkgfm.github_flavored_markdown_to_html(document, cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE)
    elements = Rendered(made).elements
    assert [tag for tag, _ in elements].count("h1") == 1
    for tag, attributes in elements:
        assert tag in TAGS and not {*attributes} - {"align"}, (tag, attributes)


@pytest.mark.parametrize("begins", ["# a", "##", "===", "- a", "---", "+", "1. a", "2)", "    a"])
@pytest.mark.parametrize("spaces", ["", " ", "   "])
def test_running_text_begins_no_block(begins: str, spaces: str) -> None:
    shown = running_text(spaces + begins)
    for document in (f"# x\n\n{shown}\n", f"# x\n\ny\n{shown}\n"):  # after an empty line, and after another one
        made = cmarkgfm.github_flavored_markdown_to_html(document, cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE)
        assert {tag for tag, _ in Rendered(made).elements} == {"h1", "p"}, made
        assert made.count("<h1>") == 1, made


def inert_page(document: str) -> None:
    elements = Rendered(document).elements
    assert [tag for tag, _ in elements].count("script") == 1 and not {"img", "iframe"} & {tag for tag, _ in elements}
    for tag, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith(("#", "data:,")), (tag, attributes)


def no_formulas(document: str) -> None:
    for row in csv.reader(io.StringIO(document)):
        for cell in row:
            assert cell[:1] not in ("=", "@", "+", "＝") and (cell[:1] != "-" or float(cell) < 0)


CHECKS = {"md": inert_markdown, "html": inert_page, "csv": no_formulas, "json": json.loads}
SAMPLES = st.sampled_from([factory.failing, factory.crashing, factory.conforming])


@SLOW
@given(draws(), SAMPLES, SAMPLES, st.integers(1, 2))
def test_reports(draw: Draw, one: Any, other: Any, number: int) -> None:
    runs = [spoilt_run(draw, one()), spoilt_run(draw, other())][:number]
    sweeps = [msgspec.convert(spoilt(msgspec.to_builtins(factory.sweep()), draw), SweepResult)]
    assert not [
        t for document in (*runs, *sweeps) for t in texts(msgspec.to_builtins(document)) if invisible(t) or "\n" in t
    ]
    for lang in reports.LANGS:
        with reports.speaking(lang):
            for kind, render in reports.FORMATS.items():
                document = render(runs, sweeps)
                assert not invisible(document), kind
                CHECKS.get(kind, len)(document)
    for document in (render_badge(runs), reports.render_junit(runs[0])):
        assert not invisible(document)
        ET.fromstring(document)


@SLOW
@given(draws())
def test_what_is_printed(draw: Draw) -> None:
    before, after = spoilt_run(draw, factory.failing()), spoilt_run(draw, factory.crashing())
    shown = io.StringIO()
    print_summary(before, Path(draw().replace("\0", "")), Console(file=shown, width=100_000))
    summary = msgspec.json.encode(summary_document(before, {"results": "results.json"})).decode()
    compared = {kind: render(compare(before, after)) for kind, render in DIFF_FORMATS.items()}
    for document in (shown.getvalue(), summary, *compared.values(), bits(before, after)):
        assert not invisible(document)
    inert_markdown(compared["md"])
    assert not invisible(str(TargetError(draw())))


@SLOW
@given(TEXTS, st.sampled_from([("doctor",), ("probe", "reference:exact", "--suite", "smoke"), ("platforms",)]))
def test_commands(tmp_path_factory: pytest.TempPathFactory, text: str, command: tuple[str, ...]) -> None:
    check = runners.toolchain.doctor.Check(text, "ok", text, text, text)
    traits = Traits(text, text, text, [EntryPointTraits(*[text] * len(EntryPointTraits.__struct_fields__))])
    profile = tmp_path_factory.mktemp("p") / "p.toml"
    if command == ("platforms",):
        words = json.dumps("x" + plain(text).encode("ascii", "replace").decode() + "\u001b\n\u202ex")
        profile.write_text(
            f'name = "x"\nsummary = {words}\ndtypes = ["fp16"]\ncores = 4\nsubnormals = "flush"\nhalf = "float16"\n'
            f"[provenance]\nstated = [{words}]\n"
        )
        command = (*command, str(profile))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runners.toolchain.doctor, "diagnose", lambda: [check])
        patch.setattr(runners.judging.traits, "inspect", lambda session, files, profile: traits)
        for options in ((), ("--json",)):
            done = CliRunner().invoke(cli, ["--no-config", *command, *options])
            assert done.exit_code == 0, done.output
            assert not invisible(done.output)


@pytest.mark.parametrize(
    "arguments",
    [
        ["\x1b[2J"],
        ["list", "--\x1b[2J"],
        ["validate", "\u202ex"],
        ["--config", "\x9b2J", "list"],
        ["sweep", "x", "--set", "\x1b="],
        ["report", "results.json", "--out", "\x07\u202ex"],
    ],
)
def test_what_is_typed(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "results.json", factory.failing())
    assert run(cli, arguments) == (2 if arguments[0] != "report" else 0)
    said = "".join(capfd.readouterr())
    assert said and not invisible(said)


@pytest.mark.parametrize("text", [*map(chr, (*range(32), 127, 0x9B, 0x202E, 0x2066, 0x2028, 0xD800, 0xFFFE)), "\u200b"])
def test_text_of_others_moves_no_cursor(text: str) -> None:
    assert plain(text).isprintable() and str(TargetError(f"a{text}b")).replace("\n", "").isprintable()
