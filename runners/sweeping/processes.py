"""Evaluates blocks on this machine: in this process, or in several, each with a library of its own."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from itertools import islice
from typing import Any

from golden.errors import TargetError
from golden.selfcheck import check_arithmetic
from runners.process.system import die_with_parent
from runners.sweeping.pool import Evaluating, T, Work

#: What ends a sweep early, and is for the process that began it alone.
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Processes:
    """A :class:`runners.sweeping.pool.Pool` of this machine.

    ``jobs``: processes; 1: all is done here; 0: one a core.
    """

    def __init__(self, jobs: int = 0) -> None:
        self.jobs = jobs or os.cpu_count() or 1

    def evaluate(self, work: Work[T], tasks: Iterator[tuple[int, range]]) -> Generator[tuple[int, T], None, None]:
        """Evaluate tasks and yield them as they finish; raises :class:`TargetError` if the library crashes or hangs."""
        work.prepare()
        return self._here(work, tasks) if self.jobs == 1 else self._in_processes(work, tasks)

    def _here(self, work: Work[T], tasks: Iterator[tuple[int, range]]) -> Generator[tuple[int, T], None, None]:
        evaluator = work.evaluator()
        try:
            for task, blocks in tasks:
                yield task, _checked(evaluator, blocks)
        finally:
            evaluator.close()

    def _in_processes(self, work: Work[T], tasks: Iterator[tuple[int, range]]) -> Generator[tuple[int, T], None, None]:
        others = set(multiprocessing.active_children())
        with _interrupts_blocked():
            pool = ProcessPoolExecutor(
                self.jobs, multiprocessing.get_context("spawn"), _initialise, (work, os.getpid())
            )
        running: dict[Future[T], int] = {}
        try:
            while True:
                for task, blocks in islice(tasks, 2 * self.jobs - len(running)):
                    with _interrupts_blocked():
                        running[pool.submit(_evaluate, blocks)] = task
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise TargetError(
                f"A process of the {work.noun} was killed, as the system does when memory runs out: "
                "go on with --resume and fewer --jobs."
            ) from error
        finally:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # in the middle of a task, or idle: its library dies with it
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block interrupts while processes may be started: those inherit that, and live until this process ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


_work: Work[Any] | None = None


def _initialise(work: Work[Any], judge: int) -> None:
    """Prepare a process of the pool: nothing here may raise, an error belongs to a task."""
    global _work  # noqa: PLW0603 - a pool process has one job, and no other place to keep it
    die_with_parent(judge)
    _work = work


@cache
def _evaluator() -> Evaluating[Any]:
    assert _work is not None
    return _work.evaluator()


def _evaluate(blocks: range) -> Any:
    return _checked(_evaluator(), blocks)


def _checked(evaluator: Evaluating[T], blocks: range) -> T:
    """Evaluate blocks in a process whose arithmetic is looked at afterwards: it holds a library's judge, or a model."""
    found = evaluator.evaluate(blocks)
    check_arithmetic()
    return found
