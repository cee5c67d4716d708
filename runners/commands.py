"""The commands that need only targets: probe, sweep, hunt, doctor. They import what they need when they run."""

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from golden import names
from golden.errors import UsageError
from golden.options import (
    OneOf,
    as_json,
    choices,
    complete_operator,
    half_abi,
    platform_option,
    quiet,
    sandbox,
    suite_option,
    timeout,
    with_sources,
)
from golden.terminal import (
    beginning,
    check_folder,
    examples,
    exit_codes,
    print_json,
    progress_bar,
    say,
    set_aside,
)

if TYPE_CHECKING:
    from golden.operator import Storage
    from runners.sweeping.evaluate import Pool


def complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer files, and the reference models where the word can only mean one."""
    if incomplete[:3] == "ref" and not any(Path().glob(f"{incomplete}*")):
        from runners.models import MODELS

        known = [f"reference:{name}" for name in MODELS]
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file")]


@click.command(
    short_help="Find out what a build is like; judges nothing.",
    epilog=examples("golden probe libvendor.so", "golden probe libvendor.so --json") + exit_codes(0, 2, 3, 4, 5),
)
@click.argument("target", shell_complete=complete_target)
@suite_option("Suite whose inputs are used.")
@timeout
@as_json
def probe(target: str, suite: str, timeout: float, as_json: bool) -> None:
    """Find out what a build is like: half ABI, reduction numbers, subnormals, evaluation order, alignment.

    Judges nothing; 'golden validate' does.
    """
    from golden.manifest import open_vectors
    from runners.judging.traits import inspect
    from runners.targets import open_target

    files = open_vectors(suite)
    session, _ = open_target(target, timeout)
    try:
        traits = inspect(session, files)
    finally:
        session.close()
    if as_json:
        print_json(traits)
        return
    for name in ("half_abi", "reduction_enum", "subnormals"):
        say(f"{name.replace('_', ' ')}: {getattr(traits, name)}")
    for entry in traits.entry_points:
        say(entry.symbol)
        for field in entry.__struct_fields__[1:]:
            say(f"  {field.replace('_', ' ')}: {getattr(entry, field)}")


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
    "--space", default="diff-dy", show_default=True, help="pairs, diff-dy, g-w, w-total, operand:NAME, random."
)
@click.option("--beta", default=1.0, show_default=True, help="SmoothL1LossGrad's scalar.")
@click.option(
    "--reduction",
    type=OneOf(["sum", "mean", "none"]),
    default="none",
    show_default=True,
    help="NLLLossGrad's reduction.",
)
@click.option(
    "--set", "fixed", multiple=True, metavar="NAME=VALUE", help="Value of an operand that does not vary [default: 1]."
)
@click.option(
    "--samples", metavar="N|2^K", callback=_points, default="2^30", show_default=True, help="Points of 'random'."
)
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), default=0, show_default=True, help="For 'random'.")
@platform_option("FT78NE, MT7004, host, or a profile's path.")
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
    fixed: tuple[str, ...],
    samples: int,
    seed: int,
    platform: str,
    half_abi: str,
    reduction_enum: str,
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
    from golden.profile import load_profile
    from golden.sweepfile import write_sweep
    from runners.sweeping.engine import coverage, open_work
    from runners.sweeping.engine import sweep as run
    from runners.sweeping.processes import Processes
    from runners.sweeping.space import make_space

    if scheduler and jobs:
        raise UsageError("--jobs is for this machine: a cluster judges with the workers that it has.")
    profile = load_profile(platform)
    values = dict(_fixed(word) for word in fixed)
    options = {"beta": beta, "reduction": reduction, "fixed": values or None, "samples": samples, "seed": seed}
    made = make_space(space, operator, dtype, storage=storage, **options)  # type: ignore[arg-type]
    if not profile.requires(made.entry):
        raise UsageError(f"{profile.name} has no {made.entry.symbol}: choose another --dtype or --platform.")
    state = out / "sweep.state"
    begin = partial(check_folder, out) if resume else partial(set_aside, out, ("sweep.json",), told=not quiet)
    with beginning(begin):
        work, library = open_work(
            *(target, made),
            half_abi=half_abi,
            reduction_enum=reduction_enum,
            flush=profile.may_flush,
            timeout=timeout,
            sandbox=sandbox,  # type: ignore[arg-type]
        )
    pool = _cluster(scheduler) if scheduler else Processes(jobs)
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


def _fixed(word: str) -> tuple[str, float]:
    """Read NAME=VALUE."""
    name, _, text = word.partition("=")
    try:
        return name, float(text)
    except ValueError as error:
        raise click.BadParameter(f"{word!r} is not NAME=VALUE.", param_hint="--set") from error


def _cluster(address: str) -> "Pool":
    try:
        from runners.sweeping.cluster import Cluster
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("distributed", "dask"):
            raise
        raise UsageError("--scheduler needs dask.distributed: pip install 'golden-kernels[cluster]'.") from error
    return Cluster(address)


@click.command(
    short_help="Search for the worst input of a build.",
    epilog=examples("golden hunt kernels.so --symbol hp_smoothl1lossgrad_p --beta 0.1 --out hunted")
    + exit_codes(0, 1, 2, 3, 5, 130, c0="the worst input found is within its bound", c1="it is outside"),
)
@click.argument("target", shell_complete=complete_target)
@click.option(
    "--symbol",
    multiple=True,
    help="Entry point (may be repeated) [default: all there are].",
    shell_complete=choices(
        lambda: [f"{t}_{o}_{s}" for o in names.operators() for t in ("hp", "fp") for s in ("s", "p")]
    ),
)
@click.option("--beta", default=0.1, show_default=True, help="SmoothL1LossGrad's scalar.")
@click.option(
    "--reduction",
    type=OneOf(["sum", "mean", "none"]),
    default="mean",
    show_default=True,
    help="NLLLossGrad's reduction.",
)
@click.option("--seed", default=0, show_default=True, help="Another seed searches elsewhere.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/hunted"),
    show_default=True,
    help="Folder for the vector files of what was found.",
)
@half_abi
@timeout
@quiet
@as_json
def hunt(
    target: str,
    symbol: tuple[str, ...],
    beta: float,
    reduction: str,
    seed: int,
    out: Path,
    half_abi: str,
    timeout: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Search for the worst input of a build and save it as a vector that validate and show accept."""
    from runners.hunting.hunt import Hunted, chosen
    from runners.hunting.hunt import hunt as run
    from runners.targets import open_target

    check_folder(out)
    session, _ = open_target(target, timeout)
    hunted: list[Hunted] = []
    scratch = tempfile.TemporaryDirectory()
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch.name  # else it leaves a folder where the user is
    try:
        for name in chosen(session, symbol):
            found, _case = run(session, name, out, beta=beta, reduction=reduction, seed=seed, half_abi=half_abi)
            hunted.append(found)
            verdict = "outside every legal bound" if found.fails else f"at most {found.bound:.4g} legal"
            if not (quiet or as_json):
                say(f"{name}: {found.ulp:.6g} ulp ({verdict}), {found.evaluated} evaluated: {found.file}")
                sys.stdout.flush()
    finally:  # a crash or an interrupt costs what is under way, not what was found
        session.close()
        scratch.cleanup()
        if as_json and hunted:
            print_json(hunted)
    sys.exit(1 if any(found.fails for found in hunted) else 0)


@click.command(
    short_help="Tell what this machine has, and what is missing.",
    epilog=examples("golden doctor", "golden doctor --json")
    + exit_codes(0, 2, 5, c0="libraries can be validated here", c2="something essential is missing"),
)
@quiet
@as_json
def doctor(quiet: bool, as_json: bool) -> None:
    """Tell what this machine has, what each part enables, and what to install for the rest."""
    from golden.errors import MachineError
    from runners.toolchain.doctor import diagnose, healthy, render, sandboxed, trusted

    checks = diagnose()
    if as_json:
        facts = {"healthy": healthy(checks), "trusted": trusted(checks), "sandbox": sandboxed(checks)}
        print_json({**facts, "checks": checks})
    elif not quiet:
        say(render(checks))
    sys.exit(MachineError.exit_code if not trusted(checks) else 0 if healthy(checks) else 2)
