"""Public data sets that torchvision can download and read: CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST, SVHN."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torchvision import datasets

from ternlab.core.errors import SettingsError
from ternlab.data.fingerprint import check_fetched, missing_files
from ternlab.data.resize import resized
from ternlab.data.source import DataSource, MemoryPart

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings

TIMEOUT = 60.0
"""Seconds without data after which a download counts as failed."""
_ARCHIVES = (".gz", ".mat")


@dataclass(frozen=True)
class _Set:
    """How torchvision opens a data set, with the published mean and standard deviation of its training images."""

    open: Callable[..., Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _by_flag(kind: Callable[..., Any]) -> Callable[..., Any]:
    return lambda root, part, download: kind(root, train=part == "train", download=download)


_SETS = {
    "cifar10": _Set(_by_flag(datasets.CIFAR10), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": _Set(_by_flag(datasets.CIFAR100), (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": _Set(_by_flag(datasets.MNIST), (0.1307,), (0.3081,)),
    "fashion_mnist": _Set(_by_flag(datasets.FashionMNIST), (0.2860,), (0.3530,)),
    "svhn": _Set(
        lambda root, part, download: datasets.SVHN(root, split=part, download=download),
        (0.4377, 0.4438, 0.4728),
        (0.1980, 0.2010, 0.1970),
    ),
}


def prepare(settings: DataSettings, folder: Path) -> None:
    """Download the data set into `folder` if it is not there.

    Files are downloaded, verified against their MD5 and unpacked in a temporary folder next to `folder`, and moved into
    place once complete. An interrupted download leaves nothing that a later run would trust. Archives that are already
    in `folder` are used instead of being downloaded.

    Raises:
        SettingsError: files are missing and `data.download` is false, or the download failed.
    """
    if not missing_files(settings, folder):
        return
    if not settings.download:
        check_fetched(settings, folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", suffix=".part", dir=folder.parent) as beside:
            _take_archives(folder, Path(beside))
            _fetch(settings.name, Path(beside))
            _move(Path(beside), folder)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:300]
        check_fetched(settings, folder, cause=f"the download failed ({reason})")


def _fetch(name: str, folder: Path) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none and would wait forever
    try:
        for part in ("train", "test"):
            _SETS[name].open(folder, part, True)
    finally:
        socket.setdefaulttimeout(before)


def _take_archives(folder: Path, beside: Path) -> None:
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.suffix in _ARCHIVES and path.is_file():
            target = beside / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _move(beside: Path, folder: Path) -> None:
    """Move every file into place by renaming it, which is atomic per file."""
    for path in sorted(beside.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def load(settings: DataSettings, folder: Path) -> DataSource:
    """Return the data set in `folder`, downloaded by `prepare`.

    Raises:
        SettingsError: files are missing or damaged.
    """
    check_fetched(
        settings, folder, cause="it has not been downloaded" if settings.download else "data.download is false"
    )
    known = _SETS[settings.name]
    try:
        train, test = (known.open(folder, part, False) for part in ("train", "test"))
    except ImportError as error:
        raise SettingsError(f"data={settings.name}", rule=str(error), instead="pip install scipy") from error
    except Exception as error:  # damaged files raise RuntimeError, ValueError, EOFError, UnpicklingError, ...
        rule = f"its files in {folder} are damaged ({error})"
        raise SettingsError(
            f"data={settings.name}", rule=rule, instead=f"remove {folder} and run the command again"
        ) from error
    parts = [_part(opened, settings.image_size) for opened in (train, test)]
    classes = tuple(str(name) for name in getattr(train, "classes", None) or range(10))
    channels, size = parts[0].images.shape[1:3]
    return DataSource(parts[0], parts[1], classes=classes, channels=channels, size=size, mean=known.mean, std=known.std)


def _part(opened: Any, size: int | None) -> MemoryPart:
    """Convert the arrays of a torchvision data set to uint8 (count, channels, side, side) and int64 (count,)."""
    images = torch.as_tensor(opened.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    labels = torch.as_tensor(opened.targets if hasattr(opened, "targets") else opened.labels)
    return MemoryPart(resized(images.contiguous(), size), labels.long())
