"""The command line. Only here do the four packages meet; commands import what they need when they run."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from golden import __version__
from golden.errors import GoldenError, UsageError, VectorError
from golden.terminal import end_quietly_on_closed_pipe, examples, progress_bar
from runners.commands import doctor, hunt, probe, sweep

if TYPE_CHECKING:
    from golden.results import Results
    from reports import Lang

EXIT_CODES = """\b
Exit codes:
  0  the build conforms, or the command did what was asked
  1  the build does not conform
  2  wrong usage: an option, a path, a name
  3  the target cannot be loaded, or lacks everything asked for
  4  vectors are damaged or stale
  130  interrupted
"""
INTERNAL_ERROR = 70
_lang = click.option(
    "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language of md and html."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="golden")
def cli() -> None:
    """Hold a compiled build of the DSP operator kernels against the page: results, accuracy, memory safety.

    Start with 'golden build -o kernels.so' and 'golden validate kernels.so'.
    """


@cli.command(
    epilog=examples(
        "golden build -o kernels.so",
        "golden build -o fast.so --cc clang --cflags '-O3 -march=native'",
        "golden build -o integer.so --cflags -DGOLDEN_HALF_UINT16",
    )
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("build/libkernels.so"),
    show_default=True,
    help="Where the library goes.",
)
@click.option("--cc", help="C compiler [default: $CC, then cc, gcc, clang].")
@click.option("--cflags", default="", help="Flags for the compiler, after the default ones; as one argument.")
def build(output: Path, cc: str | None, cflags: str) -> None:
    """Compile the bundled C kernels into a shared library for this machine."""
    import shlex

    from runners.build import build_library

    try:
        flags = shlex.split(cflags)
    except ValueError as error:
        raise UsageError(f"--cflags cannot be read: {error}.") from error
    click.echo(build_library(output, cc, flags))


@cli.command(
    epilog=examples("golden generate --suite core", "golden generate --suite full --operator nlllossgrad --out big")
)
@click.option("--suite", default="core", show_default=True, help="smoke, core or full.")
@click.option("--operator", "operators", multiple=True, help="Only this operator (may be repeated).")
@click.option("--dtype", "dtypes", multiple=True, help="Only this dtype (may be repeated).")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder [default: vectors/SUITE].")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes [default: all cores].")
def generate(suite: str, operators: tuple[str, ...], dtypes: tuple[str, ...], out: Path | None, jobs: int) -> None:
    """Write the golden vectors of a suite, with a manifest of their digests."""
    from generators.suite import generate as generate_suite

    folder = out or Path("vectors") / suite
    written = generate_suite(
        suite,
        folder,
        list(operators),
        list(dtypes),
        jobs,
        done=lambda w: click.echo(f"{w.path}: {w.cases} cases, {w.elements} elements", err=True),
    )
    click.echo(f"{folder}: {sum(w.cases for w in written)} cases in {len(written)} files")


@cli.command(
    epilog=examples(
        "golden validate kernels.so",
        "golden validate libvendor.so --platform MT7004 --out results/mt7004",
        "golden validate reference:product-first",
        "golden validate kernels.so --vectors vectors/smoke/smoothl1lossgrad-fp16.h5",
    )
    + "\n\n"
    + EXIT_CODES
)
@click.argument("target")
@click.option("--platform", default="host", show_default=True, help="FT78NE, MT7004, host, or a profile's path.")
@click.option("--suite", default="core", show_default=True, help="smoke, core or full.")
@click.option("--vectors", type=click.Path(path_type=Path), help="A vector file, or a folder with a manifest, instead.")
@click.option("--xfail", type=click.Path(path_type=Path), help="Expected failures: lines 'SYMBOL CASE  # reason'.")
@click.option("--strict", is_flag=True, help="Let the stress tier decide too.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Folder for results.json, report.md, report.html and junit.xml.",
)
@click.option("--half-abi", type=click.Choice(["auto", "float16", "uint16"]), default="auto", show_default=True)
@click.option(
    "--reduction-enum",
    type=click.Choice(["sum-mean-none", "none-sum-mean", "auto"]),
    default="sum-mean-none",
    show_default=True,
    help="What the numbers 0, 1, 2 mean.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds a kernel call may take.",
)
@_lang
def validate(target: str, vectors: Path | None, out: Path, lang: "Lang", **options: Any) -> None:
    """Judge a build and write its report.

    TARGET is a shared library, or reference:MODEL for a simulated one (see 'golden list models').
    """
    _check_folder(out)
    results = _validate(target, vectors, **options)
    _write_reports(out, results, lang)
    if not results.complete:
        click.echo(f"interrupted: {results.reason} Partial results: {out / 'results.json'}", err=True)
        sys.exit(130)
    try:
        _print_summary(results, out)
        click.echo(f"report: {out / 'report.html'}")
    except BrokenPipeError:  # whoever read the summary had enough of it; the exit code is still the verdict
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0 if results.verdict == "conforms" else 1)


@cli.command(
    epilog=examples(
        "golden report out/results.json",
        "golden report gcc/results.json clang/results.json --format html --out matrix.html",
        "golden report out/results.json out/sweep.json --format html --lang zh --out report.zh.html",
    )
)
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["md", "html", "csv", "latex", "json", "badge"]),
    default="md",
    show_default=True,
)
@_lang
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File [default: standard output].")
def report(results: tuple[Path, ...], kind: str, lang: "Lang", out: Path | None) -> None:
    """Render one or several results files; several give one cross-platform report.

    RESULTS may include sweep files (sweep.json): exhaustive maxima stand beside sampled ones.
    """
    from golden.results import write_atomically
    from golden.sweepfile import read_results_and_sweeps
    from reports import FORMATS, TRANSLATED, speaking
    from reports.badge import render_badge

    end_quietly_on_closed_pipe()
    if lang != "en" and kind not in TRANSLATED:
        raise UsageError(f"--lang {lang} is for {' and '.join(TRANSLATED)}; {kind} is in English. Leave --lang out.")
    runs, sweeps = read_results_and_sweeps(results)
    if kind == "badge":
        if not runs:
            raise UsageError("A badge tells a verdict, and sweep files have none. Give a results file too.")
        text = render_badge(runs)
    else:
        with speaking(lang):
            text = FORMATS[kind](runs, sweeps)
    if out is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text.encode())
        click.echo(out)


@cli.command("list", epilog=examples("golden list", "golden list cases kink", "golden list classes"))
@click.argument(
    "what",
    type=click.Choice(["all", "operators", "platforms", "suites", "models", "classes", "flags", "cases"]),
    default="all",
)
@click.argument("pattern", default="")
@click.option("--suite", default="core", show_default=True, help="Suite whose cases and classes are listed.")
@click.option("--vectors", type=click.Path(path_type=Path), help="A vector file or folder instead.")
def list_(what: str, pattern: str, suite: str, vectors: Path | None) -> None:
    """List what there is: operators, platforms, suites, reference models, classes, flags, cases.

    PATTERN selects cases and classes whose id contains it.
    """
    from runners import catalogue

    end_quietly_on_closed_pipe()
    if what in ("cases", "classes"):
        files = _read_vectors(suite, vectors)
        lines = catalogue.cases(files, pattern) if what == "cases" else catalogue.classes(files, pattern)
    else:
        lines = catalogue.overview(what)
    for line in lines:
        click.echo(line)


@cli.command(epilog=examples("golden show smoothl1lossgrad/fp16/beta=0.5/kink/n=31 --element 3"))
@click.argument("case")
@click.option("--suite", default="core", show_default=True, help="Suite that has the case.")
@click.option("--vectors", type=click.Path(path_type=Path), help="A vector file or folder instead.")
@click.option("--element", type=click.IntRange(0), help="Only this output element, in full.")
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Elements shown.")
def show(case: str, suite: str, vectors: Path | None, element: int | None, limit: int) -> None:
    """Show a case: operands, exact value, golden, and what each legal order gives."""
    from runners import catalogue

    end_quietly_on_closed_pipe()
    found = catalogue.find(_read_vectors(suite, vectors), case)
    for line in catalogue.describe(found, element, limit):
        click.echo(line)


@cli.command(
    epilog=examples(
        "golden diff before/results.json after/results.json --format md",
        "golden diff old.so new.so --platform MT7004",
    )
)
@click.argument("before")
@click.argument("after")
@click.option("--format", "kind", type=click.Choice(["text", "md", "json"]), default="text", show_default=True)
@click.option("--platform", default="host", show_default=True, help="For builds: what they are held to.")
@click.option("--suite", default="core", show_default=True, help="For builds: smoke, core or full.")
@click.option("--vectors", type=click.Path(path_type=Path), help="For builds: a vector file or folder instead.")
def diff(before: str, after: str, kind: str, **options: Any) -> None:
    """Compare two runs: what got better, worse, or has other bits. Exit code 1 if anything is worse.

    BEFORE and AFTER are results files (.json), or builds, which are validated first.
    """
    from golden.results import read_results
    from reports.diff import DIFF_FORMATS, bits, compare

    end_quietly_on_closed_pipe()
    runs = [read_results(Path(w)) if w.endswith(".json") else _validate(w, **options) for w in (before, after)]
    if not all(run.complete for run in runs):
        raise KeyboardInterrupt
    found = compare(*runs)
    click.echo(DIFF_FORMATS[kind](found), nl=False)
    if kind == "text":
        click.echo(bits(*runs))
    sys.exit(1 if found.outcome == "worse" else 0)


@cli.command(epilog=examples("golden repro out/results.json smoothl1lossgrad/fp32/beta=0.1/kink/n=31 -o repro.c"))
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("case")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File [default: stdout].")
@click.option("--symbol", help="Entry point [default: the first on which the case fails].")
@click.option("--platform", help="Profile of the run, if it is a file of yours.")
def repro(results: Path, case: str, output: Path | None, symbol: str | None, platform: str | None) -> None:
    """Write one C file that shows a failure with the vendor's header and library alone."""
    from golden.operator import entry_points
    from golden.profile import load_profile
    from golden.results import read_results, write_atomically
    from reports.repro import choose_symbol, render_repro
    from runners import catalogue
    from runners.plan import invocations

    run = read_results(results)
    vectors = Path(run.vectors.suite)
    files = _read_vectors(run.vectors.suite, vectors if vectors.exists() else None)
    found = catalogue.find(files, case)
    file = next(f for f in files if any(c is found for c in f.cases))
    if run.vectors.digests.get(file.path.name) != file.digest:
        raise VectorError(f"{file.path} is not the file that {results} was made with; validate again, or restore it.")
    name = choose_symbol(run, found, symbol)
    plan = invocations(found, entry_points()[name], load_profile(platform or run.platform.name))
    program = render_repro(run, found, name, plan)
    if output is None:
        click.echo(program, nl=False)
    else:
        write_atomically(output, program.encode())
        click.echo(output)


for command in (probe, sweep, hunt, doctor):
    cli.add_command(command)


def _read_vectors(suite: str, vectors: Path | None) -> Any:
    from golden.manifest import read_suite, suite_folder
    from golden.vectorfile import read_vectors

    if vectors is not None and not vectors.is_dir():
        return [read_vectors(vectors)]
    return read_suite(vectors or suite_folder(suite))


def _validate(target: str, vectors: Path | None, platform: str, suite: str, **options: Any) -> "Results":
    from golden.profile import load_profile
    from runners.targets import open_target
    from runners.validate import Settings
    from runners.validate import validate as run

    profile = load_profile(platform)
    files = _read_vectors(suite, vectors)
    settings = Settings(profile, str(vectors) if vectors else suite, **options)
    session, library = open_target(target, settings.timeout)
    try:
        with progress_bar() as show_step:
            return run(target, session, library, files, settings, lambda p: show_step(p.symbol, p.done, p.total))
    finally:
        session.close()


def _check_folder(out: Path) -> None:
    """Refuse a folder that cannot be written before any work is done for it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".golden.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"Cannot write into {out}: {error.strerror}. Choose another folder with --out.") from error


def _write_reports(out: Path, results: "Results", lang: "Lang") -> None:
    from golden.results import write_atomically, write_results
    from reports import FORMATS, render_junit, speaking

    write_results(out / "results.json", results)
    if results.complete:
        with speaking(lang):
            write_atomically(out / "report.md", FORMATS["md"]([results]).encode())
            write_atomically(out / "report.html", FORMATS["html"]([results]).encode())
        write_atomically(out / "junit.xml", render_junit(results).encode())


def _print_summary(results: "Results", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from reports.text import repro_command

    console = Console(highlight=False, soft_wrap=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("entry point", no_wrap=True)
    for name in ("status", "grade"):
        table.add_column(name, overflow="fold")
    for name in ("cases", "failing", "max ulp"):
        table.add_column(name, justify="right")
    for e in results.entry_points:
        row = (e.symbol, e.status, e.grade if e.cases else "-", str(e.cases), str(e.failures))
        table.add_row(*row, f"{e.max_ulp:.4g}" if e.cases else "-")
    console.print(table)
    for e in results.entry_points:
        if e.status not in ("pass", "missing"):
            console.print(f"{e.symbol}: {e.detail}", markup=False)
            if case := next((f.case for f in e.failing if f.case and f.kind != "not-run"), ""):
                command = repro_command(str(folder / "results.json"), case, e.symbol)
                console.print(f"  {command}", markup=False, soft_wrap=True)
    warnings = [f for f in results.findings if not f.kind.startswith("stress-")]
    for finding in warnings[:10]:
        console.print(f"{finding.severity}: {finding.symbol or 'build'}: {finding.message}", markup=False)
    if len(warnings) > 10:
        console.print(f"and {len(warnings) - 10} more findings in the report", markup=False)
    console.print(f"{results.verdict}: {results.reason}", markup=False)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit; every expected error is one sentence on stderr."""
    sys.exit(_run(lambda: cli.main(args=arguments, prog_name="golden", standalone_mode=False)))


def _run(command: Callable[[], Any]) -> int:
    try:
        result = command()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except GoldenError as error:
        click.echo(f"golden: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("golden: interrupted", err=True)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if os.environ.get("GOLDEN_TRACEBACK"):
            raise
        click.echo(
            f"golden: internal error ({type(error).__name__}: {error}). This is a defect of golden: "
            "please report it with the output of the same command under GOLDEN_TRACEBACK=1.",
            err=True,
        )
        return INTERNAL_ERROR


if __name__ == "__main__":
    main()
