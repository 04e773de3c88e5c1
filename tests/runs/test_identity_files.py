"""What files and own data are in a run's ID: their contents, never their paths."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.runs.identity import run_id
from tests.data.made_images import encoded, write_parquet
from tests.runs.identity_settings import settings


@pytest.mark.parametrize(
    ("setting", "needs"),
    [
        ("model.weights", {}),
        ("quant.init_file", {"quant.init": "file"}),
        ("ckpt_path", {}),
        ("algorithm.teacher", {"algorithm.name": "distillation"}),
    ],
)
def test_a_file_counts_by_its_contents_and_not_by_its_path(
    setting: str, needs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, moved, other = tmp_path / "a" / "first.pt", tmp_path / "b" / "moved.ckpt", tmp_path / "a" / "other.pt"
    for path, contents in ((first, b"same"), (moved, b"same"), (other, b"differs")):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(contents)

    def of(path: str | Path) -> str:
        return run_id(settings(**needs, **{setting: str(path)}))

    assert of(first) == of(moved)
    assert of(first) != of(other)
    monkeypatch.setenv("HOME", str(first.parent))
    assert of("~/first.pt") == of(first)
    monkeypatch.chdir(first.parent)
    assert of("first.pt") == of(first)
    first.write_bytes(b"changed")
    assert of(first) != of(moved)
    with pytest.raises(SettingsError, match=setting.replace(".", r"\.")):
        of(tmp_path / "nowhere")


def test_one_file_in_two_roles_makes_two_runs(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"weights")
    assert run_id(settings(**{"model.weights": str(file)})) != run_id(settings(ckpt_path=str(file)))


def test_own_data_count_by_their_files_and_not_by_their_folder(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for part in ("train", "test"):
        write_parquet(root / f"{part}.parquet", [encoded(1), encoded(2)], [0, 1])
    shutil.copytree(root, tmp_path / "copy")
    shutil.copytree(root, tmp_path / "grown")
    write_parquet(tmp_path / "grown" / "train-1.parquet", [encoded(3)], [0])

    def of(name: str) -> str:
        return run_id(settings(**{"data.name": "parquet", "data.root": str(tmp_path / name)}))

    assert of("set") == of("copy")
    assert of("set") != of("grown")
