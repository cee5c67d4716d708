"""The engine of ``golden hunt``: search for the input on which a build is worst, shrunk to one readable element.

A seeded evolution, because a call computes thousands of candidates for the price of one: keep the points with the
largest errors, vary their bit patterns (flip bits, step to neighbours, exchange operands, move exponents), call again.
The winner is then made simple, operand by operand, as long as it stays as bad: fewer significant bits, exponents nearer
to zero. What remains is a case of one element that ``validate --vectors`` and ``show --vectors`` take.
Nothing but the seed and the build decides what is found.
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from golden.case import Case
from golden.errors import TargetError, UsageError
from golden.formats import FP16, Array, Format, is_power_of_two
from golden.judge import Kind
from golden.judge import judge as judge_case
from golden.operator import EntryPoint, Operands, Operator, entry_points
from golden.vectorfile import case_digest, write_vectors
from runners.dense import dense
from runners.library import HalfAbi, LibrarySession, call_for
from runners.probe import probe_half_abi
from runners.protocol import Invocation, Session

#: Candidates a call, and how many of them live on; rounds of the default search.
POPULATION, PARENTS, ROUNDS = 4096, 256, 60
#: The shrunk case is at least this share as bad as what was found.
KEPT = 0.99
#: fp32 operands stay within 2**±60, as in the required tier.
_LIMIT = 60
_MASK = 1
#: Points of one call of NLLLossGrad, which computes as many classes for each.
_SHARING = 64


class Hunted(msgspec.Struct):
    """The worst input of one entry point. ``found_ulp``: before shrinking; ``fails``: outside every legal bound."""

    symbol: str
    case: str
    ulp: float
    found_ulp: float
    bound: float
    fails: bool
    evaluated: int
    file: str = ""


class _Target:
    """One entry point with its scalars, as a function from operands to errors."""

    def __init__(
        self, session: Session, entry: EntryPoint, scalars: dict[str, float | str], flush: bool, half_abi: HalfAbi,
        reduction_enum: str,
    ) -> None:  # fmt: skip
        self.entry, self.fmt, self.flush = entry, entry.fmt, flush
        self.view: Operator = dense(entry.operator.name)
        self.smooth = "beta" in scalars
        self.names: tuple[str, ...] = ("dy", "x1", "x2") if self.smooth else ("loss_grad", "weight", "total_weight")
        if scalars.get("reduction_type") in ("none", "sum"):
            self.names = self.names[:2]
        #: Columns that one call has a single number of: points that share them are computed together.
        single = {"total_weight"} | ({"loss_grad"} if scalars.get("reduction_type") != "none" else set())
        self.shared = [i for i, name in enumerate(self.names) if name in single]
        self.evaluated = 0
        self._session, self._scalars = session, scalars
        self._abi, self._enum = half_abi, reduction_enum

    def scalars(self, n: int) -> dict[str, int | float | str]:
        """Scalars of a call with n points, each an element."""
        return {"length": n, **self._scalars} if self.smooth else {"batch": n, "class_num": n, **self._scalars}

    def operands(self, bits: Array) -> dict[str, Array]:
        """Operands of a call, from bit patterns [points, operand]; NLL takes one gradient or total from the first."""
        columns = {name: self.fmt.from_bits(bits[:, i].copy()) for i, name in enumerate(self.names)}
        if self.smooth:
            return columns
        columns.setdefault("total_weight", np.ones(1, self.fmt.dtype))
        columns["total_weight"] = columns["total_weight"][:1]
        if self._scalars["reduction_type"] != "none":
            columns["loss_grad"] = columns["loss_grad"][:1]
        return {**columns, "labels": np.arange(len(bits), dtype=np.int32)}

    def case(self, bits: Array) -> Case:
        """The case of one point."""
        scalars, operands = self.scalars(1), self.operands(bits)
        operator = self.entry.operator
        golden = operator.oracle(self.fmt, scalars, operands)
        prefix = f"{operator.name}/{self.fmt.name}/{operator.group(scalars)}/hunted/n=1"
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
        if self.smooth or self._scalars["reduction_type"] == "none":
            size = len(bits) if self.smooth else _SHARING
            return np.concatenate([self._call(bits[i : i + size]) for i in range(0, len(bits), size)])
        keys, which = np.unique(bits[:, self.shared], axis=0, return_inverse=True)
        result = np.zeros(len(bits))
        for group in range(len(keys)):
            index = np.flatnonzero(which.reshape(-1) == group)
            for start in range(0, len(index), _SHARING):
                part = index[start : start + _SHARING]
                result[part] = self._call(bits[part])
        return result

    def _call(self, bits: Array) -> Array:
        n, operands = len(bits), self.operands(bits)
        self.evaluated += n
        call = call_for(
            self.entry, self.scalars(n), operands, [Invocation(core_mask=_MASK)],
            half_abi=self._abi, reduction_enum=self._enum,
        )  # fmt: skip
        outcome = self._session.run(call)[0]
        if outcome.status != "ok":
            raise TargetError(f"{outcome.message} Validate the library first: 'golden validate' finds such calls.")
        output = np.frombuffer(outcome.output, self.fmt.dtype)
        if not self.smooth:
            output = output.reshape(n, n).diagonal().copy()
        return self.errors(operands, output)[0]

    def errors(self, operands: Operands, output: Array) -> tuple[Array, Array, Array]:
        """Return (badness, legal bound in ulp, whether it fails) of every point."""
        n = output.size
        given = {k: v if k == "total_weight" else np.broadcast_to(v, n) for k, v in operands.items() if k != "labels"}
        scalars = {**self.scalars(n), **({} if self.smooth else {"class_num": 1})}
        golden = self.view.oracle(self.fmt, scalars, given)
        case = Case("", self.view, self.fmt.name, "required", "hunted", (), scalars, given, golden)
        judged = judge_case(case, output, self.flush)
        bad = np.where(np.isnan(golden.residual) | np.isinf(golden.value), 0.0, np.abs(golden.residual)).astype(
            np.float64
        )
        bound, fails = np.full(n, 0.5), np.zeros(n, bool)
        bad[judged.at] = np.where(np.isnan(judged.signed), 0.0, np.abs(judged.signed))
        bound[judged.at] = judged.bound
        fails[judged.at[judged.failing]] = True
        lost = judged.at[np.isin(judged.kind, (Kind.NAN, Kind.INFINITY, Kind.NONZERO))]
        bad[lost] = 2.0**300
        # What fails is worse than whatever does not, however large that is.
        bad[fails] = np.maximum(bad[fails], 1.0) * 2.0**300
        return bad, bound, fails


def _random(stream: np.random.Philox, target: _Target, n: int) -> Array:
    """Draw bit patterns [n, operand]: all alike in fp16; exponents alike in fp32, differences near beta."""
    fmt, k = target.fmt, len(target.names)
    raw = stream.random_raw(n * k).reshape(n, k)
    if fmt is FP16:
        # Every second row: magnitudes with any number of leading zeros, which makes subnormals as likely as the rest.
        length = np.where(np.arange(n)[:, None] % 2 == 1, (raw >> np.uint64(32)) % np.uint64(16), np.uint64(15))
        bits = raw & (np.left_shift(np.uint64(1), length) - np.uint64(1) | np.uint64(0x8000))
    else:
        exponent = np.uint64(127 - _LIMIT) + (raw >> np.uint64(32)) % np.uint64(2 * _LIMIT)
        if target.smooth:
            middle = 127 + math.frexp(float(target.scalars(1)["beta"]))[1]
            near = np.uint64(max(middle - 13, 1)) + (raw >> np.uint64(32)) % np.uint64(14)
            exponent[:, 1:] = near[:, 1:]
        bits = (raw & np.uint64(0x807FFFFF)) | exponent << np.uint64(23)
    if target.smooth:
        bits[: n // 4, 2] = 0  # differences of any size, exactly
    return _legal(bits.astype(fmt.bits_dtype), target)


def _legal(bits: Array, target: _Target) -> Array:
    """Move points into the required domain.

    NaN, infinities, totals that are not positive and fp32 numbers beyond 2**±60 become one; a weight above the total
    (a sum of weights) is exchanged with it, sign kept.
    """
    fmt = target.fmt
    magnitude = bits & fmt.bits_dtype.type(~fmt.sign_mask & ((1 << fmt.width) - 1))
    outside = magnitude >= fmt.exponent_mask
    if fmt is not FP16:
        low, high = (127 - _LIMIT) << 23, (127 + _LIMIT) << 23
        outside |= (magnitude != 0) & ((magnitude < low) | (magnitude > high))
    if "total_weight" in target.names:
        outside[:, -1] |= (magnitude[:, -1] == 0) | (bits[:, -1] != magnitude[:, -1])
    one = fmt.bits(np.ones(1, fmt.dtype))[0]
    bits = np.where(outside, one, bits)
    if "total_weight" in target.names:
        magnitude = bits[:, 1] & fmt.bits_dtype.type(fmt.sign_mask - 1)
        above = magnitude > bits[:, 2]
        bits[:, 1] = np.where(above, bits[:, 2] | (bits[:, 1] ^ magnitude), bits[:, 1])
        bits[:, 2] = np.where(above, magnitude, bits[:, 2])
    return bits


def _grouped(target: _Target, bits: Array) -> Array:
    """Give rows that are computed in one call what a call has a single number of: that of the first."""
    firsts = bits[np.arange(len(bits)) // _SHARING * _SHARING]
    bits[:, target.shared] = firsts[:, target.shared]
    return _legal(bits, target)


def _varied(stream: np.random.Philox, target: _Target, parents: Array, n: int) -> Array:
    """Return n children of the parents' rows."""
    fmt, k = target.fmt, parents.shape[1]
    raw = stream.random_raw(4 * n).reshape(4, n)
    rows = np.arange(n)
    children = parents[(raw[0] % np.uint64(len(parents))).astype(np.int64)].astype(np.int64)
    column = (raw[1] % np.uint64(k)).astype(np.int64)
    old = children[rows, column]
    bit = np.left_shift(1, (raw[2] % np.uint64(fmt.width)).astype(np.int64))
    step = (raw[3] % np.uint64(33)).astype(np.int64) - 16
    fraction = fmt.fraction_mask
    other = parents[(raw[3] % np.uint64(len(parents))).astype(np.int64), column].astype(np.int64)
    fresh = (old & ~fraction) | ((raw[3] >> np.uint64(8)).astype(np.int64) & fraction)
    how = (raw[1] >> np.uint64(8)) % np.uint64(4)
    children[rows, column] = np.select([how == 0, how == 1, how == 2], [old ^ bit, old + step, fresh], default=other)
    return _legal((children & ((1 << fmt.width) - 1)).astype(fmt.bits_dtype), target)


def _search(target: _Target, seed: int, rounds: int, progress: Callable[[int, float], None]) -> tuple[Array, float]:
    """Return the bit patterns of the worst point found, and how bad it is."""
    stream = np.random.Philox(key=[seed, int.from_bytes(hashlib.sha256(target.entry.symbol.encode()).digest()[:7])])
    population = _grouped(target, _random(stream, target, POPULATION))
    bad = target.badness(population)
    best = np.empty((0, population.shape[1]), population.dtype)
    best_bad = np.empty(0)
    for turn in range(rounds):
        pool, pool_bad = np.concatenate([best, population]), np.concatenate([best_bad, bad])
        pool, first = np.unique(pool, axis=0, return_index=True)
        pool_bad = pool_bad[first]
        order = np.argsort(-pool_bad, kind="stable")[:PARENTS]
        best, best_bad = pool[order], pool_bad[order]
        progress(turn + 1, float(best_bad[0]))
        size = len(population)
        fresh = _random(stream, target, size // 4)
        population = _grouped(target, np.concatenate([_varied(stream, target, best, size - len(fresh)), fresh]))
        bad = target.badness(population)
    return best[0], float(best_bad[0])


def _complexity(fmt: Format, row: Array) -> tuple[int, int, int]:
    """Order inputs by how readable they are: significant bits, distance of the exponents from 1, minus signs."""
    bits = exponents = signs = 0
    for value in fmt.from_bits(row.copy()).astype(np.float64).tolist():
        if value:
            numerator, _ = abs(value).as_integer_ratio()
            odd = numerator // (numerator & -numerator)
            bits += odd.bit_length() + (0 if is_power_of_two(value) else 1)
            exponents += abs(math.frexp(value)[1] - 1)
        signs += value < 0
    return bits, exponents, signs


def _simpler(fmt: Format, row: Array) -> Array:
    """Return candidates that are simpler than a row in one operand, simplest first."""
    found = []
    for column, value in enumerate(fmt.from_bits(row.copy()).astype(np.float64).tolist()):
        fraction, exponent = math.frexp(value)
        options = [0.0, 1.0, abs(value)]
        for kept in range(1, fmt.precision):
            scaled = math.ldexp(fraction, kept)
            options += [math.ldexp(math.floor(scaled), exponent - kept), math.ldexp(math.ceil(scaled), exponent - kept)]
        options += [math.ldexp(fraction, e) for e in range(-12, 13)]
        for option in options:
            candidate = row.copy()
            candidate[column] = fmt.bits(fmt.cast(np.array([option])))[0]
            found.append(candidate)
    for shift in range(-12, 13):  # operands whose exponents must move together
        wide = fmt.from_bits(row.copy()).astype(np.float64)
        wide[1:] = np.ldexp(wide[1:], shift)
        found.append(fmt.bits(fmt.cast(wide)))
    finite = [r for r in found if np.isfinite(fmt.from_bits(r)).all()]
    ranks = [(_complexity(fmt, r), r.tolist()) for r in finite]
    ranked = sorted(rank for rank in ranks if rank[0] < _complexity(fmt, row))
    return np.array([bits for _, bits in ranked], fmt.bits_dtype).reshape(-1, len(row))


def _shrink(target: _Target, row: Array, bad: float) -> Array:
    """Make a point as simple as it can be while it stays as bad as it is; it never becomes worse to read."""
    while True:
        candidates = _legal(_simpler(target.fmt, row), target)
        if len(candidates) == 0:
            return row
        good = np.flatnonzero(target.badness(candidates) >= KEPT * bad)
        simpler = [i for i in good.tolist() if _complexity(target.fmt, candidates[i]) < _complexity(target.fmt, row)]
        if not simpler:
            return row
        row = candidates[simpler[0]]


def hunt(
    session: Session,
    symbol: str,
    out: Path | None = None,
    *,
    beta: float = 0.1,
    reduction: str = "mean",
    seed: int = 0,
    rounds: int = ROUNDS,
    flush: bool = False,
    half_abi: str = "auto",
    reduction_enum: str = "sum-mean-none",
    progress: Callable[[int, float], None] = lambda turn, worst: None,
) -> tuple[Hunted, Case]:
    """Search for the worst input of one entry point, shrink it, and write it as a vector file into the folder ``out``.

    ``beta`` and ``reduction`` apply to the operator that has them; ``rounds`` is the budget, a few thousand points
    each; ``progress`` gets the round and the worst error so far. Raises :class:`UsageError` for an unknown symbol and
    :class:`TargetError` if the target lacks it, crashes or hangs.
    """
    known = entry_points()
    if symbol not in known:
        raise UsageError(f"{symbol} is no entry point: give one of {', '.join(sorted(known))}.")
    if symbol not in session.symbols:
        raise TargetError(f"The target has no {symbol}; it has {', '.join(sorted(session.symbols)) or 'nothing'}.")
    entry = known[symbol]
    smooth = any(s.kind == "real" for s in entry.operator.scalars)
    scalars: dict[str, float | str] = {"beta": entry.fmt.typed(beta)} if smooth else {"reduction_type": reduction}
    abi: HalfAbi = "uint16" if half_abi == "uint16" else "float16"
    if half_abi == "auto" and isinstance(session, LibrarySession) and probe_half_abi(session) == "uint16":
        abi = "uint16"
    target = _Target(session, entry, scalars, flush, abi, reduction_enum)
    row, bad = _search(target, seed, rounds, progress)
    row = _shrink(target, row, bad)
    case = target.case(row[None, :])
    outcome = session.run(
        call_for(entry, case.scalars, case.operands, [Invocation(core_mask=_MASK)], half_abi=abi,
                 reduction_enum=reduction_enum)
    )[0]  # fmt: skip
    output = np.frombuffer(outcome.output, entry.fmt.dtype)
    shrunk, bound, fails = target.errors(target.operands(row[None, :]), output)
    found = Hunted(
        symbol, case.id, _ulp(float(shrunk[0])), _ulp(bad), float(bound[0]), bool(fails[0]), target.evaluated
    )
    if out is not None:
        path = out / f"{symbol}-hunted.h5"
        write_vectors(path, "hunted", entry.operator, entry.fmt.name, [case], str(seed))
        found.file = str(path)
    return found, case


def _ulp(bad: float) -> float:
    """Return the error behind a badness; infinity where there is no distance."""
    if bad >= 2.0**600:
        return math.inf
    return bad / 2.0**300 if bad >= 2.0**300 else bad
