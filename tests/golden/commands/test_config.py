"""Options from golden.toml or pyproject.toml: found, checked, overruled by the command line, told with their origin."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from golden.commands.config import NAME, find_config
from golden.errors import UsageError
from golden.files.results import read_results
from golden.results import ConfigFile
from tests import ROOT
from tests.helpers.command import golden, one_sentence

VALIDATE = ("validate", "reference:formula")


def project(folder: Path, text: str, name: str = "golden.toml") -> Path:
    """Make a folder that is the root of a repository, with a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".git").mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "head", "shown"),
    [
        ("golden.toml", "", "golden.toml"),
        ("pyproject.toml", "tool.golden.", "[tool.golden] of pyproject.toml"),
    ],
)
def test_config_then_command_line(name: str, head: str, shown: str, tmp_path: Path) -> None:
    text = f'[{head}validate]\nplatform = "MT7004"\nsuite = "smoke"\ntimeout = 5\nstrict = true\nout = "made"\n'
    folder = project(tmp_path / "p", text, name)
    done = golden(*VALIDATE, "--timeout", "7", cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    results = read_results(folder / "made/results.json")
    assert results.platform.name == "MT7004" and results.vectors.suite == "smoke"
    assert results.options["timeout"] == "7 s" and results.options["strict"] == "yes"
    assert results.option_sources == {"platform": shown, "suite": shown, "strict": shown, "timeout": "command line"}
    header = done.stdout.splitlines()[0]
    assert header.startswith(f"options: platform=MT7004 ({shown}), suite=smoke ({shown})")
    assert "timeout=7 s (command line)" in header
    for report in ("report.md", "report.html"):
        text = (folder / "made" / report).read_text()
        assert "timeout: command line" in text and "platform: " in text, report


def test_search_goes_up_to_the_repository(tmp_path: Path) -> None:
    above = tmp_path / "golden.toml"
    above.write_text("")
    assert find_config(tmp_path / "a" / "b") == above
    root = project(tmp_path / "repository", "", "other.toml")
    inside = root / "src" / "deep"
    inside.mkdir(parents=True)
    assert find_config(inside) is None
    (root / "pyproject.toml").write_text('[project]\nname = "golden-thing"\n')
    assert find_config(inside) is None
    (root / "pyproject.toml").write_text("[tool.golden.list]\n")
    assert find_config(inside) == root / "pyproject.toml"
    (root / "golden.toml").write_text("")
    assert find_config(inside) == root / "golden.toml"
    (inside / "golden.toml").write_text("")
    assert find_config(inside) == inside / "golden.toml"


@pytest.mark.parametrize("kind", ["fifo", "folder", "nowhere", "device"])
@pytest.mark.parametrize("name", ["golden.toml", "pyproject.toml"])
def test_what_is_no_file_is_refused_by_name(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "gone")
    done = golden("list", "suites", cwd=tmp_path, timeout=20)
    assert done.returncode == 2 and one_sentence(done.stderr) and name in done.stderr, done.stderr
    assert golden("--no-config", "list", "suites", cwd=tmp_path).returncode == 0


def test_what_a_file_contributed_is_told_with_its_digest(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", '[validate]\nplatform = "board.toml"\nsuite = "smoke"\nout = "o"\n')
    profile = (ROOT / "golden/platforms/host.toml").read_bytes()
    (folder / "board.toml").write_bytes(profile.replace(b'name = "host"', b'name = "board"'))
    done = golden(*VALIDATE, cwd=folder)
    results = read_results(folder / "o/results.json")
    digest, board = (hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in ("golden.toml", "board.toml"))
    assert results.config == ConfigFile("golden.toml", digest, ["platform", "suite"])
    assert (results.platform.source, results.platform.sha256) == ("board.toml", board)
    told = [f"golden.toml, SHA-256 {digest}: platform, suite", f"board.toml, SHA-256 {board}"]
    assert done.stdout.splitlines()[1:3] == [f"configuration: {told[0]}", f"profile: {told[1]}"]
    for lang, words in (("en", ["Configuration file", "own"]), ("zh", ["配置文件", "用户自己的平台配置"])):
        assert golden("report", "o/results.json", "--lang", lang, "--out", lang, cwd=folder).returncode == 0
        assert all(text in (folder / lang).read_text() for text in told + words), lang
        golden("report", "o/results.json", "--lang", lang, "--format", "html", "--out", lang, cwd=folder)
        assert all(text in (folder / lang).read_text() for text in told + words), lang


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    folder = project(
        tmp_path / "p",
        '[validate]\nvectors = "data/v.h5"\nplatform = "board.toml"\nxfail = "known.txt"\nout = "results"\n',
    )
    (folder / "data").mkdir()
    (folder / "data/v.h5").write_bytes((ROOT / "vectors/smoke/smoothl1lossgrad-fp16.h5").read_bytes())
    (folder / "known.txt").write_text("hp_smoothl1lossgrad_s none/*  # a reason\n")
    (folder / "board.toml").write_text(
        'name = "board"\nsummary = "ours"\ndtypes = ["fp16"]\ncores = 4\nsubnormals = "flush"\nhalf = "float16"\n'
    )
    deep = folder / "a" / "b"
    deep.mkdir(parents=True)
    done = golden(*VALIDATE, cwd=deep)
    assert done.returncode == 0, done.stderr
    results = read_results(folder / "results/results.json")
    assert results.platform.name == "board" and results.option_sources["platform"] == "../../golden.toml"
    assert results.options["xfail"] == "known.txt"


def test_named_and_none(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", '[list]\nsuite = "nothing"\n')
    assert golden("list", "cases", cwd=folder).returncode == 2
    assert golden("--no-config", "list", "cases", "kink", cwd=folder).returncode == 0
    other = tmp_path / "other.toml"
    other.write_text('[list]\nsuite = "smoke"\njson = true\n')
    done = golden("--config", other, "list", "cases", "kink", cwd=folder)
    assert done.returncode == 0 and len(json.loads(done.stdout)["cases"]) < 30
    both = golden("--config", other, "--no-config", "list", cwd=folder)
    assert both.returncode == 2 and one_sentence(both.stderr)


def test_options_that_may_be_repeated(tmp_path: Path) -> None:
    folder = project(tmp_path, '[generate]\noperator = ["nlllossgrad"]\ndtype = ["fp32"]\nsuite = "smoke"\nout = "v"\n')
    done = golden("generate", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (folder / "v").iterdir()] == ["nlllossgrad-fp32.h5"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[validate]\nplatfrom = "host"\n',
            "[validate] platfrom: 'validate' has no such option; did you mean 'platform'?",
        ),
        ('[validate]\nhalf_abi = "auto"\n', "did you mean 'half-abi'?"),
        ('[validat]\nplatform = "host"\n', "there is no command 'validat'; did you mean 'validate'?"),
        ('platform = "host"\n', "'platform' stands outside a command's table; write it below one, as [validate]."),
        ("[validate]\nplatform = 5\n", "[validate] platform takes a string in quotes, not 5."),
        ('[validate]\nstrict = "yes"\n', "[validate] strict takes true or false, not 'yes'."),
        ('[validate]\ntimeout = "5"\n', "[validate] timeout takes a number, not '5'."),
        ("[validate]\ntimeout = true\n", "[validate] timeout takes a number, not True."),
        ("[validate]\ntimeout = 0\n", "[validate] timeout: 0.0 is not in the range"),
        ("[generate]\njobs = 1.5\n", "[generate] jobs takes a whole number, not 1.5."),
        ("[generate]\noperator = [1]\n", "[generate] operator takes a string in quotes, not 1."),
        ('[validate]\nmax-ulp = "fp32:4"\n', "[validate] max-ulp: 'fp32:4' is no error of at least 0.5 ulp"),
        ("[validate]\nmax-ulp = [true]\n", "[validate] max-ulp takes a number, or a string"),
        ('[validate]\nrequire = "faithfull"\n', "did you mean 'faithful'?"),
        (
            '[validate]\nhalf-abi = "floatl6"\n',
            "[validate] half-abi: 'floatl6' does not exist; did you mean 'float16'?",
        ),
        ("[validate\n", "is not valid TOML"),
        ('[validate]\ntarget = "x.so"\n', "[validate] target: 'validate' has no such option"),
    ],
)
def test_mistakes_are_named(text: str, words: str, tmp_path: Path) -> None:
    folder = project(tmp_path, text)
    done = golden(*VALIDATE, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "") and one_sentence(done.stderr), done.stderr
    assert "golden.toml" in done.stderr and words in done.stderr, done.stderr
    assert not (folder / "out").exists()


def test_mistakes_elsewhere(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", "[tool]\ngolden = 3\n", "pyproject.toml")
    done = golden("list", cwd=folder)
    assert done.returncode == 2 and "[tool.golden] of pyproject.toml is not a table." in done.stderr
    (folder / "golden.toml").write_bytes(b"\xff\xfe")
    done = golden("list", cwd=folder)
    assert done.returncode == 2 and "golden.toml is not valid TOML" in done.stderr and one_sentence(done.stderr)
    done = golden("--config", tmp_path / "none.toml", "list", cwd=folder)
    assert done.returncode == 2 and "No such file" in done.stderr and one_sentence(done.stderr)


def test_a_mistake_leaves_help_and_completion_alone(tmp_path: Path) -> None:
    folder = project(tmp_path, "[validate\n")
    assert golden("--help", cwd=folder).returncode == 0
    done = golden("validate", "--help", cwd=folder)
    assert done.returncode == 0 and "--platform" in done.stdout, done.stderr
    assert golden("completion", "zsh", cwd=folder).returncode == 0
    environment = {"COMP_WORDS": "golden\nva", "COMP_CWORD": "1", "_GOLDEN_COMPLETE": "bash_complete"}
    assert golden(cwd=folder, env=environment).stdout == "plain,validate\n"


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_a_file_that_others_may_write_to_is_refused_unless_named(tmp_path: Path, mode: int) -> None:
    (config := tmp_path / NAME).write_text('[build]\ncc = "anything"\n')
    config.chmod(mode)
    with pytest.raises(UsageError, match=r"another user may write to it\. Name it with --config"):
        find_config(tmp_path)
    config.chmod(0o644)
    assert find_config(tmp_path) == config
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match="another user may write"):
        find_config(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    (config := tmp_path / NAME).write_text("[validate]\n")
    os.chown(config, 12345, 12345)
    with pytest.raises(UsageError, match="belongs to another user"):
        find_config(tmp_path)
