"""``golden hunt``."""

import os
import sys
import tempfile
from pathlib import Path

import click

from golden.commands.options import (
    as_json,
    beta_option,
    choices,
    complete_target,
    half_abi,
    numbering_option,
    platform_option,
    quiet,
    reduction_option,
    scalars_of,
    set_option,
    timeout,
)
from golden.commands.terminal import check_folder, examples, exit_codes, print_json, say
from golden.errors import UsageError
from golden.files import names


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
@beta_option(0.1)
@reduction_option("mean")
@set_option
@click.option("--seed", default=0, show_default=True, help="Another seed searches elsewhere.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="How long to search: a few thousand points a round.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/hunted"),
    show_default=True,
    help="Folder for the vector files of what was found.",
)
@platform_option("Profile whose terms decide what is legal: FT78NE, MT7004, host, or a profile's path.")
@half_abi
@numbering_option("auto")
@timeout
@quiet
@as_json
def hunt(
    target: str,
    symbol: tuple[str, ...],
    beta: float,
    reduction: str,
    fixed: dict[str, float | str],
    seed: int,
    rounds: int,
    out: Path,
    platform: str,
    half_abi: str,
    numbering: str,
    timeout: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Search for the worst input of a build and save it as a vector that validate and show accept."""
    from golden.operator import entry_points
    from golden.profile import load_profile
    from runners.calling.manner import Manner
    from runners.hunting.hunt import Hunted, chosen
    from runners.hunting.hunt import hunt as run
    from runners.judging.probe import choose_numbering
    from runners.targets import open_target

    profile = load_profile(platform)
    terms = profile.terms
    check_folder(out)
    session, _ = open_target(target, timeout)
    session.manner = Manner.of(profile)
    _, used, remark = choose_numbering(session, numbering)
    if remark and not quiet:
        say(remark, err=True)
    hunted: list[Hunted] = []
    scratch = tempfile.TemporaryDirectory()
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch.name  # else it leaves a folder where the user is
    try:
        for name in chosen(session, symbol):
            mine, operands = scalars_of(entry_points()[name].operator, fixed, beta=beta, reduction=reduction)
            if operands:
                raise UsageError(f"--set {next(iter(operands))}: a hunt takes scalars alone; every operand varies.")
            found, _case = run(
                *(session, name, out),
                seed=seed,
                rounds=rounds,
                terms=terms,
                half_abi=half_abi,
                numbering=used,
                **mine,  # type: ignore[arg-type]
            )
            hunted.append(found)
            verdict = "outside every legal bound" if found.fails else _legal(found.bound)
            if not (quiet or as_json):
                say(f"{name}: {found.ulp:.6g} ulp ({verdict}), {found.evaluated} evaluated: {found.file}")
                sys.stdout.flush()
    finally:  # a crash or an interrupt costs what is under way, not what was found
        session.close()
        scratch.cleanup()
        if as_json and hunted:
            print_json(hunted)
    sys.exit(1 if any(found.fails for found in hunted) else 0)


def _legal(bound: float) -> str:
    return f"at most {bound:.4g} legal" if bound > 0.5 else "correctly rounded"
