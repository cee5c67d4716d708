"""The commands that need only targets: probe, sweep, hunt, doctor. They import what they need when they run."""

import os
import sys
import tempfile
from pathlib import Path

import click

from golden.errors import TargetError
from golden.terminal import end_quietly_on_closed_pipe, examples, progress_bar

_timeout = click.option(
    "--timeout", type=click.FloatRange(0.0, min_open=True), default=10.0, show_default=True, help="Seconds for a call."
)
_half_abi = click.option(
    "--half-abi", type=click.Choice(["auto", "float16", "uint16"]), default="auto", show_default=True
)


@click.command(epilog=examples("golden probe libvendor.so", "golden probe libvendor.so --json"))
@click.argument("target")
@click.option("--suite", default="core", show_default=True, help="Suite whose inputs are used.")
@_timeout
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe(target: str, suite: str, timeout: float, as_json: bool) -> None:
    """Find out what a build is like: half ABI, reduction numbers, subnormals, evaluation order, alignment.

    Judges nothing; 'golden validate' does.
    """
    import msgspec

    from golden.manifest import read_suite, suite_folder
    from runners.inspect import inspect
    from runners.targets import open_target

    files = read_suite(suite_folder(suite))
    session, _ = open_target(target, timeout)
    try:
        traits = inspect(session, files)
    finally:
        session.close()
    end_quietly_on_closed_pipe()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(traits), indent=1))
        return
    for name in ("half_abi", "reduction_enum", "subnormals"):
        click.echo(f"{name.replace('_', ' ')}: {getattr(traits, name)}")
    for entry in traits.entry_points:
        click.echo(entry.symbol)
        for field in entry.__struct_fields__[1:]:
            click.echo(f"  {field.replace('_', ' ')}: {getattr(entry, field)}")


@click.command(
    epilog=examples(
        "golden sweep kernels.so --operator smoothl1lossgrad --dtype fp16 --space diff-dy --beta 0.5",
        "golden sweep kernels.so --operator nlllossgrad --dtype fp16 --space g-w",
        "golden sweep reference:formula --operator smoothl1lossgrad --dtype fp32 --space random --samples 1000000",
    )
)
@click.argument("target")
@click.option("--operator", default="smoothl1lossgrad", show_default=True)
@click.option("--dtype", type=click.Choice(["fp16", "fp32"]), default="fp16", show_default=True)
@click.option(
    "--space", default="diff-dy", show_default=True, help="pairs, diff-dy, g-w, w-total, operand:NAME, random."
)
@click.option("--beta", default=1.0, show_default=True, help="SmoothL1LossGrad's scalar.")
@click.option("--reduction", default="none", show_default=True, help="NLLLossGrad's reduction.")
@click.option("--set", "fixed", multiple=True, metavar="NAME=VALUE", help="Value of an operand that does not vary.")
@click.option("--samples", default=1 << 30, show_default=True, help="Points of the space 'random'.")
@click.option("--flush", is_flag=True, help="Accept flushed subnormals.")
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes that judge [default: all cores].")
@click.option("--resume", is_flag=True, help="Go on with an interrupted sweep.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out"), show_default=True)
@_half_abi
@_timeout
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
    with progress_bar() as step:
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
    click.echo(
        f"{result.symbol} {result.space}: {result.points} points, {tally.misrounded} misrounded, "
        f"max {limit} {tally.max_ulp:.6g} ulp, {result.bound_exceeded} outside every legal bound, "
        f"{result.seconds:.1f} s ({result.rate / 1e6:.0f} M/s)"
    )
    if not result.complete:
        click.echo("interrupted: go on with --resume", err=True)
        sys.exit(130)
    sys.exit(1 if result.bound_exceeded else 0)


@click.command(epilog=examples("golden hunt kernels.so --symbol hp_smoothl1lossgrad_p --beta 0.1 --out hunted"))
@click.argument("target")
@click.option("--symbol", multiple=True, help="Entry point (may be repeated) [default: all there are].")
@click.option("--beta", default=0.1, show_default=True)
@click.option("--reduction", default="mean", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out/hunted"), show_default=True)
@_half_abi
@_timeout
def hunt(
    target: str,
    symbol: tuple[str, ...],
    beta: float,
    reduction: str,
    seed: int,
    out: Path,
    half_abi: str,
    timeout: float,
) -> None:
    """Search for the worst input of a build and save it as a vector that validate and show accept."""
    from runners.hunt import hunt as run
    from runners.targets import open_target

    session, _ = open_target(target, timeout)
    fails, scratch = False, tempfile.TemporaryDirectory()
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch.name  # else it leaves a folder where the user is
    try:
        names = symbol or tuple(sorted(session.symbols))
        if not names:
            raise TargetError(f"{target} has no entry point to hunt on.")
        for name in names:
            found, _case = run(session, name, out, beta=beta, reduction=reduction, seed=seed, half_abi=half_abi)
            fails |= found.fails
            verdict = "outside every legal bound" if found.fails else f"at most {found.bound:.4g} legal"
            click.echo(f"{name}: {found.ulp:.6g} ulp ({verdict}), {found.evaluated} evaluated: {found.file}")
    finally:
        session.close()
        scratch.cleanup()
    sys.exit(1 if fails else 0)


@click.command(epilog=examples("golden doctor"))
def doctor() -> None:
    """Tell what this machine has, what each part enables, and what to install for the rest."""
    from runners.doctor import diagnose, healthy, render

    checks = diagnose()
    click.echo(render(checks))
    sys.exit(0 if healthy(checks) else 2)
