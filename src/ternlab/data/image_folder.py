"""Image files in folders named by class: `root/train/<class>/*` and `root/test/<class>/*` (or another test part)."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ternlab.data.annotations import annotated_files
from ternlab.data.encoded import assemble
from ternlab.data.folder_parts import folder_parts
from ternlab.data.layout import image_files, no_images
from ternlab.data.source import DataSource

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings

_log = logging.getLogger(__name__)


class FolderImages:
    """The image files of one part.

    The paths are one array of bytes instead of a list of strings: a million Python objects would be copied page by page
    into every worker as soon as their reference counts change.

    Args:
        folder: the folder of the part.
        found: path below `folder` and label of each image, in order.

    Raises:
        SettingsError: there are no images.
    """

    def __init__(self, folder: Path, found: Iterable[tuple[str, int]]) -> None:
        self.folder = folder
        pairs = list(found)
        if not pairs:
            raise no_images(folder)
        self._paths = np.array([os.fsencode(path) for path, _ in pairs])
        self.labels = torch.tensor([label for _, label in pairs], dtype=torch.int64)

    def name(self, index: int) -> str:
        """Return the path of image `index`."""
        return str(self.folder / os.fsdecode(bytes(self._paths[index])))

    def read(self, index: int) -> bytes:
        """Return the bytes of image `index`."""
        with open(self.name(index), "rb") as file:
            return file.read()


def folder_images(settings: DataSettings, root: Path) -> tuple[FolderImages, FolderImages, tuple[str, ...], str]:
    """Return the training images, the test images, the class names, and one line about the choice of the test part.

    Raises:
        SettingsError: as `ternlab.data.folder_parts.folder_parts` and `ternlab.data.annotations.annotated_files`.
    """
    parts = folder_parts(root, settings.test_part)
    train = FolderImages(parts.train, _in_class_folders(parts.train, parts.classes))
    if parts.annotations is None:
        test = FolderImages(parts.test, _in_class_folders(parts.test, parts.classes))
    else:
        test = FolderImages(parts.test, annotated_files(parts.test, parts.annotations, parts.classes))
    return train, test, tuple(parts.classes), parts.choice.reason


def load(settings: DataSettings, folder: Path) -> DataSource:
    """Return the images under `folder`.

    Raises:
        SettingsError: as `folder_images` and `ternlab.data.encoded.assemble`.
    """
    train, test, classes, about_test = folder_images(settings, folder)
    return replace(assemble(settings, train, test, classes), about_test=about_test)


def _in_class_folders(folder: Path, classes: list[str]) -> list[tuple[str, int]]:
    """Return the image files sorted by class and file name; warn about other files."""
    others: Counter[str] = Counter()
    found = [
        (os.path.join(name, path), label)
        for label, name in enumerate(classes)
        for path in image_files(folder / name, others)
    ]
    if others:
        listed = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(5))
        _log.warning(
            "%s: %d files are not images by their suffix and are left out (%s)", folder, others.total(), listed
        )
    return found
