"""Sweeps beside the runs of their builds: which group and space a sweep is of, and whose build it judged."""

from collections.abc import Sequence

from golden.files.sweeps import SweepResult
from golden.operator import operators
from golden.results import Number, Results
from reports import text
from reports.messages import tr

#: Parameters that say how a space was sampled, not where it lies.
_SAMPLING = ("samples", "seed")


def group(sweep: SweepResult) -> str:
    """Return the row of the report that a sweep stands beside, such as ``beta=0.5``."""
    scalars = {name: float.fromhex(v.hex) if isinstance(v, Number) else v for name, v in sweep.parameters.items()}
    known = operators().get(sweep.operator)
    kinds = {"real": float, "choice": str}
    if known is not None and all(isinstance(scalars.get(s.name), kinds.get(s.kind, object)) for s in known.scalars):
        return known.group(scalars)
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in scalars.items()
    )


def space(sweep: SweepResult) -> str:
    """Return the space and what was held fixed in it, such as ``diff-dy, x2 = 0.0``."""
    scalars = {s.name for s in operators()[sweep.operator].scalars} if sweep.operator in operators() else set()
    fixed = [
        f"{name} = {value.decimal if isinstance(value, Number) else value}"
        for name, value in sweep.parameters.items()
        if name not in scalars and name not in _SAMPLING
    ]
    return ", ".join([sweep.space, *fixed])


def extent(sweep: SweepResult) -> str:
    """Say how much of the space was computed."""
    points = text.count(sweep.points)
    if sweep.exhaustive:
        exponent = sweep.points.bit_length() - 1
        return tr("all {points} points", points=f"2^{exponent}" if sweep.points == 1 << exponent else points)
    return tr("{points} points, a sample", points=points)


def maximum(sweep: SweepResult) -> str:
    """Write the largest error as a bound: an upper one for the whole space, a lower one for a sample."""
    mark = text.at_most if sweep.exhaustive else text.at_least
    return mark(sweep.tally.max_ulp, sweep.tally.measured)


def grade(sweep: SweepResult) -> str:
    """Return the grade; points outside every legal bound, or broken contracts, leave none but ``fails``."""
    return "fails" if sweep.bound_exceeded or sweep.broken else sweep.tally.grade


def build_key(judged: Results | SweepResult) -> str:
    """Return what two files have in common that are of the same build."""
    return judged.library.sha256 or judged.target


def ordered(sweeps: Sequence[SweepResult]) -> list[SweepResult]:
    """Order sweeps by operator, dtype, group, space and build, whatever the order of the files."""
    return sorted(
        sweeps,
        key=lambda s: (
            s.operator,
            s.dtype,
            group(s),
            s.space,
            space(s),
            text.build_label(s),
            build_key(s),
            s.symbol,
            s.points,
        ),
    )
