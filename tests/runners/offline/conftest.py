"""A board, and an export that it has run."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.board import build_board, run_board
from tests.helpers.exporting import SMOKE, TIGHT, exported


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_board(tmp_path_factory.mktemp("board") / "board")


@pytest.fixture(scope="module")
def whole(board: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small export in several blobs, with its dumps."""
    options = ("--operator", "smoothl1lossgrad", "--dtype", "fp32", "--limit", TIGHT, *SMOKE)
    folder = exported(tmp_path_factory.mktemp("whole") / "export", *options)
    run_board(board, folder)
    return folder


@pytest.fixture
def dumps(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "export")
