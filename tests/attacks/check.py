"""Judges an attack as a user would, from the command line, and looks at what it left behind."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from golden.errors import UsageError
from runners.process import sandbox
from tests.attacks.attack import Attack, build
from tests.attacks.recognition import VECTORS
from tests.campaign import ROOT
from tests.helpers.warm import Warm

#: Exit code -> verdict; anything else is a lost run.
VERDICTS = {0: "conforms", 1: "fails", 3: "refused"}
#: Seconds after which a run counts as lost.
PATIENCE = 60.0


@dataclass(frozen=True)
class Outcome:
    """What judging one attack showed.

    ``verdict``: conforms, fails, refused (the library was not loaded) or "lost: ..." where there is none.
    ``said``: failures and findings, one each. ``effects``: what changed outside, or was left. ``layers``: what golden
    says was in force. ``wrong``: what differs from what golden must do; ``skipped``: why there is nothing to say here.
    """

    name: str
    verdict: str = ""
    said: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    skipped: str = ""
    wrong: str = ""
    seconds: float = 0.0


@cache
def layers_in_force(options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the layers that golden says are in force around a build of its own kernel."""
    return check(Attack("plain", "", "", "GOOD;", "documented"), options, all_layers=True).layers


def check(attack: Attack, options: tuple[str, ...] = (), all_layers: bool = False, warm: Warm | None = None) -> Outcome:
    """Build and judge one attack; ``options``: of golden validate; ``all_layers``: skip nothing.

    ``warm`` forks the command, unless the attack reads what it was called, or is exchanged while it runs.
    """
    warm = None if attack.swapped or "cmdline" in attack.source else warm
    if attack.layers and not all_layers and not set(attack.layers) & set(layers_in_force(options)):
        return Outcome(attack.name, skipped=f"not in force here: {', '.join(attack.layers)}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="golden-attack-") as folder:
        scratch = Path(folder) / "scratch"
        lurker = "a" + hashlib.sha256(folder.encode()).hexdigest()[:13]
        try:
            with _prepared(attack, scratch, lurker, warm.pid if warm else os.getpid()) as library:
                outcome = _judge(attack, library, scratch, lurker, options, warm)
        except UsageError as error:
            return Outcome(attack.name, skipped=str(error))
    return replace(outcome, wrong=_wrong(attack, outcome), seconds=time.monotonic() - started)


@contextlib.contextmanager
def _prepared(attack: Attack, scratch: Path, lurker: str, scope: int) -> Iterator[Path]:
    """Make the scratch folder, with what is attacked in it, and the library beside it."""
    (scratch / "cwd").mkdir(parents=True)
    (scratch / "private").write_text("nobody's business")
    (scratch / "private").chmod(0o600)
    os.utime(scratch / "private", (1e9, 1e9))
    vectors = scratch / VECTORS.name
    shutil.copyfile(VECTORS, vectors)
    library = scratch.with_name("scratch.so")
    defines = {
        "VECTORS": str(vectors),
        "LIBRARY": str(library),
        "SOURCES": str(ROOT / "golden" / "judge.py"),
        "TEMPLATE": str(next((ROOT / "reports").rglob("*.html"), ROOT / "reports" / "html.py")),
    }
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(scratch / "service"))
        service.listen()
        if attack.swapped:
            other = replace(attack, body=attack.swapped, before="")
            build(other, scratch, lurker, scope, defines).rename(scratch.with_name("other.so"))
        yield build(attack, scratch, lurker, scope, defines)


def _judge(
    attack: Attack, library: Path, scratch: Path, lurker: str, options: tuple[str, ...], warm: Warm | None
) -> Outcome:
    vectors, out = scratch / VECTORS.name, scratch / "out"
    before, digest = _contents(scratch), hashlib.sha256(library.read_bytes()).hexdigest()
    words = ["--no-config", "validate", str(library), "--platform", "FT78NE"]
    words += ["--vectors", str(vectors), "--timeout", f"{attack.timeout:g}", "--out", str(out), *options]
    if warm:
        verdict, complaint = _forked(warm, words, scratch / "cwd")
    else:
        verdict, complaint = _run(attack, library, words, scratch, lurker)
    effects = [*_left(lurker), *_changes(before, _contents(scratch))]
    said, written = _results(out / "results.json")
    if written and written["verdict"] != verdict:
        effects.append(f"results.json says {written['verdict']}")
    if verdict == "refused" or verdict.startswith("lost"):
        said = (complaint.splitlines() or [""])[-1:]
    elif not attack.swapped:
        after = hashlib.sha256(library.read_bytes()).hexdigest() if library.is_file() else ""
        effects += ["the library's file was changed"] if after != digest else []
    elif written and written["library"]["sha256"] != digest:
        effects.append("the digest stated is that of the other build")
    return Outcome(attack.name, verdict, tuple(said), tuple(effects), tuple(_layers(written)))


def _forked(warm: Warm, words: list[str], folder: Path) -> tuple[str, str]:
    """Return the verdict of a forked command, and what it complained of."""
    try:
        done = warm.run("golden", words, folder, {**os.environ, "PYTHONPATH": str(ROOT)}, PATIENCE, session=True)
    except subprocess.TimeoutExpired:
        return "lost: hangs", ""
    return _verdict(done.returncode), done.stderr.strip()


def _run(attack: Attack, library: Path, words: list[str], scratch: Path, lurker: str) -> tuple[str, str]:
    """Return the verdict of a command, and what it complained of."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "golden.cli", *words],
            cwd=scratch / "cwd",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        if attack.swapped and _seen(process, lurker):
            scratch.with_name("other.so").rename(library)
        verdict = _ended(process)
        errors.seek(0)
        return verdict, errors.read().decode("utf-8", "replace").strip()


def _layers(results: dict[str, Any]) -> Iterator[str]:
    """Yield what results say was in force: the sandbox's layers, and whether registers were looked at."""
    if results:
        yield from filter(sandbox.LAYERS.__contains__, results["options"]["sandbox"].split(", "))
        contracts = [c for entry in results["entry_points"] for c in entry["contracts"]]
        if any(c["name"] == "registers" and c.get("observable", True) for c in contracts):
            yield "registers"


def _ended(process: subprocess.Popen[bytes]) -> str:
    """Wait for the verdict; what golden was is ended if that takes too long."""
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "lost: hangs"
    return _verdict(code)


def _verdict(code: int) -> str:
    return VERDICTS.get(code, f"lost: exit code {code}" if code >= 0 else f"lost: {signal.Signals(-code).name}")


def _results(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Return failures and findings of results, as "kind: message", and the results."""
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError):
        return [], {}
    said = [f"{f['kind']}: {f['message']}" for f in results.get("findings", [])]
    for entry in results.get("entry_points", []):
        said += [f"{f['kind']}: {f['message']}" for f in entry.get("failing", [])]
    return list(dict.fromkeys(said)), results


def _contents(scratch: Path) -> dict[str, str]:
    """Describe every file below a folder but golden's own reports."""
    found = {}
    for path in sorted(scratch.rglob("*")):
        name = path.relative_to(scratch).as_posix()
        if name.startswith("out/") and not path.is_symlink() and (scratch / "out").is_dir():
            continue
        state = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:8] if path.is_file() else ""
        when = 0 if path.is_dir() else int(state.st_mtime)
        found[name] = f"{state.st_mode:o} {when} {content}"
    return found


def _changes(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for name in sorted(before | after):
        if name not in after:
            yield f"{name} is gone"
        elif name not in before and name != "out":
            yield f"{name} is new"
        elif name in before and before[name] != after[name]:
            yield f"{name} was changed"


def _left(lurker: str) -> Iterator[str]:
    """Find and end what an attack has left: processes of its name, shared memory."""
    left = list(_named(lurker))
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if left:
        yield f"{len(left)} processes were left"
    with contextlib.suppress(FileNotFoundError):
        Path("/dev/shm", lurker).unlink()
        yield "a shared memory object was left"


def _named(lurker: str) -> Iterator[int]:
    """Yield the processes that call themselves so."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(folder.name)
            if lurker in (folder / "comm").read_text() or lurker.encode() == (folder / "cmdline").read_bytes()[:14]:
                yield pid


def _seen(process: subprocess.Popen[bytes], lurker: str) -> bool:
    """Wait until a process of that name is there."""
    while process.poll() is None:
        if any(_named(lurker)):
            return True
        time.sleep(0.02)
    return False


def _wrong(attack: Attack, outcome: Outcome) -> str:
    """Say what golden should not have done."""
    wrong = []
    if outcome.verdict.startswith("lost"):
        wrong.append(outcome.verdict)
    elif attack.must == "fails" and outcome.verdict == "conforms":
        wrong.append("conforms")
    elif attack.must == "conforms" and outcome.verdict != "conforms":
        wrong.append(f"{outcome.verdict}: {'; '.join(outcome.said[:2])}")
    text = "\n".join(outcome.said)
    wrong += [f"nothing is said about {w!r}" for w in attack.words if not re.search(w, text, re.IGNORECASE)]
    if attack.must in ("untouched", "conforms") or attack.group == "processes":
        wrong += outcome.effects
    return "; ".join(wrong)
