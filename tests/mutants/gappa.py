"""Proves the figures of legal orders with Gappa: one script for each order, format and region, made from the programs.

``python -m tests.mutants.gappa [--scripts FOLDER]``: runs Gappa on every script; with FOLDER, leaves them there. Exit
code 1 if it refuses one, 2 if it is not installed (package ``gappa``; G. Melquiond, https://gappa.gitlabpages.inria.fr).

:class:`Trace` is one more arithmetic for :mod:`golden.program`: its values are Gappa's expressions, each exact one
beside the one that a kernel computes. What is taken for granted:

- Nothing overflows (Gappa's formats have no largest number), and whatever is rounded is at least twice the smallest
  normal number: hypotheses of every script. Gappa's theorem on relative errors begins there.
- Rounding is monotonic: a kernel compares a rounded number with one that is not rounded as the exact one compares,
  but where rounding makes them equal. Each combination is a script: *regions*.
- With a divisor that is a power of two, dividing is exact. That is a lemma of its own, one for each power.
- y is in one binade, [1, 2] or [-2, -1], where an error is counted in ulp. Every other binade is that one, scaled.
"""

import argparse
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from golden.formats import FP16, FP32, Format
from golden.operator import Operator, Scalars, operator
from golden.program import Arithmetic, Program
from golden.terms import Figures, Operation, PlatformArithmetic

#: Scalars of every operator that leave it other programs than those before.
PROGRAMS: tuple[tuple[str, Scalars], ...] = (
    ("smoothl1lossgrad", {}),
    ("nlllossgrad", {"reduction_type": "none"}),
    ("nlllossgrad", {"reduction_type": "sum"}),
    ("nlllossgrad", {"reduction_type": "mean"}),
)
LACKING = "gappa is not installed (package gappa)"
#: A proof takes a few hundredths; without one, Gappa may go on for ever.
_SECONDS = 10
_COARSE = Figures(divide=2.5, reciprocal=2.5)


@dataclass(frozen=True)
class Setting:
    """The arithmetic of a kernel: operands and results of ``fmt``, intermediates of ``inner``, a platform's figures."""

    name: str
    fmt: Format
    inner: Format
    platform: PlatformArithmetic = field(default_factory=PlatformArithmetic)


SETTINGS = (
    Setting("fp16", FP16, FP16),
    Setting("fp32", FP32, FP32),
    Setting("fp16 in fp32", FP16, FP32),
    Setting("fp16, divide 2.5 ulp", FP16, FP16, PlatformArithmetic(fp16=_COARSE)),
    Setting("fp32, divide 2.5 ulp", FP32, FP32, PlatformArithmetic(fp32=_COARSE)),
)


@dataclass(frozen=True)
class Number:
    """An intermediate: its exact expression, what a kernel has ``before`` it rounds that, and what after.

    ``errors``: relative errors of the roundings in ``before``; ``last``: that of rounding it, 0 where it is exact.
    ``scales``: a power of two.
    """

    exact: str
    before: str
    after: str
    errors: tuple[Fraction, ...] = ()
    last: Fraction = Fraction(0)
    scales: bool = False

    @property
    def all_errors(self) -> tuple[Fraction, ...]:
        """Relative errors of all roundings that made the number."""
        return (*self.errors, self.last) if self.last else self.errors


#: How a comparison a > b comes out for a kernel, and in exact arithmetic.
_COMES_OUT = ((False, False), (True, True), (False, True))


@dataclass
class Trace(Arithmetic[Number]):
    """Writes a program down for Gappa. ``region`` says how comparisons come out; ``open`` are those that it lacks.

    ``exact_difference``: sums and differences are numbers of the format. ``power``: divisors are powers of two.
    ``exactly``: choose as exact arithmetic does, not as a kernel does.
    """

    setting: Setting
    exact_difference: bool
    power: bool
    region: Mapping[str, tuple[bool, bool]]
    exactly: bool = False
    lines: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)

    def load(self, values: Any) -> Number:
        """Take in a variable's name, or a number."""
        text = values if isinstance(values, str) else dyadic(Fraction(float(values)))
        return Number(text, text, text)

    def store(self, a: Number) -> Number:
        """Round to the format of the results, where intermediates have another."""
        if self.setting.fmt is self.setting.inner or a.after.strip("(-)").isidentifier():
            return a  # also an operand, or its negative: a number of both
        return self._rounded("convert", a.exact, a.after, a.all_errors, self.setting.fmt)

    def add(self, a: Number, b: Number) -> Number:
        """Return a + b of numbers that are not rounded: of others it has no relative error that a bound could hold."""
        return self._sum("+", a, b)

    def subtract(self, a: Number, b: Number) -> Number:
        """Return a - b, likewise."""
        return self._sum("-", a, b)

    def multiply(self, a: Number, b: Number) -> Number:
        """Return a * b; a power of two scales the other number together with its last rounding."""
        exact = f"({a.exact} * {b.exact})"
        for one, power in ((a, b), (b, a)):
            if power.scales:
                return self._scaled(exact, one, f"({one.before} * {power.after})")
        return self._rounded("multiply", exact, f"({a.after} * {b.after})", a.all_errors + b.all_errors)

    def divide(self, a: Number, b: Number) -> Number:
        """Return a / b."""
        exact = f"({a.exact} / {self._divisor(b)})"
        if self.power:
            return self._scaled(exact, a, f"({a.before} / {b.after})")
        return self._rounded("divide", exact, f"({a.after} / {b.after})", a.all_errors)

    def reciprocal(self, a: Number) -> Number:
        """Return 1 / a."""
        exact = f"(1 / {self._divisor(a)})"
        if self.power:
            return Number(exact, exact, exact, scales=True)
        return self._rounded("reciprocal", exact, exact, ())

    def negate(self, a: Number) -> Number:
        """Return -a."""
        return replace(a, exact=f"(-{a.exact})", before=f"(-{a.before})", after=f"(-{a.after})")

    def clamp(self, a: Number, limit: Number) -> Number:
        """Return a, or the limit where the exact number is beyond: what was rounded is there, too, or equal to it."""
        if self._greater(a, limit)[1]:
            return limit
        return self.negate(limit) if self._greater(self.negate(limit), a)[1] else a

    def select(self, a: Number, b: Number, then: Number, otherwise: Number) -> Number:
        """Return what a kernel takes, or what is taken in exact arithmetic."""
        return then if self._greater(a, b)[self.exactly] else otherwise

    def _greater(self, a: Number, b: Number) -> tuple[bool, bool]:
        if a.errors or b.errors or (a.last and b.last):
            raise ValueError(f"{a.exact} > {b.exact} compares numbers that were rounded more than once")
        key = f"{a.exact} > {b.exact}"
        if any(true and a.exact == f"(-{above.split(' > ')[1]})" for above, (_, true) in self.region.items()):
            return False, False  # what is above a limit, which is positive, is not below its negative
        if key not in self.region:
            self.open[key] = 3 if a.last or b.last else 2
        return self.region.get(key, (False, False))

    def _sum(self, sign: str, a: Number, b: Number) -> Number:
        exact = f"({a.exact} {sign} {b.exact})"
        if a.all_errors or b.all_errors:
            raise ValueError(f"{exact} has operands that were rounded: its relative error has no bound")
        return Number(exact, exact, exact) if self.exact_difference else self._rounded("add", exact, exact, ())

    def _divisor(self, a: Number) -> str:
        if a.all_errors:
            raise ValueError(f"the divisor {a.exact} was rounded")
        self._assume(a.after, self.setting.fmt)
        return a.exact

    def _scaled(self, exact: str, a: Number, before: str) -> Number:
        if a.last:
            return self._rounded(None, exact, before, a.errors, last=a.last)
        return replace(a, exact=exact, before=before, after=before)

    def _rounded(
        self,
        name: Operation | None,
        exact: str,
        before: str,
        errors: tuple[Fraction, ...],
        fmt: Format | None = None,
        last: Fraction = Fraction(0),
    ) -> Number:
        """Round once; an operation that is not correctly rounded gives any number within its figure."""
        fmt = fmt or self.setting.inner
        u = Fraction(fmt.roundoff)
        if name is not None:
            of = fmt if name != "convert" else self.setting.fmt
            figure = self.setting.platform.unit(of, name).figure
            last = u if figure == 0.5 else 2 * Fraction(figure) * u  # an ulp is at most 2 u of the number
        number = len(self.lines) + 1
        self.lines.append(f"t{number} = {before};")
        self._assume(f"t{number}", fmt)
        if last == u:
            after = f"{fmt.name}(t{number})"
        else:
            after = f"n{number}"
            self.given.append(f"|n{number} -/ t{number}| <= {dyadic(last)}")
        return Number(exact, f"t{number}", after, errors, last)

    def _assume(self, name: str, fmt: Format) -> None:
        text = f"|{name}| in [{dyadic(Fraction(2 * fmt.smallest_normal))}, {dyadic(Fraction(fmt.largest))}]"
        if text not in self.given:
            self.given.append(text)


def dyadic(value: Fraction) -> str:
    """Return a number as Gappa reads it, m * 2**e as mbe; what 2**-400 does not divide is cut."""
    scaled = value.numerator * 2**400 // value.denominator
    zeros = (scaled & -scaled).bit_length() - 1 if scaled else 400
    return f"{scaled >> zeros}b{zeros - 400}" if zeros < 400 else str(scaled >> 400)


def bound(errors: Sequence[Fraction]) -> Fraction:
    """Return the relative error that roundings of the given errors amount to: (1 + u)**k - 1 for k of the same."""
    return prod((1 + e for e in errors), start=Fraction(1)) - 1


def figure(fmt: Format, errors: Sequence[Fraction]) -> Fraction:
    """Return the largest error in ulp of a correctly rounded result with the given errors before its last rounding.

    golden/scaled_product.py. With less than an ulp before the last rounding, the only number of the next binade in
    reach is its first; otherwise the result may round across, where the spacing doubles.
    """
    u = Fraction(fmt.roundoff)
    if len(errors) >= 2 and set(errors) == {u}:
        return len(errors) * (1 + u) ** (len(errors) - 1) + 1
    before = bound(errors) / u
    return before + (Fraction(1, 2) if before <= 1 else 1)


@dataclass(frozen=True)
class Script:
    """What Gappa is asked: one order in one region. ``goals``: expressions with their bounds."""

    operator: str
    reduction: str
    order: str
    setting: Setting
    difference: str
    power: bool
    roundings: int
    region: str
    lines: str
    given: Sequence[str]
    goals: tuple[tuple[str, Fraction], ...]
    hints: str

    @property
    def name(self) -> str:
        """Say which one it is."""
        parts = (self.operator, self.reduction, self.order, self.setting.name, self.difference, self.region)
        return " ".join(part for part in parts if part) + " power of two" * self.power

    @property
    def ulp(self) -> Fraction | None:
        """Return the figure in ulp that this script is about; the others are about relative errors."""
        if any("-/" in what for what, _ in self.goals):
            return None
        return self.goals[0][1] / (2 * Fraction(self.setting.fmt.roundoff))

    def render(self, factor: Fraction = Fraction(1)) -> str:
        """Return the script; ``factor``: what its bounds are multiplied by, to see them refused."""
        goals = " /\\ ".join(f"{what} <= {dyadic(limit * factor)}" for what, limit in self.goals)
        given = " /\\ ".join(self.given)
        return f"# {self.name}\n{self.lines}{{ {given}{' ->' * bool(given)}\n{goals} }}\n{self.hints}"

    @property
    def content(self) -> tuple[object, ...]:
        """Return what makes it the same as another."""
        return self.order, self.lines, *self.given, *self.goals


def scripts(settings: Sequence[Setting] = SETTINGS) -> Iterator[Script]:
    """Yield the scripts of every operator, order and region, in every setting, each text once."""
    for setting, (name, scalars) in itertools.product(settings, PROGRAMS):
        of, seen = operator(name), set()
        for order, program in of.programs(scalars).items():
            for exact, power in itertools.product((True, False), (False, True)):
                for region in _regions(of, scalars, program, partial(Trace, setting, exact, power)):
                    for script in _of_region(of, scalars, order, program, Trace(setting, exact, power, region)):
                        if script.content not in seen:
                            seen.add(script.content)
                            yield script


def _regions(of: Operator, scalars: Scalars, program: Program, trace: Any) -> Iterator[dict[str, tuple[bool, bool]]]:
    """Yield every way in which the comparisons of a program, and of the documented one, can come out."""
    waiting: list[dict[str, tuple[bool, bool]]] = [{}]
    while waiting:
        region = waiting.pop()
        m = trace(region)
        for one in (program, of.documented(scalars)):
            one(m, *map(m.load, of.variables(scalars)))
        if not m.open:
            yield region
            continue
        key, ways = next(iter(m.open.items()))
        waiting += [{**region, key: way} for way in _COMES_OUT[:ways]]


def _of_region(of: Operator, scalars: Scalars, order: str, program: Program, m: Trace) -> Iterator[Script]:
    setting, variables = m.setting, [m.load(name) for name in of.variables(scalars)]
    y = of.documented(scalars)(replace(m, exactly=True, lines=[], given=[]), *variables).exact
    result = m.store(program(m, *variables))
    region = ", ".join(
        f"{key}{'' if computed else ', rounded to equal'}" for key, (computed, true) in m.region.items() if true
    )
    formats = {setting.fmt.name: setting.fmt, setting.inner.name: setting.inner}
    rounding = [f"@{n} = float<{f.precision}, {f.emin - f.precision + 1}, ne>;" for n, f in formats.items()]
    z, c, w = result.before, result.after, result.exact
    difference = "" if " - " not in y + w else "exact" if m.exact_difference else "rounded"
    script = Script(
        of.name, str(scalars.get("reduction_type", "")), order, setting, difference, m.power,
        len(result.errors), region,
        "\n".join([*rounding, *m.lines, ""]), m.given, (), "",
    )  # fmt: skip
    nonzero = ", ".join(f"{name} <> 0" for name in of.variables(scalars) if any(f"|{name}| in" in g for g in m.given))
    relative = [(f"|{z} -/ {w}|", bound(result.errors)), (f"|{c} -/ {w}|", bound(result.all_errors))]
    same = f"{y} - {w} -> 0 {{ {nonzero} }};\n" if w != y else ""
    if same:
        relative.append((f"|{y} - {w}|", Fraction(0)))
    yield replace(script, goals=tuple(relative), hints=same)
    u = Fraction(setting.fmt.roundoff)
    if result.last == u:
        ulp = ((f"|{c} - {w}|", figure(setting.fmt, result.errors) * 2 * u),)
        given = [*m.given, f"|{w}| in [1, 2]"]
        yield replace(script, given=given, goals=ulp, hints=f"$ {z} in (-2, -1, 1, 2);\n")


def scaling(fmt: Format) -> Iterator[str]:
    """Yield scripts: a number of the format times a power of two, where that is normal, is a number of the format."""
    powers = range(fmt.emin, fmt.emax + 1)
    for first in range(0, len(powers), 8):
        some = {f"v{i}": (f"v{i} * 1b{power}") for i, power in enumerate(powers[first : first + 8])}
        lines = [f"@rnd = float<{fmt.precision}, {fmt.emin - fmt.precision + 1}, ne>;"]
        lines += [f"{v} = rnd(x{v});" for v in some]
        least, most = dyadic(Fraction(fmt.smallest_normal)), dyadic(Fraction(fmt.largest))
        given = " /\\ ".join(f"|{scaled}| in [{least}, {most}]" for scaled in some.values())
        goals = " /\\ ".join(f"rnd({scaled}) - {scaled} in [0, 0]" for scaled in some.values())
        yield "\n".join([*lines, f"{{ {given} ->\n{goals} }}\n"])


def accepts(text: str) -> str:
    """Run Gappa on a script; returns "" where it proves all of it without a warning, and what it says otherwise."""
    command = ["gappa", "-Eprecision=200", "-Eno-auto-dichotomy"]
    try:
        found = subprocess.run(command, check=False, input=text, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no proof in {_SECONDS} seconds"
    return found.stderr.strip() if not found.returncode else found.stderr.strip() or f"exit code {found.returncode}"


def prove(texts: Sequence[str]) -> list[str]:
    """Run Gappa on scripts, two at a time; returns what it says of each."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(accepts, texts))


def installed() -> bool:
    """Tell whether Gappa can be run."""
    return shutil.which("gappa") is not None


@dataclass(frozen=True)
class Proof:
    """What Gappa said of the scripts of one order: how many there are, and those that it refused.

    ``ulp``: the figure of a result, None where the last operation is not correctly rounded.
    """

    key: tuple[str, str, str, str]
    roundings: int
    ulp: Fraction | None
    scripts: int
    refused: tuple[str, ...]


def _column(entry: tuple[tuple[str, str, str, str], Any]) -> tuple[bool, bool]:
    return entry[0][3] != "any", entry[0][2] != "exact"


def proofs(settings: Sequence[Setting] = SETTINGS) -> list[Proof]:
    """Prove all scripts; an order's regions, and its operators, are one proof: of the most roundings among them."""
    made = list(scripts(settings))
    said = prove([script.render() for script in made])
    found: dict[tuple[str, str, str, str], list[tuple[Script, str]]] = {}
    for script, words in zip(made, said, strict=True):
        divisor = "a power of two" if script.power else "any"
        for difference in [script.difference] if script.difference else ["exact", "rounded"]:
            found.setdefault((script.setting.name, script.order, difference, divisor), []).append((script, words))
    result = []
    for key, entries in sorted(found.items(), key=_column):
        ulps = [s.ulp for s, _ in entries if s.ulp is not None]
        result.append(Proof(key, max(s.roundings for s, _ in entries), max(ulps, default=None), len(entries),
                            tuple(f"{s.name}: {words}" for s, words in entries if words)))  # fmt: skip
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.gappa", description=__doc__)
    parser.add_argument("--scripts", type=Path, metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    made = [(s.name, s.render()) for s in scripts()]
    for fmt in (FP16, FP32):
        made += [(f"scaling {fmt.name} {i}", text) for i, text in enumerate(scaling(fmt))]
    texts = [text for _, text in made]
    if chosen.scripts:
        chosen.scripts.mkdir(parents=True, exist_ok=True)
        for number, text in enumerate(texts):
            (chosen.scripts / f"{number:04}.g").write_text(text)
    if not installed():
        print(LACKING, file=sys.stderr)
        return 2
    refused = [f"{name}: {said}" for (name, _), said in zip(made, prove(texts), strict=True) if said]
    print(*refused, sep="\n", end="\n" * bool(refused))
    print(f"{len(made) - len(refused)} of {len(made)} scripts proved")
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
