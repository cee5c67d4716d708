"""The worked example of docs/adding-an-operator.md, installed."""

import shutil
from pathlib import Path

from tests import ROOT

EXAMPLE = ROOT / "examples/huber"


def install_example(site: Path) -> Path:
    """Install the example the way a wheel does, without an index: its modules and its entry points' metadata."""
    shutil.copytree(EXAMPLE / "golden_huber", site / "golden_huber", ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "golden_huber-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: golden-huber\nVersion: 0.1.0\n")
    text = (EXAMPLE / "pyproject.toml").read_text()
    sections = text.split("[project.entry-points.")[1:]
    entry_points = ["[" + s.replace('"', "", 2).replace('= "', "= ").replace('"\n', "\n").strip() for s in sections]
    (info / "entry_points.txt").write_text("\n".join(entry_points) + "\n")
    return site
