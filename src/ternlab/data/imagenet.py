"""ImageNet-1k as extracted from the official archives: `root/train/<wnid>/*` and `root/val/<wnid>/*`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ternlab.data.encoded import assemble
from ternlab.data.folder_parts import folder_parts
from ternlab.data.image_folder import FolderImages
from ternlab.data.source import IMAGENET_MEAN, IMAGENET_STD, DataSource

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings

SIZE = 224


def load(settings: DataSettings, folder: Path) -> DataSource:
    """Return the images under `folder`; the official validation images are the test set.

    Raises:
        SettingsError: as `ternlab.data.folder_parts.folder_parts` and `ternlab.data.encoded.assemble`.
    """
    train, test, classes = folder_parts(folder)
    parts = FolderImages(train, classes), FolderImages(test, classes)
    return assemble(settings, *parts, tuple(classes), size=SIZE, statistics=(IMAGENET_MEAN, IMAGENET_STD))
