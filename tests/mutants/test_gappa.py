"""Gappa proves what golden says of every legal order, and nothing smaller."""

from dataclasses import replace
from fractions import Fraction

import pytest

from golden.formats import FORMATS, Format
from golden.operator import operators
from tests.mutants import bounds, gappa

pytestmark = pytest.mark.skipif(not gappa.installed(), reason=gappa.LACKING)
#: Without the figures of other units, and intermediates in fp32.
PLAIN = gappa.SETTINGS[:2]


def refused(scripts: list[gappa.Script], **how: Fraction) -> list[str]:
    said = gappa.prove([script.render(**how) for script in scripts])
    return [script.name for script, words in zip(scripts, said, strict=True) if words]


def test_every_order_is_proved() -> None:
    scripts = [s for s in gappa.scripts(PLAIN) if not s.region and not s.power]
    found = {(s.operator, s.order, s.setting.name) for s in scripts}
    assert found == {(o.name, order, f) for o in operators().values() for order in o.orders for f in FORMATS}
    differences = {(s.order, s.setting.name, s.difference) for s in scripts if s.operator == "smoothl1lossgrad"}
    orders = operators()["smoothl1lossgrad"].orders
    assert differences == {(o, f, d) for o in orders for f in FORMATS for d in ("exact", "rounded")}
    assert refused(scripts) == []


@pytest.mark.confirm
def test_every_region_and_arithmetic_is_proved() -> None:
    proofs = gappa.proofs()
    assert [name for proof in proofs for name in proof.refused] == []
    assert {proof.key[0] for proof in proofs} == {setting.name for setting in gappa.SETTINGS}
    for fmt in FORMATS.values():
        assert set(gappa.prove(list(gappa.scaling(fmt)))) == {""}


def test_smaller_relative_errors_are_refused() -> None:
    """By 1 %, and with one rounding less."""
    every = [s for s in gappa.scripts(PLAIN[1:]) if not s.region and not s.power and s.ulp is None]
    scripts = [s for s in every if s.roundings]
    assert refused(scripts, factor=Fraction(99, 100)) == [s.name for s in scripts]
    fewer = []
    for script in scripts:
        u = Fraction(script.setting.fmt.roundoff)
        limits = (gappa.bound([u] * (script.roundings - 1)), gappa.bound([u] * script.roundings))
        goals = tuple((what, limit) for (what, _), limit in zip(script.goals, limits, strict=False))
        fewer.append(replace(script, goals=goals))
    assert refused(fewer) == [s.name for s in fewer]


def test_figures_are_those_of_the_page() -> None:
    """Of one rounding no smaller one is proved; of more, rounding across a binade leaves a little."""
    for script in (s for s in gappa.scripts(PLAIN) if not s.region and not s.power and s.ulp is not None):
        if script.order in bounds.ROUNDINGS and script.reduction in ("", "mean"):
            page = bounds.figure(script.setting.fmt, script.order, script.difference == "rounded")
            assert float(script.ulp or 0) == page, script.name
            if page == 1.5 and script.order == "formula":
                assert gappa.accepts(script.render(Fraction(99, 100))), script.name


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
def test_scaling_is_not_exact_without_its_hypothesis(fmt: Format) -> None:
    script = next(gappa.scaling(fmt))
    assert not gappa.accepts(script)
    assert gappa.accepts(script[: script.index("{ ")] + "{ " + script.split("->")[1])


def test_a_difference_of_rounded_numbers_has_no_bound() -> None:
    m = gappa.Trace(PLAIN[0], False, False, {})
    a, b, c = map(m.load, "abc")
    with pytest.raises(ValueError, match="no bound"):
        m.subtract(m.multiply(a, b), c)
