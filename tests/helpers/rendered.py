"""Rendered reports, read: HTML that must be nested rightly, tables of Markdown."""

import re
from html.parser import HTMLParser

import pytest

from tests.helpers import results_factory as factory

SAMPLE = pytest.mark.parametrize("sample", factory.SAMPLES.values(), ids=factory.SAMPLES.keys())
VOID = {"meta", "link", "br", "input", "img", "hr"}


class Page(HTMLParser):
    """Checks nesting and collects what the tests ask about."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.before_table: list[str] = []
        self.tables: list[list[int]] = []  # cells in each row
        self.feed(page)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append(0)
        if tag in ("td", "th"):
            self.tables[-1][-1] += int(dict(attrs).get("colspan") or 1)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.text.append(data)
            if not self.tables:
                self.before_table.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def markdown_tables(document: str) -> list[list[str]]:
    blocks = re.findall(r"(?:^\|.*\n)+", document, re.MULTILINE)
    return [block.splitlines() for block in blocks]


def columns(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line)) - 1
