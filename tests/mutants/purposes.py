"""What each size and each scalar of the suite core is there for, and which mutants nothing else kills.

``python -m tests.mutants.run --purposes docs/core.md`` writes the table: every case is in one row of sizes and in one
row of scalars, and a mutant counts as killed by a row alone if no case outside it fails.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from generators import nlllossgrad as nll
from generators import private
from generators import smoothl1lossgrad as smooth
from golden.case import Head
from tests.campaign import table


class Row(NamedTuple):
    """Cases of an operator: which they are, in words, why they are there, and how they are told."""

    operator: str
    cases: str
    purpose: str
    holds: Callable[[Head], bool]


def _lengths(cases: str, purpose: str, lengths: Iterable[int]) -> Row:
    members = frozenset(lengths)
    return Row(
        "smoothl1lossgrad", cases, purpose, lambda h: h.klass == "length" and int(h.scalars["length"]) in members
    )


def _betas(cases: str, purpose: str, betas: Iterable[float]) -> Row:
    names = frozenset(map(smooth.beta_name, betas))
    return Row("smoothl1lossgrad", cases, purpose, lambda h: smooth.beta_name(float(h.scalars["beta"])) in names)


def _shapes(cases: str, purpose: str, holds: Callable[[int, int], bool], *klasses: str) -> Row:
    def told(h: Head) -> bool:
        return h.klass in (klasses or ("shape",)) and holds(int(h.scalars["batch"]), int(h.scalars["class_num"]))

    return Row("nlllossgrad", cases, purpose, told)


def _totals(cases: str, purpose: str, part: Callable[[str], bool]) -> Row:
    """``part``: tells the name of a total in a case's id, "" where it has none."""
    return Row("nlllossgrad", cases, purpose, lambda h: part(_total_name(h)))


def _total_name(head: Head) -> str:
    return next((part.removeprefix("total=") for part in head.id.split("/") if part.startswith("total=")), "")


_SMALL_SHAPES = {(b, c) for b in nll.BATCHES for c in nll.CLASS_COUNTS}
_LARGE_SHAPES = {*nll.LARGE_SHAPES, *nll.HUGE_SHAPES}
_DRAWN_TOTALS = {f"{total:g}" for total in private.drawn_scalars("nlllossgrad")}

#: Where a case fits several rows it is in the first.
SIZES = (
    _lengths("0 to 65", "every tail of vectors of up to 64 elements, alone and after a whole one",
             smooth.SMALL_LENGTHS),
    _lengths("2 to 32 blocks of 64, one less and one more", "loops that are unrolled or tiled, below, at and above "
             "their step", smooth.BLOCK_LENGTHS),
    _lengths("1000, 4096, 4097", "a length that is no multiple of 64, a page of fp16 twice, and one more",
             smooth.MEDIUM_LENGTHS),
    _lengths("1 or 2 beside pages of 4096 bytes and elements; 2001, 5001, 9001", "copies by pages, by round numbers",
             smooth.PAGE_LENGTHS),
    _lengths("1088 to 2047, every remainder by 64", "tails after many whole blocks, where small calls go another way",
             smooth.REMAINDER_LENGTHS),
    _lengths("3072, 6144, 5003, 10007", "multiples of multiples (six cores, three buffers), and primes",
             smooth.TILE_LENGTHS),
    _lengths("32769, 65537, 262221", "indices of more than 15, 16 and 18 bits",
             (*smooth.LARGE_LENGTHS, smooth.LARGEST_LENGTH)),
    Row("smoothl1lossgrad", "31 and 97, of every class", "two primes: room for the values, tails in both",
        lambda h: int(h.scalars["length"]) in (31, 97)),
    Row("smoothl1lossgrad", "201, three triples in turn", "every lane of every vector sees each triple",
        lambda h: h.klass == "position"),
    Row("smoothl1lossgrad", "others", "real gradients, and enumerations of special values", lambda _: True),
    _shapes("batches 0 to 33 by 1 to 33 classes", "fewer samples than cores, as many, more; rows of every small kind",
            lambda b, c: (b, c) in _SMALL_SHAPES),
    _shapes("labels above 127, 255, 32767 and 65535; up to 65,537 samples", "index widths of labels, samples and "
            "positions", lambda b, c: (b, c) in _LARGE_SHAPES),
    _shapes("63 to 257 samples of 3 classes", "loops over samples, below, at and above blocks of 64",
            lambda b, c: c == 3 and b in {64 * k + d for k in (1, 2, 4) for d in (-1, 0, 1)}),
    _shapes("2 to 5 samples of 20 to 50,257 classes", "numbers of classes that a rounded reciprocal gets wrong, "
            "multiples of 128 and their neighbours, data sets and vocabularies", lambda b, c: c in nll.CLASS_NUMS),
    _shapes("12 samples of 17 classes", "idle classes and repeated labels", lambda b, c: True, "selection"),
    Row("nlllossgrad", "others, as many samples as classes", "each sample a class of its own: room for the values",
        lambda _: True),
)  # fmt: skip
SCALARS = (
    _betas("beta 0.1, 1/3, 0.7", "not exact in binary: division rounds", (0.1, 1 / 3, 0.7)),
    _betas("beta 0.25, 0.5, 1", "powers of two: division is exact", (0.25, 0.5, 1.0)),
    _betas("beta 2^-14, 0.001, 10, 100", "far from 1, measured only", smooth.STRESS_BETAS),
    Row("smoothl1lossgrad", "other betas", "drawn, of three digits, below 0.1, below 1 and above: none that a table "
        "holds; and those of detection heads", lambda _: True),
    Row("nlllossgrad", "reductions sum and none", "total_weight is not used and must not matter",
        lambda h: h.scalars["reduction_type"] != "mean"),
    _totals("totals 3, 10.5, 0.7", "division rounds", lambda name: name in ("3", "10.5", "0.7")),
    _totals("total 64", "a power of two: division is exact", lambda name: name == "64"),
    _totals("total -10.5", "a sum of negative weights", lambda name: name == "-10.5"),
    _totals("total 12288", "ordinary operands underflow", lambda name: name == f"{nll.LARGE_TOTAL:g}"),
    _totals("drawn totals", "of three digits: none that a table holds", lambda name: name in _DRAWN_TOTALS),
    _totals("totals inf and nan", "special values", lambda name: name in ("inf", "nan")),
    Row("nlllossgrad", "others", "the sum of the picked weights, and totals that it is not", lambda _: True),
)  # fmt: skip


def row_of(rows: Sequence[Row], head: Head) -> Row:
    """Return the row that a case is in."""
    return next(row for row in rows if row.operator == head.operator.name and row.holds(head))


def render(heads: Sequence[Head], kills: Mapping[str, Sequence[Head]]) -> str:
    """Return the document; ``kills``: of every mutant, the required cases that fail."""
    lines = [
        "# What the cases of core are there for",
        "",
        "Written by `make mutants`. *Kills*: defective builds that fail in a case of the row, of those in the "
        "project's own table (see [detection power](../reports/published/detection-power.md)) that fail in so few "
        "cases that results list them all: many fail nearly everywhere. *Alone*: those that fail in no case of another "
        "row. A row that kills none alone is there for its argument: another build may have the defect that it looks "
        "for. Classes of values have such a table in detection power.",
        "",
    ]
    for title, rows in (("Sizes", SIZES), ("Scalars", SCALARS)):
        lines += [f"## {title}", ""]
        lines += table(
            ["operator", "cases", "there for", "number", "kills", "alone", "such as"], _rows(rows, heads, kills)
        )
    return "\n".join(lines)


def _rows(
    rows: Sequence[Row], heads: Sequence[Head], kills: Mapping[str, Sequence[Head]]
) -> Iterator[tuple[object, ...]]:
    number = Counter(row_of(rows, head) for head in heads)
    killed = {name: {row_of(rows, head) for head in failing} for name, failing in kills.items()}
    for row in rows:
        alone = [name for name, found in killed.items() if found == {row}]
        some = ", ".join(f"`{name}`" for name in alone[:2])
        every = sum(row in found for found in killed.values())
        yield row.operator, row.cases, row.purpose, number[row], every, len(alone), some
