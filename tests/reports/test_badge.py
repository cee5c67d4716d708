"""The badge says what the runs say, is one well-formed SVG, and needs nothing from elsewhere."""

import re
from xml.etree import ElementTree as ET

import pytest

from golden.results import Results
from reports.badge import render_badge
from tests.helpers import results_factory as factory

SVG = "{http://www.w3.org/2000/svg}"


def shown(svg: str) -> str:
    return " | ".join(t.text or "" for t in ET.fromstring(svg).iter(f"{SVG}text"))


def mixed() -> Results:
    entries = [factory.entry(s, grade="faithful" if s.startswith("hp") else "formula") for s in factory.SYMBOLS]
    return factory.results(entries)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([factory.conforming()], "golden | conforms: correctly-rounded"),
        ([mixed()], "golden | conforms: formula"),
        ([factory.conforming(), mixed()], "golden | conforms: formula"),
        ([factory.partial()], "golden | partial: a selection"),
        ([factory.conforming(), factory.partial()], "golden | partial: a selection"),
        ([factory.failing()], "golden | fails: 2 of 8"),
        ([factory.partial(), factory.failing()], "golden | fails: 2 of 12"),
        ([factory.conforming(), factory.missing()], "golden | fails: 4 of 16"),
        ([factory.nothing()], "golden | fails"),
        ([], "golden | nothing judged"),
    ],
)
def test_what_it_says(runs: list[Results], words: str) -> None:
    svg = render_badge(runs)
    assert shown(svg) == words
    assert ("#1f6f43" in svg) == ("conforms" in words)
    assert ET.fromstring(svg).get("aria-label") == words.replace(" |", ":")


def test_an_optional_entry_point_does_not_count() -> None:
    run = factory.conforming()
    run.entry_points.append(factory.entry("dp_smoothl1lossgrad_s".replace("dp", "hp"), "missing", required=False))
    assert shown(render_badge([run])) == "golden | conforms: correctly-rounded"


def test_it_can_be_read_aloud_and_names_what_was_executed() -> None:
    svg = ET.fromstring(render_badge([factory.conforming()]))
    assert svg.get("role") == "img"
    title = svg.find(f"{SVG}title")
    assert title is not None and title is svg[0]
    assert "MT7004" in str(title.text) and "it is not a measurement of that DSP" in str(title.text)


@pytest.mark.parametrize("sample", factory.SAMPLES)
def test_it_is_self_contained(sample: str) -> None:
    svg = render_badge([factory.SAMPLES[sample]()])
    ET.fromstring(svg)
    assert len(svg) < 4000
    assert not re.search(r"href|url\((?!#)|@import|<script|<image|\x1b", svg)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def test_the_text_fits_its_half() -> None:
    svg = ET.fromstring(render_badge([factory.conforming()]))
    rectangles = [float(r.get("width", 0)) for r in svg.iter(f"{SVG}rect")]
    lengths = [float(t.get("textLength", 0)) for t in svg.iter(f"{SVG}text")]
    assert rectangles[0] == sum(rectangles[1:]) == float(svg.get("width", 0))
    assert all(0 < length < width for length, width in zip(lengths, rectangles[1:], strict=True))


def test_the_colours_can_be_told_from_the_text() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for run in (factory.conforming(), factory.failing()):
        for rectangle in ET.fromstring(render_badge([run])).iter(f"{SVG}rect"):
            if fill := rectangle.get("fill"):
                assert 1.05 / (luminance(fill) + 0.05) >= 4.5
