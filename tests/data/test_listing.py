"""Which image files a name, a folder or a pattern stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ternlab.data.layout import IMAGE_SUFFIXES
from ternlab.data.listing import listed


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_folders_patterns_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "x/b.png", "x/a.JPG", "x/sub/c.tif", "x/notes.txt", "x/.hidden.png", "odd.bin", "10.png", "9.png")
    make(tmp_path, "x/[1].png")
    assert list(listed(["x"])) == ["x/[1].png", "x/a.JPG", "x/b.png", "x/sub/c.tif"]
    assert list(listed(["x/"])) == ["x/[1].png", "x/a.JPG", "x/b.png", "x/sub/c.tif"]
    assert list(listed(["*.png"])) == ["10.png", "9.png"]
    assert list(listed(["x/**/*.tif", "./odd.bin"])) == ["x/sub/c.tif", "./odd.bin"]
    assert list(listed([str(tmp_path / "x" / "*.png")])) == [f"{tmp_path}/x/[1].png", f"{tmp_path}/x/b.png"]
    # A file is taken before a pattern that it looks like.
    assert list(listed(["x/[1].png"])) == ["x/[1].png"]


def test_every_suffix_of_the_data_loader_is_known(tmp_path: Path) -> None:
    make(tmp_path, *(f"a{suffix}" for suffix in IMAGE_SUFFIXES))
    assert {Path(name).suffix for name in listed([str(tmp_path)])} == IMAGE_SUFFIXES
