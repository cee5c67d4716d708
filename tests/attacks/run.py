"""Judges every attack and every honest neighbour, and tabulates what stops them.

``python -m tests.attacks.run [--jobs 2] [--only NAME...] [--control] [--out FILE.md]``; exit code 1 if golden did
with one of them what it must not do.
"""

import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from runners.process import sandbox
from tests.attacks.attack import Attack
from tests.attacks.attacks import ATTACKS, GROUPS
from tests.attacks.check import Outcome, check, layers_in_force
from tests.campaign import in_processes, made, parser, publish, table, told

#: Options of golden validate with which attacks that only layers stop get through.
UNPROTECTED = ("--sandbox", "off")


def check_all(attacks: Iterable[Attack], jobs: int, options: tuple[str, ...], every: bool) -> Iterator[Outcome]:
    """Judge attacks in ``jobs`` processes, none of which reaches what another one has started."""
    return in_processes(jobs, check, ((attack, options, every) for attack in attacks))


def layer(attack: Attack) -> str:
    """Name the layers that stop an attack, beside what stops all of its group."""
    if attack.must == "documented":
        return "nothing"
    return ", ".join(n for n in attack.layers if n in sandbox.LAYERS)


def shown(attack: Attack, outcome: Outcome) -> str:
    """Say in a few words what came of an attack."""
    if outcome.skipped:
        return outcome.skipped
    words = "|".join(attack.words)
    said = next((s for s in outcome.said if words and _matches(words, s)), "")
    # Where attacks are built has another name each time.
    said = re.sub(r"\S*/golden-attack-\w+/", "", said)
    text = outcome.verdict + (f"; {said if len(said) < 80 else said[:77] + '...'}" if said else "")
    text += "; nothing outside is changed" if attack.must == "untouched" else ""
    return f"**{outcome.wrong}**" if outcome.wrong else "".join(c if c.isprintable() else "?" for c in text)


def _matches(words: str, text: str) -> bool:
    return re.search(words, text, re.IGNORECASE) is not None


def render(outcomes: dict[str, Outcome], since: float, control: dict[str, Outcome] | None = None) -> str:
    """Return the report as Markdown; ``outcomes`` by name, of any part of the table.

    ``since``: as for :func:`made`; ``control``: outcomes without the sandbox's layers.
    """
    rows = [a for a in ATTACKS if a.name in outcomes]
    attacks = [a for a in rows if a.must not in ("conforms", "documented") and not outcomes[a.name].skipped]
    honest = [a for a in rows if a.must == "conforms" and not outcomes[a.name].skipped]
    limits = sum(a.must == "documented" for a in rows)
    skipped = sum(bool(outcomes[a.name].skipped) for a in rows)
    held = sum(not outcomes[a.name].wrong for a in attacks)
    right = sum(not outcomes[a.name].wrong for a in honest)
    force = [n for n in (*sandbox.LAYERS, "registers") if any(n in o.layers for o in outcomes.values())]
    lines = [
        "# Trust",
        "",
        f"{held} of {len(attacks)} attacks come to nothing, {right} of {len(honest)} honest builds conform; {limits} "
        f"ways to deceive are known that no judge in this place can see ([what golden promises](../../docs/trust.md)); "
        f"{skipped} rows were skipped. Linux {platform.release().split('-')[0]} on {platform.machine()}, in force: "
        f"{', '.join(force) or 'nothing'}; {made(since)}.",
        "",
        "An attack whose getting through has no effect to look at is a kernel that is right only if it got through. "
        "Several layers in a row: each alone stops it. Bold is what golden should not have done.",
        "",
    ]
    if control:
        through = sum(bool(o.wrong) for o in control.values())
        lines += [
            f"The rows can fail: with `{' '.join(UNPROTECTED)}`, {through} of the {len(control)} attacks that layers "
            "of the sandbox stop get through.",
            "",
        ]
    for group, (title, by) in GROUPS.items():
        members = [a for a in rows if a.group == group]
        if members:
            lines += [f"## {title}", "", *([f"Stopped because {by}.", ""] if by else [])]
            cells = ((a.name, a.description, layer(a), shown(a, outcomes[a.name]).replace("\n", " ")) for a in members)
            lines += table(["build", "what it does", "stopped by", "outcome"], cells)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    takes = parser("tests.attacks.run", __doc__, "attacks or groups")
    takes.add_argument("--all-layers", action="store_true", help="skip nothing that this machine cannot stop")
    takes.add_argument("--control", action="store_true", help="try afterwards what gets through without the sandbox")
    takes.add_argument("--option", action="append", default=[], help="an option of golden validate")
    chosen = takes.parse_args(arguments)
    only, started = set(chosen.only or ()), time.monotonic()
    attacks = [a for a in ATTACKS if not only or {a.name, a.group} & only]
    outcomes = told(check_all(attacks, chosen.jobs, tuple(chosen.option), chosen.all_layers), len(attacks))
    control: dict[str, Outcome] = {}
    if chosen.control:
        stopped = [a for a in attacks if set(a.layers) & set(sandbox.LAYERS) & set(layers_in_force())]
        control = told(check_all(stopped, chosen.jobs, UNPROTECTED, every=True), len(stopped))
    return publish(render(outcomes, started, control), chosen.out, outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
