"""What is checked before torch is imported, and the identity of the user's own files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ternlab.core.errors import SettingsError
from ternlab.data import fingerprint
from ternlab.data.fingerprint import check_data, data_fingerprint
from ternlab.data.registry import DATA_SETS, register_data
from ternlab.data.settings import DataSettings
from tests.data.made_images import write_folder

CONF = Path(__file__).parents[2] / "conf" / "data"


def settings(**values: Any) -> DataSettings:
    return DataSettings(**values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "set", {"train": 2, "test": 1})


def fresh(root: Path) -> str | None:
    """Return the fingerprint as a new process would compute it."""
    fingerprint._tree_hash.cache_clear()
    return data_fingerprint(settings(name="image_folder", root=str(root)))


def test_public_sets_have_no_fingerprint() -> None:
    assert data_fingerprint(settings()) is None
    assert data_fingerprint(settings(name="cifar10", root="/nowhere")) is None


def test_fingerprint_survives_a_copy_and_sees_every_change(folder: Path, tmp_path: Path) -> None:
    before = fresh(folder)
    assert before is not None and len(before) == 64
    shutil.copytree(folder, tmp_path / "copy")
    assert fresh(tmp_path / "copy") == before
    file = folder / "train" / "cat" / "001.png"
    (folder / ".DS_Store").write_bytes(b"x")
    assert fresh(folder) == before
    file.write_bytes(file.read_bytes() + b"x")
    grown = fresh(folder)
    file.rename(file.with_name("00a.png"))  # of the same length, and at the same place in the order
    renamed = fresh(folder)
    assert len({before, grown, renamed}) == 3


def test_fingerprint_of_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        fresh(tmp_path / "nothing")


def test_fingerprint_is_computed_once_per_process(folder: Path) -> None:
    before = fresh(folder)
    (folder / "more").write_text("x")
    assert data_fingerprint(settings(name="image_folder", root=str(folder))) == before


def test_good_data_pass(folder: Path, tmp_path: Path) -> None:
    check_data(settings(name="image_folder", root=str(folder)), tmp_path)
    check_data(settings(), tmp_path)
    check_data(settings(name="cifar10", crop_padding=4), tmp_path)


def test_unusable_roots_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name, message in (("nothing", "does not exist"), ("empty", "is an empty folder"), ("file", "is a file")):
        with pytest.raises(SettingsError, match=message):
            check_data(settings(name="parquet", root=str(tmp_path / name)), tmp_path)


def test_unreadable_root_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)  # chmod does not stop root, who runs the tests in containers
    with pytest.raises(SettingsError, match=r"cannot be read \(Permission denied\)"):
        check_data(settings(name="image_folder", root=str(folder)), tmp_path)


def test_missing_set_without_download_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        check_data(settings(name="mnist", download=False), tmp_path)
    text = str(caught.value)
    assert str(tmp_path / "mnist") in text and "data.download is false" in text and "data.download=true" in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "cifar10", "storage": "stream"}, "data.storage = stream"),
        ({"name": "digits", "random_resized_crop": True}, "data.random_resized_crop"),
        ({"name": "imagenet", "root": "x", "crop_padding": 4}, "data.crop_padding = 4"),
        ({"name": "image_folder", "root": "x", "image_size": 64, "resize": 32}, "at least data.image_size = 64"),
    ],
)
def test_contradicting_settings_are_refused(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        check_data(settings(**values), tmp_path)


def test_checks_do_not_import_torch(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ternlab.data.settings import DataSettings as S;"
        "from ternlab.data.fingerprint import *; s = S(name='image_folder', root=sys.argv[1]);"
        "check_data(s, Path('.')); data_fingerprint(s);"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_registering_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="already registered"):
        register_data("digits", "a:b")
    with pytest.raises(ValueError, match=r"'package\.module:function'"):
        register_data("mine", "a.b")


@pytest.mark.parametrize("name", sorted(DATA_SETS))
def test_every_set_has_a_choice_whose_settings_go_together(name: str) -> None:
    own = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    own.pop("defaults")
    found = DataSettings(**(own | ({"root": "x"} if DATA_SETS[name].needs_root else {})))
    assert found.name == name
    fingerprint.check_pairs(found, DATA_SETS[name].storage)
