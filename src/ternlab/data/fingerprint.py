"""Data checks and the data fingerprint; does not import torch."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ternlab.core.errors import SettingsError
from ternlab.core.signals import stop_at_once
from ternlab.data.folder_parts import FolderParts, empty_class, folder_parts
from ternlab.data.layout import image_files, no_images, readable_root, walk
from ternlab.data.naming import ONE_FOR_EACH
from ternlab.data.normalization import check_normalization
from ternlab.data.parquet_parts import parquet_parts
from ternlab.data.part_choice import AUTO
from ternlab.data.registry import DATA_SETS

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings


def data_folder(settings: DataSettings, data_dir: Path) -> Path:
    """Return the folder of the data set: `data.root`, or `data_dir/<name>`."""
    return Path(settings.root).expanduser() if settings.root is not None else data_dir / settings.name


def known_shape(settings: DataSettings) -> tuple[int, int, int] | None:
    """Return channels, side in pixels and number of classes of the images; `None` if they depend on the files.

    They do for a given `data.root`: a subset of ImageNet has fewer classes.
    """
    entry = DATA_SETS[settings.name]
    if entry.shape is None or (entry.needs_root and settings.root is not None):
        return None
    channels, side, classes = entry.shape
    return settings.channels or channels, settings.image_size or side, classes


def data_fingerprint(settings: DataSettings) -> str | None:
    """Return what identifies the user's own files in the run's identity; `None` for public data sets.

    This is a SHA-256 over the sorted (relative path, size in bytes) pairs of the files under `data.root`, without
    hidden files; it does not change if the folder is copied or moved. Cached per process.

    Raises:
        SettingsError: `data.root` is missing, unreadable or empty.
    """
    if not DATA_SETS[settings.name].needs_root or settings.root is None:
        return None
    return _tree_hash(os.path.realpath(readable_root(Path(settings.root).expanduser())))


@lru_cache(maxsize=8)
@stop_at_once()
def _tree_hash(root: str) -> str:
    digest = hashlib.sha256()
    for name, size in sorted(_sizes(root)):
        digest.update(f"{len(name)}:".encode() + name + f"={size}\n".encode())
    return digest.hexdigest()


def _sizes(root: str) -> list[tuple[bytes, int]]:
    found = []
    # A data set at the root of a file system has a folder lost+found beside it.
    for where, names in walk(root, skip_unreadable=True):
        for name in names:
            path = os.path.join(where, name)
            if os.path.isfile(path):
                relative = os.path.relpath(path, root).replace(os.sep, "/")
                found.append((os.fsencode(relative), os.path.getsize(path)))
    return found


@stop_at_once()
def check_data(settings: DataSettings, data_dir: Path) -> None:
    """Check that the files exist and that the settings suit the data set; reads no images and does not import torch.

    Raises:
        SettingsError: the root is missing, unreadable, empty or has the wrong layout; a public data set is missing and
            `download` is off; or two settings contradict each other.
    """
    entry = DATA_SETS[settings.name]
    check_pairs(settings, entry.storage if settings.storage == "auto" else settings.storage)
    folder = data_folder(settings, data_dir)
    if entry.needs_root:
        _check_layout(settings, folder)
    elif not settings.download:
        check_fetched(settings, folder)


def _check_layout(settings: DataSettings, folder: Path) -> None:
    layout = DATA_SETS[settings.name].layout
    if layout == "parquet":
        parquet_parts(folder, settings.test_part)
    elif layout == "folders":
        _check_folders(folder_parts(folder, settings.test_part))
    else:
        readable_root(folder)


def _check_folders(parts: FolderParts) -> None:
    folders = [parts.test] if parts.annotations else [parts.test / name for name in parts.classes]
    if not any(True for folder in folders for _ in image_files(folder)):
        raise no_images(parts.test)
    empty = [name for name in parts.classes if not any(True for _ in image_files(parts.train / name))]
    if empty:
        raise no_images(parts.train) if len(empty) == len(parts.classes) else empty_class(parts.train, empty[0])


def missing_files(settings: DataSettings, folder: Path) -> list[str]:
    """Return the files of a public data set that are not in `folder`."""
    return [name for name in DATA_SETS[settings.name].files if not (folder / name).is_file()]


def check_fetched(settings: DataSettings, folder: Path, cause: str = "data.download is false") -> None:
    """Raise SettingsError, with `cause`, if files of a public data set are missing from `folder`."""
    if missing := missing_files(settings, folder):
        shown = ", ".join(missing[:3]) + (", ..." if missing[3:] else "")
        rule = f"is not in {folder} (missing: {shown}) and {cause}"
        instead = f"data.download=true with network access, or data.root=FOLDER that contains {missing[0]}"
        raise SettingsError(f"data={settings.name}", rule=rule, instead=instead)


def check_pairs(settings: DataSettings, storage: str | None) -> None:
    """Raise SettingsError for settings that contradict each other; `storage` is `None` while undecided."""
    if settings.test_part != AUTO and not DATA_SETS[settings.name].needs_root:
        rule = f"data={settings.name} has only one test part"
        raise SettingsError("data.test_part", value=settings.test_part, rule=rule, instead="data.test_part=auto")
    _check_known(settings)
    if DATA_SETS[settings.name].storage == "memory" and storage == "stream":
        rule = f"data={settings.name} is always kept in memory"
        raise SettingsError("data.storage", value="stream", rule=rule, instead="data.storage=auto")
    if storage == "memory" and settings.random_resized_crop:
        rule = "in-memory images are only augmented by data.flip and data.crop_padding"
        instead = "data.random_resized_crop=false, or data.storage=stream"
        raise SettingsError("data.random_resized_crop", value=True, rule=rule, instead=instead)
    if storage == "stream" and settings.crop_padding:
        instead = "data.crop_padding=0, or data.storage=memory"
        raise SettingsError(
            "data.crop_padding",
            value=settings.crop_padding,
            rule="streamed images are not padded",
            instead=instead,
        )
    if settings.resize is not None and settings.image_size is not None and settings.resize < settings.image_size:
        rule = f"must be at least data.image_size = {settings.image_size}, which is cropped from it"
        instead = f"data.resize={settings.image_size}, or data.resize=null"
        raise SettingsError("data.resize", value=settings.resize, rule=rule, instead=instead)


def _check_known(settings: DataSettings) -> None:
    """Check what depends on channels and classes, where they are known without the files."""
    shape = DATA_SETS[settings.name].shape
    check_normalization(settings, settings.channels or (shape[0] if shape else None))
    known = known_shape(settings)
    if known is not None and settings.class_names is not None and len(settings.class_names) != known[2]:
        rule = f"has {len(settings.class_names)} names, but {settings.name} has {known[2]} classes"
        raise SettingsError("data.class_names", rule=rule, instead=ONE_FOR_EACH)
