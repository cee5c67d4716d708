"""The command ``probe``: what a target is like, found out by calling it; nothing is judged."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec
import numpy as np

from golden.case import Case, Head
from golden.document import Document
from golden.files.collected import subset
from golden.files.names import NUMBERING_OPTION
from golden.files.vectors import VectorFile
from golden.flags import ORDER_ALONE
from golden.formats import Array
from golden.judge import judge_all
from golden.operator import EntryPoint, entry_points, page_numbering
from golden.profile import Profile
from runners.calling.call import Call, Invocation
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.manner import Manner
from runners.calling.session import Session
from runners.judging.figures import Illegal, would_conform
from runners.judging.orders import OrderShares, matches
from runners.judging.positions import Positions, look
from runners.judging.probe import probe_half_abi, probe_numbering, probe_subnormals
from runners.judging.verdict import TOGETHER


class EntryPointTraits(msgspec.Struct, Document):
    """What was found about one entry point."""

    symbol: str
    evaluation_order: str  #: models whose bits match best, with the share
    internal_precision: str  #: fp16 only: ``fp16``, ``wider``, or ``unclear``
    arithmetic: str  #: ``correctly rounded``, or the smallest change of the terms under which all results are legal
    position: str  #: ``independent``, or where equal inputs give other bits
    alignment: str  #: bytes that operands need, found by misaligning them
    empty: str  #: ``safe``, or what length or batch 0 does


class Traits(msgspec.Struct, Document):
    """What was found about a target."""

    half_abi: str
    numbering: str = msgspec.field(name=NUMBERING_OPTION.replace("-", "_"))
    subnormals: str
    entry_points: list[EntryPointTraits]


def inspect(session: Session, files: Sequence[VectorFile], profile: Profile) -> Traits:
    """Probe every entry point that the target has and the vectors cover; ``profile``: what its results are held to."""
    session.manner = manner = Manner.of(profile)
    half = probe_half_abi(session)
    abi: HalfAbi = "uint16" if half == "uint16" else "float16"
    numbers = probe_numbering(session)
    numbering = numbers if numbers not in ("unknown", "other") else page_numbering()
    subnormals = probe_subnormals(session, abi, numbering)
    by_kind = {(f.operator.name, f.dtype): subset(f, manner.takes) for f in files}
    found = [
        _Prober(session, entry, by_kind[entry.operator.name, entry.fmt.name], abi, numbering, profile).traits()
        for entry in entry_points().values()
        if entry.symbol in session.symbols and (entry.operator.name, entry.fmt.name) in by_kind
    ]
    return Traits(half, numbers, subnormals, found)


class _Prober:
    """Probes one entry point."""

    def __init__(
        self, session: Session, entry: EntryPoint, file: VectorFile, half_abi: HalfAbi, numbering: str,
        profile: Profile,
    ) -> None:  # fmt: skip
        self._profile = profile
        self._first = msgspec.structs.replace(session.manner.invocation(), fill=1)
        self._session, self._entry, self._file = session, entry, file
        self._half_abi, self._numbering = half_abi, numbering

    def traits(self) -> EntryPointTraits:
        orders = OrderShares()
        for case, output in self._outputs(lambda head: head.flags == ORDER_ALONE):
            orders.add(matches(case, output))
        order = orders.best() or "unknown"
        precision = "-"
        if self._entry.fmt.name == "fp16":
            inside = {"fp32-inside", "exact"} & set(orders.names())
            precision = "wider" if inside else "fp16" if orders.share() > 0.99 else "unclear"
        arithmetic = self._arithmetic()
        return EntryPointTraits(
            self._entry.symbol, order, precision, arithmetic, self._position(), self._alignment(), self._empty()
        )

    def _arithmetic(self) -> str:
        """Judge everything that is required, and say what a profile would have to allow."""
        illegal, terms = Illegal(self._entry), self._profile.terms
        held = terms.told() or "correctly rounded"
        outputs = self._outputs(lambda c: True)
        while some := list(islice(outputs, TOGETHER)):
            for (case, output), judged in zip(some, judge_all(some, terms), strict=True):
                if judged.failing.size:
                    illegal.add(case, judged.at[judged.failing], output)
        if illegal.empty:
            return held
        return would_conform(illegal, terms) or "unclear: some results are legal with no figures"

    def _position(self) -> str:
        positions = Positions()
        for case, output in self._outputs(lambda c: "position" in c.flags):
            positions.add(case, look(case, output))
        found = next(((head, where) for head, where in positions.differing() if where is not None), None)
        return f"dependent: {found[0].id} element {found[1]}" if found else "independent"

    def _alignment(self) -> str:
        """Move all operands together, from large alignments down to single elements, until something breaks.

        What the platform states is taken as it is: less could crash.
        """
        if self._profile.alignment:
            return f"{self._profile.alignment} bytes, as the profile says"
        several = [head for head in self._file.heads if head.size > 16]
        plain = next((head for head in several if "partition" in head.flags), next(iter(several), None))
        if plain is None:
            return "unknown: no case is long enough"
        case = next(self._cases(lambda head: head is plain))
        size = self._entry.fmt.itemsize
        aligned = msgspec.structs.replace(self._first, placement="begin")
        wanted = self._run(case, aligned)
        if wanted is None:
            return "unknown: the aligned call fails"
        for offset in (8, 4, 2, 1):
            if self._run(case, msgspec.structs.replace(aligned, offset=offset)) != wanted:
                return f"{2 * offset * size} bytes"
        skewed = msgspec.structs.replace(aligned, offset=1, skew=3)
        return f"{size} bytes" if self._run(case, skewed) == wanted else "operands aligned alike"

    def _empty(self) -> str:
        case = next(self._cases(lambda head: head.size == 0), None)
        if case is None:
            return "unknown"
        call = self._call(case, [self._first, msgspec.structs.replace(self._first, placement="begin")])
        for outcome in self._session.run(call):
            if outcome.status != "ok" or outcome.findings:
                return outcome.message or outcome.findings[0].message
        return "safe"

    def _cases(self, wanted: Callable[[Head], bool]) -> Iterator[Case]:
        return (self._file.cases[position] for position, head in enumerate(self._file.heads) if wanted(head))

    def _outputs(self, wanted: Callable[[Head], bool]) -> Iterator[tuple[Case, Array]]:
        for case in self._cases(lambda head: wanted(head) and head.tier == "required"):
            if (raw := self._run(case, self._first)) is not None:
                yield case, np.frombuffer(raw, case.fmt.dtype)

    def _run(self, case: Case, invocation: Invocation) -> bytes | None:
        outcome = self._session.run(self._call(case, [invocation]))[0]
        return outcome.output if outcome.status == "ok" else None

    def _call(self, case: Case, plan: list[Invocation]) -> Call:
        return call_for(
            self._entry,
            case.scalars,
            case.operands,
            plan,
            half_abi=self._half_abi,
            numbering=self._numbering,
        )
