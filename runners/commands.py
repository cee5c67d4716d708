"""The commands that need only targets: probe, sweep, hunt, doctor. They import what they need when they run."""

import os
import sys
import tempfile
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from golden import names
from golden.errors import TargetError
from golden.options import (
    OneOf,
    as_json,
    choices,
    complete_operator,
    half_abi,
    quiet,
    suite_option,
    timeout,
)
from golden.terminal import end_quietly_on_closed_pipe, examples, exit_codes, print_json, progress_bar


def complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer files, and the reference models where the word can only mean one."""
    if incomplete[:3] == "ref" and not any(Path().glob(f"{incomplete}*")):
        from runners.reference import MODELS

        known = [f"reference:{name}" for name in MODELS]
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file")]


@click.command(
    short_help="Find out what a build is like; judges nothing.",
    epilog=examples("golden probe libvendor.so", "golden probe libvendor.so --json") + exit_codes(0, 2, 3, 4),
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
    from runners.inspect import inspect
    from runners.targets import open_target

    files = open_vectors(suite)
    session, _ = open_target(target, timeout)
    try:
        traits = inspect(session, files)
    finally:
        session.close()
    end_quietly_on_closed_pipe()
    if as_json:
        print_json(traits)
        return
    for name in ("half_abi", "reduction_enum", "subnormals"):
        click.echo(f"{name.replace('_', ' ')}: {getattr(traits, name)}")
    for entry in traits.entry_points:
        click.echo(entry.symbol)
        for field in entry.__struct_fields__[1:]:
            click.echo(f"  {field.replace('_', ' ')}: {getattr(entry, field)}")


@click.command(
    short_help="Judge a whole input space, such as all pairs of fp16 numbers.",
    epilog=examples(
        "golden sweep kernels.so --operator smoothl1lossgrad --dtype fp16 --space diff-dy --beta 0.5",
        "golden sweep kernels.so --operator nlllossgrad --dtype fp16 --space g-w",
        "golden sweep reference:formula --operator smoothl1lossgrad --dtype fp32 --space random --samples 1000000",
    )
    + exit_codes(0, 1, 2, 3, 130, c0="no result is outside its bound", c1="some result is", c130="go on with --resume"),
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
@click.option("--set", "fixed", multiple=True, metavar="NAME=VALUE", help="Value of an operand that does not vary.")
@click.option("--samples", default=1 << 30, show_default=True, help="Points of the space 'random'.")
@click.option("--flush", is_flag=True, help="Accept flushed subnormals.")
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes that judge [default: all cores].")
@click.option("--resume", is_flag=True, help="Go on with an interrupted sweep.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Folder for sweep.json and the state of an interrupted sweep.",
)
@half_abi
@timeout
@quiet
@as_json
def sweep(
    target: str,
    operator: str,
    dtype: str,
    space: str,
    beta: float,
    reduction: str,
    fixed: tuple[str, ...],
    samples: int,
    flush: bool,
    jobs: int,
    resume: bool,
    out: Path,
    half_abi: str,
    timeout: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Judge a whole input space: every pair of fp16 numbers, every value of an fp32 operand, or a counted sample."""
    from golden.sweepfile import write_sweep
    from runners.spaces import make_space
    from runners.sweep import open_work
    from runners.sweep import sweep as run

    values = {}
    for word in fixed:
        name, _, text = word.partition("=")
        try:
            values[name] = float(text)
        except ValueError as error:
            raise click.BadParameter(f"{word!r} is not NAME=VALUE.", param_hint="--set") from error
    made = make_space(space, operator, dtype, beta=beta, reduction=reduction, fixed=values or None, samples=samples)
    work, library = open_work(target, made, half_abi=half_abi, flush=flush, timeout=timeout)
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar(not quiet) as step:
        result = run(
            target,
            work,
            library,
            jobs=jobs,
            state=out / "sweep.state",
            resume=resume,
            progress=lambda p: step(f"{p.rate / 1e6:.0f} M/s", p.done, p.total),
        )
    write_sweep(out / "sweep.json", result)
    tally = result.tally
    limit = "<=" if result.exhaustive else ">="
    if as_json:
        print_json(result)
    elif not quiet:
        click.echo(
            f"{result.symbol} {result.space}: {result.points} points, {tally.misrounded} misrounded, "
            f"max {limit} {tally.max_ulp:.6g} ulp, {result.bound_exceeded} outside every legal bound, "
            f"{result.seconds:.1f} s ({result.rate / 1e6:.0f} M/s)"
        )
    if not result.complete:
        click.echo("interrupted: go on with --resume", err=True)
        sys.exit(130)
    sys.exit(1 if result.bound_exceeded else 0)


@click.command(
    short_help="Search for the worst input of a build.",
    epilog=examples("golden hunt kernels.so --symbol hp_smoothl1lossgrad_p --beta 0.1 --out hunted")
    + exit_codes(0, 1, 2, 3, 130, c0="the worst input found is within its bound", c1="it is outside"),
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
    from runners.hunt import hunt as run
    from runners.targets import open_target

    session, _ = open_target(target, timeout)
    hunted, scratch = [], tempfile.TemporaryDirectory()
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch.name  # else it leaves a folder where the user is
    try:
        known = symbol or tuple(sorted(session.symbols))
        if not known:
            raise TargetError(f"{target} has no entry point to hunt on.")
        for name in known:
            found, _case = run(session, name, out, beta=beta, reduction=reduction, seed=seed, half_abi=half_abi)
            hunted.append(found)
            verdict = "outside every legal bound" if found.fails else f"at most {found.bound:.4g} legal"
            if not (quiet or as_json):
                click.echo(f"{name}: {found.ulp:.6g} ulp ({verdict}), {found.evaluated} evaluated: {found.file}")
    finally:
        session.close()
        scratch.cleanup()
    if as_json:
        print_json(hunted)
    sys.exit(1 if any(found.fails for found in hunted) else 0)


@click.command(
    short_help="Tell what this machine has, and what is missing.",
    epilog=examples("golden doctor", "golden doctor --json")
    + exit_codes(0, 2, c0="libraries can be validated here", c2="something essential is missing"),
)
@quiet
@as_json
def doctor(quiet: bool, as_json: bool) -> None:
    """Tell what this machine has, what each part enables, and what to install for the rest."""
    from runners.doctor import diagnose, healthy, render

    checks = diagnose()
    if as_json:
        print_json({"healthy": healthy(checks), "checks": checks})
    elif not quiet:
        click.echo(render(checks))
    sys.exit(0 if healthy(checks) else 2)
