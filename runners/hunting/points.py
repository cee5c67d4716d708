"""Points of one entry point, computed through a session: bit patterns of operands in, how bad the results are out."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from golden.case import Case
from golden.errors import TargetError
from golden.files.vectors import case_digest
from golden.formats import Array
from golden.judge import Kind
from golden.judge import judge as judge_case
from golden.operator import EntryPoint, Operands
from golden.pointwise import dense
from golden.terms import Terms
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.session import Session

#: Points of a call that writes as many other elements for each, or that share a number.
SHARING = 64


class Points:
    """One entry point with its scalars, as a function from operands to errors."""

    def __init__(
        self, session: Session, entry: EntryPoint, scalars: dict[str, float | str], terms: Terms, half_abi: HalfAbi,
        numbering: str,
    ) -> None:  # fmt: skip
        self.entry, self.fmt, self.terms = entry, entry.fmt, terms
        self.view, page = dense(entry.operator.name), entry.operator
        unused = page.untouched(scalars)
        #: Operands that vary, each a column of the bit patterns.
        self.varying = [p for p in page.numbers if p.name not in unused]
        self.names = [p.name for p in self.varying]
        self._unused = [p.name for p in page.numbers if p.name in unused]
        self._arrangement = page.arrangements(scalars)[-1]
        self._single = page.single(self._arrangement, scalars)
        #: Columns that one call has a single number of: points that share them are computed together.
        self.shared = [i for i, name in enumerate(self.names) if name in self._single]
        self.evaluated = 0
        self._session, self._scalars = session, scalars
        self._abi, self._enum = half_abi, numbering

    def near(self, column: int) -> float:
        """Return the scalar near which a column's fp32 numbers matter, or 0 where any do."""
        name = self.varying[column].domain.near
        return float(self._scalars[name]) if name else 0.0

    def scalars(self, n: int) -> dict[str, int | float | str]:
        """Scalars of a call with n points, each an element."""
        return {**self.entry.operator.sizes(self._arrangement, n), **self._scalars}

    def operands(self, bits: Array) -> dict[str, Array]:
        """Operands of a call, from bit patterns [points, operand]; those it has one number of, from the first."""
        columns = {k: v[:1] if k in self._single else v for k, v in self._columns(bits).items()}
        return {**columns, **{name: make(len(bits)) for name, make in self._arrangement.index.items()}}

    def _columns(self, bits: Array) -> dict[str, Array]:
        """Return the numbers of every point, from bit patterns [points, operand]."""
        columns = {name: self.fmt.from_bits(bits[:, i].copy()) for i, name in enumerate(self.names)}
        return columns | {name: np.ones(len(bits), self.fmt.dtype) for name in self._unused}

    def case(self, bits: Array) -> Case:
        """The case of one point."""
        bits = self._padded(bits)
        scalars, operands = self.scalars(len(bits)), self.operands(bits)
        operator = self.entry.operator
        golden = operator.oracle(self.fmt, scalars, operands)
        prefix = f"{operator.name}/{self.fmt.name}/{operator.group(scalars)}/hunted/n={len(bits)}"
        tier: Literal["required"] = "required"
        unnamed = Case(prefix, operator, self.fmt.name, tier, "hunted", ("rounding",), scalars, operands, golden)
        digest = case_digest(unnamed)[:10]
        return Case(
            f"{prefix}/{digest}", operator, self.fmt.name, tier, "hunted", ("rounding",), scalars, operands, golden
        )

    def badness(self, bits: Array) -> Array:
        """Return how bad every point is: its error in ulp; more than any error where it fails without a distance.

        Raises :class:`TargetError` if the call does not return.
        """
        output = np.empty(len(bits), self.fmt.dtype)
        for part in self._calls(bits):
            output[part] = self._call(bits[part])
        return self.errors(self._columns(bits), output)[0]

    def _calls(self, bits: Array) -> Iterator[Array]:
        """Yield the points of each call that computes some."""
        if not self.shared:
            yield from _cut(np.arange(len(bits)), SHARING if self._arrangement.stride(2) > 1 else len(bits))
            return
        keys, which = np.unique(bits[:, self.shared], axis=0, return_inverse=True)
        for group in range(len(keys)):
            yield from _cut(np.flatnonzero(which.reshape(-1) == group), SHARING)

    def _call(self, bits: Array) -> Array:
        n = len(bits)
        self.evaluated += n
        bits = self._padded(bits)
        call = call_for(
            self.entry, self.scalars(len(bits)), self.operands(bits), [self._session.manner.invocation(one_core=True)],
            half_abi=self._abi, numbering=self._enum,
        )  # fmt: skip
        outcome = self._session.run(call)[0]
        if outcome.status != "ok":
            raise TargetError(f"{outcome.message} Validate the library first: 'golden validate' finds such calls.")
        return np.frombuffer(outcome.output, self.fmt.dtype)[:: self._arrangement.stride(len(bits))][:n]

    def _padded(self, bits: Array) -> Array:
        """Return the points, some of them twice where the platform's calls have to be longer."""
        return np.resize(bits, (self._session.manner.lengths.up(len(bits)), bits.shape[1]))

    def errors(self, operands: Operands, output: Array) -> tuple[Array, Array, Array]:
        """Return (badness, legal bound in ulp, whether it fails) of every point."""
        n = output.size
        given = {k: np.broadcast_to(v, n) for k, v in operands.items() if k not in self._arrangement.index}
        scalars = self.view.call_scalars(self._scalars, n)
        golden = self.view.oracle(self.fmt, scalars, given)
        case = Case("", self.view, self.fmt.name, "required", "hunted", (), scalars, given, golden)
        judged = judge_case(case, output, self.terms)
        bad = np.where(np.isnan(golden.residual) | np.isinf(golden.value), 0.0, np.abs(golden.residual)).astype(
            np.float64
        )
        bound, fails = np.full(n, 0.5), np.zeros(n, bool)
        bad[judged.at] = np.where(np.isnan(judged.signed), 0.0, np.abs(judged.signed))
        bound[judged.at] = np.maximum(judged.bound, 0.5)
        fails[judged.at[judged.failing]] = True
        lost = judged.at[np.isin(judged.kind, (Kind.NAN, Kind.INFINITY, Kind.NONZERO))]
        bad[lost] = 2.0**300
        # What fails is worse than whatever does not, however large that is.
        bad[fails] = np.maximum(bad[fails], 1.0) * 2.0**300
        return bad, bound, fails


def _cut(points: Array, size: int) -> Iterator[Array]:
    for start in range(0, len(points), size):
        yield points[start : start + size]
