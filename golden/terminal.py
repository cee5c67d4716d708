"""What all commands share: examples in help texts, closed pipes, progress bars."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Shows a step: description, done, total.
Step = Callable[[str, int, int], None]


def examples(*lines: str) -> str:
    """Return the examples of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def end_quietly_on_closed_pipe() -> None:
    """Die of SIGPIPE like any Unix filter when a pager or head has read enough."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


@contextmanager
def progress_bar() -> Iterator[Step]:
    """Yield a function that shows a step: a bar on stderr if that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda description, done, total: None
        return
    from rich.console import Console  # noqa: PLC0415 - a tenth of a second that pipes need not pay
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("loading", total=None)

        def step(description: str, done: int, total: int) -> None:
            progress.update(task, description=description, completed=done, total=total)

        yield step
