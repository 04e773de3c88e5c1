"""Image files in folders named by class: `root/train/<class>/*` and `root/test/<class>/*` (or `root/val`)."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ternlab.data.encoded import assemble
from ternlab.data.folder_parts import folder_parts
from ternlab.data.layout import image_files, no_images
from ternlab.data.source import DataSource

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings

_log = logging.getLogger(__name__)


class FolderImages:
    """The image files of one split, sorted by class and file name.

    The paths are one array of bytes instead of a list of strings: a million Python objects would be copied page by page
    into every worker as soon as their reference counts change.

    Args:
        folder: the folder of the split.
        classes: names of its class folders; their order defines the labels.

    Raises:
        SettingsError: there are no images.
    """

    def __init__(self, folder: Path, classes: list[str]) -> None:
        self.folder = folder
        others: Counter[str] = Counter()
        found = [
            (os.path.join(name, path), label)
            for label, name in enumerate(classes)
            for path in image_files(folder / name, others)
        ]
        if not found:
            raise no_images(folder)
        if others:
            listed = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(5))
            _log.warning(
                "%s: %d files are not images by their suffix and are left out (%s)", folder, others.total(), listed
            )
        self._paths = np.array([os.fsencode(path) for path, _ in found])
        self.labels = torch.tensor([label for _, label in found], dtype=torch.int64)

    def name(self, index: int) -> str:
        """Return the path of image `index`."""
        return str(self.folder / os.fsdecode(bytes(self._paths[index])))

    def read(self, index: int) -> bytes:
        """Return the bytes of image `index`."""
        with open(self.name(index), "rb") as file:
            return file.read()


def load(settings: DataSettings, folder: Path) -> DataSource:
    """Return the images under `folder`.

    Raises:
        SettingsError: as `ternlab.data.folder_parts.folder_parts` and `ternlab.data.encoded.assemble`.
    """
    train, test, classes = folder_parts(folder)
    return assemble(settings, FolderImages(train, classes), FolderImages(test, classes), tuple(classes))
