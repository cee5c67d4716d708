"""Shows for every operator, dtype and legal order that its derived bound is never exceeded, and how near errors come.

``python -m tests.mutants.bounds [--jobs 2] [--samples N] [--out FILE.md]``: compiles the bundled kernels in each legal
order, sweeps them (fp16: every bit pattern of two operands; fp32: a sample) and searches for the worst inputs of
each order, and has Gappa prove the figures (:mod:`tests.mutants.gappa`). Exit code 1 if a result lies outside its
bound, or a proof is refused.

The spaces are chosen so that no order overflows in an intermediate where the documented formula does not, which is
outside what orders are legal on: product-first has a divisor below 1, gradient-first one above.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from generators.extremal import error, worst_differences, worst_products
from generators.stream import Stream
from golden.formats import FORMATS, Array, Format
from golden.results import Element
from golden.scaled_product import EVALUATIONS, ORDERS
from runners.sweeping.engine import open_work, sweep
from runners.sweeping.processes import Processes
from runners.sweeping.space import Space, make_space
from tests.mutants import gappa, nll, smoothl1
from tests.mutants.legal import LEGAL
from tests.mutants.run import FOLDER
from tests.mutants.variant import NLL, SMOOTHL1, Edit, Variant, build

#: Roundings of an order before its last one, where a is exact (golden/scaled_product.py, "Relative part").
ROUNDINGS = dict.fromkeys(EVALUATIONS, 1) | {name: 2 for name in EVALUATIONS if name.startswith("reciprocal")}
#: Divisors that the search for worst inputs tries.
DIVISORS = 200
FLAGS = ("-O3", "-march=native")


def figure(fmt: Format, order: str, rounded: bool) -> float:
    """Return the largest error in ulp of an order while nothing underflows; ``rounded``: a = x1 - x2 was.

    golden/scaled_product.py, "Last rounding".
    """
    k = ROUNDINGS[order] + rounded
    return 1.5 if k == 1 else k * (1 + fmt.roundoff) ** (k - 1) + 1


def kernels(order: str) -> Variant:
    """Return the bundled kernels with their arithmetic in one order, every operation rounded."""
    if order == "formula":
        return Variant("order-formula", "legal", "the page's order", (), FLAGS)
    if order == "gradient-first":
        edits = (
            Edit(SMOOTHL1, smoothl1.FP_QUOTIENT, "const float quotient = dy / call.beta;"),
            Edit(SMOOTHL1, smoothl1.FP_INSIDE, "const float inside = quotient * diff;"),
            Edit(SMOOTHL1, smoothl1.HP_QUOTIENT, "const float quotient = round_to_half(dy / beta);"),
            Edit(SMOOTHL1, smoothl1.HP_INSIDE, "const float inside = round_to_half(quotient * diff);"),
            Edit(NLL, "const float gradient = call.loss_grad", "float gradient = call.loss_grad"),
            Edit(NLL, nll.FP_MEAN, "gradient = gradient / call.total_weight[0];"),
            Edit(NLL, "const float gradient = from_half", "float gradient = from_half"),
            Edit(NLL, nll.HP_MEAN, "gradient = round_to_half(gradient / from_half(call.total_weight[0]));"),
        )
        return Variant("order-gradient-first", "legal", "(b / s) * a", edits, FLAGS)
    found = next(v.variant for v in LEGAL if v.variant.name == order)
    return Variant(f"order-{order}", "legal", found.description, found.edits, FLAGS)


@dataclass(frozen=True)
class Swept:
    """One sweep of one order."""

    order: str
    space: Space
    what: str
    points: int
    exhaustive: bool
    misrounded: int
    outside: int
    seconds: float
    first: Element | None


def spaces(order: str, samples: int) -> Iterator[tuple[Space, str]]:
    """Yield the spaces that an order is swept over, with a description of each."""
    s, power = (1.3, 2.0) if order == "gradient-first" else (0.1, 0.5)
    for beta in (s, power):
        yield make_space("diff-dy", "smoothl1lossgrad", "fp16", beta=beta), f"all (diff, dy), beta {beta}"
    dy = 0.7
    yield (
        make_space("pairs", "smoothl1lossgrad", "fp16", beta=s, fixed={"dy": dy}),
        f"all (x1, x2), beta {s}, dy {dy}",
    )
    total = 0.7 if order == "product-first" else 3.0
    yield (
        make_space("g-w", "nlllossgrad", "fp16", reduction="mean", fixed={"total_weight": total}),
        f"all (g, w), mean, total_weight {total}",
    )
    for beta in (0.1, 0.7, 0.5):
        yield (
            make_space("random", "smoothl1lossgrad", "fp32", beta=beta, samples=samples),
            f"random (x1, x2, dy), beta {beta}",
        )
    for total in (3.0, 0.7):
        # One gradient serves a block: small blocks give many gradients.
        fixed = {"total_weight": total}
        space = make_space(
            "random", "nlllossgrad", "fp32", reduction="mean", fixed=fixed, samples=samples, block=1 << 14
        )
        yield space, f"random (g, w), mean, total_weight {total}"


def sweeps(order: str, samples: int, jobs: int, dtype: str | None = None) -> Iterator[Swept]:
    """Sweep one order over its spaces."""
    library = build(kernels(order), FOLDER)
    for space, what in spaces(order, samples):
        if dtype in (None, space.dtype):
            work, file = open_work(str(library), space)
            found = sweep(order, work, file, Processes(jobs))
            yield Swept(order, space, what, found.points, found.exhaustive, found.tally.misrounded,
                        found.bound_exceeded, found.seconds, found.first_failure)  # fmt: skip


@dataclass(frozen=True)
class Worst:
    """The worst input of an order that the search found; ``rounded``: x1 - x2 was rounded."""

    order: str
    dtype: str
    rounded: bool
    ulp: float
    inputs: str


def worst(order: str, fmt: Format, rounded: bool) -> Worst:
    """Search for the worst input of an order over many divisors, in every one of them."""
    stream = Stream(f"bounds/{order}/{fmt.name}/{rounded}")
    significands = 1 + stream.integers(DIVISORS, 1, 1 << (fmt.precision - 1)) * 2.0 ** (1 - fmt.precision)
    # Reciprocals are worst just above a power of two: of divisors just below one.
    edge = 2 - np.arange(1, 41) * 2.0 ** (1 - fmt.precision)
    best = Worst(order, fmt.name, rounded, 0.0, "")
    for s in np.concatenate([significands, edge]).tolist():
        found: tuple[Array, ...] = (worst_differences if rounded else worst_products)(stream, fmt, s, order, 1, 1024)
        first, *_, last = found
        ulp = float(error(fmt, s, order, last, first, found[1] if rounded else None)[0])
        if ulp > best.ulp:
            names = ("x1", "x2", "b", "s") if rounded else ("a", "b", "s")
            text = ", ".join(f"{k} = {_hex(v)}" for k, v in zip(names, [*(float(v[0]) for v in found), s], strict=True))
            best = Worst(order, fmt.name, rounded, ulp, text)
    return best


def _hex(value: float) -> str:
    mantissa, exponent = value.hex().split("p")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + "p" + exponent


HEAD = """# Derived bounds, tried

Written by `make bounds`. The bounds are derived in `golden/scaled_product.py` and held by the judge element by element,
underflow terms included. The kernels are the bundled ones with their arithmetic in each legal order, compiled
for this machine; no figure here is of a DSP.

## Never exceeded

Private entry points. *outside*: results outside the bound of the widest legal order. fp16 rows hold every bit pattern
of both operands; fp32 rows are samples.

| operator | dtype | order | inputs | points | exhaustive | misrounded | outside |
|---|---|---|---|---:|---|---:|---:|
"""
SEARCHED = f"""
## How near errors come

The worst inputs of a * b / s that `generators/extremal.py` finds over {DIVISORS + 40} divisors s, where nothing
underflows: the figure that the theory gives, and the largest error seen. For SmoothL1LossGrad a = x1 - x2, b = dy,
s = beta; for NLLLossGrad with mean a = weight, b = loss_grad, s = total_weight, and nothing is rounded before.

| dtype | order | x1 - x2 | bound, ulp | worst seen, ulp | input |
|---|---|---|---:|---:|---|
"""


PROVED = """
## Proved

[Gappa](https://gappa.gitlabpages.inria.fr) proves it; `tests/mutants/gappa.py` writes its scripts from the programs
that the judge evaluates: for each order, format and region (beyond beta, within, rounded to it). With k roundings
before the last one, the number before that is within ((1 + u)^k - 1) |y| of y, the result within
((1 + u)^(k + 1) - 1) |y|, and within the figure in ulp. A unit with another figure F: 2 F u instead of u.

"""
PROVED_TABLE = """Figures in ulp, by x1 - x2 and divisor s. All are proved, unless a cell says *refused*, and so are the
relative bounds; a dash: the last operation is not correctly rounded. Every figure of the table above is here.

| arithmetic | orders | exact | rounded | exact, s = 2^n | rounded, s = 2^n |
|---|---|---:|---:|---:|---:|
"""
NOT_PROVED = """
Given, not proved: nothing overflows, and what is rounded is twice the smallest normal number at least; y is in [1, 2]
or [-2, -1], other binades are that one, scaled; rounding is monotonic, so comparisons come out alike or equal. Derived
only: what underflow adds, and the interval of a single element. By exhaustion: fp16 rows that say *yes*, at their
divisor.
"""


def proved(found: Sequence[gappa.Proof], scaled: Mapping[str, tuple[int, int]]) -> str:
    """Render what Gappa has proved; ``scaled``: of the lemmas on powers of two, by format, how many and of how many."""
    if not found:
        return f"{PROVED}Not tried: {gappa.LACKING}.\n"
    cells: dict[tuple[str, str], list[str]] = {}
    for row in found:
        text = "-" if row.ulp is None else f"{float(row.ulp):.5g}"
        cells.setdefault(row.key[:2], []).append(text + " refused" * bool(row.refused))
    alike: dict[tuple[str, ...], list[str]] = {}
    for (name, order), texts in cells.items():
        alike.setdefault((name, *texts), []).append(order)
    rows = [f"| {name} | {', '.join(orders)} | {' | '.join(texts)} |\n" for (name, *texts), orders in alike.items()]
    lemmas = ", ".join(f"{dtype} {done} of {of}" for dtype, (done, of) in scaled.items())
    count = f"{len(list(gappa.scripts()))} scripts, and {lemmas}"
    scaling = f"{count} for the lemma that a number times a power of two is a number.\n"
    return "".join([PROVED, PROVED_TABLE, *rows, "\n", scaling, NOT_PROVED])


def prove() -> tuple[list[gappa.Proof], dict[str, tuple[int, int]]]:
    """Run Gappa on every script; returns nothing, and says why, where it is not installed."""
    if not gappa.installed():
        print(f"proofs are skipped: {gappa.LACKING}", file=sys.stderr)
        return [], {}
    scaled = {}
    for fmt in FORMATS.values():
        said = gappa.prove(list(gappa.scaling(fmt)))
        scaled[fmt.name] = (said.count(""), len(said))
    return gappa.proofs(), scaled


def render(swept: Sequence[Swept], found: Sequence[Worst], proofs: str) -> str:
    """Render the tables."""
    first = [
        f"| {row.space.operator} | {row.space.dtype} | {row.order} | {row.what} | {row.points:,} "
        f"| {'yes' if row.exhaustive else 'no'} | {row.misrounded:,} | {row.outside:,} |\n"
        for row in sorted(swept, key=lambda r: (r.space.operator, r.space.dtype))
    ]
    second = [
        f"| {row.dtype} | {row.order} | {'rounded' if row.rounded else 'exact'} "
        f"| {figure(FORMATS[row.dtype], row.order, row.rounded):.4f} | {row.ulp:.4f} | `{row.inputs}` |\n"
        for row in found
    ]
    return "".join([HEAD, *first, SEARCHED, *second, proofs])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.bounds", description=__doc__)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--samples", type=int, default=10**8)
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    chosen = parser.parse_args(arguments)
    searched = [worst(o, fmt, r) for fmt in FORMATS.values() for o in ORDERS for r in (False, True)]
    swept = []
    for row in (r for order in ORDERS for r in sweeps(order, chosen.samples, chosen.jobs)):
        swept.append(row)
        print(f"{row.seconds:6.1f} s {row.order} {row.space.dtype} {row.what}: {row.outside} outside", file=sys.stderr)
        if row.first is not None:
            print(f"  {row.first}", file=sys.stderr)
    found, scaled = prove()
    refused = [name for proof in found for name in proof.refused]
    print(*refused, sep="\n", file=sys.stderr)
    text = render(swept, searched, proved(found, scaled))
    print(text)
    if chosen.out:
        chosen.out.write_text(text)
    missing = any(done < of for done, of in scaled.values())
    return int(any(row.outside for row in swept) or bool(refused) or missing)


if __name__ == "__main__":
    sys.exit(main())
