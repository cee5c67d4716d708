"""What all commands share: examples, exit codes, folders, signals, closed pipes, consoles, progress bars."""

import errno
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golden.errors import GoldenError, MachineError, UsageError
from golden.text import plain

if TYPE_CHECKING:
    from rich.console import Console

#: Shows a step: description, done, total.
Step = Callable[[str, int, int], None]

#: What exit codes mean; a command says more where it can.
EXIT_CODES = {
    0: "the build conforms, or the command did its work",
    1: "the build does not conform",
    2: "wrong usage: an option, a path, a name",
    3: "the target cannot be loaded, or lacks everything",
    4: "vectors are damaged or stale",
    5: "this machine cannot judge, or lacks what it takes",
    130: "interrupted",
}
INTERNAL_ERROR = 70
#: What the system says where this machine lacks something, whoever asked for it.
_LACKING = {
    errno.EMFILE: "more files are open than one process may have (ulimit -n)",
    errno.ENFILE: "more files are open than the system may have",
    errno.ENOMEM: "memory has run out (ulimit -v, or the machine's own)",
    errno.EAGAIN: "no more processes or threads may be started (ulimit -u)",
}
#: Wider than any line: what is piped is never folded.
_ENDLESS = 100_000


def examples(*lines: str) -> str:
    """Return the examples of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def exit_codes(*codes: int, **meanings: str) -> str:
    """Return the exit codes of a command's help; ``c1="..."`` says what 1 means for this command."""
    words = {**EXIT_CODES, **{int(name[1:]): meaning for name, meaning in meanings.items()}}
    lines = (f"  {code:<3}  {words[code]}" for code in codes)
    return "\n\n\b\nExit codes:\n" + "\n".join(lines)


def console() -> "Console":
    """Return a console on stdout: as wide as the terminal and coloured there, unless NO_COLOR asks for none."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            """Leave a closed pipe to whoever prints: Rich would exit with 1, which is a verdict."""
            raise  # noqa: PLE0704 - Rich calls this where it catches the error

    return Piped(highlight=False, width=None if sys.stdout.isatty() else _ENDLESS)


def say(words: object, err: bool = False) -> None:
    """Print a line or several for people; paths, names and words of others in them can move no cursor."""
    click.echo(plain(str(words), lines=True), err=err)


@contextmanager
def whole_or_not() -> Iterator[None]:
    """Print what may be cut short: whoever reads it may have had enough, and the exit code is still the verdict."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()


def print_json(document: object) -> None:
    """Print a document that msgspec knows, indented."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=1))


def check_folder(out: Path) -> None:
    """Refuse a folder that cannot be written before any work is done for it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".golden.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"Cannot write into {out}: {error.strerror}. Choose another folder with --out.") from error


@contextmanager
def beginning(begin: Callable[[], None]) -> Iterator[None]:
    """Call ``begin`` once a target is open, or cannot be opened.

    Not where what the user wrote makes no sense: a slip of the pen leaves the results of another run where they are.
    """
    try:
        yield
    except UsageError:
        raise
    except BaseException:
        begin()
        raise
    begin()


def set_aside(out: Path, names: Iterable[str], told: bool = True) -> None:
    """Move what another run has left in a folder to ``previous`` in it, before a run can end in any way.

    One generation is kept. It is replaced as a whole; stderr says so if that is to be ``told``.
    """
    check_folder(out)
    found = [out / name for name in names if os.path.lexists(out / name)]
    if not found:
        return
    previous, coming = out / "previous", out / f".previous.{os.getpid()}"
    replaced = ", in place of those before them" if os.path.lexists(previous) else ""
    try:
        coming.mkdir()
        for path in found:
            path.replace(coming / path.name)
        if replaced:
            leaving = out / f".leaving.{os.getpid()}"
            previous.replace(leaving)
            coming.replace(previous)
            shutil.rmtree(leaving)
        else:
            coming.replace(previous)
    except OSError as error:
        raise UsageError(
            f"Cannot move the results of another run to {previous}: {error.strerror}. Choose another folder with --out."
        ) from error
    if told:
        say(f"golden: the results of another run are in {previous} now{replaced}", err=True)


@contextmanager
def interrupted_by_termination() -> Iterator[None]:
    """Make SIGTERM, and SIGHUP of a closing terminal, interrupts like Ctrl-C; what is ignored (nohup) stays so."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    taken = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def progress_bar(shown: bool = True) -> Iterator[Step]:
    """Yield a function that shows a step: a bar on stderr if that is a terminal and ``shown``, else nothing."""
    if not shown or not sys.stderr.isatty():
        yield lambda description, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("loading", total=None)

        def step(description: str, done: int, total: int) -> None:
            progress.update(task, description=description, completed=done, total=total)

        yield step


def run(cli: click.Group, arguments: list[str] | None) -> int:
    """Run a command line and return its exit code; every expected error is one sentence on stderr.

    SIGTERM, and SIGHUP of a closing terminal, interrupt every command as Ctrl-C does.
    """
    _open_streams()
    with interrupted_by_termination():
        return _run(cli, arguments)


def _open_streams() -> None:
    """Put the null device where a standard stream is closed, and let names that are no text be printed.

    Else the next file that is opened takes the stream's number, and what a library prints ends up in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(cli: click.Group, arguments: list[str] | None) -> int:
    stdout = sys.stdout
    try:
        result = cli.main(args=arguments, prog_name=cli.name, standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except GoldenError as error:
        say(f"golden: {error}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return UsageError.exit_code
    except click.ClickException as error:
        say(f"golden: {_sentence(error, cli)}", err=True)
        return UsageError.exit_code
    except BrokenPipeError:
        return _closed_pipe()
    except MemoryError:
        return _lacking(_LACKING[errno.ENOMEM])
    except OSError as error:
        if error.errno in _LACKING:
            return _lacking(_LACKING[error.errno])
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _internal_error(error)
        where = f"{error.filename}" if error.filename else "what is written"
        say(f"golden: {error.strerror}: there is no room for {where}. Make some, and run it again.", err=True)
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort):
        say("golden: interrupted", err=True)
        return 130
    except SystemExit as stop:
        if sys.stdout is not stdout:  # click put another in place of a closed one, and exits with 1
            return _closed_pipe()
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        return _internal_error(error)


def _lacking(what: str) -> int:
    say(f"golden: This machine cannot do it: {what}. Nothing is said about any build.", err=True)
    return MachineError.exit_code


def _internal_error(error: Exception) -> int:
    if os.environ.get("GOLDEN_TRACEBACK"):
        raise error
    say(
        f"golden: internal error ({type(error).__name__}: {error}). This is a defect of golden: "
        "please report it with the output of the same command under GOLDEN_TRACEBACK=1.",
        err=True,
    )
    return INTERNAL_ERROR


def _closed_pipe() -> int:
    """End quietly when a pager or head has read enough, with the code that a shell gives a filter then.

    Not by the default action of SIGPIPE: it would also end the judge when a foreign kernel takes its process down
    while a request is written to it.
    """
    _discard_output()
    return 128 + signal.SIGPIPE


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered has nowhere to go


def _sentence(error: click.ClickException, cli: click.Group) -> str:
    """Return what click found wrong, and where to read on, as one line."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.NoSuchOption) and context and context.parent:
        name = error.option_name
        if any(name in parameter.opts for parameter in cli.params):
            rest = context.command_path.partition(" ")[2]
            return f"{name} stands before the command: {cli.name} {name} ... {rest} ..."
    where = f" See '{context.command_path} --help'." if context else ""
    message = " ".join(error.format_message().split())
    return message.rstrip(".") + ("" if message.endswith(("?", "?)")) else ".") + where
