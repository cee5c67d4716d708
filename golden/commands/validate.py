"""``golden validate``."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from golden.commands.options import (
    allow_option,
    as_json,
    choices,
    complete_target,
    draw,
    half_abi,
    lang_option,
    numbering_option,
    platform_option,
    policy_options,
    quiet,
    sandbox,
    selection_options,
    sources,
    suite_option,
    timeout,
    vectors_option,
    with_sources,
)
from golden.commands.suites import opened, seed_option
from golden.commands.terminal import (
    beginning,
    console,
    examples,
    exit_codes,
    print_json,
    progress_bar,
    say,
    set_aside,
    whole_or_not,
)

if TYPE_CHECKING:
    from golden.results import Results
    from reports.formats import Lang

#: Options that say what validate prints and where, not what it does.
_OUTPUT = ("out", "quiet", "json", "lang", "jobs")


#: What validate writes into a folder.
REPORTS = ("results.json", "report.md", "report.html", "junit.xml")


@click.command(
    short_help="Judge a build and write its report.",
    epilog=examples(
        "golden validate kernels.so",
        "golden validate libvendor.so --platform MT7004 --out results/mt7004",
        "golden validate reference:product-first",
        "golden validate 'exec:qemu-aarch64 build/aarch64-linux-gnu/harness'",
        "golden validate python:runners.adapters.pytorch:cpu",
        "golden validate kernels.so --vectors vectors/smoke/smoothl1lossgrad-fp16.h5",
        "golden validate kernels.so --symbol 'fp_*' --class kink --class ties --fail-fast",
        "golden validate kernels.so --require faithful --max-ulp fp32=4",
    )
    + exit_codes(0, 1, 2, 3, 4, 5, 130, c0="the build conforms, or nothing of a selection fails"),
)
@click.argument("target", shell_complete=complete_target)
@platform_option()
@allow_option()
@policy_options
@suite_option("smoke, core, full, or a suite file (.toml).")
@vectors_option(multiple=True)
@seed_option
@click.option("--disclose-seed", is_flag=True, help="Write the private seed into the results, beside its SHA-256.")
@selection_options
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
@numbering_option("auto")
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
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes that judge [default: one a core].")
@lang_option
@quiet
@as_json
@click.pass_context
def validate(
    context: click.Context,
    /,
    target: str,
    vectors: tuple[Path, ...],
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
    begin = partial(set_aside, out, REPORTS, told=not quiet)
    results = judged(target, vectors=vectors, shown=not quiet, begin=begin, **options)
    hidden = (*_OUTPUT, "suite") if vectors else _OUTPUT
    results = with_sources(results, context, hidden)
    files = write_reports(out, results, lang)
    partial_results = f"interrupted: {results.reason} Partial results: {out / 'results.json'}"
    finish(results, out, files, partial_results, quiet, as_json)


def finish(
    results: "Results", out: Path, files: dict[str, str], interrupted: str, quiet: bool, as_json: bool
) -> NoReturn:
    """Print what was found, or that the run was ``interrupted``, and exit with the code of the verdict."""
    from reports.terminal import print_summary, summary_document

    if not results.complete:
        say(interrupted, err=True)
        sys.exit(130)
    with whole_or_not():
        if as_json:
            print_json(summary_document(results, files))
        elif not quiet:
            print_summary(results, out, console())
            say(f"report: {files['html']}")
    sys.exit(1 if results.verdict == "fails" else 0)


def judged(target: str, *, shown: bool, begin: Callable[[], None] = lambda: None, **options: Any) -> "Results":
    """Judge a target; ``begin`` is called when what the user wrote has been read, and makes sense."""
    from golden.profile import load_profile
    from runners.calling.placement import placing
    from runners.judging.selection import Wanted, choose
    from runners.judging.validate import Settings
    from runners.judging.validate import validate as judge
    from runners.offline.session import as_exported, covered, exported, is_dump
    from runners.targets import open_target

    export = exported(target) if is_dump(target) else None
    if export:
        options = as_exported(target, export, sources(click.get_current_context()), options)
    vectors, suite, platform, allow = (options.pop(name) for name in ("vectors", "suite", "platform", "allow"))
    seed, disclosed = options.pop("seed", None), options.pop("disclose_seed", False)
    policy = options.pop("require", None) or "", options.pop("max_ulp", ())
    profile = load_profile(platform).allowing(allow).holding(*policy)
    wanted = Wanted(**{kind: options.pop(kind, ()) for kind in ("operators", "dtypes", "symbols", "classes", "cases")})
    dtypes = {entry.fmt.name for entry in profile.required()}
    with opened(suite, vectors, seed, dtypes, options.get("recheck", False), shown) as (found, private):
        files = covered(target, export, found) if export else found
        choose(files, profile, wanted)  # what matches nothing is told before anything is run
        named = tuple(map(str, vectors))
        settings = Settings(
            profile, ", ".join(named) or suite, vectors=named, wanted=wanted, disclosed=private if disclosed else "",
            **options,
        )  # fmt: skip
        memory = placing(settings.memory, profile)
        with beginning(begin):
            session, library = open_target(
                target, settings.timeout, memory, sandbox=settings.sandbox, draw=settings.draw
            )
        try:
            with progress_bar(shown) as show_step:
                return judge(target, session, library, files, settings, lambda p: show_step(p.symbol, p.done, p.total))
        finally:
            session.close()


def write_reports(out: Path, results: "Results", lang: "Lang") -> dict[str, str]:
    """Write results and, if they are complete, reports; return the path of each kind."""
    from golden.files.atomic import write_atomically
    from golden.files.results import write_results
    from reports.formats import FORMATS, render_junit, speaking

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
