"""Work that is cut into numbered blocks, and what evaluates them: processes of this machine, or a cluster."""

from collections.abc import Generator, Iterator
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Evaluating(Protocol[T_co]):
    """Evaluates blocks one range after the other; holds a target's process until it is closed."""

    def evaluate(self, blocks: range) -> T_co:
        """Return what blocks give; raises :class:`golden.errors.GoldenError` if that cannot be found out."""
        ...

    def close(self) -> None:
        """Let go of the target."""
        ...


class Work(Protocol[T_co]):
    """Everything that another process or machine needs to evaluate blocks: a structure that msgspec knows."""

    @property
    def noun(self) -> str:
        """What it is a part of, such as a sweep."""
        ...

    @property
    def path(self) -> str:
        """The library's file, or "" for what is none."""
        ...

    @property
    def sha256(self) -> str:
        """The digest of the library's file."""
        ...

    def moved(self, path: str) -> "Work[T_co]":
        """Return the same with the library in another file."""
        ...

    def named(self, blocks: range) -> str:
        """Say which part blocks are, as a plural subject."""
        ...

    def prepare(self) -> None:
        """Do once what all processes need, before they start."""
        ...

    def evaluator(self) -> Evaluating[T_co]:
        """Return something that evaluates blocks."""
        ...


class Pool(Protocol):
    """Where blocks are evaluated: processes of this machine (:mod:`runners.sweeping.processes`), or a cluster."""

    jobs: int  #: evaluators at work at a time

    def evaluate(self, work: Work[T], tasks: Iterator[tuple[int, range]]) -> Generator[tuple[int, T], None, None]:
        """Evaluate tasks (number, blocks) and yield them as they finish; closing the generator ends what is under way.

        Raises :class:`golden.errors.GoldenError` if that cannot go on.
        """
        ...
