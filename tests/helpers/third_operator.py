"""The examples: operators from packages of their own, installed."""

import shutil
from pathlib import Path

from tests import ROOT

EXAMPLE = ROOT / "examples/huber"


def install_example(site: Path, name: str = "huber") -> Path:
    """Install an example the way a wheel does, without an index: its modules and its entry points' metadata."""
    example, module = ROOT / "examples" / name, f"golden_{name}"
    shutil.copytree(example / module, site / module, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{module}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: golden-{name}\nVersion: 0.1.0\n")
    text = (example / "pyproject.toml").read_text()
    sections = text.split("[project.entry-points.")[1:]
    entry_points = ["[" + s.replace('"', "", 2).replace('= "', "= ").replace('"\n', "\n").strip() for s in sections]
    (info / "entry_points.txt").write_text("\n".join(entry_points) + "\n")
    return site
