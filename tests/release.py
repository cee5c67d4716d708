"""``make dist``: a source distribution and a wheel, tried in fresh environments without a compiler.

The wheel is built from the unpacked source distribution, so that neither lacks anything. What is tried is installed
from the package index; programs see a PATH with their environment alone. Only what passes gets into ``--out``.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What an installed golden must do without a compiler: the words, the exit code, and what is said.
TRIED: list[tuple[tuple[str, ...], int, str]] = [
    (("golden", "doctor"), 0, "golden can validate libraries here"),
    (("golden", "list"), 0, "smoothl1lossgrad"),
    (("golden", "validate", "reference:formula", "--suite", "smoke", "--out", "out"), 0, "conforms: "),
    (("golden", "report", "out/results.json", "--format", "html", "--out", "page.html"), 0, "page.html"),
    (("golden", "build", "-o", "kernels.so"), 2, "No C compiler was found"),
    (("pytest", "--help"), 0, "--golden-library=LIB"),
    (("pytest", "--golden-library", "missing.so"), 4, "ERROR: Cannot read the library "),
]


def build(out: Path, source: Path = ROOT) -> tuple[Path, Path]:
    """Build the source distribution and, from that, the wheel; returns their paths in ``out``."""
    hatch = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*hatch, "-t", "sdist"], cwd=source, check=True, stdout=subprocess.DEVNULL)
        (sdist,) = out.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        subprocess.run([*hatch, "-t", "wheel"], cwd=unpacked, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


def attempt(archive: Path, version: str, folder: Path) -> None:
    """Install an archive into a fresh environment and run what :data:`TRIED` lists; raises SystemExit if it fails."""
    programs, work = folder / "venv/bin", folder / "work"
    work.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", programs.parent], check=True)
    install = [programs / "python", "-m", "pip", "install", "--quiet", archive, "pytest"]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CC", "PYTEST_ADDOPTS")}
    environment["PATH"] = str(programs)
    subprocess.run(install, env=environment, cwd=work, check=True)
    for words, code, saying in [(("golden", "--version"), 0, version), *TRIED]:
        command = [programs / words[0], *words[1:]]
        done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if done.returncode != code or saying not in said or "Traceback (most recent call last)" in said:
            what = f"{archive.name}: '{' '.join(words)}' ended with {done.returncode}"
            raise SystemExit(f"{what}, where {code} and {saying.strip()!r} were due. It said: ... {said[-2000:]}")
        print(f"{archive.name}: {' '.join(words)}: {code}")


def main() -> None:
    """Build both, try both, and put them in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the archives go")
    out = parser.parse_args().out.resolve()
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False)
    if changed.stdout:
        raise SystemExit(
            f"What is built tells its commit, and these are not of it:\n{changed.stdout}Commit them first."
        )
    golden = [sys.executable, "-m", "golden.cli", "--version"]
    version = subprocess.run(golden, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        built = build(Path(folder))
        for number, archive in enumerate(built):
            attempt(archive, version, Path(folder, str(number)))
        out.mkdir(exist_ok=True)
        for archive in built:
            shutil.move(archive, out / archive.name)
            print(out / archive.name)


if __name__ == "__main__":
    main()
