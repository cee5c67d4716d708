"""Computes and judges blocks of a space: a library in its own process, one block ahead of the judge; or a model."""

import hashlib
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
import numpy as np

from golden import __version__
from golden.case import Case
from golden.errors import TargetError, UsageError
from golden.formats import Array
from golden.judge import KINDS, element, number, readable_inputs
from golden.judge import judge as judge_case
from golden.operator import Operands, Pointer
from golden.results import Element
from golden.terms import Terms
from runners.calling.call import ONE_CORE, Mode, ScalarArgument
from runners.calling.from_case import HalfAbi, scalar_argument
from runners.judging.outcomes import FAILING
from runners.library.image import Image
from runners.library.shared_memory import BlockError, BlockLibrary
from runners.models import models
from runners.process.block_worker import SLOTS, Run
from runners.sweeping.judge import code_for, load
from runners.sweeping.samples import load as load_samples
from runners.sweeping.space import CallPlan, Space
from runners.sweeping.tally import BlockTally, full, numpy_tally
from runners.toolchain.compiled import helper


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What is swept, and how: everything that another process or machine needs to evaluate blocks.

    ``path``: the library's file, of digest ``sha256`` unless that is "", or "" for the reference model ``model``.
    ``judge``: "auto" uses the C judge where it can be compiled. ``notes``: findings made before the first block.
    """

    space: Space
    path: str = ""
    sha256: str = ""
    model: str = ""
    half_abi: HalfAbi = "float16"
    numbering: str = ""
    terms: Terms = Terms()
    timeout: float = 10.0
    judge: Literal["auto", "numpy"] = "auto"
    notes: tuple[str, ...] = ()
    sandbox: Mode = "auto"
    core_mask: int = ONE_CORE
    align: int = 1
    overread: int = 0
    noun: ClassVar[str] = "sweep"

    def moved(self, path: str) -> "Work":
        """Return the same with the library in another file."""
        return msgspec.structs.replace(self, path=path)

    def named(self, blocks: range) -> str:
        """Say which points blocks are."""
        first, last = blocks.start * self.space.step, min(blocks.stop * self.space.step, self.space.points) - 1
        return f"The points from {first} to {last} of {self.space.name}"

    def prepare(self) -> None:
        """Compile once, before processes start."""
        for load_compiled in (load, load_samples):
            load_compiled()

    def evaluator(self) -> "Evaluator":
        """Return something that evaluates blocks."""
        return Evaluator(self)


class Evaluated(msgspec.Struct):
    """What some blocks gave. ``kernel_seconds``: time inside the library's calls; ``judges``: native, numpy or both.

    ``findings``: remarks; ``broken``: contracts that were, which decide as in a validation.
    """

    tally: BlockTally
    kernel_seconds: float = 0.0
    findings: list[str] = []
    judges: list[str] = []
    broken: list[str] = []

    def plus(self, other: "Evaluated") -> "Evaluated":
        """Return both together; neither is changed."""
        tally = BlockTally()
        tally.add(self.tally)
        tally.add(other.tally)
        seconds = self.kernel_seconds + other.kernel_seconds
        told = [sorted({*getattr(self, n), *getattr(other, n)}) for n in ("findings", "judges", "broken")]
        return Evaluated(tally, seconds, *told)


@cache
def identity() -> str:
    """Return golden's version with a digest of the code that evaluates: what decides every bit of a tally."""
    root = Path(__file__).parents[2]
    content = hashlib.sha256()
    for pattern in ("golden/**/*.py", "runners/**/*.py", "runners/**/*.[ch]"):
        for path in sorted(root.glob(pattern)):
            content.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{__version__}, code {content.hexdigest()[:12]}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Evaluator:
    """Evaluates blocks of one :class:`Work`; holds the library's process until :meth:`close`."""

    def __init__(self, work: Work) -> None:
        self.work, self.space = work, work.space
        self._view, self._fmt = work.space.view, work.space.fmt
        native = load() if work.judge == "auto" else None
        if native is not None and code_for(self._view, self._fmt, self.space.call_scalars(1), work.terms) is None:
            native = None
        self._judge = "numpy" if native is None else "native"
        # A judge of its own: evaluators may run in several threads, and a judge has scratch memory.
        self._tally = numpy_tally if native is None else native.tally
        self._library: BlockLibrary | None = None
        self._filled: dict[tuple[str, int], int] = {}
        self._runs: dict[tuple[int, int], Run] = {}
        #: Operands with an entry a point, in the library's memory: where it can only read, so the judge may, too.
        self._rooms: list[dict[str, Array]] = [{} for _ in range(SLOTS)]
        if work.path:
            self._library = self._open()
            for name, slots in self._library.memory.items():
                for room, memory in zip(self._rooms, slots, strict=True):
                    if len(memory) == self.space.step * self._fmt.dtype.itemsize and name != self._view.output.name:
                        room[name] = np.frombuffer(memory, self._fmt.dtype)

    def close(self) -> None:
        """End the library's process."""
        if self._library is not None:
            self._library.close()

    def evaluate(self, blocks: range) -> Evaluated:
        """Compute and judge blocks; raises :class:`TargetError` if the library crashes or hangs."""
        found = Evaluated(BlockTally(), judges=[self._judge])
        for block, operands, output, seconds in self.outputs(blocks):
            found.kernel_seconds += seconds
            scalars = self.space.call_scalars(output.size)
            tally = self._tally(self._view, self._fmt, scalars, operands, output, self.work.terms)
            tally.shift(block * self.space.step)
            found.tally.add(tally)
        if self._library is not None:
            found.broken = sorted({f.message for f in self._library.findings if f.kind in FAILING})
            found.findings = sorted({f.message for f in self._library.findings if f.kind not in FAILING})
        return found

    def outputs(self, blocks: range) -> Iterator[tuple[int, Operands, Array, float]]:
        """Yield (block, operands, output, seconds in the kernel) one by one; the output is valid until the next."""
        if self._library is None:
            model = models(self._view)[self.work.model]
            for block in blocks:
                operands = self.space.operands(block)
                n = min(self.space.step, self.space.points - block * self.space.step)
                with np.errstate(all="ignore"):
                    output = model.evaluate(self._view, self._fmt, self.space.call_scalars(n), full(operands, n))
                yield block, operands, output, 0.0
            return
        running: tuple[int, Operands, int, int] | None = None
        try:
            for turn, block in enumerate(blocks):
                slot = turn % SLOTS
                operands = self.space.operands(block, self._rooms[slot])
                n = min(self.space.step, self.space.points - block * self.space.step)
                self._start(operands, n, slot, last=block == blocks[-1])
                if running is not None:
                    yield self._finish(*running)
                running = block, operands, n, slot
            if running is not None:
                yield self._finish(*running)
        except BlockError as error:
            at = running[0] if running is not None else blocks.start
            first = at * self.space.step
            raise TargetError(
                f"{self.space.entry.symbol} {error}, in one of the points from {first} to "
                f"{first + 2 * self.space.step - 1} of {self.space.name}. Validate the library first: "
                "'golden validate' finds such calls and goes on."
            ) from error

    def describe(self, index: int) -> Element:
        """Compute one point again and describe it for people and programs."""
        block, position = divmod(index, self.space.step)
        for _, operands, output, _ in self.outputs(range(block, block + 1)):
            one = np.array([position])
            mine = {name: values[one] for name, values in full(operands, output.size).items()}
            scalars = self.space.call_scalars(1)
            golden = self._view.oracle(self._fmt, scalars, mine)
            name = f"{self._view.name}/{self._fmt.name}/{self._view.group(scalars)}/sweep/{self.space.name}"
            case = Case(name, self._view, self._fmt.name, "required", "sweep", (), dict(scalars), mine, golden)
            got = output[one].copy()
        judged = judge_case(case, got, self.work.terms)
        if judged.at.size:
            return msgspec.structs.replace(element(case, got, judged, 0), index=index)
        expected = number(self._fmt, golden.value[0])
        ulp = abs(float(golden.residual[0]))
        return Element(name, "sweep", index, readable_inputs(case, 0), expected, expected, next(iter(KINDS)), ulp, 0.5)

    def _open(self) -> BlockLibrary:
        space, entry = self.space, self.space.entry
        plan = space.plan(dict(space.operands(0)), space.step)
        arguments: list[tuple[str, str, int, int] | None] = []
        for p in entry.operator.parameters:
            if not isinstance(p, Pointer):
                arguments.append(None)
                continue
            if p.name in plan.arrays:
                count = plan.arrays[p.name].size
            else:
                shape = entry.operator.shapes(plan.scalars)[p.name]
                count = plan.calls * plan.width if p.role.value == "output" else math.prod(shape)
            arguments.append((p.name, p.role.value, p.dtype(entry.fmt).itemsize, count))
        work = self.work
        mask = work.core_mask if entry.has_core_mask else None
        image = self._image()
        way = work.timeout, work.sandbox, work.align, work.overread
        try:
            library = BlockLibrary(image, entry.symbol, arguments, mask, helper(), *way)
        except BlockError as error:
            raise TargetError(f"{self.work.path} {error}.") from error
        finally:
            image.close()
        for p in entry.operator.pointers:
            if p.role.value == "unread":  # NaN: whatever is made of it shows
                for memory in library.memory[p.name]:
                    memory[:] = b"\xff" * len(memory)
        return library

    def _image(self) -> Image:
        """Take the library's copy; refuse a file that is not the one that the sweep began with."""
        path, wanted = self.work.path, self.work.sha256
        try:
            image = Image(Path(path))
        except UsageError as error:
            raise TargetError(str(error)) from error
        if wanted and image.library.sha256 != wanted:
            image.close()
            raise TargetError(
                f"{path} is not the library that the sweep began with: its SHA-256 begins "
                f"{image.library.sha256[:12]}, not {wanted[:12]}. Sweep the new one from the start, without --resume."
            )
        return image

    def _start(self, operands: Operands, n: int, slot: int, last: bool) -> None:
        """Fill a slot's operands and have the worker compute it."""
        library, space = self._library, self.space
        assert library is not None
        plan = space.plan(dict(operands), n)
        for name, values in plan.arrays.items():
            if space.repeats(name) and self._filled.get((name, slot)) == values.size:
                continue
            memory = np.frombuffer(library.memory[name][slot], values.dtype)[: values.size]
            if not np.may_share_memory(memory, values):  # else it was made there
                memory[:] = values
            self._filled[name, slot] = values.size
        if (slot, n) not in self._runs:  # but for the arrays, plans of as many points are the same
            self._runs[slot, n] = self._run(plan, slot)
        run = self._runs[slot, n]
        library.start(msgspec.structs.replace(run, last=True) if last else run)

    def _run(self, plan: CallPlan, slot: int) -> Run:
        entry, scalars, steps = self.space.entry, list[ScalarArgument | None](), []
        for p in entry.operator.parameters:
            if isinstance(p, Pointer):
                scalars.append(None)
                step = plan.width if p.role.value == "output" else plan.steps.get(p.name, 0)
                steps.append(step * p.dtype(entry.fmt).itemsize)
            else:
                value = plan.scalars[p.name]
                scalars.append(scalar_argument(p, value, entry, self.work.half_abi, self.work.numbering))
                steps.append(0)
        return Run(slot, plan.calls, scalars, steps, plan.width, plan.gather, plan.written)

    def _finish(self, block: int, operands: Operands, n: int, slot: int) -> tuple[int, Operands, Array, float]:
        library = self._library
        assert library is not None
        done = library.wait()
        library.findings += [f for f in done.findings if f not in library.findings]
        output = np.frombuffer(library.memory[self._view.output.name][slot], self._fmt.dtype)[:n]
        return block, operands, output, done.seconds
