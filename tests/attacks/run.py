"""Judges every attack and every honest neighbour, and tabulates what stops them.

``python -m tests.attacks.run [--jobs 2] [--only NAME...] [--all-layers] [--out FILE.md]``; exit code 1 if golden did
with one of them what it must not do.
"""

import argparse
import datetime
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.attacks.attack import Attack
from tests.attacks.attacks import ATTACKS, GROUPS
from tests.attacks.check import Outcome, check
from tests.attacks.layers import LAYERS, layers_in_force
from tests.mutants.run import _commit, _table

#: What a row must lead to, as the table says it.
MUST = {
    "fails": "does not conform",
    "remark": "is remarked on",
    "untouched": "changes nothing outside",
    "conforms": "conforms",
    "documented": "nothing: see docs/trust.md",
}


def check_all(attacks: Iterable[Attack], jobs: int, options: tuple[str, ...], every: bool) -> Iterator[Outcome]:
    """Judge attacks in ``jobs`` processes, none of which reaches what another one has started."""
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(check, attack, options, every) for attack in attacks]
        for future in as_completed(futures):
            yield future.result()


def layer(attack: Attack) -> str:
    """Name what stops an attack."""
    if attack.must in ("documented", "conforms"):
        return "" if attack.must == "conforms" else "none"
    named = [GROUPS[attack.group][1], *(n for n in attack.layers if n not in ("registers", "state"))]
    return ", ".join(filter(None, named))


def shown(attack: Attack, outcome: Outcome) -> str:
    """Say in a few words what came of an attack."""
    if outcome.skipped:
        return outcome.skipped
    words = "|".join(attack.words)
    said = next((s for s in outcome.said if words and _matches(words, s)), "")
    text = outcome.verdict + (f"; {said if len(said) < 120 else said[:117] + '...'}" if said else "")
    return f"**{outcome.wrong}**" if outcome.wrong else text


def _matches(words: str, text: str) -> bool:
    return re.search(words, text, re.IGNORECASE) is not None


def render(outcomes: dict[str, Outcome], seconds: float) -> str:
    """Return the report as Markdown; ``outcomes`` by name, of any part of the table."""
    rows = [a for a in ATTACKS if a.name in outcomes]
    attacks = [a for a in rows if a.must not in ("conforms", "documented") and not outcomes[a.name].skipped]
    honest = [a for a in rows if a.must == "conforms" and not outcomes[a.name].skipped]
    limits = sum(a.must == "documented" for a in rows)
    skipped = sum(bool(outcomes[a.name].skipped) for a in rows)
    held = sum(not outcomes[a.name].wrong for a in attacks)
    right = sum(not outcomes[a.name].wrong for a in honest)
    force = ", ".join(n for n in LAYERS if n in layers_in_force())
    lines = [
        "# Trust",
        "",
        f"{held} of {len(attacks)} attacks come to nothing, {right} of {len(honest)} honest builds conform; {limits} "
        f"ways to deceive are known that no judge in this place can see ([what golden promises](../../docs/trust.md)); "
        f"{skipped} rows were skipped. Commit {_commit()}, {datetime.date.today().isoformat()}, {seconds:.0f} s, "
        f"Linux {platform.release().split('-')[0]} on {platform.machine()}; layers that the machine has: {force}.",
        "",
        "An attack whose getting through has no effect to look at is a kernel that is right only if it got through. "
        "Several layers in a row: each alone stops it.",
        "",
    ]
    for group, (title, _) in GROUPS.items():
        members = [a for a in rows if a.group == group]
        if members:
            lines += [f"## {title}", ""]
            cells = (
                (a.name, a.description, layer(a), MUST[a.must], shown(a, outcomes[a.name]).replace("\n", " "))
                for a in members
            )
            lines += _table(["build", "what it does", "stopped by", "must", "outcome"], cells)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.run", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="attacks or groups")
    parser.add_argument("--all-layers", action="store_true", help="skip nothing that this machine cannot stop")
    parser.add_argument("--option", action="append", default=[], help="an option of golden validate")
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    chosen = parser.parse_args(arguments)
    only = set(chosen.only or ())
    attacks = [a for a in ATTACKS if not only or {a.name, a.group} & only]
    outcomes: dict[str, Outcome] = {}
    started = time.monotonic()
    for done in check_all(attacks, chosen.jobs, tuple(chosen.option), chosen.all_layers):
        outcomes[done.name] = done
        state = f"WRONG: {done.wrong}" if done.wrong else done.skipped or done.verdict
        print(f"[{len(outcomes)}/{len(attacks)}] {done.seconds:5.1f} s {done.name}: {state}", file=sys.stderr)
    report = render(outcomes, time.monotonic() - started)
    print(report)
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(report)
    return int(not outcomes or any(o.wrong for o in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
