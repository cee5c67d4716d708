"""The documents hold: every command in them is typed, what they show comes out, no link is dead, both READMEs agree.

Conventions of the documents:

- ``console`` blocks are typed line by line after ``$``, all of a document in one shell. Lines below a command are its
  output, the whole of it; ``...`` stands for any lines, or within a line for any text; runs of spaces are one. A
  command without lines below it may print anything. It must succeed, unless ``$ echo $?`` follows with the code.
- A block whose language is followed by a file name (``toml golden.toml``) is that file.
- ``ADDRESS`` is where the repository is cloned from, ``libvendor.so`` the reader's library.
- ``sh`` blocks are not typed; everything else shows text or other languages.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from reports.messages_zh import ZH
from tests import ROOT
from tests.helpers.command import cases_of
from tests.helpers.third_operator import install_example

#: Documents whose commands are typed. README.zh-CN.md has those of README.md, which another test holds it to.
TYPED = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/tour.md",
    "docs/validating-a-build.md",
    "docs/platform-profiles.md",
    "docs/sweeping.md",
    "docs/fuzzing.md",
    "docs/suite-files.md",
    "docs/recording-with-pytorch.md",
    "docs/adding-an-operator.md",
]
#: Those of them that run whole suites.
LONG = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/tour.md",
    "docs/validating-a-build.md",
    "docs/suite-files.md",
    "docs/fuzzing.md",
    "docs/platform-profiles.md",
    "docs/adding-an-operator.md",
    "docs/sweeping.md",
)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, ROOT / "docs", ROOT / "docs/decisions", ROOT / "vectors", ROOT / "reports/published")
    for path in folder.glob("*.md")
)
#: Folders whose files and modules documents name.
OURS = {"golden", "generators", "runners", "reports", "vectors", "tests", "docs", "examples", "benchmarks"}
#: Languages of blocks that are not typed.
SHOWN = {"text", "toml", "python", "c", "sh"}
#: What the test does in place of a command.
PREPARED = {
    "git clone ADDRESS golden": ":  # the folder is there",
    "pip install ./examples/huber": ":  # installed beside golden, as a wheel would be",
}
#: Programs without which a document cannot be typed here.
NEEDED = {"make": "make", "cc": "cc", "git": "git", "golden build": "cc", "sed -i": "sed"}
#: And modules.
NEEDED_MODULES = {"python record_step.py": "torch"}
IGNORED = shutil.ignore_patterns(
    ".git", ".venv", "build", "out", "full", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "*.so"
)


@dataclass
class Command:
    """A command, what it is shown to print, and the exit code it must have (None: whatever ``echo $?`` shows next)."""

    text: str
    line: int
    shown: list[str] = field(default_factory=list)
    code: int | None = 0


@dataclass
class Block:
    language: str
    file: str
    line: int
    lines: list[str]


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    inside: Block | None = None
    indent = 0
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"( *)```(.*)$", line):
            if inside is not None:
                inside = None
                continue
            language, _, file = match[2].partition(" ")
            indent = len(match[1])
            inside = Block(language, file, number, [])
            found.append(inside)
        elif inside is not None:
            inside.lines.append(line[indent:])
    return found


def commands(text: str) -> list[Command]:
    found: list[Command] = []
    for block in blocks(text):
        if block.language != "console":
            continue
        for number, line in enumerate(block.lines, block.line + 1):
            if line.startswith("$ "):
                if line == "$ echo $?":
                    found[-1].code = None
                found.append(Command(line[2:], number))
            else:
                found[-1].shown.append(line)
    return found


def pattern(shown: list[str]) -> "re.Pattern[str]":
    parts = []
    for line in shown:
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            pieces = (re.sub(r"(\\ )+", " +", re.escape(piece)) for piece in re.split(r" *\.\.\. *", line.rstrip()))
            parts.append(" *" + " *.* *".join(pieces) + " *\n")
    return re.compile("".join(parts) + r"\Z")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder as `git clone` and the first lines of the Makefile leave it, in one where a reader types."""
    folder = tmp_path / "golden"
    shutil.copytree(ROOT, folder, ignore=IGNORED)
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    for name, module in (("golden", "-m golden.cli"), ("python", "")):
        path = programs / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        path.chmod(0o755)
    (programs / "activate").write_text(f"PATH={shlex.quote(str(programs))}:$PATH\n")
    (programs.parent / ".installed").touch()
    return folder


def typed(session: list[Command], where: Path, env: dict[str, str]) -> list[tuple[int, str]]:
    """Type commands into one shell; return exit code and output of each."""
    script, scratch = ["last=0"], where / ".session"
    scratch.mkdir()
    for number, command in enumerate(session):
        text = PREPARED.get(command.text, command.text)
        out = shlex.quote(str(scratch / str(number)))
        script.append(f"(exit $last); {{ {text}\n}} >{out} 2>&1; last=$?; echo $last >{out}.code")
    subprocess.run(["bash", "-c", "\n".join(script)], cwd=where, env=env, stdin=subprocess.DEVNULL, check=False)
    return [
        (int((scratch / f"{n}.code").read_text()), (scratch / str(n)).read_text(encoding="utf-8"))
        for n in range(len(session))
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.confirm) if n in LONG else n for n in TYPED])
def test_what_a_document_says_is_what_happens(name: str, clone: Path, tmp_path: Path) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    session = commands(text)
    assert session
    missing = {p for c in session for start, p in NEEDED.items() if c.text.startswith(start) and not shutil.which(p)}
    missing |= {m for c in session for start, m in NEEDED_MODULES.items() if c.text == start and not find_spec(m)}
    if missing:
        pytest.skip(f"{name} needs {', '.join(sorted(missing))}, which this machine lacks")
    starts_outside = any(c.text.startswith("git clone") for c in session)
    site = install_example(tmp_path / "site") if "pip install ./examples/huber" in text else None
    for block in blocks(text):
        if block.file:
            (clone / block.file).write_text("\n".join(block.lines) + "\n", encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "MAKEFLAGS", "MAKELEVEL", "CC")}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [site and str(site), str(clone)]))
    env["PATH"] = f"{clone / '.venv/bin'}{os.pathsep}{env['PATH']}"

    def prepare(*words: str) -> None:
        subprocess.run(words, env=env, cwd=clone, capture_output=True, check=True)

    if any(c.text.startswith("git checkout") for c in session):
        identity = ("-c", "user.name=x", "-c", "user.email=x")
        for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all")):
            prepare("git", *identity, *words)
    if "libvendor.so" in text:
        prepare("golden", "build", "-o", "libvendor.so")
    happened = typed(session, tmp_path if starts_outside else clone, env)
    for command, (code, output) in zip(session, happened, strict=True):
        where = f"{name}, line {command.line}: {command.text}"
        assert command.code is None or code == command.code, f"{where}\nended with {code}:\n{output}"
        if command.shown:
            assert pattern(command.shown).match(output), f"{where}\nprinted:\n{output}"


@pytest.mark.parametrize("name", TYPED)
def test_commands_of_a_document_and_their_options_are_there(name: str) -> None:
    from golden.cli import cli

    session = commands((ROOT / name).read_text(encoding="utf-8"))
    assert session
    for command in session:
        words = shlex.split(command.text.partition(" | ")[0], comments=True)
        if words[:1] != ["golden"] or len(words) == 1 or command.code is None:  # what is followed by $? may be wrong
            continue
        there = cli.commands.get(words[1], cli)
        known = {option for parameter in there.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= {*known, "--help", "-h"}, f"{name}, line {command.line}: {command.text}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_block_says_what_it_is(name: str) -> None:
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        where = f"{name}, line {block.line}"
        assert block.language in SHOWN | {"console"}, f"{where}: a block of no or unknown language"
        if block.language == "console":
            assert name in (*TYPED, "README.zh-CN.md"), f"{where}: nobody types this document's commands"
        elif block.language == "text":
            assert not re.match(r"\$ |golden |make |pytest ", block.lines[0]), f"{where}: a command nobody types"


def prose(text: str) -> str:
    """Return a document without its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ +(.*?) *#*$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", h).lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_link_is_dead(name: str) -> None:
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(text))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        assert there.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{name}: {target}"


def missing(text: str, here: Path = ROOT) -> list[str]:
    """Return the paths and modules of ours that are named between backticks and do not exist, here or in the root.

    Words in capitals stand for any name; what is built or written (``out/...``) begins with no folder of ours.
    """
    found = []
    for name in re.findall(r"`([\w./*-]+)`", prose(text)):
        path = re.sub(r"\b[A-Z]{3,}\b", "*", name).strip("/")
        folder, *rest = re.split(r"[/.]", path, maxsplit=1)
        if not rest or folder not in OURS or path.endswith((".toml", ".json")):
            continue
        if "/" not in path:  # a module, or something in one
            path = "/".join(path.split(".")[:2]) + "*"
        if not any(list(where.glob(path)) for where in (ROOT, here)):
            found.append(name)
    return found


@pytest.mark.parametrize("name", sorted({*DOCUMENTS} - {"CHANGELOG.md"}))
def test_every_path_and_module_exists(name: str) -> None:
    assert missing((ROOT / name).read_text(encoding="utf-8"), (ROOT / name).parent) == []


def test_a_path_that_does_not_exist_is_found() -> None:
    named = "`golden/judge.py` `runners/NAME/*.py` `golden.judge.Judged` `out/x.md` `golden.toml` `docs/` `golden/x.py`"
    assert missing(named + " `runners/kernels/NAME.cpp` `golden.nothing`") == [
        "golden/x.py",
        "runners/kernels/NAME.cpp",
        "golden.nothing",
    ]


@pytest.mark.parametrize("folder", ["docs", "docs/decisions"])
def test_an_index_has_every_document(folder: str) -> None:
    linked = set(re.findall(r"\]\(([\w.-]+\.md)\)", (ROOT / folder / "README.md").read_text(encoding="utf-8")))
    assert linked == {path.name for path in (ROOT / folder).glob("*.md")} - {"README.md"}


def test_the_glossary_has_a_word_once_and_in_order() -> None:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    words = [row.split("|")[1].strip() for row in text.splitlines() if row.startswith("| ")][1:]
    assert words == sorted({*words}, key=str.lower)
    assert {"case", "contract", "finding", "grade", "invocation", "order", "slack", "session", "verdict"} <= {*words}


def half_width(text: str) -> list[str]:
    """Return where a Chinese text has half-width punctuation, or a blank or line break that shows as one, in it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`\n]*`", "x", prose(text))).replace("*", "")
    found = re.findall(r"[\u4e00-\u9fff][,.:;()?!\"']|[,:;()?!\"'][\u4e00-\u9fff]", text)
    return found + re.findall(
        r"[\u4e00-\u9fff，。：；（）「」？！、…]\s(?=[\u4e00-\u9fff，。：；（）「」？！、])", text
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_chinese_has_full_width_punctuation_and_no_blanks_inside(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert half_width(text) == []


def test_so_has_a_chinese_report() -> None:
    assert [said for said in ZH.values() if half_width(said)] == []


def test_half_width_punctuation_and_blanks_are_found() -> None:
    assert half_width("先执行 `x`；fp16（`hp_`）的 3,142 个[用例](a,b.md)（中）：\n\n- 库\n- 核 C 库。\n") == []
    assert half_width("库,核(中) 的") == ["库,", "核(", "中)"]
    assert half_width("一个 库，\n核") == ["个 ", "，\n"]


def test_both_readmes_are_in_step() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))

    def outline(text: str) -> list[object]:
        """Headings by level, and between them tables by size and blocks by content."""
        found: list[object] = []
        for part in re.findall(r"^#+ |^(?:\|.*\n)+|^```[\s\S]*?^```$", text, re.M):
            found.append(part.count("\n") if part.startswith("|") else part)
        return found

    assert outline(english) == outline(chinese)
    for code in (r"`(golden [a-z]+)", r"(make [a-z-]+)`", r"`(--[a-z-]+)", r"`(\w+\.(?:json|md|html|xml|toml))`"):
        assert set(re.findall(code, english)) == set(re.findall(code, chinese)), code
    files = [
        {t for t in re.findall(r"\]\(([^)]+)\)", text) if not t.startswith("README")} for text in (english, chinese)
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readmes_count_the_cases_that_there_are(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    told = re.findall(r"(\d,\d{3}) (?:cases|个用例)", text)
    assert set(told) == {f"{cases_of('core', text):,}"}


def test_every_command_of_the_tool_is_in_the_readme() -> None:
    from golden.cli import cli

    text = (ROOT / "README.md").read_text()
    assert [name for name in cli.commands if f"golden {name}" not in text] == []
