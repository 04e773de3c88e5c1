"""The digits that ship with scikit-learn: 1,797 grey images of 8x8 pixels, available without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ternlab.data.resize import resized
from ternlab.data.source import DataSource, MemoryPart
from ternlab.data.split import split

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings

TEST_FRACTION = 0.2
TEST_SEED = 20_200_101
"""The data set has no official test split; this constant fixes one (359 images), independent of the settings."""

MEAN, STD = (0.3059,), (0.3760,)


def load(settings: DataSettings, folder: Path) -> DataSource:
    """Return the digits; `folder` is not used.

    Values 0..16 are scaled to 0..255 and rounded. The test split is a fixed, stratified fifth of the images.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(found.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(found.target).long()
    train, test = split(labels, TEST_FRACTION, TEST_SEED)
    train = train.sort().values
    parts = [MemoryPart(resized(images[rows], settings.image_size), labels[rows]) for rows in (train, test)]
    size = parts[0].images.shape[-1]
    return DataSource(parts[0], parts[1], classes=tuple("0123456789"), channels=1, size=size, mean=MEAN, std=STD)
