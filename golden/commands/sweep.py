"""``golden sweep``."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golden.commands.options import (
    OneOf,
    allow_option,
    as_json,
    beta_option,
    complete_operator,
    complete_target,
    half_abi,
    numbering_option,
    platform_option,
    quiet,
    reduction_option,
    sandbox,
    scalars_of,
    set_option,
    timeout,
    with_sources,
)
from golden.commands.terminal import (
    beginning,
    check_folder,
    examples,
    exit_codes,
    print_json,
    progress_bar,
    say,
    set_aside,
)
from golden.errors import UsageError

if TYPE_CHECKING:
    from golden.operator import Storage
    from runners.sweeping.pool import Pool


def _points(context: click.Context, parameter: click.Parameter, text: str) -> int:
    """Read a number of points: 1000000, or 2^30."""
    base, power, exponent = text.partition("^")
    try:
        count = int(base) ** int(exponent) if power and 0 <= int(exponent) <= 62 else int(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a number of points such as 1000000 or 2^30.") from error
    if not 0 < count < 1 << 62:
        raise click.BadParameter(f"{text} points: give 1 to 2^61.")
    return count


@click.command(
    short_help="Judge a whole input space, such as all pairs of fp16 numbers.",
    epilog=examples(
        "golden sweep kernels.so --operator smoothl1lossgrad --space diff-dy --beta 0.5",
        "golden sweep kernels.so --operator nlllossgrad --space g-w --reduction mean --set total_weight=3",
        "golden sweep libvendor.so --platform MT7004 --storage shared --space pairs --out out/pairs",
        "golden sweep kernels.so --dtype fp32 --space operand:dy --set x1=0.25 --set x2=0",
        "golden sweep reference:formula --dtype fp32 --space random --samples 2^24 --seed 7",
        "golden sweep kernels.so --space diff-dy --scheduler tcp://10.0.0.1:8786 --resume",
    )
    + exit_codes(
        0, 1, 2, 3, 5, 130, c0="no result is outside its bound", c1="some result is", c130="go on with --resume"
    ),
)
@click.argument("target", shell_complete=complete_target)
@click.option(
    "--operator",
    default="smoothl1lossgrad",
    show_default=True,
    help="What is swept.",
    shell_complete=complete_operator,
)
@click.option("--dtype", type=OneOf(["fp16", "fp32"]), default="fp16", show_default=True, help="Of the operands.")
@click.option(
    "--storage",
    type=click.Choice(["private", "shared"]),
    default="private",
    show_default=True,
    help="The entry point ending in _p or in _s.",
)
@click.option(
    "--space",
    default="",
    help="pairs, diff-dy, g-w, w-total, pair:NAME,NAME, operand:NAME, random [default: the operator's first].",
)
@beta_option(1.0)
@reduction_option("none")
@set_option
@click.option(
    "--samples", metavar="N|2^K", callback=_points, default="2^30", show_default=True, help="Points of 'random'."
)
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), default=0, show_default=True, help="For 'random'.")
@platform_option()
@allow_option()
@half_abi
@numbering_option("auto")
@timeout
@sandbox
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes that judge [default: one a core].")
@click.option("--scheduler", metavar="ADDRESS", help="Run on a Dask cluster instead, such as tcp://HOST:8786.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted sweep in --out.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Folder for sweep.json, and for sweep.state while the sweep is not complete.",
)
@quiet
@as_json
def sweep(
    target: str,
    operator: str,
    dtype: str,
    storage: "Storage",
    space: str,
    beta: float,
    reduction: str,
    fixed: dict[str, float | str],
    samples: int,
    seed: int,
    platform: str,
    allow: tuple[str, ...],
    half_abi: str,
    numbering: str,
    timeout: float,
    sandbox: str,
    jobs: int,
    scheduler: str | None,
    resume: bool,
    out: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Judge a whole input space: every pair of fp16 numbers, every value of an fp32 operand, or a counted sample.

    Every point is computed by TARGET (a shared library, or reference:MODEL) and judged. Ctrl-C keeps what is done;
    the same command with --resume goes on, here or on a cluster. Exit code 0: no result is outside every legal bound,
    and calls break no contract.
    """
    from golden.files.sweeps import write_sweep
    from golden.operator import operator as named
    from golden.profile import load_profile
    from runners.calling.manner import Manner
    from runners.sweeping.engine import coverage, open_work
    from runners.sweeping.engine import sweep as run
    from runners.sweeping.processes import Processes
    from runners.sweeping.space import make_space

    if scheduler and jobs:
        raise UsageError("--jobs is for this machine: a cluster judges with the workers that it has.")
    profile = load_profile(platform).allowing(allow)
    scalars, values = scalars_of(named(operator), fixed, beta=beta, reduction=reduction)
    made = make_space(
        *(space, operator, dtype),
        storage=storage,
        fixed=values,
        samples=samples,
        seed=seed,
        **scalars,  # type: ignore[arg-type]
    )
    if not profile.requires(made.entry):
        raise UsageError(f"{profile.name} has no {made.entry.symbol}: choose another --dtype or --platform.")
    state = out / "sweep.state"
    begin = partial(check_folder, out) if resume else partial(set_aside, out, ("sweep.json",), told=not quiet)
    with beginning(begin):
        work, library = open_work(
            *(target, made),
            half_abi=half_abi,
            numbering=numbering,
            terms=profile.terms,
            timeout=timeout,
            sandbox=sandbox,  # type: ignore[arg-type]
            manner=Manner.of(profile),
        )
    pool = cluster(scheduler) if scheduler else Processes(jobs)
    with progress_bar(not quiet) as step:
        result = run(
            *(target, work, library, pool),
            state=state,
            resume=resume,
            progress=lambda p: step(f"{p.rate / 1e6:.0f} M/s", p.done, p.total),
        )
        hidden = ("out", "jobs", "scheduler", "resume", "quiet", "json")
        result = with_sources(result, click.get_current_context(), hidden)
        write_sweep(out / "sweep.json", result)
    if result.complete:
        state.unlink()
    tally, limit = result.tally, "<=" if result.exhaustive else ">="
    if as_json:
        print_json(result)
    elif not quiet:
        say(f"{result.symbol} {result.space}: {coverage(result)}")
        say(
            f"{tally.misrounded:,} misrounded, max {limit} {tally.max_ulp:.6g} ulp, {result.bound_exceeded:,} outside "
            f"every legal bound; {result.seconds:.1f} s ({result.rate / 1e6:.0f} M/s)"
        )
        if result.config.path:
            say(f"configuration: {result.config}")
        for broken in result.broken:
            click.echo(f"failure: {broken}")
        for finding in result.findings:
            say(f"warning: {finding}")
    if not result.complete:
        say("interrupted: go on with --resume", err=True)
        sys.exit(130)
    sys.exit(1 if result.bound_exceeded or result.broken else 0)


def cluster(address: str) -> "Pool":
    """Return the workers of a Dask scheduler; raises :class:`UsageError` where Dask is missing."""
    try:
        from runners.sweeping.cluster import Cluster
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("distributed", "dask"):
            raise
        raise UsageError("--scheduler needs dask.distributed: pip install 'golden-kernels[cluster]'.") from error
    return Cluster(address)
