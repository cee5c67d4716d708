"""The command line. Only here do the four packages meet; commands import what they need when they run."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import get_completion_class

from golden import __version__
from golden.config import find_config, read_config
from golden.errors import UsageError, VectorError
from golden.options import (
    OneOf,
    as_json,
    choices,
    complete_failing,
    complete_operator,
    complete_platform,
    draw,
    half_abi,
    platform_option,
    quiet,
    sandbox,
    sources,
    suite_option,
    timeout,
    vectors_option,
    with_sources,
)
from golden.selfcheck import check_arithmetic, require_machine
from golden.terminal import (
    EXIT_CODES,
    beginning,
    console,
    examples,
    exit_codes,
    print_json,
    progress_bar,
    run,
    say,
    set_aside,
    whole_or_not,
)
from runners.commands import complete_target, doctor, hunt, probe, sweep
from runners.tools import build, export, list_, platforms, show

if TYPE_CHECKING:
    from golden.results import Results
    from reports import Lang

_lang = click.option(
    "--lang", type=OneOf(["en", "zh"]), default="en", show_default=True, help="Language of md and html."
)
#: What click looks for in the environment when a shell asks for completions.
_COMPLETE = "_GOLDEN_COMPLETE"
#: Options that say what validate prints and where, not what it does.
_OUTPUT = ("out", "quiet", "json", "lang")
#: Commands that run foreign code, and others whose numbers would be wrong in another floating-point mode.
_JUDGES = ("validate", "probe", "sweep", "hunt", "diff")
_COMPUTES = ("generate", "export", "report", "repro", "show")
#: What validate writes into a folder.
REPORTS = ("results.json", "report.md", "report.html", "junit.xml")
#: Where the group tells itself whether the command takes options at all.
_NEEDS_CONFIG = "golden.needs-config"


class _Commands(click.Group):
    """Remembers whether options matter: a mistake in a configuration must not hide the help that explains it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, as every group does."""
        name, command, rest = super().resolve_command(ctx, args)
        ctx.meta[_NEEDS_CONFIG] = name != "completion" and not {"-h", "--help"} & {*rest}
        return name, command, rest


@click.group(
    "golden",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=exit_codes(*EXIT_CODES),
)
@click.version_option(__version__, prog_name="golden")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Options from this file [default: golden.toml, or [tool.golden] of pyproject.toml, here or above].",
)
@click.option("--no-config", is_flag=True, help="Options from no file.")
@click.pass_context
def cli(context: click.Context, config: Path | None, no_config: bool) -> None:
    """Hold a compiled build of the DSP operator kernels against the page: results, accuracy, memory safety.

    Start with 'golden build -o kernels.so' and 'golden validate kernels.so'.
    """
    if config and no_config:
        raise UsageError("--config and --no-config exclude each other.")
    if not context.meta[_NEEDS_CONFIG]:
        return
    if context.invoked_subcommand in _JUDGES:
        require_machine()
    if context.invoked_subcommand in (*_JUDGES, *_COMPUTES):
        check_arithmetic()
    if config is None and not no_config:
        with suppress(FileNotFoundError):  # whoever works in a folder that was removed has no configuration
            config = find_config(Path.cwd())
    if config is not None:
        context.obj = read_config(config, cli.commands)
        context.default_map = context.obj.defaults


@cli.command(
    short_help="Write the golden vectors of a suite.",
    epilog=examples("golden generate --suite core", "golden generate --suite full --operator nlllossgrad --out big"),
)
@click.option(
    "--suite",
    default="core",
    show_default=True,
    help="smoke, core or full.",
    shell_complete=choices(lambda: ("smoke", "core", "full")),
)
@click.option(
    "--operator",
    "operators",
    multiple=True,
    help="Only this operator (may be repeated).",
    shell_complete=complete_operator,
)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=OneOf(["fp16", "fp32"]),
    help="Only this dtype (may be repeated).",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder [default: vectors/SUITE].")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes [default: all cores].")
@quiet
def generate(
    suite: str, operators: tuple[str, ...], dtypes: tuple[str, ...], out: Path | None, jobs: int, quiet: bool
) -> None:
    """Write the golden vectors of a suite, with a manifest of their digests."""
    from generators.suite import generate as generate_suite

    folder = out or Path("vectors") / suite
    written = generate_suite(
        suite,
        folder,
        list(operators),
        list(dtypes),
        jobs,
        done=lambda w: (
            None
            if quiet
            else say(f"{w.path}: {w.cases} cases, {w.elements} elements, {w.rate:.1f} million/s", err=True)
        ),
    )
    if not quiet:
        say(f"{folder}: {sum(w.cases for w in written)} cases in {len(written)} files")


@cli.command(
    short_help="Judge a build and write its report.",
    epilog=examples(
        "golden validate kernels.so",
        "golden validate libvendor.so --platform MT7004 --out results/mt7004",
        "golden validate reference:product-first",
        "golden validate 'exec:qemu-aarch64 build/aarch64-linux-gnu/harness'",
        "golden validate python:runners.adapters.pytorch:cpu",
        "golden validate kernels.so --vectors vectors/smoke/smoothl1lossgrad-fp16.h5",
    )
    + exit_codes(0, 1, 2, 3, 4, 5, 130, c0="the build conforms"),
)
@click.argument("target", shell_complete=complete_target)
@platform_option("FT78NE, MT7004, host, or a profile's path.")
@suite_option("smoke, core or full.")
@vectors_option("A vector file, or a folder with a manifest, instead.")
@click.option("--recheck", is_flag=True, help="Compute the golden values of all vectors again, not of a few.")
@click.option("--xfail", type=click.Path(path_type=Path), help="Expected failures: lines 'SYMBOL CASE  # reason'.")
@click.option("--strict", is_flag=True, help="Let the stress tier decide too.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Folder for results.json, report.md, report.html and junit.xml.",
)
@half_abi
@click.option(
    "--reduction-enum",
    type=OneOf(["sum-mean-none", "none-sum-mean", "auto"]),
    default="sum-mean-none",
    show_default=True,
    help="What the numbers 0, 1, 2 mean.",
)
@timeout
@sandbox
@draw
@click.option(
    "--memory",
    metavar="any|documented|symbol:ALLOC,FREE",
    default="any",
    show_default=True,
    shell_complete=choices(lambda: ("any", "documented", "symbol:")),
    help="Where operands lie: anywhere, at the platform's addresses, or where functions of the library put them.",
)
@_lang
@quiet
@as_json
@click.pass_context
def validate(
    context: click.Context,
    /,
    target: str,
    vectors: Path | None,
    out: Path,
    lang: "Lang",
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Judge a build and write its report.

    TARGET is a shared library, exec:COMMAND for a harness that the command starts (on this machine, under an emulator,
    on a board), python:MODULE:OBJECT for something that Python can call, dump:DIR for what a target has left of the
    calls that 'golden export' wrote, or reference:MODEL for a simulated build (see 'golden list models').
    """
    from reports.terminal import print_summary, summary_document

    begin = partial(set_aside, out, REPORTS, told=not quiet)
    results = _validate(target, vectors=vectors, shown=not quiet, begin=begin, **options)
    hidden = (*_OUTPUT, "suite") if vectors else _OUTPUT
    results = with_sources(results, context, hidden)
    files = _write_reports(out, results, lang)
    if not results.complete:
        say(f"interrupted: {results.reason} Partial results: {out / 'results.json'}", err=True)
        sys.exit(130)
    with whole_or_not():
        if as_json:
            print_json(summary_document(results, files))
        elif not quiet:
            print_summary(results, out, console())
            say(f"report: {files['html']}")
    sys.exit(0 if results.verdict == "conforms" else 1)


@cli.command(
    short_help="Render one or several results files.",
    epilog=examples(
        "golden report out/results.json",
        "golden report gcc/results.json clang/results.json --format html --out matrix.html",
        "golden report out/results.json out/sweep.json --format html --lang zh --out report.zh.html",
    ),
)
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=OneOf(["md", "html", "csv", "latex", "json", "badge"]),
    default="md",
    show_default=True,
    help="What is written; badge is an SVG for a README.",
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
        write_atomically(out, text.encode())
        say(out)


@cli.command(
    short_help="Compare two runs: better, worse, other bits.",
    epilog=examples(
        "golden diff before/results.json after/results.json --format md",
        "golden diff old.so new.so --platform MT7004",
    )
    + exit_codes(0, 1, 2, 3, 4, 5, 130, c0="nothing is worse", c1="something is worse"),
)
@click.argument("before", shell_complete=complete_target)
@click.argument("after", shell_complete=complete_target)
@click.option(
    "--format",
    "kind",
    type=OneOf(["text", "md", "json"]),
    default="text",
    show_default=True,
    help="What is printed.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@platform_option("For builds: what they are held to.")
@suite_option("For builds: smoke, core or full.")
@vectors_option("For builds: a vector file or folder instead.")
@quiet
def diff(before: str, after: str, kind: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Compare two runs: what got better, worse, or has other bits.

    BEFORE and AFTER are results files (.json), or builds, which are validated first.
    """
    from golden.results import read_results
    from reports.diff import DIFF_FORMATS, bits, compare

    options["shown"] = not quiet
    runs = [read_results(Path(w)) if w.endswith(".json") else _validate(w, **options) for w in (before, after)]
    if not all(run.complete for run in runs):
        raise KeyboardInterrupt
    found = compare(*runs)
    if as_json or not quiet:
        click.echo(DIFF_FORMATS["json" if as_json else kind](found), nl=False)
    if kind == "text" and not (as_json or quiet):
        say(bits(*runs))
    sys.exit(1 if found.outcome == "worse" else 0)


@cli.command(
    short_help="Write one C file that shows a failure.",
    epilog=examples("golden repro out/results.json smoothl1lossgrad/fp32/beta=0.1/kink/n=31 -o repro.c")
    + exit_codes(0, 2, 4, 5),
)
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("case", shell_complete=complete_failing)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File [default: stdout].")
@click.option("--symbol", help="Entry point [default: the first on which the case fails].")
@click.option("--platform", help="Profile of the run, if it is a file of yours.", shell_complete=complete_platform)
def repro(results: Path, case: str, output: Path | None, symbol: str | None, platform: str | None) -> None:
    """Write one C file that shows a failure with the vendor's header and library alone."""
    from golden.manifest import open_vectors
    from golden.operator import entry_points
    from golden.profile import load_profile
    from golden.results import read_results, write_atomically
    from reports.repro import choose_symbol, render_repro
    from runners import catalogue
    from runners.calling.plan import invocations

    run = read_results(results)
    vectors = Path(run.vectors.suite)
    files = open_vectors(run.vectors.suite, vectors if vectors.exists() else None)
    found = catalogue.find(files, case)
    file = next(f for f in files if any(head.id == case for head in f.heads))
    if run.vectors.digests.get(file.path.name) != file.digest:
        raise VectorError(f"{file.path} is not the file that {results} was made with; validate again, or restore it.")
    name = choose_symbol(run, found, symbol)
    plan = invocations(found, entry_points()[name], load_profile(platform or run.platform.name))
    program = render_repro(run, found, name, plan)
    if output is None:
        click.echo(program, nl=False)
    else:
        write_atomically(output, program.encode())
        say(output)


@cli.command(
    short_help="Print the script that completes golden in a shell.",
    epilog=examples(
        'eval "$(golden completion bash)"    # in ~/.bashrc',
        'eval "$(golden completion zsh)"     # in ~/.zshrc',
        "golden completion fish | source     # in ~/.config/fish/config.fish",
    ),
)
@click.argument("shell", metavar="SHELL", type=OneOf(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options, suites, platforms, operators and cases."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "golden", _COMPLETE).source())


for command in (build, export, list_, platforms, show, probe, sweep, hunt, doctor):
    cli.add_command(command)


def _validate(target: str, *, shown: bool, begin: Callable[[], None] = lambda: None, **options: Any) -> "Results":
    """Judge a target; ``begin`` is called when what the user wrote has been read, and makes sense."""
    from generators.suite import heads
    from golden.manifest import open_vectors
    from golden.profile import load_profile
    from runners.calling.placement import placing
    from runners.judging.validate import Settings
    from runners.judging.validate import validate as judge
    from runners.offline.session import as_exported, covered, exported, is_dump
    from runners.targets import open_target

    export = exported(target) if is_dump(target) else None
    if export:
        options = as_exported(target, export, sources(click.get_current_context()), options)
    vectors, suite, platform = (options.pop(name) for name in ("vectors", "suite", "platform"))
    profile = load_profile(platform)
    files = open_vectors(suite, vectors, options.get("recheck", False), heads)
    if export:
        files = covered(target, export, files)
    settings = Settings(profile, str(vectors) if vectors else suite, **options)
    memory = placing(settings.memory, profile)
    with beginning(begin):
        session, library = open_target(target, settings.timeout, memory, sandbox=settings.sandbox, draw=settings.draw)
    try:
        with progress_bar(shown) as show_step:
            return judge(target, session, library, files, settings, lambda p: show_step(p.symbol, p.done, p.total))
    finally:
        session.close()


def _write_reports(out: Path, results: "Results", lang: "Lang") -> dict[str, str]:
    """Write results and, if they are complete, reports; return the path of each kind."""
    from golden.results import write_atomically, write_results
    from reports import FORMATS, render_junit, speaking

    files = {"results": out / "results.json"}
    write_results(files["results"], results)
    if results.complete:
        with speaking(lang):
            for kind, name, render in (
                ("md", "report.md", FORMATS["md"]),
                ("html", "report.html", FORMATS["html"]),
                ("junit", "junit.xml", lambda runs: render_junit(runs[0])),
            ):
                files[kind] = out / name
                write_atomically(files[kind], render([results]).encode())
    return {kind: str(path) for kind, path in files.items()}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit; every expected error is one sentence on stderr."""
    sys.exit(run(cli, arguments))


if __name__ == "__main__":
    main()
