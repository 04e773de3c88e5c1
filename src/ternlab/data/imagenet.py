"""ImageNet-1k as extracted from the official archives: `root/train/<wnid>/*` and `root/val/<wnid>/*`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ternlab.data.encoded import assemble
from ternlab.data.image_folder import folder_images
from ternlab.data.source import IMAGENET_MEAN, IMAGENET_STD, DataSource

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings

SIZE = 224


def load(settings: DataSettings, folder: Path) -> DataSource:
    """Return the images under `folder`; the official validation images are the test set.

    Raises:
        SettingsError: as `ternlab.data.image_folder.folder_images` and `ternlab.data.encoded.assemble`.
    """
    train, test, classes, about_test = folder_images(settings, folder)
    source = assemble(settings, train, test, classes, size=SIZE, statistics=(IMAGENET_MEAN, IMAGENET_STD))
    return replace(source, about_test=about_test)
