"""``golden fuzz``."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from golden.commands.options import (
    Seconds,
    allow_option,
    as_json,
    complete_target,
    dtypes_option,
    fail_fast,
    half_abi,
    lang_option,
    numbering_option,
    operators_option,
    platform_option,
    policy_options,
    quiet,
    sandbox,
    timeout,
    with_sources,
)
from golden.commands.terminal import (
    beginning,
    check_folder,
    examples,
    exit_codes,
    progress_bar,
    set_aside,
)
from golden.commands.validate import REPORTS, finish, write_reports
from golden.errors import UsageError

#: What a run leaves, so that it can go on.
_STATE = "fuzz.state"


@click.command(
    short_help="Judge a build on calls that are drawn, without end.",
    epilog=examples(
        "golden fuzz kernels.so --time 600",
        "golden fuzz libvendor.so --platform MT7004 --seed ours --calls 1000000 --out out/fuzz",
        "golden fuzz 'exec:qemu-aarch64 build/aarch64-linux-gnu/harness' --operator nlllossgrad --time 60",
        "golden fuzz kernels.so --time 600 --resume",
    )
    + exit_codes(0, 1, 2, 3, 5, 130, c0="no call showed anything wrong", c130="go on with --resume"),
)
@click.argument("target", shell_complete=complete_target)
@platform_option()
@allow_option()
@policy_options
@click.option("--seed", metavar="TEXT", default="", help="Draw the calls from this [default: drawn; results have it].")
@click.option("--time", "seconds", type=Seconds(), help="Seconds that calls are drawn for [default: 60].")
@click.option("--calls", type=click.IntRange(1), help="Calls that are drawn, instead.")
@click.option(
    "--max-bytes", type=click.IntRange(64, 1 << 32), default=1 << 20, show_default=True, help="Of a call's operands."
)
@operators_option
@dtypes_option
@click.option("--symbol", "symbols", multiple=True, metavar="GLOB", help="Only these entry points (may be repeated).")
@click.option("--class", "classes", multiple=True, metavar="GLOB", help="Only values of that class (may be repeated).")
@fail_fast
@half_abi
@numbering_option("auto")
@timeout
@sandbox
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes that judge [default: one a core].")
@click.option("--scheduler", metavar="ADDRESS", help="Run on a Dask cluster instead, such as tcp://HOST:8786.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/fuzz"),
    show_default=True,
    help="Folder for results.json, report.md, report.html, junit.xml, failures/ and fuzz.state.",
)
@lang_option
@quiet
@as_json
@click.pass_context
def fuzz(
    context: click.Context,
    /,
    target: str,
    platform: str,
    allow: tuple[str, ...],
    seconds: float | None,
    calls: int | None,
    out: Path,
    lang: Any,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Judge a build on calls that are drawn: operators, sizes, scalars, values, masks, places and what came before.

    The same seed gives the same calls. What fails is made small and written as vectors that validate, show and repro
    take.
    """
    from golden.profile import load_profile
    from runners.fuzzing.drawn import Recipe
    from runners.fuzzing.engine import Settings, new_seed, open_work
    from runners.fuzzing.engine import fuzz as run
    from runners.fuzzing.evaluate import Work
    from runners.judging.selection import Wanted
    from runners.targets import open_target

    if calls and seconds:
        raise UsageError("--time and --calls: give one of them.")
    policy = options["require"] or "", options["max_ulp"]
    profile, resume = load_profile(platform).allowing(allow).holding(*policy), options["resume"]
    wanted = Wanted(**{kind: options[kind] for kind in ("operators", "dtypes", "symbols", "classes")})
    symbols = tuple(entry.symbol for entry in profile.required() if wanted.entry(entry))
    if not symbols:
        raise UsageError(f"{profile.name} requires no entry point like this; see 'golden list'.")
    recipe = Recipe(
        seed=options["seed"] or new_seed(), profile=profile, symbols=symbols, draw="generators.drawing:draw",
        calls=calls or 0, bytes=options["max_bytes"], classes=wanted.classes,
    )  # fmt: skip
    work = Work(recipe=recipe, target=target, timeout=options["timeout"], sandbox=options["sandbox"])
    pool = _pool(options["jobs"], options["scheduler"])
    begin = partial(check_folder, out) if resume else partial(set_aside, out, (*REPORTS, "failures", _STATE), not quiet)
    with beginning(begin):
        session, library = open_target(target, options["timeout"], sandbox=options["sandbox"])
    try:
        work, probe, remarks = open_work(session, library, work, options["half_abi"], options["numbering"])
        there = session.symbols
    finally:
        session.close()
    ends = {"half-abi": options["half_abi"], "timeout": f"{options['timeout']:g} s"}
    limit = None if calls else seconds or 60.0
    settings = Settings(limit, out, resume, options["fail_fast"], ends, wanted.options)
    with progress_bar(not quiet) as show_step:
        total = calls or 0
        results = run(
            work, library, there, probe, remarks, pool, settings,
            lambda p: show_step(f"{p.rate:,.0f} calls/s, {p.failing} kinds of failures", p.calls, total or p.calls),
        )  # fmt: skip
    results = with_sources(results, context, ("out", "quiet", "json", "lang", "resume", "jobs", "scheduler"))
    files = write_reports(out, results, lang)
    finish(results, out, files, f"interrupted: {results.reason} Go on with --resume.", quiet, as_json)


def _pool(jobs: int, scheduler: str | None) -> Any:
    if scheduler:
        from golden.commands.sweep import cluster

        return cluster(scheduler)
    from runners.sweeping.processes import Processes

    return Processes(jobs)
