"""Checks of `model.weights` that need no torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ternlab.models
from ternlab.core.errors import ExitCode, SettingsError
from ternlab.models.settings import ModelSettings
from ternlab.models.weights_file import check_weights, weights_fingerprint, weights_path


def settings(weights: Path | str | None, name: str = "resnet20", skip: tuple[str, ...] = ()) -> ModelSettings:
    return ModelSettings(name=name, weights=None if weights is None else str(weights), weights_skip=skip)


def refusal(given: ModelSettings) -> str:
    with pytest.raises(SettingsError) as caught:
        check_weights(given)
    assert caught.value.exit_code == ExitCode.BAD_SETTINGS
    return str(caught.value)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    tensors = {"a": torch.arange(100.0), "b": torch.arange(50)}
    torch.save(tensors, tmp_path / "zip")
    torch.save(tensors, tmp_path / "old", _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "safetensors", metadata={"format": "pt"})
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_whole_files_pass(kind: str, files: dict[str, Path]) -> None:
    check_weights(settings(files[kind]))


@pytest.mark.parametrize("kind", ["zip", "safetensors"])
def test_one_missing_byte_is_found(kind: str, files: dict[str, Path]) -> None:
    files[kind].write_bytes(files[kind].read_bytes()[:-1])
    assert "cut off or damaged" in refusal(settings(files[kind]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html>", "neither a torch.save nor a safetensors file: it begins with b'<!DOCTYPE'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it begins with b'version h'"),
        ((10**12).to_bytes(8, "little") + b"{", "neither a torch.save nor a safetensors file"),
        ((9).to_bytes(8, "little") + b"{{{{{{{{{", "its safetensors header"),
        ((11).to_bytes(8, "little") + json.dumps({"a": None}).encode() + b" ", "its safetensors header"),
    ],
)
def test_other_content_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    assert message in refusal(settings(tmp_path / "a.pt"))


def test_places_that_are_no_files(tmp_path: Path) -> None:
    assert "a folder, not a file" in refusal(settings(tmp_path))
    assert "does not exist either" in refusal(settings(tmp_path / "no" / "a.pt"))
    assert "download it" in refusal(settings("https://example.org/a.pt"))
    message = refusal(settings("nowhere-at-all.pt"))
    assert f"relative paths start at {Path.cwd()}" in message


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root reads every file, so it becomes a user without rights for the test."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


@pytest.fixture
def unreadable(files: dict[str, Path]) -> Iterator[Path]:
    """Return a file without permissions, in a folder that every user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "weights.pt"
        shutil.copyfile(files["zip"], path)
        path.chmod(0)
        yield path


def test_unreadable_file(unreadable: Path, nobody: None) -> None:
    assert "cannot be read (Permission denied)" in refusal(settings(unreadable))


def test_failing_disk(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_more: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    assert "cannot be read (Input/output error)" in refusal(settings(files["zip"]))
    with pytest.raises(SettingsError, match="Input/output error"):
        weights_fingerprint(settings(files["zip"]))


@pytest.mark.parametrize("name", ["resnet20", "resnet110", "alexnet"])
def test_torchvision_has_no_weights_for_some_networks(name: str) -> None:
    message = refusal(settings("torchvision", name))
    assert f"no weights for {name}, only for resnet18, resnet34, resnet50, resnet101" in message
    check_weights(settings("torchvision", "resnet50"))


def test_skipping_without_weights_is_refused() -> None:
    assert "nothing to skip" in refusal(settings(None, skip=("fc.*",)))
    check_weights(settings(None))


def test_fingerprint(files: dict[str, Path]) -> None:
    assert weights_fingerprint(settings(None)) is None
    assert weights_fingerprint(settings("torchvision", "resnet18")) == "torchvision"
    content = files["zip"].read_bytes()
    assert weights_fingerprint(settings(files["zip"])) == hashlib.sha256(content).hexdigest()
    # The content is the identity: a copy elsewhere has the same one.
    copy = files["zip"].with_name("copy")
    copy.write_bytes(content)
    assert weights_fingerprint(settings(copy)) == weights_fingerprint(settings(files["zip"]))
    with pytest.raises(SettingsError, match="no such file"):
        weights_fingerprint(settings("nowhere-at-all.pt"))


def test_neither_torch_nor_torchvision_is_imported() -> None:
    code = (
        "import sys, ternlab.models.weights_file, ternlab.models.settings;"
        "sys.exit(' '.join({'torch', 'torchvision', 'numpy'} & set(sys.modules)) or 0)"
    )
    source = Path(ternlab.models.__file__ or "").parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_proposed_for_a_file_that_is_not_there_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "net_best").mkdir()
    (tmp_path / "net_last.pt").touch()
    with pytest.raises(SettingsError, match=r"no such file\n  instead: model\.weights=\S*net_last\.pt$"):
        weights_path(str(tmp_path / "net_lost.pt"))
