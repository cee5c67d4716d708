"""Every sentence of a report has its translation, and a translated page has no English left but names and data."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from jinja2 import Environment, nodes

from golden.judge import KINDS
from reports import charts, export, html, junit, markdown, messages, summary, sweeps, tables, text
from reports import formats as reports
from reports.messages import speaking, tr
from reports.messages_zh import ZH
from tests.helpers import results_factory as factory
from tests.helpers.rendered import Page

FOLDER = Path(reports.__file__).parent
MODULES = (charts, export, html, junit, markdown, summary, sweeps, tables, text)
TEMPLATE = FOLDER / "templates/report.html.j2"


def from_python(module: ModuleType) -> Iterator[str]:
    """Yield the keys that a module passes to tr() and plural()."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "tr" and not (module is text and isinstance(node.args[0], ast.BinOp)):
            yield from resolved(node.args[0], module)
        elif name == "plural":
            for noun in resolved(node.args[1], module):
                yield "{n} " + noun


def resolved(node: ast.expr, module: ModuleType) -> Iterator[str]:
    """Yield the strings that an expression can be: literals, constants, and the values of constant tables."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from resolved(node.body, module)
        yield from resolved(node.orelse, module)
    elif isinstance(node, ast.Subscript):
        yield from constant(ast.unparse(node.value), module)
    elif ast.unparse(node) == "meaning":
        yield from text.GRADE_MEANINGS.values()
    elif ast.unparse(node) == "unit":
        yield from ("invocation", "case")
    else:
        yield from constant(ast.unparse(node), module)


def constant(name: str, module: ModuleType) -> Iterator[str]:
    found = vars(text if name.startswith("text.") else module)[name.removeprefix("text.")]
    yield from found.values() if isinstance(found, dict) else [found]


def from_template() -> Iterator[str]:
    tree = Environment(autoescape=True).parse(TEMPLATE.read_text(encoding="utf-8"))
    for call in tree.find_all(nodes.Call):
        name = getattr(call.node, "name", getattr(call.node, "attr", ""))
        argument = call.args[1 if name == "plural" else 0] if name in ("tr", "plural") else None
        if isinstance(argument, nodes.Const):
            yield ("{n} " if name == "plural" else "") + str(argument.value)
        elif isinstance(argument, nodes.Getattr):
            yield from constant(f"text.{argument.attr}", text)
        elif isinstance(argument, nodes.Call):  # text.STORAGES.get(...)
            yield from constant(f"text.{argument.node.node.attr}", text)  # type: ignore[attr-defined]
        elif isinstance(argument, nodes.Name):
            assert argument.name == "meaning", argument


def keys() -> set[str]:
    return {key for module in MODULES for key in from_python(module)} | set(from_template()) | set(KINDS.values())


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_every_sentence_is_translated_and_no_translation_is_stale() -> None:
    wanted = keys()
    assert len(wanted) > 200
    assert sorted(wanted - set(ZH)) == []
    assert sorted(set(ZH) - wanted) == []


def test_translations_keep_the_numbers_and_speak_chinese() -> None:
    for english, chinese in ZH.items():
        assert fields(english) == fields(chinese), english
        assert any(ord(c) > 0x2FF for c in chinese) or english == "{part} of {whole}", english


def test_every_closed_list_of_golden_is_covered() -> None:
    from golden.results import CONTRACTS

    assert set(text.CONTRACT_MEANINGS) == set(CONTRACTS)
    assert set(text.DECIDING) < set(CONTRACTS)


def test_a_language_lasts_as_long_as_it_is_spoken() -> None:
    assert tr("Entry points") == "Entry points"
    with speaking("zh"):
        assert tr("Entry points") == "入口"
        assert text.plural(1234, "case") == "1,234 个用例"
        with speaking("en"):
            assert text.plural(1, "case") == "1 case"
        assert messages.language() == "zh"
    assert messages.language() == "en"


#: Three words in a row that are no name, no number and no unit.
SENTENCE = re.compile(r"(?<![\w./=-])[A-Za-z]{2,}(?:,? [A-Za-z]{2,}){2,}")
#: What may stand among Chinese: names of formats, tools and values.
NAMES = re.compile(
    r"\b(?:ulp|golden|NumPy|Python|DSP|HTML|NaN|beta|half|fp16|fp32|x86|SHA|GCC|Debian|Linux|core|MT7004)\b"
)


class ChinesePage(Page):
    """Collects the text that is not marked as code or as another language."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        if not hasattr(self, "foreign"):
            self.foreign, self.spoken = [], []  # type: ignore[var-annotated]
        if tag not in ("meta", "link", "br", "input", "img", "hr"):
            self.foreign.append(tag == "code" or dict(attrs).get("lang") == "en")
        for name in ("aria-label", "placeholder", "title", "data-count"):
            if (value := dict(attrs).get(name)) and not any(self.foreign):
                self.spoken.append(value)

    def handle_endtag(self, tag: str) -> None:
        super().handle_endtag(tag)
        self.foreign.pop()

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if self.stack and self.stack[-1] not in ("style", "script") and not any(self.foreign):
            self.spoken.append(data)


@pytest.mark.parametrize("name", [n for n in factory.SAMPLES if n != "hostile"])
def test_a_chinese_page_has_no_english_sentence_of_its_own(name: str) -> None:
    with speaking("zh"):
        page = reports.render_html([factory.SAMPLES[name]()], [factory.sweep()])
    assert '<html lang="zh-CN">' in page
    read = ChinesePage(page)
    assert [s for s in read.spoken if SENTENCE.search(NAMES.sub("", s))] == []
    headings = re.findall(r"<h[1-5]>([^<]+)</h", page)
    assert headings and all(any(ord(c) > 0x2FF for c in words) for words in headings)


@pytest.mark.parametrize("name", [n for n in factory.SAMPLES if n != "hostile"])
def test_a_chinese_markdown_report_has_no_english_sentence_of_its_own(name: str) -> None:
    run = factory.SAMPLES[name]()
    with speaking("zh"):
        document = reports.render_markdown([run], [factory.sweep()])
    given = [run.reason, *run.platform.stated, *run.platform.assumed, *(f.message for f in run.findings)]
    given += [f.message for e in run.entry_points for f in e.failing] + [e.detail for e in run.entry_points]
    for sentence in sorted(filter(None, given), key=len, reverse=True):
        document = document.replace(markdown.plain(sentence).rstrip("."), "")
    document = re.sub(r"`[^`]*`|<code>.*?</code>", "", document)
    lines = [line for line in document.splitlines() if SENTENCE.search(NAMES.sub("", line))]
    assert lines == []
    assert "哪些未通过" in document or run.verdict != "fails" or not run.entry_points


def test_numbers_are_the_same_in_both_languages() -> None:
    runs = [factory.failing(), factory.conforming()]
    with speaking("zh"):
        chinese = Page(reports.render_html(runs))
    english = Page(reports.render_html(runs))
    assert chinese.tables == english.tables
    numbers = [re.findall(r"[≥≤] [\d.]+|0x[0-9a-fp.+-]+", " ".join(page.text)) for page in (english, chinese)]
    assert len(numbers[0]) > 50 and numbers[0] == numbers[1]
