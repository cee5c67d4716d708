"""Defects at sizes, values and in states that a grid of cases need not hold: what kills each, and after how long.

``python -m tests.mutants.beyond [--only NAME...] [--seconds 60] [--out FILE.md]``: validates each build with the
committed suite and with a suite of a private seed, then fuzzes it until something fails. Exit code 1 if one survives
all three, or the committed suite without a reason.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from golden.cli import cli
from tests.campaign import in_processes, made, parser, publish, table, told
from tests.mutants import calling
from tests.mutants.nll import FP_STORE as NLL_STORE
from tests.mutants.nll import FP_WEIGHT, LABEL
from tests.mutants.nll import HP_STORE as NLL_HP_STORE
from tests.mutants.run import FOLDER
from tests.mutants.smoothl1 import FP_CALL, FP_DIFF, HP_BETA, HP_DIFF, HP_STORE
from tests.mutants.variant import NLL, SMOOTHL1, Edit, Variant, build, defect

#: The loops, whose ends are moved.
_FP_LOOP = FP_CALL + "\n    for (size_t i = begin; i < end; i++) {"
_HP_LOOP = HP_BETA + "\n    for (size_t i = begin; i < end; i++) {"
_AT = "const size_t at = i * call.class_num + (size_t)label;\n        "
_ROW = "const size_t row = (size_t)((float)at * (1.0f / (float)call.class_num));\n        "
_FP_COPY = FP_CALL.replace("const struct", "struct", 1)


def _shorter(loop: str, condition: str) -> Edit:
    """Lose the last element of spans of ``n`` elements where a condition holds."""
    moved = f"i < end - ({condition.replace('n', '(end - begin)')})"
    return Edit(SMOOTHL1, loop, loop.replace("i < end", moved))


def _label(expression: str) -> Edit:
    return Edit(NLL, LABEL, f"const int label = {expression};", 2)


def _fp_diff(condition: str, then: str) -> Edit:
    """Change a difference where a condition holds."""
    return Edit(SMOOTHL1, FP_DIFF, f"{FP_DIFF.removeprefix('const ')}\n        if ({condition}) {then};")


def _fp_beta(condition: str, then: str) -> Edit:
    return Edit(SMOOTHL1, FP_CALL, f"{_FP_COPY}\n    if ({condition}) call.beta = {then};")


SIZES: list[Variant] = [
    defect("beyond-fp-tile-3072", "sizes", "a last whole tile of 3072 loses its last element",
           _shorter(_FP_LOOP, "n && n % 3072 == 0")),
    defect("beyond-hp-tile-640", "sizes", "a fifth block of 128 loses its last element",
           _shorter(_HP_LOOP, "n > 512 && n % 640 == 0")),
    defect("beyond-fp-residue-37", "sizes", "37 elements after several vectors of 64 lose their last",
           _shorter(_FP_LOOP, "n > 128 && n % 64 == 37")),
    defect("beyond-hp-page-2", "sizes", "two elements more than pages of 4096 are one",
           _shorter(_HP_LOOP, "n > 4096 && n % 4096 == 2")),
    defect("beyond-fp-5001", "sizes", "one element more than several thousands is lost",
           _shorter(_FP_LOOP, "n > 5000 && n % 1000 == 1")),
    defect("beyond-nll-row-reciprocal", "sizes", "row = floor(index * (1 / class_num)) in fp32",
           Edit(NLL, NLL_STORE, _AT + _ROW + NLL_STORE.replace("[i *", "[row *"))),
    defect("beyond-nll-tile-128", "sizes", "the last of 128 k classes gets no result",
           Edit(NLL, NLL_HP_STORE, "if (call.class_num % 128 || (size_t)label + 1 < call.class_num) " + NLL_HP_STORE)),
    defect("beyond-nll-bytes", "sizes", "labels packed into signed bytes where there are at most 256 classes",
           _label("call.class_num <= 256 ? (signed char)call.labels[i] : call.labels[i]")),
    defect("beyond-nll-vocabulary", "sizes", "weights of classes from 32,000 up taken from those 32,000 below",
           Edit(NLL, FP_WEIGHT, FP_WEIGHT.replace("[label]", "[label >= 32000 ? label - 32000 : label]"))),
    defect("beyond-nll-chunks", "sizes", "samples from 5000 up take the label of the chunk before",
           _label("call.labels[i >= 5000 ? i - 5000 : i]")),
    defect("beyond-nll-classes-1500", "sizes", "1,501 to 39,998 classes: the last label of a call counts as 0",
           _label("call.class_num > 1500 && call.class_num < 39999 && i + 1 == end ? 0 : call.labels[i]")),
    defect("beyond-nll-few-classes", "sizes", "101 to 119 classes: class 99 is taken for 98",
           _label("call.class_num > 100 && call.class_num < 120 && call.labels[i] == 99 ? 98 : call.labels[i]")),
]  # fmt: skip

VALUES: list[Variant] = [
    defect("beyond-hp-signalling", "values", "a signalling NaN in x1 counts as an infinity",
           Edit(SMOOTHL1, HP_DIFF, HP_DIFF.replace("from_half(call.x1[i])",
             "(((const uint16_t *)call.x1)[i] == 0x7d00 ? 1e30f : from_half(call.x1[i]))"))),
    defect("beyond-fp-payload", "values", "a NaN in x1 whose lowest bit is set counts as zero",
           _fp_diff("diff != diff && ((const uint32_t *)call.x1)[i] & 1", "diff = 0")),
    defect("beyond-fp-both-large", "values", "differences of numbers above 1000 are 0.01 % too large",
           _fp_diff("call.x1[i] > 1000 && call.x2[i] > 1000 && diff > 0", "diff *= 1.0001f")),
    defect("beyond-hp-minus-infinity", "values", "minus infinity in x2 is not above the upper branch",
           Edit(SMOOTHL1, HP_STORE, HP_STORE.replace("diff > beta",
             "diff > beta && ((const uint16_t *)call.x2)[i] != 0xfc00"))),
    defect("beyond-nll-weight-above-8", "values", "weights between 8 and 9 count as 8",
           Edit(NLL, FP_WEIGHT, FP_WEIGHT + "\n        if (factor > 8 && factor < 9) factor = 8;")),
]  # fmt: skip

SCALARS: list[Variant] = [
    defect("beyond-fp-beta-above-1", "scalars", "betas above 1 count as 1", _fp_beta("call.beta > 1", "1")),
    defect("beyond-hp-beta-below", "scalars", "betas below 0.1 count as 0.1",
           Edit(SMOOTHL1, HP_BETA, f"{HP_BETA.removeprefix('const ')}\n    if (beta < 0.099f) beta = 0.1f;")),
    defect("beyond-fp-beta-table", "scalars", "betas of 0.8 to 0.95 are rounded down to twentieths",
           _fp_beta("call.beta > 0.8f && call.beta < 0.95f", "(float)(int)(call.beta * 20) / 20")),
    defect("beyond-nll-total-1000", "scalars", "totals of 100 to 10,000 are halved",
           Edit(NLL, NLL_STORE, "const float total = call.total_weight[0];\n        if (call.reduction_type == MEAN "
             "&& total > 100 && total < 10000) factor *= 2;\n        " + NLL_STORE)),
]  # fmt: skip

BEYOND = [*SIZES, *VALUES, *SCALARS, *calling.MUTANTS]

#: Those that the committed suite lets live, and why it need not have the case.
FUZZ_ONLY = {
    "beyond-nll-few-classes": "one label of a few class counts: as arbitrary as any other of 10^9",
    "beyond-fp-both-large": "numbers of an order of magnitude that the page's users seldom have, next to each other",
    "beyond-fp-beta-table": "an interval of betas between those that are listed and drawn",
}


@dataclass(frozen=True)
class Killed:
    """What a build came to: whether the committed suite and a private seed reject it; seconds of fuzzing, or -1."""

    name: str
    default: bool
    seed: bool
    fuzz: float
    seconds: float
    skipped: str = ""

    @property
    def verdict(self) -> str:
        """What rejects it."""
        by = [name for name, killed in (("committed suite", self.default), ("private seed", self.seed)) if killed]
        return ", ".join([*by, *([f"fuzzing after {self.fuzz:.0f} s"] if self.fuzz >= 0 else [])])

    @property
    def wrong(self) -> str:
        """Why that is not as it must be."""
        if not self.verdict:
            return "nothing rejects it"
        return "" if self.default or self.name in FUZZ_ONLY else "the suite lets it live, for no reason that is given"


def judge(variant: Variant, seconds: float, folder: Path = FOLDER) -> Killed:
    """Judge a build in all three ways."""
    begun, library = time.monotonic(), str(build(variant, folder))
    with tempfile.TemporaryDirectory() as scratch:
        default = _rejects("validate", library, "--jobs", "1", "--out", scratch)
        seed = _rejects("validate", library, "--jobs", "1", "--seed", "a private seed", "--out", scratch)
        started = time.monotonic()
        words = ("--fail-fast", "--jobs", "1", "--time", f"{seconds:g}", "--seed", variant.name)
        found = _rejects("fuzz", library, *words, "--out", scratch)
        now = time.monotonic()
        return Killed(variant.name, default, seed, now - started if found else -1.0, now - begun)


def _rejects(*words: str) -> bool:
    done = CliRunner().invoke(cli, [*words, "--quiet"])
    if done.exit_code not in (0, 1):
        raise RuntimeError(f"{' '.join(words)}: {done.exit_code} {done.output}") from done.exception
    return done.exit_code == 1


def render(found: Sequence[Killed], seconds: float, since: float) -> str:
    """Return the report as Markdown; ``since`` as for :func:`made`."""
    by_name = {v.name: v for v in BEYOND}
    lines = [
        "# Beyond the grid",
        "",
        "Defective builds at sizes, values, scalars and in states that a grid of cases need not hold, after public bug "
        "reports, and what rejects each: the committed suite `core`, the same suite with a private seed, or "
        f"`golden fuzz` with one process within {seconds:g} s. {sum(not k.wrong for k in found)} of {len(found)} are "
        f"rejected, {made(since)}.",
        "",
    ]
    return "\n".join(
        lines
        + table(
            ["build", "of", "defect", "committed suite", "private seed", "fuzzing", "why not in the suite"],
            (
                (
                    f"`{k.name}`",
                    by_name[k.name].family,
                    by_name[k.name].description,
                    *("rejected" if killed else "no" for killed in (k.default, k.seed)),
                    f"after {k.fuzz:.0f} s" if k.fuzz >= 0 else "no",
                    "" if k.default else FUZZ_ONLY.get(k.name, ""),
                )
                for k in found
            ),
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign."""
    options = parser("tests.mutants.beyond", __doc__, "builds")
    options.add_argument("--seconds", type=float, default=60.0, help="of fuzzing a build, at most")
    given = options.parse_args(arguments)
    chosen = [v for v in BEYOND if not given.only or v.name in given.only]
    started = time.monotonic()
    outcomes = told(in_processes(given.jobs, judge, [(v, given.seconds) for v in chosen]), len(chosen))
    return publish(render([outcomes[v.name] for v in chosen], given.seconds, started), given.out, outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
